"""A toy service, made of the cell's own event messages, so that the kernel is tested without a business noun.

A Jar is labelled (PolicyDeployed), and closed for good (HistoryStarted).
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.message import Message
from kept.cell.v1.events_pb2 import HistoryStarted, PolicyDeployed
from kept.common.v1.record_pb2 import Receipt

from services.kernel.aggregate import Aggregate
from services.kernel.application import Application, Caller
from services.kernel.clock import micros
from services.kernel.errors import Refused
from services.kernel.events import DomainEvent, LogEvent, ProtobufMapper, Stamp, full_name, log_event
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Entry, Request, Save

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LABELLED, CLOSED = full_name(PolicyDeployed), full_name(HistoryStarted)
NAMES = UUID("a7b0f1de-0000-4000-8000-000000000000")
CALLER = Caller("user:ana", "main", "/toy.Jars/Label")


class Jar(Aggregate):
    noun = "jar"
    born_by = (PolicyDeployed,)

    def __init__(self, id: UUID) -> None:  # noqa: A002
        super().__init__(id)
        self.label = ""
        self.closed = False

    def label_as(self, label: str) -> None:
        if self.label == label:
            return
        if self.closed:
            raise Refused("jar-closed", jar=self.id)
        self.record(PolicyDeployed(name=label))

    def close(self) -> None:
        if not self.closed:
            self.record(HistoryStarted())

    def evolve(self, event: Message) -> None:
        match event:
            case PolicyDeployed():
                self.label = event.name
            case HistoryStarted():
                self.closed = True


class Jars(Application):
    def make(self, caller: Caller, request: Any) -> Receipt:
        command = self.command(caller, request)

        def make() -> Sequence[Jar]:
            jar = Jar(command.new_id("jar"))
            jar.stamp = command.stamp
            jar.label_as(request.label)
            return (jar,)

        return self.create(command, make)

    def label(self, caller: Caller, request: Any) -> Receipt:
        return self.change(self.command(caller, request), Jar, request.id, lambda jar: jar.label_as(request.label))

    def close_jar(self, caller: Caller, request: Any) -> Receipt:
        return self.change(self.command(caller, request), Jar, request.id, Jar.close)


def _request_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="toy.proto", package="toy", syntax="proto3")
    file.dependency.append(timestamp_pb2.DESCRIPTOR.name)
    message = file.message_type.add(name="JarRequest")
    kinds = descriptor_pb2.FieldDescriptorProto
    for number, name in enumerate(("request_id", "id", "label"), 1):
        message.field.add(name=name, number=number, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    moment = message.field.add(name="occurred_at", number=4, type=kinds.TYPE_MESSAGE, label=kinds.LABEL_OPTIONAL)
    moment.type_name = ".google.protobuf.Timestamp"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("toy.JarRequest"))


JarRequest = _request_class()


def jar_id(name: str) -> UUID:
    return uuid5(NAMES, name)


def labelled(jar: str, version: int, label: str = "plums", customer: UUID | None = None) -> Entry:
    """An event on its way into the log."""
    return entry(jar, version, PolicyDeployed(name=label), customer)


def entry(jar: str, version: int, body: Message, customer: UUID | None = None) -> Entry:
    stamp = Stamp("main", "user:ana", micros(NOW), correlation_id=jar)
    event = DomainEvent(jar_id(jar), version, body, stamp, str(customer or ""))
    return ProtobufMapper().to_stored_event(event)


def save(*entries: Entry, request: Request | None = None) -> Save:
    last = entries[-1]
    assert isinstance(last.originator_id, UUID)
    return Save(entries, request, last.originator_id, last.originator_version)


def request(name: str, body: bytes = b"body") -> Request:
    return Request(jar_id(f"request {name}"), body)


def given(log: EventLog, *entries: Entry) -> None:
    """The log already holds these, each saved by itself."""
    for outcome in log.append([save(one) for one in entries]):
        assert isinstance(outcome, int)


def events(log: EventLog, after: int = 0) -> list[LogEvent]:
    return [log_event(recorded) for recorded in log.read(after, 100_000)]


def labels(found: Iterable[LogEvent]) -> list[str]:
    return [event.body.name for event in found if isinstance(event.body, PolicyDeployed)]
