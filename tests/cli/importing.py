"""What the importer's tests share: rows made by hand, files in the log's format, and a cell that only records."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5
from zoneinfo import ZoneInfo

from google.protobuf.message import Message
from kept.case.v1 import events_pb2 as case_events
from kept.case.v1 import service_pb2 as case
from kept.cell.v1 import service_pb2 as cell
from kept.common.v1.record_pb2 import Receipt
from kept.customer.v1 import service_pb2 as customer
from kept.sla.v1 import events_pb2 as sla_events
from kept.sla.v1 import service_pb2 as sla

from services.cli.client import RefusedError
from services.cli.imports.rows import Row, Table, read
from services.cli.imports.sample import HEADER
from services.cli.imports.servicenow import Command, Planner

ZONE = "America/Sao_Paulo"
LATEST = datetime(2026, 1, 1, tzinfo=UTC)
MODULES = {"cell": cell, "customer": customer, "case": case, "sla": sla}

FIRST = {
    "number": "INC1",
    "incident_state": "New",
    "made_sla": "true",
    "caller_id": "Caller 1",
    "sys_updated_at": "1/3/2016 09:00",
    "contact_type": "Phone",
    "location": "Location 7",
    "category": "Category 55",
    "subcategory": "Subcategory 170",
    "u_symptom": "Symptom 72",
    "impact": "2 - Medium",
    "urgency": "2 - Medium",
    "priority": "3 - Moderate",
    "assignment_group": "Group 56",
    "assigned_to": "?",
    "knowledge": "false",
    "u_priority_confirmation": "false",
    "notify": "Do Not Notify",
}


def log(path: Path, rows: Iterable[Mapping[str, str]]) -> Path:
    """A CSV of these rows; what they leave out is missing."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, HEADER, restval="?")
        writer.writeheader()
        writer.writerows(rows)
    return path


def incident(*changes: Mapping[str, str], **first: str) -> list[dict[str, str]]:
    """An incident's rows: the first one, and then each with what changed against the one before, a minute apart."""
    rows = [FIRST | first]
    for minute, change in enumerate(changes, start=1):
        rows.append(rows[-1] | {"sys_updated_at": f"1/3/2016 09:{minute:02d}"} | dict(change))
    return rows


def table_of(path: Path, limit: int | None = None) -> Table:
    return read(path, zone=ZoneInfo(ZONE), latest=LATEST, limit=limit)


def rows_of(table: Table) -> list[Row]:
    return [row for _, rows in table.minutes() for row in rows]


def commands_of(table: Table, *, partners: frozenset[str] = frozenset()) -> list[list[Command]]:
    """Each row's commands, in the order in which they are sent, when none is refused."""
    planner = Planner(time_zone=ZONE, partners=partners)
    return [plan(planner, row) for row in rows_of(table)]


def plan(planner: Planner, row: Row, *, refuse: Callable[[Command], bool] = lambda command: False) -> list[Command]:
    """The commands of one row, up to the refused one."""
    steps, told = planner.plan(row), []
    try:
        command = next(steps)
        while True:
            told.append(command)
            if refuse(command):
                steps.close()
                return told
            command = steps.send(f"{command.method} {row.number} {len(told)}")
    except StopIteration:
        return told


def methods(commands: Iterable[Command]) -> list[str]:
    return [command.method for command in commands]


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


class RecordingCell:
    """Records what it is asked to do, once for each request id, and gives the ids that a cell would give.

    `kill_at` is the number of the call that the importer does not survive; `answered` says whether the cell did what it
    was asked first. `refuse` may refuse a command; a refusal is not remembered, as in a real cell.
    """

    def __init__(self, *, refuse: Callable[["RecordingCell", Any], bool] = lambda cell, request: False) -> None:
        self.recorded: list[tuple[str, str, bytes]] = []
        self.refuse = refuse
        self.calls: Counter[str] = Counter()
        self.kill_at: int | None = None
        self.answered = True
        self._answers: dict[tuple[str, str], tuple[bytes, Receipt]] = {}
        self._now = 0
        self._places: dict[str, int] = {}  # of cases, in the order of opening

    def __call__(self, service: str, method: str, request: Message) -> Any:
        self.calls[method] += 1
        killed = self.kill_at is not None and self.calls.total() == self.kill_at
        if killed and not self.answered:
            raise Killed
        try:
            return self._read(method, request) or self._change(service, method, request)
        finally:
            if killed:
                raise Killed  # refused or done, the importer does not learn it

    def _change(self, service: str, method: str, request: Any) -> Any:
        key, body = (method, request.request_id), request.SerializeToString(deterministic=True)
        response = getattr(MODULES[service], f"{method}Response")
        if key not in self._answers:
            if self.refuse(self, request):
                raise RefusedError("case-not-open", "the case is not open")
            if method == "AdvanceTime":
                self._now = max(self._now, request.to.seconds)
            elif method != "StartHistory":
                assert request.occurred_at.seconds <= self._now, "the future"
            made = getattr(request, "case_id", "") or str(uuid5(NAMESPACE_URL, "/".join(key)))
            if method == "Open":
                self._places[made] = len(self._places)
            self.recorded.append((service, method, body))
            self._answers[key] = body, Receipt(id=made, version=1, position=len(self.recorded))
        before, receipt = self._answers[key]
        assert before == body, "request-id-reused"
        return response(receipt=receipt)

    def _read(self, method: str, request: Any) -> Any:
        match method:
            case "GetCell":
                return cell.GetCellResponse(cell="test", position=len(self.recorded))
            case "CountCases":
                assert request.after_position == len(self.recorded)
                return case.CountCasesResponse(counts=[case.StateCount(state=case_events.CASE_STATE_CLOSED, cases=3)])
            case "CountVerdicts":
                own = sla_events.TARGET_KIND_TIME_TO_OWN
                kept = sla.VerdictCount(target=own, outcome=sla_events.OUTCOME_KEPT, clocks=2)
                return sla.CountVerdictsResponse(counts=[kept, sla.VerdictCount(target=own, clocks=1)])
            case "ListClocks":
                assert len(request.case_ids) <= 100
                return sla.ListClocksResponse(clocks=[self._clock(case_id) for case_id in request.case_ids])
        return None

    def _clock(self, case_id: str) -> sla.Clock:
        """Kept for the first case opened, broken for the second, and so on; the third has no verdict."""
        outcome = (sla_events.OUTCOME_KEPT, sla_events.OUTCOME_BROKEN, sla_events.OUTCOME_UNSPECIFIED)
        place = self._places[case_id] % 3
        return sla.Clock(case_id=case_id, target=sla_events.TARGET_KIND_TIME_TO_RESOLVE, outcome=outcome[place])
