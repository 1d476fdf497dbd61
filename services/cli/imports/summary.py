"""What an import came to: every row accounted for, what the cell holds now, and how our verdicts agree with the file's."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from kept.case.v1 import events_pb2 as case_events
from kept.case.v1 import service_pb2 as case
from kept.sla.v1 import events_pb2 as sla_events
from kept.sla.v1 import service_pb2 as sla

from services.cli.client import Call
from services.cli.imports.rows import Rejected

SAMPLES = 20
CASES_PER_CALL = 100


@dataclass(frozen=True)
class Summary:
    """Of one whole import, over all its runs; only `seconds` and `rows_per_s` are of the last run."""

    file: str
    zone: str
    tenant: str
    rows: int
    applied: int
    repeated: int
    rejected: int
    rejected_by_reason: dict[str, int]
    rejected_samples: list[dict[str, Any]]  # the first 20; the file has them all
    rejected_file: str  # CSV of line, row, reason; empty where no row was rejected
    customers: int
    cases: int
    events: int  # the log's head
    commands: dict[str, int]
    case_states: dict[str, int]
    verdicts: dict[str, dict[str, int]]  # target -> outcome -> clocks; "running" has none yet
    # Our verdict on time to resolve -> made_sla -> cases; of cases that the file closes.
    made_sla: dict[str, dict[str, int]]
    not_closed_in_file: int
    seconds: float
    rows_per_s: list[float]  # for every whole 10,000 rows that were sent

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)

    def lines(self) -> Iterator[str]:
        """The same for people."""
        yield f"{self.file}: {self.rows} rows in {self.seconds:.1f} s"
        yield f"  applied {self.applied}, repeated {self.repeated}, rejected {self.rejected}"
        for reason, count in self.rejected_by_reason.items():
            yield f"    {reason}: {count}"
        if self.rejected_file:
            yield f"    each with its line: {self.rejected_file}"
        yield f"  {self.customers} customers, {self.cases} cases, {self.events} events"
        yield f"  cases: {_told(self.case_states)}"
        for target, outcomes in self.verdicts.items():
            yield f"  {target}: {_told(outcomes)}"
        yield "  our verdict on time to resolve beside the file's made_sla (its deadlines are unknown, ours are typical):"
        for verdict, answers in self.made_sla.items():
            yield f"    {verdict}: {_told(answers)}"
        if self.rows_per_s:
            yield f"  rows/s per 10,000 rows: {' '.join(f'{rate:.0f}' for rate in self.rows_per_s)}"


def count_states(call: Call, *, after_position: int) -> dict[str, int]:
    counts = call("case", "CountCases", case.CountCasesRequest(after_position=after_position)).counts
    return {_name(case_events.CaseState.Name(count.state), "CASE_STATE_"): count.cases for count in counts}


def count_verdicts(call: Call, *, after_position: int) -> dict[str, dict[str, int]]:
    verdicts: dict[str, dict[str, int]] = {}
    for count in call("sla", "CountVerdicts", sla.CountVerdictsRequest(after_position=after_position)).counts:
        target = _name(sla_events.TargetKind.Name(count.target), "TARGET_KIND_")
        verdicts.setdefault(target, {})[_outcome(count.outcome)] = count.clocks
    return verdicts


def agreement(
    call: Call, *, made_sla: Mapping[str, bool], cases: Mapping[str, str], after_position: int
) -> dict[str, dict[str, int]]:
    """Our verdicts on time to resolve beside the file's `made_sla`, by incident number; cases without one apart."""
    table = {verdict: {"true": 0, "false": 0} for verdict in ("kept", "broken", "without verdict")}
    answers = {cases[number]: made for number, made in made_sla.items() if number in cases}
    case_ids = iter(answers)
    while chunk := list(islice(case_ids, CASES_PER_CALL)):
        request = sla.ListClocksRequest(case_ids=chunk, after_position=after_position)
        verdicts = {
            clock.case_id: _outcome(clock.outcome)
            for clock in call("sla", "ListClocks", request).clocks
            if clock.target == sla_events.TARGET_KIND_TIME_TO_RESOLVE
        }
        for case_id in chunk:
            verdict = verdicts.get(case_id, "")
            table[verdict if verdict in table else "without verdict"]["true" if answers[case_id] else "false"] += 1
    return table


def count_reasons(rejected: Sequence[Rejected]) -> dict[str, int]:
    return dict(Counter(row.slug for row in rejected).most_common())


def write_rejected(path: Path, rejected: Sequence[Rejected]) -> str:
    """All of them as CSV, in the file's order; gives the path, or nothing where there are none."""
    if not rejected:
        path.unlink(missing_ok=True)
        return ""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("line", "row", "slug", "reason"))
        writer.writerows((row.line, row.row, row.slug, row.reason) for row in rejected)
    return str(path)


def _outcome(outcome: sla_events.Outcome.ValueType) -> str:
    return _name(sla_events.Outcome.Name(outcome), "OUTCOME_") if outcome else "running"


def _name(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"
