"""Every stored event type has a frozen sample that must load for ever, with the same field values.

The samples were written once: `python -m tests.test_frozen_events` adds what is missing, after an event or a field was
added, and never changes a line that is there. A sample that no longer loads is not to be replaced: the code is wrong.
"""

import base64
import json
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from kept.common.v1.record_pb2 import Record

from services.kernel.aggregate import Aggregate
from services.kernel.events import ProtobufMapper, event_classes, log_event, parse_event
from services.kernel.log.port import Entry, Recorded

FROZEN = Path(__file__).parent / "frozen" / "events.json"
DOMAINS = ("customer", "case", "sla", "partner_network", "notification")
STREAM, CUSTOMER, CAUSE = (f"00000000-0000-4000-8000-00000000000{digit}" for digit in "123")


def event_types() -> dict[str, type[Message]]:
    """The events proper: what no other message has as a part."""
    parts = {
        field.message_type.full_name
        for message in event_classes().values()
        for kind in (message.DESCRIPTOR, *message.DESCRIPTOR.nested_types)  # those of maps
        for field in kind.fields
        if field.message_type is not None
    }
    return {name: kind for name, kind in event_classes().items() if name not in parts}


def samples() -> list[dict[str, Any]]:
    return list(json.loads(FROZEN.read_text(encoding="utf-8"))) if FROZEN.exists() else []


def record_of(sample: dict[str, Any]) -> Record:
    return Record.FromString(base64.b64decode(sample["record"]))


def as_json(message: Message) -> dict[str, Any]:
    return dict(MessageToDict(message, preserving_proto_field_name=True))


def paths(kind: Any, prefix: str = "") -> Iterator[str]:
    """Every field, and every field of its parts."""
    for field in kind.fields:
        yield prefix + field.name
        part = part_of(field)
        if part is not None and part.full_name != "google.protobuf.Timestamp":
            yield from paths(part, f"{prefix}{field.name}.")


def part_of(field: Any) -> Any:
    """The message that a field holds, or that a map's values are; None where it holds none."""
    return field.message_type.fields_by_name["value"].message_type if is_map(field) else field.message_type


def is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def paths_set(message: Message, prefix: str = "") -> Iterator[str]:
    for field, value in message.ListFields():
        yield prefix + field.name
        if field.message_type is not None and not isinstance(value, Timestamp):
            for part in value.values() if is_map(field) else value if field.is_repeated else [value]:
                yield from paths_set(part, f"{prefix}{field.name}.")


SAMPLES = samples()
IDS = [f"{sample['type'].removeprefix('kept.')}-{number}" for number, sample in enumerate(SAMPLES)]


def test_every_event_type_has_a_sample() -> None:
    assert {sample["type"] for sample in SAMPLES} >= set(event_types())


def test_no_sample_is_of_a_type_that_is_gone() -> None:
    assert {sample["type"] for sample in SAMPLES} <= set(event_types())


@pytest.mark.parametrize("name", event_types())
def test_every_field_of_an_event_type_is_in_a_sample(name: str) -> None:
    bodies = [parse_event(name, record_of(sample).data) for sample in SAMPLES if sample["type"] == name]
    assert {path for body in bodies for path in paths_set(body)} == set(paths(event_types()[name].DESCRIPTOR))
    records = [record_of(sample) for sample in SAMPLES if sample["type"] == name]
    assert {path for record in records for path in paths_set(record)} >= set(paths(Record.DESCRIPTOR)) - {"data"}


@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_a_frozen_event_loads_with_the_same_values(sample: dict[str, Any]) -> None:
    stored = base64.b64decode(sample["record"])
    event = log_event(Recorded(position=7, type=sample["type"], recorded_at=8, record=stored))
    assert event.body.DESCRIPTOR.full_name == sample["type"]
    without_data = Record.FromString(stored)
    without_data.ClearField("data")
    assert as_json(without_data) == sample["record_fields"]
    assert as_json(event.body) == sample["fields"]


