"""Every aggregate of some kinds as the log leaves it, folded in one pass by position."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from kept.common.v1.record_pb2 import Record

from services.kernel.aggregate import Aggregate
from services.kernel.events import event_parsers, full_name
from services.kernel.log.port import Recorded


class Fold:
    """All streams whose first event is one that bears an aggregate of these kinds; the others are passed over."""

    def __init__(self, kinds: Iterable[type[Aggregate]]) -> None:
        self._born = {full_name(event): kind for kind in kinds for event in kind.born_by}
        self._states: dict[str, Aggregate] = {}
        self.position = 0

    @property
    def states(self) -> Mapping[str, Aggregate]:
        """As of `position`, by stream."""
        return self._states

    def add(self, events: Iterable[Recorded]) -> None:
        """The events that come next. Raises KeyError for a type that only a newer Kept knows."""
        states, parsers, parse = self._states, event_parsers(), Record.FromString
        for recorded in events:
            record = parse(recorded.record)
            aggregate = states.get(record.stream) or self._born_of(record)
            if aggregate is not None:
                aggregate.version = record.version
                aggregate.record_bytes += len(recorded.record)
                aggregate.evolve(parsers[record.type](record.data))
            self.position = recorded.position

    def _born_of(self, record: Record) -> Aggregate | None:
        kind = self._born.get(record.type) if record.version == 1 else None
        if kind is None:
            return None
        aggregate = self._states[record.stream] = kind(UUID(record.stream))
        aggregate.tenant, aggregate.customer_id = record.tenant, record.customer_id
        return aggregate
