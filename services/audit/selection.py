"""What an auditor asks to see: checked, and matched against events that are no rows."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from kept.audit.v1.service_pb2 import StreamEventsRequest
from kept.common.v1.record_pb2 import Record

from services.kernel.database import uuid_of
from services.kernel.errors import Invalid
from services.kernel.events import event_classes
from services.kernel.log.port import Selection
from services.kernel.validation import check_text, check_uuid

MOST = 100
T = TypeVar("T")


def selection_of(request: StreamEventsRequest) -> Selection:
    """Raises Invalid."""
    return Selection(
        streams=_checked("streams", request.streams, check_uuid),
        types=_checked("types", request.types, _check_type),
        tenants=_checked("tenants", request.tenants, check_text),
        customers=_checked("customer_ids", request.customer_ids, check_uuid),
    )


def check_position(field: str, value: int) -> int:
    """Raises Invalid when it is negative."""
    if value < 0:
        raise Invalid(field, "is negative; positions begin with 1, and 0 stands before them")
    return value


def matches(which: Selection, record: Record) -> bool:
    """Whether the event is selected, as `EventLog.select` would."""
    return (
        (not which.types or record.type in which.types)
        and (not which.tenants or record.tenant in which.tenants)
        and (not which.streams or uuid_of(record.stream) in which.streams)
        and (not which.customers or (record.customer_id != "" and uuid_of(record.customer_id) in which.customers))
    )


def _checked(field: str, values: Iterable[str], check: Callable[[str, str], T]) -> frozenset[T]:
    values = list(values)
    if len(values) > MOST:
        raise Invalid(field, f"has {len(values)} entries; {MOST} are allowed")
    return frozenset(check(f"{field}[{at}]", value) for at, value in enumerate(values))


def _check_type(field: str, value: str) -> str:
    if value not in event_classes():
        raise Invalid(field, "is no event type of this Kept; give a full name such as kept.case.v1.CaseOpened")
    return value
