"""The whole replay: one pass over one snapshot of the log."""

import tempfile
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from services.kernel.database import ScratchSQLite, Session
from services.kernel.events import LogEvent, event_classes, opened_event
from services.kernel.house import House
from services.kernel.log.positions import Positions
from services.kernel.log.schema import migrate
from services.kernel.policy import Policy
from services.kernel.releases import skipped_by
from services.kernel.replay.chain import COLUMNS, Chain
from services.kernel.replay.compare import compare_table
from services.kernel.replay.findings import Findings
from services.kernel.replay.garbage import collecting_seldom
from services.kernel.replay.policies import ReplayedPolicy
from services.kernel.views import ViewSet

BATCH = 5000


@dataclass
class Verdict:
    """`root` is the Merkle root as computed from the records; `older` counts decisions of older policy versions."""

    findings: Findings
    events: int = 0
    decisions: int = 0
    rows: int = 0
    root: str = ""
    seconds: float = 0.0
    older: dict[str, int] = field(default_factory=dict)


def verify(
    house: House,
    views: Sequence[ViewSet],
    policies: Sequence[Policy],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Verdict:
    """Replays into a temporary sandbox and compares. `progress` gets events done and in all."""
    started = time.monotonic()
    findings = Findings()
    with collecting_seldom(), ExitStack() as stack:
        # Views first: the log's snapshot is then at least as new as what they have read.
        live_views = [(view, stack.enter_context(house.views_database(view.name).snapshot())) for view in views]
        log = stack.enter_context(house.log.database.snapshot())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kept-replay-")))
        sandbox = _Sandbox(folder, live_views, log, policies, findings)
        chain = Chain(findings)
        total = _one(log, "SELECT position FROM head")
        for rows in _batches(log):
            with ExitStack() as writing:
                opened = sandbox.open(writing)
                for row in rows:
                    try:
                        _replay(row, chain, opened)
                    except Exception as error:
                        sandbox.blame(error, row[0])
            progress(chain.position, total)
        chain.finish(log)
        verdict = Verdict(findings, events=chain.edge.size, root=chain.edge.root().hex())
        sandbox.refuse_followers_after(chain.position)
        sandbox.finish(house, live_views, log, verdict)
    verdict.seconds = time.monotonic() - started
    return verdict


def _replay(row: tuple[Any, ...], chain: Chain, opened: "_Opened") -> None:
    recorded, record = chain.check(row)
    if record is None or record.type not in event_classes():
        chain.findings.add("event-unknown", recorded.position, str(recorded.type))
    elif record.actor.startswith("policy:"):
        for policy, session in opened.policies:
            policy.compare(session, recorded, record)
    readers = opened.readers(record.type) if record is not None else ()
    if record is not None and readers:
        event = opened_event(recorded, record)
        for read in readers:
            read(event)


def _batches(log: Session) -> Iterator[list[tuple[Any, ...]]]:
    position = 0
    sql = f"SELECT {COLUMNS} FROM log WHERE position > ? ORDER BY position LIMIT ?"  # noqa: S608 - our own names
    while rows := log.execute(sql, (position, BATCH)).fetchall():
        yield rows
        position = rows[-1][0]


def _one(session: Session, sql: str) -> int:
    row = session.execute(sql).fetchone()
    assert row is not None
    return int(row[0])


@dataclass
class _View:
    views: ViewSet
    database: ScratchSQLite
    upto: int
    parked: set[int]

    def read(self, session: Session, event: LogEvent) -> None:
        if event.position <= self.upto and event.position not in self.parked:
            self.views.apply(session, event)


_Read = Callable[[LogEvent], None]


class _Opened:
    """The sandbox within one batch: who reads which type of event, views first."""

    def __init__(self, views: list[tuple[_View, Session]], policies: list[tuple[ReplayedPolicy, Session]]) -> None:
        self.policies = policies
        self._all: list[tuple[Container[str], _Read]] = [
            *((view.views.reads, partial(view.read, session)) for view, session in views),
            *((policy.policy.reads, partial(policy.read, session)) for policy, session in policies),
        ]
        self._readers: dict[str, list[_Read]] = {}

    def readers(self, type_name: str) -> list[_Read]:
        found = self._readers.get(type_name)
        if found is None:
            found = self._readers[type_name] = [read for reads, read in self._all if type_name in reads]
        return found


class _Sandbox:
    """Fresh databases beside the live ones; nothing outside them is written."""

    def __init__(
        self,
        folder: Path,
        live_views: Sequence[tuple[ViewSet, Session]],
        log: Session,
        policies: Sequence[Policy],
        findings: Findings,
    ) -> None:
        self._findings = findings
        self._views = []
        for views, live in live_views:
            database = ScratchSQLite(folder / f"{views.name}.db")
            views.migrate(database)
            name = views.follower
            parked = self._parked(live, name)
            self._views.append(_View(views, database, Positions(live).get(name), parked))
        self._policies = []
        for policy in policies:
            database = ScratchSQLite(folder / f"policy-{policy.name}.db")
            migrate(
                database, policy.name, [[sql for table in policy.tables for sql in table.statements(database.dialect)]]
            )
            parked = self._parked(log, policy.name) | skipped_by(log, policy.name)
            replayed = ReplayedPolicy(policy, Positions(log).get(policy.name), parked, findings)
            self._policies.append((replayed, database))

    def _parked(self, live: Session, follower: str) -> set[int]:
        """Left out here as there; but what is left out is not as it should be, so it is told."""
        parked = Positions(live).parked(follower)
        for one in parked:
            self._findings.add("event-parked", one.position, f"{follower} could not handle it: {one.reason}")
        return {one.position for one in parked}

    def open(self, stack: ExitStack) -> _Opened:
        """A transaction on each database, for one batch."""
        return _Opened(
            [(view, stack.enter_context(view.database.write())) for view in self._views],
            [(policy, stack.enter_context(database.write())) for policy, database in self._policies],
        )

    def blame(self, error: Exception, position: int) -> None:
        """The event, which its live follower could handle; unless the sandbox failed: a full disk proves nothing."""
        refusal = self._views[0].database.translate(error) if self._views else error
        if refusal is not error:
            raise refusal from error
        self._findings.add("event-unreadable", position, f"it cannot be replayed: {type(error).__name__}")

    def refuse_followers_after(self, last: int) -> None:
        """Nobody can have read what is not there: a log that ends before its followers has lost its end."""
        stands = {view.views.follower: view.upto for view in self._views}
        stands |= {policy.policy.name: policy.upto for policy, _ in self._policies}
        for name, upto in stands.items():
            if upto > last:
                self._findings.add("follower-ahead", last + 1, f"{name} has read up to {upto}, the log ends at {last}")

    def finish(
        self, house: House, live_views: Sequence[tuple[ViewSet, Session]], log: Session, verdict: Verdict
    ) -> None:
        for view, (_, live) in zip(self._views, live_views, strict=True):
            dialect = house.views_database(view.views.name).dialect
            with view.database.read() as rebuilt:
                for table in view.views.tables:
                    verdict.rows += compare_table(
                        table, (live, dialect), (rebuilt, view.database.dialect), house.sealer, self._findings
                    )
        for policy, database in self._policies:
            policy.finish()
            verdict.decisions += policy.decisions
            verdict.older.update(policy.older)
            with database.read() as rebuilt:
                for table in policy.policy.tables:
                    verdict.rows += compare_table(
                        table,
                        (log, house.log.database.dialect),
                        (rebuilt, database.dialect),
                        house.sealer,
                        self._findings,
                    )