@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_a_frozen_event_is_stored_as_the_same_bytes_again(sample: dict[str, Any]) -> None:
    """Auditors hash them: the mapper must not write them otherwise today."""
    record = record_of(sample)
    assert record.SerializeToString(deterministic=True) == base64.b64decode(sample["record"])
    assert parse_event(record.type, record.data).SerializeToString(deterministic=True) == record.data


# Aggregates


def aggregates() -> list[type[Aggregate]]:
    """Of every service that has a domain."""
    modules = [import_module(f"services.{name}.domain") for name in DOMAINS if find_spec(f"services.{name}.domain")]
    return [
        kind
        for module in modules
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, Aggregate) and kind.__module__ == module.__name__
    ]


# Which aggregate's stream an event is in, where it is not the one that the event makes.
STREAMS = {
    "party": ("customer.v1.ContactChanged", "customer.v1.PreferencesChanged"),
    "customer": ("customer.v1.CustomerStageEntered", "customer.v1.ConsentGiven", "customer.v1.ConsentWithdrawn"),
    "item": ("customer.v1.ItemStageEntered", "customer.v1.ItemRemoved"),
    "case": (
        "case.v1.CaseAcknowledged",
        "case.v1.CaseAssigned",
        "case.v1.CaseHeld",
        "case.v1.CaseResumed",
        "case.v1.CaseResolved",
        "case.v1.CaseReopened",
        "case.v1.CaseClosed",
        "case.v1.CaseCancelled",
        "case.v1.CaseRejected",
        "case.v1.CasePrioritized",
        "case.v1.CaseClassified",
        "case.v1.NoteAdded",
    ),
    "problem": (
        "case.v1.RootCauseFound",
        "case.v1.CaseLinked",
        "case.v1.ProblemResolved",
        "case.v1.ProblemClosed",
    ),
    "impact": ("case.v1.AffectedRetracted",),
    "partner": (
        "partner_network.v1.PartnerAdmitted",
        "partner_network.v1.PartnerPutOnProbation",
        "partner_network.v1.PartnerSuspended",
        "partner_network.v1.AgreementSigned",
        "partner_network.v1.AgreementEnded",
    ),
    "service point": ("partner_network.v1.ServicePointClosed",),
    "work order": (
        "partner_network.v1.WorkOrderReoffered",
        "partner_network.v1.WorkOrderAccepted",
        "partner_network.v1.WorkOrderDeclined",
        "partner_network.v1.TechnicianArrived",
        "partner_network.v1.WorkOrderCompleted",
        "partner_network.v1.WorkOrderCancelled",
    ),
    "notice": ("notification.v1.NoticeCancelled",),
    "clock": (
        "sla.v1.ClockReplanned",
        "sla.v1.ThresholdReached",
        "sla.v1.VerdictReached",
        "sla.v1.VerdictCorrected",
    ),
}


def aggregate_of(event_type: str) -> type[Aggregate] | None:
    for kind in aggregates():
        if event_type in {born.DESCRIPTOR.full_name for born in kind.born_by}:
            return kind
        if event_type.removeprefix("kept.") in STREAMS.get(kind.noun, ()):
            return kind
    return None


def test_only_the_cells_own_events_have_no_aggregate() -> None:
    without = {name for name in event_types() if aggregate_of(name) is None}
    assert without == {name for name in event_types() if name.startswith("kept.cell.")}


@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_a_frozen_event_is_folded_by_its_aggregate(sample: dict[str, Any]) -> None:
    kind = aggregate_of(sample["type"])
    if kind is None:
        assert sample["type"].startswith("kept.cell.")
        return
    born = next(one for one in SAMPLES if one["type"] == kind.born_by[0].DESCRIPTOR.full_name)
    history = [born] if sample["type"] == born["type"] else [born, sample]
    aggregate = folded(kind, history)
    assert (aggregate.version, aggregate.tenant) == (record_of(history[-1]).version, "main")
    assert str(aggregate.id) == STREAM


