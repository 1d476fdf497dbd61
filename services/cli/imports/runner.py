"""Imports a ServiceNow incident log into a cell in history mode, through gRPC as any client would.

Minute by minute: the cell's clock is moved, then the minute's rows are told, one command at a time, each under a request
id of file, row and place. The journal says which minutes are done. What it does not know yet is sent again, and the cell
answers as it did before; so an import that was interrupted anywhere ends as one that was not.
"""

import time
from collections import Counter
from collections.abc import Callable, Set
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp
from kept.cell.v1 import service_pb2 as cell
from kept.sla.v1 import service_pb2 as sla

from services.cli.client import Call, Client, Connection, Interrupted, RefusedError
from services.cli.imports import servicenow_policy
from services.cli.imports.journal import Journal, Key, open_journal, peek_header
from services.cli.imports.progress import Progress, Silent
from services.cli.imports.rows import BadFileError, Rejected, Row, Table, digest_of, read
from services.cli.imports.servicenow import Command, Planner
from services.cli.imports.summary import (
    SAMPLES,
    Summary,
    agreement,
    count_reasons,
    count_states,
    count_verdicts,
    write_rejected,
)

__all__ = ["Connection", "ImportFailedError", "Source", "Summary", "import_servicenow", "prepare", "run"]

RATE_ROWS = 10_000


class ImportFailedError(Exception):
    """The import cannot go on; the text says why, for the person who started it."""


@dataclass(frozen=True)
class Source:
    """A file, read and checked, with the settings that decide what becomes of it."""

    path: Path
    digest: str
    zone: str
    table: Table
    latest: datetime
    limit: int | None = None
    partners: frozenset[str] = frozenset()


