"""Events are protobuf messages (I2): their classes by name, and the mapper between them and the stored Record."""

import importlib
import pkgutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha1
from typing import NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

import kept
from eventsourcing.persistence import Mapper, StoredEvent
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from kept.common.v1.record_pb2 import Record

from services.kernel.clock import micros_of, timestamp_of
from services.kernel.errors import Unavailable
from services.kernel.log.port import Entry, Recorded

EVENT_IDS = uuid5(NAMESPACE_URL, "kept:event")
_EVENT_IDS = EVENT_IDS.bytes


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a cause gives to each of its events. `occurred_at` in microseconds since 1970 UTC."""

    tenant: str
    actor: str
    occurred_at: int
    correlation_id: str
    request_key: str = ""
    causation_id: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class DomainEvent:
    """An event of an aggregate that is not yet, or no longer, a stored Record."""

    originator_id: UUID
    originator_version: int
    body: Message
    stamp: Stamp
    customer_id: str = ""


class LogEvent(NamedTuple):
    """A recorded event, opened as far as a follower needs: its place, its Record, and its own message.

    `recorded_at` and `occurred_at` in microseconds since 1970 UTC.
    """

    position: int
    recorded_at: int
    record: Record
    body: Message

    @property
    def occurred_at(self) -> int:
        return micros_of(self.record.occurred_at)


@cache
def event_classes() -> dict[str, type[Message]]:
    """Every message of every protos/kept/<noun>/v1/events.proto, by full name."""
    classes: dict[str, type[Message]] = {}
    for noun in pkgutil.iter_modules(kept.__path__, "kept."):
        try:
            module = importlib.import_module(f"{noun.name}.v1.events_pb2")
        except ModuleNotFoundError:
            continue  # kept.common has no events
        for descriptor in module.DESCRIPTOR.message_types_by_name.values():
            classes[descriptor.full_name] = getattr(module, descriptor.name)
    return classes


@cache
def event_parsers() -> dict[str, Callable[[bytes], Message]]:
    """What makes a message of its bytes, by full name."""
    return {name: event.FromString for name, event in event_classes().items()}


def parse_event(type_name: str, data: bytes) -> Message:
    """Raises newer-kept-needed for a type that only a newer Kept knows: whoever does not know what happened decides nothing
    about it. During an update the same may be asked again, until a newer process answers."""
    parse = event_parsers().get(type_name)
    if parse is None:
        message = "a newer Kept has recorded what this one does not know; try again once all are updated"
        raise Unavailable("newer-kept-needed", message, retry_after_s=1.0, type=type_name)
    return parse(data)


def full_name(message: type[Message] | Message) -> str:
    return message.DESCRIPTOR.full_name


def event_id(stream: UUID, version: int) -> str:
    """The UUIDv5 of stream and version."""
    # Written out: `str(uuid5(...))` takes twice as long, and was the mapper's largest part.
    digest = bytearray(sha1(_EVENT_IDS + f"{stream}/{version}".encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def log_event(recorded: Recorded) -> LogEvent:
    return opened_event(recorded, Record.FromString(recorded.record))


def opened_event(recorded: Recorded, record: Record) -> LogEvent:
    """The event of a Record that is parsed already. One that only a newer Kept knows opens as Empty: its Record still says
    when it was true, and whom it concerns."""
    parse = event_parsers().get(record.type, Empty.FromString)
    return LogEvent(recorded.position, recorded.recorded_at, record, parse(record.data))


@dataclass(frozen=True, slots=True)
class EveryType(Collection[str]):
    """For `reads`: all event types but those whose names begin so. It contains those, too, that only a newer Kept knows."""

    but: str

    def __contains__(self, type_name: object) -> bool:
        return isinstance(type_name, str) and not type_name.startswith(self.but)

    def __iter__(self) -> Iterator[str]:
        return (name for name in event_classes() if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class ProtobufMapper(Mapper[UUID]):
    """The library's mapper for events that are protobuf messages: the topic is the message's full name."""

    def __init__(self) -> None:  # no transcoder, cipher or compressor: the stored bytes are the streamed bytes
        return

    def to_stored_event(self, domain_event: DomainEvent) -> Entry:  # type: ignore[override]  # ours is narrower
        stamp, body = domain_event.stamp, domain_event.body
        type_name = body.DESCRIPTOR.full_name
        stream, version = domain_event.originator_id, domain_event.originator_version
        record = Record(
            id=event_id(stream, version),
            type=type_name,
            stream=str(stream),
            version=version,
            tenant=stamp.tenant,
            customer_id=domain_event.customer_id,
            occurred_at=timestamp_of(stamp.occurred_at),
            actor=stamp.actor,
            request_key=stamp.request_key,
            correlation_id=stamp.correlation_id,
            causation_id=stamp.causation_id,
            traceparent=stamp.traceparent,
            data=body.SerializeToString(deterministic=True),
        )
        return Entry(
            stream,
            version,
            type_name,
            record.SerializeToString(deterministic=True),
            stamp.tenant,
            UUID(domain_event.customer_id) if domain_event.customer_id else None,
        )

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEvent:
        record = Record.FromString(stored_event.state)
        stamp = Stamp(record.tenant, record.actor, 0, record.correlation_id)
        body = parse_event(record.type, record.data)
        return DomainEvent(UUID(record.stream), record.version, body, stamp, record.customer_id)
