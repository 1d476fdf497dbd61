"""A Kept of tomorrow: the same code, and protos with an event, a field of an event and a field of the Record more.

`made(folder)` writes those protos; whoever has that folder first on its PYTHONPATH is of tomorrow. As a program,
`python -m tests.faults.newer DATA CUSTOMER COUNT` works beside the cell on DATA: for each of COUNT customers that it
reads about in the log it records what only it knows, at last in CUSTOMER's own stream. It prints as JSON: `recorded`, the
SHA-256 of each record by its position, and `samples`, how many frozen events it has loaded.
"""

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from uuid import UUID, uuid5

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.message import Message
from kept.common.v1.record_pb2 import Record
from kept.customer.v1 import events_pb2 as customer_events

from services.kernel.clock import MachineClock, micros
from services.kernel.config import read_settings
from services.kernel.errors import VersionConflict
from services.kernel.events import DomainEvent, ProtobufMapper, Stamp, event_classes, log_event
from services.kernel.house import House
from services.kernel.log.bell import LONGEST_WAIT_S
from services.kernel.log.port import Entry, Save
from tests.test_frozen_events import (
    SAMPLES,
    test_a_frozen_event_is_stored_as_the_same_bytes_again,
    test_a_frozen_event_loads_with_the_same_values,
)

NEW_EVENT, NEW_FIELD, NUMBER = "CustomerGreeted", "of_tomorrow", 1000
GREETINGS = UUID("5a4b0f0e-6f38-4d4e-9c1a-3d1f0c1a7b55")
PACKAGE = Path(import_module("kept").__path__[0])


def made(folder: Path) -> Path:
    """The generated protos of tomorrow."""
    shutil.copytree(PACKAGE, folder / "kept", ignore=shutil.ignore_patterns("__pycache__", "*.pyi"))

    def more(file: FileDescriptorProto) -> None:
        messages = {message.name: message for message in file.message_type}
        for name in ("ConsentGiven", "Record"):
            if name in messages:
                messages[name].field.append(_text(NEW_FIELD, NUMBER))
        if "ConsentGiven" in messages:
            file.message_type.append(DescriptorProto(name=NEW_EVENT, field=[_text("words", 1)]))

    for name in ("common/v1/record_pb2.py", "customer/v1/events_pb2.py"):
        _rewrite(folder / "kept" / name, more)
    return folder


def _text(name: str, number: int) -> FieldDescriptorProto:
    kinds = FieldDescriptorProto
    return kinds(name=name, json_name=name, number=number, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)


def _rewrite(module: Path, more: Callable[[FileDescriptorProto], None]) -> None:
    name = ".".join(("kept", *module.relative_to(module.parents[2]).with_suffix("").parts))
    file = FileDescriptorProto.FromString(import_module(name).DESCRIPTOR.serialized_pb)
    more(file)
    source, count = re.subn(
        r"AddSerializedFile\(b'.*'\)",
        lambda _: f"AddSerializedFile({file.SerializeToString()!r})",
        module.read_text(encoding="utf-8"),
    )
    assert count == 1
    module.write_text(source, encoding="utf-8")


class Tomorrow:
    """One process of it, on the log of a cell."""

    def __init__(self, house: House) -> None:
        self._log = house.log
        self._mapper = ProtobufMapper()
        self.recorded: dict[int, str] = {}

    def greets(self, count: int) -> None:
        """Everybody who registers, until it were so many: on a stream of its own kind, and with a consent on theirs."""
        position = greeted = 0
        with closing(self._log.bell.listen()) as ear:
            while greeted < count:
                events = [log_event(one) for one in self._log.read(position, 100)]
                for event in events:
                    position = event.position
                    if isinstance(event.body, customer_events.CustomerRegistered) and greeted < count:
                        customer = UUID(event.record.stream)
                        self.appends(uuid5(GREETINGS, str(customer)), _new("hello"), customer)
                        self.appends(customer, _consent(), customer)
                        greeted += 1
                if not events:
                    ear.wait(LONGEST_WAIT_S)

    def appends(self, stream: UUID, body: Message, customer: UUID) -> None:
        """Whatever others append to that stream meanwhile."""
        outcome: object = None
        while not isinstance(outcome, int):
            entry = self._entry(stream, body, customer)
            (outcome,) = self._log.append([Save((entry,))])
            assert isinstance(outcome, int | VersionConflict), outcome
        self.recorded[outcome] = hashlib.sha256(entry.state).hexdigest()

    def _entry(self, stream: UUID, body: Message, customer: UUID) -> Entry:
        stamp = Stamp("main", "user:bea", micros(MachineClock().now()), correlation_id="tomorrow")
        event = DomainEvent(stream, self._log.version(stream) + 1, body, stamp, str(customer))
        entry = self._mapper.to_stored_event(event)
        record = Record.FromString(entry.state)
        setattr(record, NEW_FIELD, "the envelope, too")
        return replace(entry, state=record.SerializeToString(deterministic=True))


def _new(words: str) -> Message:
    return event_classes()[f"kept.customer.v1.{NEW_EVENT}"](words=words)


def _consent() -> Message:
    given = customer_events.ConsentGiven(purpose=customer_events.CONSENT_PURPOSE_MARKETING)
    setattr(given, NEW_FIELD, "at the counter")
    return given


def main(data: str, customer: str, count: str) -> None:
    with closing(House(read_settings({}, Path(data)))) as house:
        house.require()
        tomorrow = Tomorrow(house)
        tomorrow.greets(int(count))
        tomorrow.appends(UUID(customer), _new("hello again"), UUID(customer))
    sys.stdout.write(json.dumps({"recorded": tomorrow.recorded, "samples": loaded_samples()}))


def loaded_samples() -> int:
    """How many frozen events load with the values that they have today, and are stored as the same bytes again."""
    for sample in SAMPLES:
        test_a_frozen_event_loads_with_the_same_values(sample)
        test_a_frozen_event_is_stored_as_the_same_bytes_again(sample)
    return len(SAMPLES)


if __name__ == "__main__":
    main(*sys.argv[1:])
