"""An aggregate decides, then evolves (I3). Deciding may refuse; evolving has no guard, clock, id, randomness or I/O."""

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Self
from uuid import UUID

from google.protobuf.message import Message

from services.kernel.errors import NotFound
from services.kernel.events import DomainEvent, Stamp


class Aggregate:
    """Base of all aggregates.

    A subclass names its `noun` in words ("work order"), the events that can be its first (`born_by`), and writes `evolve`
    and its commands.
    `stamp` is set by the application before a command is decided.
    """

    noun: ClassVar[str]
    born_by: ClassVar[tuple[type[Message], ...]]

    def __init__(self, id: UUID) -> None:
        self.id = id
        self.version = 0
        self.tenant = ""
        self.customer_id = ""
        self.record_bytes = 0  # of all its records, as far as they were read from the log or appended to it
        self.stamp: Stamp | None = None
        self._pending: list[DomainEvent] = []

    def record(self, body: Message, occurred_at: int | None = None) -> None:
        """Adds an event; `occurred_at` (microseconds UTC) where it is not the cause's own."""
        stamp = self.stamp
        assert stamp is not None, "an aggregate decides only with a stamp"
        if occurred_at is not None and occurred_at != stamp.occurred_at:
            stamp = Stamp(
                stamp.tenant,
                stamp.actor,
                occurred_at,
                stamp.correlation_id,
                stamp.request_key,
                stamp.causation_id,
                stamp.traceparent,
            )
        self.version += 1
        self.tenant = stamp.tenant
        self.evolve(body)
        self._pending.append(DomainEvent(self.id, self.version, body, stamp, self.customer_id))

    def evolve(self, event: Message) -> None:
        """Changes state, and nothing else; loads every event ever stored."""
        raise NotImplementedError

    def collect_events(self) -> Sequence[DomainEvent]:
        """Hands over what was recorded and not yet saved (the library's own protocol)."""
        pending, self._pending = self._pending, []
        return pending

    @property
    def pending(self) -> Sequence[DomainEvent]:
        return self._pending

    @classmethod
    def projector(cls) -> Callable[[Self | None, Iterable[DomainEvent]], Self | None]:
        """Folds a stream; None where it is empty or is another aggregate's."""

        def project(aggregate: Self | None, events: Iterable[DomainEvent]) -> Self | None:
            for event in events:
                if aggregate is None:
                    if not isinstance(event.body, cls.born_by):
                        return None
                    aggregate = cls(event.originator_id)
                    aggregate.tenant = event.stamp.tenant
                    aggregate.customer_id = event.customer_id
                aggregate.version = event.originator_version
                aggregate.evolve(event.body)
            return aggregate

        return project

    @classmethod
    def not_found(cls, id: UUID | str) -> NotFound:
        slug, field = cls.noun.replace(" ", "-"), cls.noun.replace(" ", "_")
        return NotFound(f"{slug}-not-found", f"there is no {cls.noun} {id}", **{field: id})
