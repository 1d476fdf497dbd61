"""A toy service, made of the cell's own event messages, so that the kernel is tested without a business noun.

A Jar is labelled (PolicyDeployed), and closed for good (HistoryStarted).
"""

import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID, uuid5

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kept.cell.v1.events_pb2 import HistoryStarted, ParkedKeyReleased, PolicyDeployed, TimeAdvanced
from kept.common.v1.record_pb2 import Receipt

from services.kernel.aggregate import Aggregate
from services.kernel.application import Application, Caller
from services.kernel.clock import micros
from services.kernel.database import Session, as_uuid
from services.kernel.errors import Refused
from services.kernel.events import DomainEvent, LogEvent, ProtobufMapper, Stamp, full_name, log_event
from services.kernel.follower import Follower
from services.kernel.log.bell import Bell, Listener
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Entry, Request, Save
from services.kernel.log.positions import Positions
from services.kernel.policy import Policy, Work
from services.kernel.tables import Table
from services.kernel.views import ViewSet

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LABELLED, CLOSED = full_name(PolicyDeployed), full_name(HistoryStarted)
NAMES = UUID("a7b0f1de-0000-4000-8000-000000000000")
CALLER = Caller("user:ana", "main", "/toy.Jars/Label")


class Jar(Aggregate):
    noun = "jar"
    born_by: ClassVar[tuple[type[Message], ...]] = (PolicyDeployed,)

    def __init__(self, id: UUID) -> None:
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
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("toy.JarRequest"))


JarRequest = _request_class()


def jar_id(name: str) -> UUID:
    return uuid5(NAMES, name)


def labelled(jar: str, version: int, label: str = "plums", customer: UUID | None = None, at: datetime = NOW) -> Entry:
    """An event on its way into the log."""
    return entry(jar, version, PolicyDeployed(name=label), customer, at)


def entry(jar: str | UUID, version: int, body: Message, customer: UUID | None = None, at: datetime = NOW) -> Entry:
    stamp = Stamp("main", "user:ana", micros(at), correlation_id=str(jar))
    stream = jar if isinstance(jar, UUID) else jar_id(jar)
    event = DomainEvent(stream, version, body, stamp, str(customer or ""))
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


# What follows jars


class Trouble:
    """Labels that a handler fails on, after half of its work was done: for ever, once, or in the database."""

    def __init__(self) -> None:
        self.always: dict[str, Exception] = {}
        self.once: dict[str, Exception] = {}
        self.doubled: set[str] = set()

    def strike(self, session: Session, event: LogEvent) -> None:
        if isinstance(event.body, PolicyDeployed):
            label = event.body.name
            if label in self.doubled:  # violates the primary key
                session.execute("INSERT INTO parked SELECT 'x', 1, '', '' UNION ALL SELECT 'x', 1, '', ''")
            error = self.once.pop(label, None) or self.always.get(label)
            if error is not None:
                raise error


def jar_views(trouble: Trouble | None = None, version: int = 1) -> ViewSet:
    """One row for each jar; `history` is every label it had, in order."""

    def apply(session: Session, event: LogEvent) -> None:
        name = event.body.name if isinstance(event.body, PolicyDeployed) else "closed"
        row = session.execute("SELECT history FROM jar WHERE id = ?", (UUID(event.record.stream),)).fetchone()
        history = f"{row[0]} {name}" if row else name
        session.execute(
            "INSERT INTO jar VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET label = excluded.label, history = excluded.history",
            (UUID(event.record.stream), name, history),
        )
        if trouble is not None:
            trouble.strike(session, event)

    return ViewSet("jars", version, (JAR_TABLE,), frozenset({LABELLED, CLOSED}), apply)


JAR_TABLE = Table("jar", {"id": "uuid", "label": "text", "history": "text"}, ("id",), indexes=(("label",),))


class Tag(Aggregate):
    """Counts a jar's labels, and reminds of it once it is due; told by TimeAdvanced."""

    noun = "tag"
    born_by = (TimeAdvanced,)

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.told: list[int] = []

    def tell(self, number: int) -> None:
        if number not in self.told:
            self.record(TimeAdvanced(now=Timestamp(seconds=number)))

    def evolve(self, event: Message) -> None:
        assert isinstance(event, TimeAdvanced)
        self.told.append(event.now.seconds)


