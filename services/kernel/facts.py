"""What a timeline says of an event: its open fields, and the words that were said or written, opened."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kept.common.v1.sealed_pb2 import Sealed

from services.kernel.events import LogEvent
from services.kernel.privacy import Erased, Sealer


def described(event: LogEvent, sealer: Sealer, spoken: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a timeline's item. Texts are opened only of events whose type begins with one of `spoken`: those that
    hold what was said or written. Whatever else is sealed, such as names and addresses, stays so."""
    record = event.record
    return {
        "event_id": record.id,
        "position": event.position,
        "type": record.type,
        "stream": record.stream,
        "occurred_at": record.occurred_at,
        "actor": record.actor,
        "facts": facts(event.body),
        "texts": texts(event.body, UUID(record.stream), sealer) if record.type.startswith(spoken) else {},
    }


def facts(body: Message, prefix: str = "") -> dict[str, str]:
    """The open fields that are set, by name: times in RFC 3339, enums by short name, lists by commas.

    The fields of a message within are named `outer.inner`; sealed ones, and anything deeper, are left out.
    """
    found: dict[str, str] = {}
    for field, value in body.ListFields():
        name = prefix + field.name
        if field.message_type is None:
            values = value if field.is_repeated else [value]
            found[name] = ", ".join(_fact(field, one) for one in values)
        elif isinstance(value, Timestamp):
            found[name] = value.ToJsonString()
        elif not (prefix or field.is_repeated or isinstance(value, Sealed)):
            found.update(facts(value, f"{name}."))
    return found


def texts(body: Message, stream: UUID, sealer: Sealer) -> dict[str, str]:
    """The sealed texts that are set, opened, by the same names as facts; erased ones are left out."""
    opened = {name: sealer.open(sealed, stream=stream) for name, sealed in _sealed(body)}
    return {name: text for name, text in opened.items() if not isinstance(text, Erased)}


def _sealed(body: Message, prefix: str = "") -> Iterator[tuple[str, Sealed]]:
    for field, value in body.ListFields():
        if field.message_type is None or field.is_repeated:
            continue
        if isinstance(value, Sealed):
            yield prefix + field.name, value
        elif not prefix:
            yield from _sealed(value, f"{field.name}.")


def _fact(field: FieldDescriptor, value: Any) -> str:
    if field.enum_type is not None:
        names = {number: known.name for number, known in field.enum_type.values_by_number.items()}
        return names.get(value, str(value)).removeprefix(names[0].removesuffix("UNSPECIFIED")).lower()
    return str(value).lower() if isinstance(value, bool) else str(value)
