"""Service hours: how much service time lies between two instants, and which instant a budget of it reaches.

An instant is in service when the wall clock of the calendar's zone shows a time within one of that date's spans. So an
hour that the clock shows twice in autumn counts twice, and one that it skips in spring does not count. Hours that
touch, at midnight too, are one: nothing closes between them.

Pure: no clock, no I/O but the zone's rules. Inside, instants and durations are whole microseconds (as in the log), and
the hours are laid out in windows of about 97 days, each made once and kept while it is in use.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from kept.sla.v1.events_pb2 import BOUNDARY_CLOSING_TIME, BOUNDARY_NEXT_OPENING, Boundary, CalendarDefinition, Span

from services.kernel.clock import micros, moment
from services.kernel.errors import Invalid, Refused

MAX_EXCEPTIONS = 5_000
MAX_SPANS_A_DAY = 96

SECOND = 1_000_000
DAY = 86_400
WINDOW = 2**23  # seconds; makes one deadline cheap on a cold calendar, and ten years 38 windows
PATIENCE = 38  # windows without any service before we stop looking: ten years
WINDOWS_KEPT = 128  # 34 years of hours, about 1 MB with one span a day
TOTALS_KEPT = 4_096  # a thousand years

# What datetime can hold, less a window's length at both ends: every zone can show every instant between.
EARLIEST = micros(datetime(1, 4, 30, tzinfo=UTC)) // SECOND
LATEST = micros(datetime(9999, 9, 1, tzinfo=UTC)) // SECOND
DAY_OF_1970 = date(1970, 1, 1).toordinal()

DATE = re.compile(r"([0-9]{4}|-)-([0-9]{2})-([0-9]{2})")
# Files of the tz database that are no IANA names: they differ from host to host, or count leap seconds.
NOT_A_NAME = frozenset({"posix", "right", "localtime", "posixrules", "Factory"})

# One day's hours: (from, until) in local wall-clock seconds, in order; they may touch.
Spans = tuple[tuple[int, int], ...]
# One date in days since 1970, or every year's (month, day).
Date = int | tuple[int, int]


class Calendar:
    """Service hours of one published calendar version. Immutable to its users; safe to share between threads.

    Source: CalendarDefinition of protos/kept/sla/v1/events.proto. Raises: invalid-argument, with the field's path.
    """

    def __init__(self, definition: CalendarDefinition) -> None:
        self._zone = _zone(definition.time_zone)
        self._weekdays = _weekdays(definition)
        self._exceptions = _exceptions(definition)
        self._has_yearly = any(isinstance(day, tuple) for day in self._exceptions)
        days = [*self._weekdays, *self._exceptions.values()]
        if not any(days):
            raise Invalid("definition.weekdays", "at least one weekday or exception needs a span")
        self._always_open = all(sum(until - since for since, until in spans) == DAY for spans in days)
        self._window = lru_cache(WINDOWS_KEPT)(self._lay_out)
        self._total = lru_cache(TOTALS_KEPT)(self._add_up)

    def add(self, start: datetime, seconds: int, boundary: Boundary.ValueType = BOUNDARY_CLOSING_TIME) -> datetime:
        """The UTC instant at which `seconds` of service time are used up, counted from `start`, to the microsecond.

        With 0 seconds: `start` in service hours, else the next opening, whatever the boundary; closing time itself is
        outside. A boundary left unspecified is closing time. Raises ValueError when naive or negative.
        Raises: no-service-hours, when ten years hold none or the budget goes beyond the year 9999.
        """
        if seconds < 0:
            raise ValueError("a budget is never negative; see subtract")
        at = micros(start)
        if at // SECOND + seconds >= LATEST:
            raise _no_service_hours()
        if self._always_open:
            return moment(at + seconds * SECOND)
        window = at // SECOND // WINDOW
        position = self._served(window, at) + seconds * SECOND
        to_opening = seconds == 0 or boundary == BOUNDARY_NEXT_OPENING
        return moment(self._forward(window, position, to_opening=to_opening))

    def subtract(self, end: datetime, seconds: int) -> datetime:
        """The UTC instant from which `seconds` of service time lead up to `end`; the mirror of `add`.

        With 0 seconds: `end` in service hours or at closing time, else the closing before; an opening is outside. A
        budget that reaches back exactly to an opening gives that opening. Raises as `add` does.
        """
        if seconds < 0:
            raise ValueError("a budget is never negative; see add")
        at = micros(end)
        if at // SECOND - seconds <= EARLIEST:
            raise _no_service_hours()
        if self._always_open:
            return moment(at - seconds * SECOND)
        window = at // SECOND // WINDOW
        position = self._served(window, at) - seconds * SECOND
        return moment(self._back(window, position, to_opening=seconds > 0))

    def between(self, start: datetime, end: datetime) -> int:
        """Whole service seconds in [start, end); 0 when end is not after start. Raises ValueError when naive.

        Both instants are cut to the second, so parts always add up to the whole and `add` is undone exactly.
        """
        since, until = micros(start) // SECOND, micros(end) // SECOND
        if until <= since:
            return 0
        if self._always_open:
            return until - since
        first, last = since // WINDOW, until // WINDOW
        whole = sum(map(self._total, range(first, last)))
        return (whole + self._served(last, until * SECOND) - self._served(first, since * SECOND)) // SECOND

    def _served(self, window: int, at: int) -> int:
        """Service time from the window's beginning to an instant in it."""
        opens, before = self._window(window)
        index = bisect_right(opens, at)
        return min(before[index - 1] + at - opens[index - 1], before[index]) if index else 0

    def _forward(self, window: int, position: int, *, to_opening: bool) -> int:
        """The instant at a position of service time that is counted from the window's beginning, or beyond its end."""
        idle = 0
        while position + to_opening > (total := self._total(window)):
            idle = 0 if total else idle + 1
            if idle > PATIENCE:
                raise _no_service_hours()
            position -= total
            window += 1
        return self._window(window).at(position, to_opening=to_opening)

    def _back(self, window: int, position: int, *, to_opening: bool) -> int:
        """As `_forward`, for a position before the window's beginning."""
        idle = 0
        while position + to_opening <= 0:
            window -= 1
            total = self._total(window)
            idle = 0 if total else idle + 1
            if idle > PATIENCE:
                raise _no_service_hours()
            position += total
        return self._window(window).at(position, to_opening=to_opening)

    def _add_up(self, window: int) -> int:
        return self._window(window).before[-1]

    def _lay_out(self, window: int) -> "Hours":
        """The hours of [window * WINDOW, (window + 1) * WINDOW)."""
        hours = Hours([], [0])
        low, high = (min(max(edge * WINDOW, EARLIEST), LATEST) for edge in (window, window + 1))
        for since, until, offset in _offsets(self._zone, low, high):
            for day in range((since + offset) // DAY, (until - 1 + offset) // DAY + 1):
                midnight = day * DAY - offset
                for opens, closes in self._spans(day):
                    hours.extend(max(midnight + opens, since), min(midnight + closes, until))
        return hours

    def _spans(self, day: int) -> Spans:
        """The hours of a local date, in days since 1970. Dated beats yearly, and yearly beats the weekday."""
        spans = self._exceptions.get(day)
        if spans is None and self._has_yearly:
            local = date.fromordinal(day + DAY_OF_1970)
            spans = self._exceptions.get((local.month, local.day))
        return self._weekdays[(day + 3) % 7] if spans is None else spans


class Hours(NamedTuple):
    """The service hours of one window, in microseconds."""

    opens: list[int]
    # Service time before each opening; and, last, in all.
    before: list[int]

    def extend(self, opens: int, closes: int) -> None:
        """Goes on with the hours [opens, closes), in seconds; they may be none."""
        if opens < closes:
            self.opens.append(opens * SECOND)
            self.before.append(self.before[-1] + (closes - opens) * SECOND)

    def at(self, position: int, *, to_opening: bool) -> int:
        """The instant at a position; where closing and opening share it, `to_opening` says which."""
        index = (bisect_right if to_opening else bisect_left)(self.before, position) - 1
        return self.opens[index] + position - self.before[index]


def _offsets(zone: ZoneInfo, low: int, high: int) -> Iterator[tuple[int, int, int]]:
    """(since, until, seconds east of UTC), in order, covering [low, high) in seconds since 1970."""
    since, offset = low, _offset(zone, low)
    for probe in range(low, high, DAY):
        # No zone has ever changed twice within three days, so a look a day misses nothing.
        until = min(probe + DAY, high)
        if (changed := _offset(zone, until)) != offset:
            change = bisect_left(range(probe, until), True, key=lambda at: _offset(zone, at) != offset) + probe
            yield since, change, offset
            since, offset = change, changed
    yield since, high, offset


def _offset(zone: ZoneInfo, at: int) -> int:
    offset = datetime.fromtimestamp(at, zone).utcoffset() or timedelta()
    return offset.days * DAY + offset.seconds


def _zone(name: str) -> ZoneInfo:
    if name.partition("/")[0] not in NOT_A_NAME:
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # not found; not a path of the tz database; a folder of it
            pass
    raise Invalid("definition.time_zone", f"not an IANA time zone: {name[:64]!r}")


def _weekdays(definition: CalendarDefinition) -> Sequence[Spans]:
    """The hours of Monday to Sunday."""
    read: dict[int, Spans] = {}
    for index, entry in enumerate(definition.weekdays):
        path = f"definition.weekdays[{index}]"
        if not 1 <= entry.weekday <= 7:
            raise Invalid(f"{path}.weekday", "1 (Monday) to 7 (Sunday)")
        if entry.weekday in read:
            raise Invalid(f"{path}.weekday", "is given twice; put all its spans into one entry")
        read[entry.weekday] = _read(f"{path}.spans", entry.spans)
    return [read.get(weekday, ()) for weekday in range(1, 8)]


def _exceptions(definition: CalendarDefinition) -> Mapping[Date, Spans]:
    if len(definition.exceptions) > MAX_EXCEPTIONS:
        raise Invalid("definition.exceptions", f"at most {MAX_EXCEPTIONS}")
    read: dict[Date, Spans] = {}
    for index, entry in enumerate(definition.exceptions):
        path = f"definition.exceptions[{index}]"
        day = _date(f"{path}.date", entry.date)
        if day in read:
            raise Invalid(f"{path}.date", "is given twice; put all its spans into one entry")
        read[day] = _read(f"{path}.spans", entry.spans)
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


def _read(path: str, spans: Sequence[Span]) -> Spans:
    if len(spans) > MAX_SPANS_A_DAY:
        raise Invalid(path, f"at most {MAX_SPANS_A_DAY}")
    read: list[tuple[int, int]] = []
    for index, span in enumerate(spans):
        if not 0 <= span.from_s < span.until_s <= DAY:
            raise Invalid(f"{path}[{index}]", f"0 <= from_s < until_s <= {DAY}")
        if read and span.from_s < read[-1][1]:
            raise Invalid(f"{path}[{index}]", "begins before the one above ends; sort them, and let none overlap")
        read.append((span.from_s, span.until_s))
    return tuple(read)


def _no_service_hours() -> Refused:
    return Refused("no-service-hours", "no service hours for ten years; publish the calendar with more of them")
