"""Service hours of a published calendar: what the kernel knows of working hours, read from the calendar's own message."""

import re
from collections.abc import Mapping
from datetime import date, datetime

from kept.sla.v1.events_pb2 import BOUNDARY_CLOSING_TIME, BOUNDARY_NEXT_OPENING, Boundary, CalendarDefinition

from services.kernel.errors import Invalid
from services.kernel.hours import DAY_OF_1970, Date, Hours, Spans, read_spans, read_weekdays, read_zone

MAX_EXCEPTIONS = 5_000
DATE = re.compile(r"([0-9]{4}|-)-([0-9]{2})-([0-9]{2})")


class Calendar(Hours):
    """Service hours of one published calendar version. Immutable to its users; safe to share between threads.

    Source: CalendarDefinition of protos/kept/sla/v1/events.proto. Raises: invalid-argument, with the field's path.
    """

    def __init__(self, definition: CalendarDefinition) -> None:
        zone = read_zone("definition.time_zone", definition.time_zone)
        weekdays = read_weekdays("definition.weekdays", definition.weekdays)
        exceptions = _exceptions(definition)
        if not any([*weekdays, *exceptions.values()]):
            raise Invalid("definition.weekdays", "at least one weekday or exception needs a span")
        super().__init__(zone, weekdays, exceptions)

    def reach(self, start: datetime, seconds: int, boundary: Boundary.ValueType = BOUNDARY_CLOSING_TIME) -> datetime:
        """As `add`; a budget that ends exactly at closing time is due then, or at the next opening, as `boundary` says.
        A boundary left unspecified is closing time."""
        return self.add(start, seconds, to_opening=boundary == BOUNDARY_NEXT_OPENING)


def _exceptions(definition: CalendarDefinition) -> Mapping[Date, Spans]:
    if len(definition.exceptions) > MAX_EXCEPTIONS:
        raise Invalid("definition.exceptions", f"at most {MAX_EXCEPTIONS}")
    read: dict[Date, Spans] = {}
    for index, entry in enumerate(definition.exceptions):
        path = f"definition.exceptions[{index}]"
        day = _date(f"{path}.date", entry.date)
        if day in read:
            raise Invalid(f"{path}.date", "is given twice; put all its spans into one entry")
        read[day] = read_spans(f"{path}.spans", entry.spans)
    return read


def _date(path: str, text: str) -> Date:
    match = DATE.fullmatch(text)
    try:
        if match and match[1] == "-":
            leap = date(2000, int(match[2]), int(match[3]))  # 29 February is a yearly date too
            return leap.month, leap.day
        if match:
            return date(int(match[1]), int(match[2]), int(match[3])).toordinal() - DAY_OF_1970
    except ValueError:
        pass
    raise Invalid(path, f"YYYY-MM-DD, or --MM-DD for every year; not {text[:64]!r}")
