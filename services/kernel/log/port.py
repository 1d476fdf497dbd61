"""What goes into the log and what comes out of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from services.kernel.errors import KeptError


@dataclass(frozen=True, slots=True)
class Entry(StoredEvent):
    """An event on its way into the log: the library's StoredEvent (`topic` the type, `state` the Record's bytes)
    with the columns that the log keeps beside the bytes."""

    tenant: str
    customer_id: UUID | None


class Recorded(NamedTuple):
    """An event of the log. `recorded_at` in microseconds since 1970 UTC; `record` the stored bytes."""

    position: int
    type: str
    recorded_at: int
    record: bytes


class RequestRepeated(KeptError):
    """The request was recorded by somebody else meanwhile; ask for its answer."""


class NotAtHead(KeptError):
    """The follower does not stand at the head, so what it knows may be old; read on first."""


class Source(Protocol):
    """Where followers read: the log itself, or a copy of it."""

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """Events after a position, dense and in order, at most `limit`."""


class Copy(Source, Protocol):
    """A source that is open until it is closed."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events are meant: those that match each of these; an empty one matches everything."""

    streams: frozenset[UUID] = frozenset()
    types: frozenset[str] = frozenset()
    tenants: frozenset[str] = frozenset()
    customers: frozenset[UUID] = frozenset()

    def columns(self) -> dict[str, frozenset[Any]]:
        """By the log's own columns."""
        return {"stream": self.streams, "type": self.types, "tenant": self.tenants, "customer_id": self.customers}

    def __bool__(self) -> bool:
        return any(self.columns().values())


@dataclass(frozen=True, slots=True)
class Request:
    """A command's identity (I6): UUIDv5 of (tenant, principal, method, request id), and an HMAC of its body."""

    key: UUID
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request got: the aggregate's id, its version and the log position of its last event."""

    fingerprint: bytes
    id: UUID
    version: int
    position: int


@dataclass(frozen=True, slots=True)
class Save:
    """What one command commits: its events, and its request with the aggregate that it answers for."""

    entries: tuple[Entry, ...]
    request: Request | None = None
    answer_id: UUID | None = None
    answer_version: int = 0


@dataclass(frozen=True, slots=True)
class Move:
    """A follower's step, from where it stood. With `at_head` it is refused unless `expected` is the log's head."""

    follower: str
    expected: int
    to: int
    at_head: bool = False


@dataclass(frozen=True, slots=True)
class Head:
    """The log's last position (0 when empty) and the Merkle root over all leaves up to it."""

    position: int
    recorded_at: int
    root: bytes