@pytest.mark.parametrize("kind", aggregates(), ids=lambda kind: kind.noun)
def test_folding_has_no_guard(kind: type[Aggregate]) -> None:
    """Events load in any order: a rule that came later must not refuse what was recorded before it."""
    own = [one for one in SAMPLES if aggregate_of(one["type"]) is kind]
    for first, second in product(own, own):
        folded(kind, [own[0], first, second])


def folded(kind: type[Aggregate], history: list[dict[str, Any]]) -> Aggregate:
    mapper, events = ProtobufMapper(), []
    for one in history:
        record = record_of(one)
        entry = Entry(STREAM, record.version, record.type, base64.b64decode(one["record"]), "", None)
        events.append(mapper.to_domain_event(entry))
    aggregate = kind.projector()(None, events)
    assert aggregate is not None
    return aggregate


# Freezing


def full(kind: type[Message], choice: int = 0) -> Message:
    """A message with every field set; `choice` says which field of each oneof."""
    message = kind()
    for field in kind.DESCRIPTOR.fields:
        if field.containing_oneof is None or list(field.containing_oneof.fields).index(field) == choice:
            _set(message, field, choice)
    return message


def _set(message: Any, field: Any, choice: int) -> None:
    if is_map(field):
        getattr(message, field.name)["key"].CopyFrom(full(GetMessageClass(part_of(field)), choice))
        return
    value = _value(field, choice)
    if field.is_repeated:
        getattr(message, field.name).append(value)
    elif isinstance(value, Message):
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


def _value(field: Any, choice: int) -> Any:
    if field.message_type is not None:
        if field.message_type.full_name == "google.protobuf.Timestamp":
            return Timestamp(seconds=1_700_000_000 + field.number, nanos=123_456_000)
        return full(GetMessageClass(field.message_type), choice)
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    if field.type == FieldDescriptor.TYPE_BYTES:
        return bytes(range(field.number, field.number + 12))
    if field.type == FieldDescriptor.TYPE_STRING:
        return CUSTOMER if field.name.endswith("_id") else f"{field.name} 值 {field.number}"
    return 1_000 + field.number


def branches_of(kind: Any) -> int:
    """How many samples it takes to have every field of every oneof."""
    own = [len(oneof.fields) for oneof in kind.oneofs]
    parts = [part_of(field) for field in kind.fields]
    return max([1, *own, *(branches_of(part) for part in parts if part is not None)])


def freeze(name: str, kind: type[Message], choice: int) -> dict[str, Any]:
    body = full(kind, choice)
    born = any(kind in aggregate.born_by for aggregate in aggregates())
    record = Record(
        id="00000000-0000-4000-8000-000000000009",
        type=name,
        stream=STREAM,
        version=1 if born else 2,
        tenant="main",
        customer_id=CUSTOMER,
        occurred_at=Timestamp(seconds=1_700_000_000, nanos=654_321_000),
        actor="user:ana",
        request_key=CAUSE,
        correlation_id=CAUSE,
        causation_id=CAUSE,
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )
    fields = as_json(record)
    record.data = body.SerializeToString(deterministic=True)
    stored = base64.b64encode(record.SerializeToString(deterministic=True)).decode()
    return {"type": name, "record": stored, "record_fields": fields, "fields": as_json(body)}


def add_missing() -> int:
    """Appends samples for event types and fields that have none. Returns how many."""
    frozen, added = samples(), []
    for name, kind in event_types().items():
        bodies = [parse_event(name, record_of(one).data) for one in frozen if one["type"] == name]
        known = {path for body in bodies for path in paths_set(body)}
        branches = branches_of(kind.DESCRIPTOR)
        for choice in range(branches):
            wanted = set(paths_set(full(kind, choice)))
            if not bodies or wanted - known:
                added.append(freeze(name, kind, choice))
                known |= wanted
    lines = [json.dumps(one, ensure_ascii=False) for one in [*frozen, *added]]
    FROZEN.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
    return len(added)


if __name__ == "__main__":
    print(f"{add_missing()} samples added to {FROZEN}")  # noqa: T201