class Tally(Policy):
    """Tells of every second label of a jar. The label `due N` falls due N seconds after it was put on, and is told as N."""

    name = "tally"
    version = "7"
    reads = frozenset({LABELLED})
    tables = (
        Table("tally", {"jar": "uuid", "count": "int"}, ("jar",)),
        Table("tally_due", {"jar": "uuid", "at": "int", "number": "int"}, ("jar",)),
    )

    def __init__(self, trouble: Trouble | None = None) -> None:
        self._trouble = trouble or Trouble()

    def decide(self, work: Work, event: LogEvent) -> None:
        assert isinstance(event.body, PolicyDeployed)
        jar = UUID(event.record.stream)
        work.session.execute(
            "INSERT INTO tally VALUES (?, 1) ON CONFLICT (jar) DO UPDATE SET count = tally.count + 1", (jar,)
        )
        row = work.session.execute("SELECT count FROM tally WHERE jar = ?", (jar,)).fetchone()
        assert row is not None
        count = row[0]
        if event.body.name.startswith("due "):
            number = int(event.body.name.removeprefix("due "))
            at = event.occurred_at + number * 1_000_000
            work.session.execute(
                "INSERT INTO tally_due VALUES (?, ?, ?)"
                " ON CONFLICT (jar) DO UPDATE SET at = excluded.at, number = excluded.number",
                (jar, at, number),
            )
        if count % 2 == 0:
            work.decide(Tag, tag_id(jar), self.stamp(event), lambda tag: tag.tell(count))
        self._trouble.strike(work.session, event)

    def due(self, work: Work, now: int) -> None:
        rows = work.session.execute(
            "SELECT jar, at, number FROM tally_due WHERE at < ? ORDER BY at, jar", (now,)
        ).fetchall()
        for jar, at, number in rows:
            stamp = Stamp("main", self.actor, at, correlation_id="due")
            work.decide(Tag, tag_id(as_uuid(jar)), stamp, lambda tag, number=number: tag.tell(number))  # type: ignore[misc]
        work.session.execute("DELETE FROM tally_due WHERE at < ?", (now,))

    def next_due(self, session: Session) -> int | None:
        row = session.execute("SELECT min(at) FROM tally_due").fetchone()
        return None if row is None else row[0]


def tag_id(jar: UUID) -> UUID:
    return uuid5(jar, "tag")


def told(log: EventLog, jar: str) -> list[int]:
    """What the tally told of a jar, in order."""
    found = []
    for event in events(log):
        if event.record.stream == str(tag_id(jar_id(jar))):
            assert isinstance(event.body, TimeAdvanced)
            found.append(event.body.now.seconds)
    return found


def released(number: int, follower: str, key: str, *, skip_first: bool = False, position: int = 0) -> Entry:
    """An operator's release of a parked key; `number` counts them."""
    body = ParkedKeyReleased(
        follower=follower, key=key, skip_first=skip_first, reason="tried by hand", position=position
    )
    return entry("operator", number, body)


def drain(follower: Follower) -> int:
    """Steps until there is nothing to do. Returns where it stands."""
    while follower.step():
        pass
    return follower.position()


def parked(follower: Follower) -> list[tuple[int, str]]:
    """(position, key) of what it has parked, oldest first."""
    with follower.database.read() as session:
        return [(one.position, one.key) for one in Positions(session).parked(follower.name)]


# Waiting, seen from outside


class WatchedBell(Bell):
    """Another bell; tells when a waiter listens, and whether it was rung. Waits as long as a test may last."""

    def __init__(self, bell: Bell) -> None:
        super().__init__()
        self._bell = bell
        self.listening = threading.Semaphore(0)
        self.rung: list[bool] = []

    def ring(self) -> None:
        self._bell.ring()

    def listen(self) -> Listener:
        return WatchedEar(self, self._bell.listen())


class WatchedEar(Listener):
    def __init__(self, bell: WatchedBell, ear: Listener) -> None:
        self._bell = bell
        self._ear = ear

    def wait(self, timeout_s: float) -> bool:
        self._bell.listening.release()
        rung = self._ear.wait(60.0)
        self._bell.rung.append(rung)
        return rung

    def poke(self) -> None:
        self._ear.poke()

    def close(self) -> None:
        self._ear.close()
