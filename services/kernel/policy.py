"""Policies: others' events -> own decisions, live and replayed the same (I12).

A policy reads the event, its own aggregates, and tables that its own follower fills in the same commit; nothing else.
A due moment fires by an append that is refused unless the follower stands at the head.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar
from uuid import UUID

from services.kernel.aggregate import Aggregate
from services.kernel.cell import CellClock
from services.kernel.clock import micros
from services.kernel.database import Database, Session
from services.kernel.decider import Decider
from services.kernel.events import DomainEvent, LogEvent, ProtobufMapper, Stamp
from services.kernel.follower import Batch
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Entry, Move, NotAtHead, Save
from services.kernel.log.schema import migrate
from services.kernel.tables import Table
from services.kernel.telemetry import context_of, current_traceparent, span

A = TypeVar("A", bound=Aggregate)
KEPT_AGGREGATES = 20_000


class Policy(ABC):
    """One service's reactions. `version` changes with its decisions, and is pinned in each one's actor (I11)."""

    name: ClassVar[str]
    version: ClassVar[str]
    reads: ClassVar[frozenset[str]]
    # What its follower keeps beside the log.
    tables: ClassVar[tuple[Table, ...]]

    @abstractmethod
    def decide(self, work: "Work", event: LogEvent) -> None: ...

    def due(self, work: "Work", now: int) -> None:  # noqa: B027 - a policy without due moments has nothing to fire
        """Fires every moment that fell due before `now` (microseconds UTC), in order."""

    def next_due(self, _session: Session) -> int | None:
        """The earliest moment that waits, microseconds UTC."""
        return None

    @property
    def actor(self) -> str:
        return f"policy:{self.name}@{self.version}"

    def stamp(self, cause: LogEvent) -> Stamp:
        """For decisions that follow from an event."""
        record = cause.record
        return Stamp(
            tenant=record.tenant,
            actor=self.actor,
            occurred_at=cause.occurred_at,
            correlation_id=record.correlation_id,
            causation_id=record.id,
            traceparent=current_traceparent(),
        )


class Aggregates:
    """The policy's own aggregates, the most recently used kept in memory: nobody else appends to their streams."""

    def __init__(self, load: Callable[[UUID], Sequence[DomainEvent]], most: int = KEPT_AGGREGATES) -> None:
        self._load = load
        self._most = most
        self._kept: OrderedDict[UUID, Aggregate] = OrderedDict()

    def get(self, kind: type[A], id: UUID) -> A:
        """The aggregate as it is, or a new one of version 0."""
        found = self._kept.get(id)
        if found is None:
            found = kind.projector()(None, self._load(id)) or kind(id)
            self._kept[id] = found
        else:
            self._kept.move_to_end(id)
        assert isinstance(found, kind)
        return found

    def trim(self) -> None:
        """Lets the least recently used go. Between batches only: what a batch decided is not yet in the log."""
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        self._kept.clear()


class Work:
    """One batch of a policy: its tables, its aggregates, and what was decided, in order."""

    def __init__(self, session: Session, aggregates: Aggregates) -> None:
        self.session = session
        aggregates.trim()
        self._aggregates = aggregates
        self._mapper = ProtobufMapper()
        self.decided: list[Entry] = []

    def decide(self, kind: type[A], id: UUID, stamp: Stamp, decision: Callable[[A], None]) -> None:
        aggregate = self._aggregates.get(kind, id)
        aggregate.stamp = stamp
        decision(aggregate)
        self.decided.extend(map(self._mapper.to_stored_event, aggregate.collect_events()))


class PolicyFollower(Decider):
    """Runs a policy."""

    def __init__(self, policy: Policy, log: EventLog, clock: CellClock, batch: int = 200) -> None:
        super().__init__(policy.name, log, clock, policy.reads, batch)
        self.policy = policy
        self._aggregates = Aggregates(self._events_of)
        self._work: Work | None = None

    def migrate(self, rank: int = 0) -> None:
        migrate_policy(self.policy, self.database)
        self.register(rank)

    def earliest_due(self, session: Session) -> int | None:
        return self.policy.next_due(session)

    def handle(self, session: Session, event: LogEvent) -> None:
        del session  # the work's own, in the same transaction
        assert self._work is not None
        if not event.record.traceparent:
            self.policy.decide(self._work, event)
            return
        with span(f"decide {self.name}", context=context_of(event.record.traceparent)):
            self.policy.decide(self._work, event)

    def _commit(self, batch: Batch) -> int:
        return self._append(lambda work: self._handle_all(work.session, batch), Move(self.name, batch.start, batch.end))

    def _idle(self, position: int) -> bool:
        due = self.next_due()
        now = micros(self._clock.now())
        if due is None or due >= now:
            return False

        move = Move(self.name, position, position, at_head=True)
        try:
            self._position = self._append(lambda work: self.policy.due(work, now), move)
        except NotAtHead:
            self._forget()  # events came meanwhile; they are read first
        return True

    def _append(self, decide: Callable[[Work], None], move: Move) -> int:
        def decided(session: Session) -> Sequence[Save]:
            self._work = Work(session, self._aggregates)
            decide(self._work)
            self.plan(session)
            return (Save(tuple(self._work.decided)),)

        (last,) = self.log.append((), move=move, alongside=decided)
        assert isinstance(last, int)
        assert self._work is not None
        # It stood at the head exactly when its own events came right after the batch; the log has then moved it past them.
        return last if last - len(self._work.decided) == move.to else move.to

    def _events_of(self, stream: UUID) -> Sequence[DomainEvent]:
        mapper = ProtobufMapper()
        return [
            mapper.to_domain_event(Entry(stream, version, topic, record, "", None))
            for version, topic, record in self.log.stream(stream)
        ]

    def _forget(self) -> None:
        super()._forget()
        self._aggregates.clear()


def migrate_policy(policy: Policy, database: Database) -> None:
    migrate(
        database,
        f"the {policy.name} policy",
        [[sql for table in policy.tables for sql in table.statements(database.dialect)]],
    )
