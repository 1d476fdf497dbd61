"""`given(Case, CaseOpened(...)).when(lambda case: case.hold(...)).then(CaseHeld(...))`: one aggregate, one decision."""

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

from google.protobuf.message import Message

from services.kernel.aggregate import Aggregate
from services.kernel.errors import KeptError
from services.kernel.events import DomainEvent, Stamp

ID = UUID("7d444840-9dc0-11d1-b245-5ffdce74fad2")
STAMP = Stamp(tenant="main", actor="user:ana", occurred_at=1_700_000_000_000_000, correlation_id="")

A = TypeVar("A", bound=Aggregate)


class Given(Generic[A]):
    """An aggregate as its events left it, and what one decision then did."""

    def __init__(self, kind: type[A], events: tuple[Message, ...]) -> None:
        self._kind = kind
        self._before = events
        self.aggregate = self._folded(events)
        self.aggregate.stamp = STAMP
        self._refusal: KeptError | None = None

    def when(self, decide: Callable[[A], None]) -> Self:
        try:
            decide(self.aggregate)
        except KeptError as refusal:
            self._refusal = refusal
        return self

    def then(self, *expected: Message) -> A:
        """These events, and a state that folding the stored ones gives again. Returns the aggregate."""
        if self._refusal is not None:
            raise self._refusal
        assert self._recorded() == list(expected)
        assert _state(self._folded((*self._before, *expected))) == _state(self.aggregate)
        return self.aggregate

    def then_nothing(self) -> None:
        self.then()

    def then_refused(self, slug: str) -> KeptError:
        """And nothing recorded, nothing changed. Returns the refusal."""
        assert self._refusal is not None, f"recorded {self._recorded()} instead of refusing with {slug}"
        assert self._refusal.slug == slug
        assert self._recorded() == []
        assert _state(self._folded(self._before)) == _state(self.aggregate)
        return self._refusal

    def _recorded(self) -> list[Message]:
        return [event.body for event in self.aggregate.pending]

    def _folded(self, events: tuple[Message, ...]) -> A:
        stored = [DomainEvent(ID, version, body, STAMP) for version, body in enumerate(events, 1)]
        aggregate = self._kind.projector()(None, stored)
        assert aggregate is not None or not events, f"{self._kind.__name__} is not born by {type(events[0]).__name__}"
        return aggregate or self._kind(ID)


def given(kind: type[A], *events: Message) -> Given[A]:
    return Given(kind, events)


def _state(aggregate: Aggregate) -> dict[str, Any]:
    return {name: value for name, value in vars(aggregate).items() if name not in ("stamp", "_pending")}