def import_servicenow(
    path: Path,
    zone: str,
    *,
    connection: Connection,
    data_dir: Path,
    limit: int | None = None,
    partners: Set[str] = frozenset(),
    progress: Progress | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> Summary:
    """Imports the file, or what is left of it, and waits until the cell has drained it.

    Raises: BadFileError, JournalError, CellError, ImportFailedError, Interrupted.
    """
    source = prepare(path, zone, data_dir=data_dir, limit=limit, partners=partners)
    with Client(connection, stopping=stopping) as client:
        return run(
            source,
            call=client.call,
            tenant=connection.tenant,
            data_dir=data_dir,
            progress=progress or Silent(),
            stopping=stopping,
        )


def prepare(
    path: Path,
    zone: str,
    *,
    data_dir: Path,
    limit: int | None = None,
    partners: Set[str] = frozenset(),
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Source:
    """Reads the whole file; needs no cell and leaves no trace. Raises: BadFileError."""
    time_zone = zone_of(zone)
    digest = digest_of(path)
    # A resumed import judges the future as its beginning did, so that its rows stay the same.
    latest = datetime.fromtimestamp(peek_header(data_dir, digest).get("latest", now().timestamp()), UTC)
    table = read(path, zone=time_zone, latest=latest, limit=limit)
    return Source(path, digest, zone, table, latest, limit, frozenset(partners))


def zone_of(name: str) -> ZoneInfo:
    """Raises: BadFileError."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise BadFileError(f"{name!r} is not a time zone; an IANA name is meant, such as America/Sao_Paulo") from error


def run(
    source: Source,
    *,
    call: Call,
    tenant: str,
    data_dir: Path,
    progress: Progress,
    stopping: Callable[[], bool] = lambda: False,
    monotonic: Callable[[], float] = time.monotonic,
) -> Summary:
    """As `import_servicenow`, over any `call`."""
    with open_journal(data_dir, source.digest) as journal:
        importer = _Import(
            source, call=call, journal=journal, progress=progress, stopping=stopping, monotonic=monotonic
        )
        try:
            importer.begin(tenant)
            importer.tell_all()
            return importer.summarise(tenant)
        except RefusedError as error:
            raise ImportFailedError(f"the cell refused to be imported into: {error}") from error
        except OSError as error:  # a full disk
            raise ImportFailedError(f"{error.filename or journal.path}: {error.strerror}") from error


class _Import:
    def __init__(
        self,
        source: Source,
        *,
        call: Call,
        journal: Journal,
        progress: Progress,
        stopping: Callable[[], bool],
        monotonic: Callable[[], float],
    ) -> None:
        self._source, self._table = source, source.table
        self._call, self._journal, self._progress = call, journal, progress
        self._stopping, self._monotonic = stopping, monotonic
        self._started = monotonic()
        self._planner = Planner(time_zone=source.zone, partners=source.partners)
        self._prefix = f"servicenow:{source.digest[:12]}"
        self._refused: list[Rejected] = []
        self._applied = self._repeated = 0
        self._commands: Counter[str] = Counter()
        self._position = journal.position
        self._made: dict[Key, str] = {}
        self._rates = _Rates(monotonic)

    def begin(self, tenant: str) -> None:
        """Makes sure that this is the cell we began with, or an empty one, and publishes what it measures by."""
        source, journal = self._source, self._journal
        now = self._call("cell", "GetCell", cell.GetCellRequest())
        if now.position < journal.position:
            raise ImportFailedError(
                f"the cell's log ends at {now.position}, but this import had come to {journal.position}: it is not the "
                f"cell that the import began in; take another folder, or move {journal.path} away"
            )
        if not journal.header:
            self._call("cell", "StartHistory", cell.StartHistoryRequest(request_id=f"{self._prefix}:history"))
        journal.begin(
            {
                "zone": source.zone,
                "limit": source.limit,
                "partners": sorted(source.partners),
                "tenant": tenant,
                "cell": now.cell,
                "latest": source.latest.timestamp(),
            }
        )
        if journal.finished < 0 and len(self._table):
            self._publish(Timestamp(seconds=self._table.first_minute()))

    def _publish(self, at: Timestamp) -> None:
        self._advance(at, name="start")
        for name, calendar in servicenow_policy.calendars(self._source.zone).items():
            request_id = f"{self._prefix}:calendar:{name}"
            request = sla.PublishCalendarRequest(request_id=request_id, occurred_at=at, name=name, definition=calendar)
            self._call("sla", "PublishCalendar", request)
        request_id = f"{self._prefix}:policy"
        name, policy = servicenow_policy.POLICY, servicenow_policy.policy()
        publish = sla.PublishPolicyRequest(request_id=request_id, occurred_at=at, name=name, definition=policy)
        self._call("sla", "PublishPolicy", publish)

    def tell_all(self) -> None:
        """Tells every row that is not told yet, and walks through the others to know what the cell knows."""
        done, total = len(self._table.rejected), self._table.rows
        for rejected in self._table.rejected:
            self._progress.rejected(rejected)
        for index, (minute, rows) in enumerate(self._table.minutes()):
            sending = index > self._journal.finished
            if sending:
                self._pause_to_stop()
                self._position = self._advance(Timestamp(seconds=minute), name=str(index))
            for row in rows:
                self._account(row, sending=sending)
            if sending:
                self._journal.finish(index, position=self._position, ids=self._made)
                self._made.clear()
            done += len(rows)
            self._rates.count(len(rows), sending=sending)
            self._progress.advance(done, total)

    def _advance(self, to: Timestamp, *, name: str) -> int:
        request = cell.AdvanceTimeRequest(request_id=f"{self._prefix}:advance:{name}", to=to)
        position: int = self._call("cell", "AdvanceTime", request).receipt.position
        return position

    def _account(self, row: Row, *, sending: bool) -> None:
        """One row: applied, repeated, or rejected at the first command that the cell refuses."""
        plan, told = self._planner.plan(row), 0
        try:
            command = next(plan)
            while True:
                made = self._tell(command, (row.row, told)) if sending else self._recall(command, (row.row, told))
                told += 1
                command = plan.send(made)
        except StopIteration:
            self._applied += told > 0
            self._repeated += not told
        except RefusedError as error:
            plan.close()
            self._refused.append(Rejected(row.row, self._table.line_of(row.row), error.slug, str(error)))
            self._progress.rejected(self._refused[-1])

    def _tell(self, command: Command, key: Key) -> str:
        """Sends the command, unless it is known to be refused; gives the receipt's id."""
        self._known_refusal(key)
        self._pause_to_stop()
        service, method, request, makes = command
        request.request_id = f"{self._prefix}:{key[0]}:{key[1]}"
        try:
            receipt = self._call(service, method, request).receipt
        except RefusedError as error:
            self._journal.refused(key, slug=error.slug, message=error.message)
            raise
        self._commands[f"{service}.{method}"] += 1
        self._position = receipt.position
        made: str = receipt.id
        if makes:
            self._made[key] = made
        return made

    def _recall(self, command: Command, key: Key) -> str:
        """What `_tell` gave in an earlier run."""
        self._known_refusal(key)
        self._commands[f"{command.service}.{command.method}"] += 1
        if not command.makes:
            return ""
        made = self._journal.ids.get(key)
        if made is None:
            raise ImportFailedError(
                f"{self._journal.path} does not know what row {key[0]} made: it is not of this import"
            )
        return made

    def _known_refusal(self, key: Key) -> None:
        refusal = self._journal.refusals.get(key)
        if refusal is not None:
            raise RefusedError(*refusal)

    def _pause_to_stop(self) -> None:
        if self._stopping():
            raise Interrupted

    def summarise(self, tenant: str) -> Summary:
        """Waits until the cell has drained what it was told, and asks it what came of it."""
        if len(self._table):
            self._advance(Timestamp(seconds=self._table.last_minute()), name="end")
        events = self._call("cell", "GetCell", cell.GetCellRequest()).position
        source, cases, made_sla = self._source, self._planner.cases, self._table.made_sla
        rejected = sorted([*self._table.rejected, *self._refused], key=lambda row: row.row)
        return Summary(
            file=str(source.path),
            zone=source.zone,
            tenant=tenant,
            rows=self._table.rows,
            applied=self._applied,
            repeated=self._repeated,
            rejected=len(rejected),
            rejected_by_reason=count_reasons(rejected),
            rejected_samples=[asdict(row) for row in rejected[:SAMPLES]],
            rejected_file=write_rejected(self._journal.path.with_name(f"{source.digest}-rejected.csv"), rejected),
            customers=self._planner.customers,
            cases=len(cases),
            events=events,
            commands=dict(self._commands.most_common()),
            case_states=count_states(self._call, after_position=events),
            verdicts=count_verdicts(self._call, after_position=events),
            made_sla=agreement(self._call, made_sla=made_sla, cases=cases, after_position=events),
            not_closed_in_file=sum(number not in made_sla for number in cases),
            seconds=round(self._monotonic() - self._started, 3),
            rows_per_s=self._rates.rates,
        )


class _Rates:
    """Rows a second for every 10,000 rows, where all of them were sent."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.rates: list[float] = []
        self._monotonic = monotonic
        self._since, self._rows, self._sent = monotonic(), 0, 0

    def count(self, rows: int, *, sending: bool) -> None:
        self._rows += rows
        self._sent += rows * sending
        if self._rows < RATE_ROWS:
            return
        now = self._monotonic()
        if self._sent == self._rows:
            self.rates.append(round(self._rows / max(now - self._since, 1e-9), 1))
        self._since, self._rows, self._sent = now, 0, 0
