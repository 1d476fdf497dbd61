"""Working hours: how much of them lies between two instants, and which instant a budget of them reaches.

An instant is within them when the wall clock of the zone shows a time within one of that date's spans. So an hour that
the clock shows twice in autumn counts twice, and one that it skips in spring does not count. Hours that touch, at midnight
too, are one: nothing closes between them.

Pure: no clock, no I/O but the zone's rules. Inside, instants and durations are whole microseconds (as in the log), and
the hours are laid out in windows of about 97 days, each made once and kept while it is in use.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

from services.kernel.clock import micros, moment
from services.kernel.errors import Invalid, Refused

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

# Files of the tz database that are no IANA names: they differ from host to host, or count leap seconds.
NOT_A_NAME = frozenset({"posix", "right", "localtime", "posixrules", "Factory"})

# One day's hours: (from, until) in local wall-clock seconds, in order; they may touch.
Spans = tuple[tuple[int, int], ...]
# One date in days since 1970, or every year's (month, day).
Date = int | tuple[int, int]


class Span(Protocol):
    """Local wall-clock seconds of a day, `from_s` included and `until_s` excluded."""

    from_s: int
    until_s: int


class Weekday(Protocol):
    """One weekday's spans; ISO weekday, 1 is Monday."""

    weekday: int

    @property
    def spans(self) -> Sequence[Span]: ...


class Hours:
    """Weekly hours with dated exceptions. Immutable to its users; safe to share between threads."""

    def __init__(
        self, zone: ZoneInfo, weekdays: Sequence[Spans], exceptions: Mapping[Date, Spans] | None = None
    ) -> None:
        """`weekdays` from Monday to Sunday. Raises ValueError when there are no hours at all."""
        self._zone = zone
        self._weekdays = weekdays
        self._exceptions = exceptions or {}
        self._has_yearly = any(isinstance(day, tuple) for day in self._exceptions)
        days = [*self._weekdays, *self._exceptions.values()]
        if not any(days):
            raise ValueError("hours without any span")
        self._always_open = all(sum(until - since for since, until in spans) == DAY for spans in days)
        self._window = lru_cache(WINDOWS_KEPT)(self._lay_out)
        self._total = lru_cache(TOTALS_KEPT)(self._add_up)

    def next_open(self, at: datetime) -> datetime:
        """`at` itself when it is within the hours, else the next opening, UTC. Raises: no-service-hours."""
        return self.add(at, 0)

    def add(self, start: datetime, seconds: int, *, to_opening: bool = False) -> datetime:
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
        return moment(self._forward(window, position, to_opening=to_opening or seconds == 0))

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

    def open_intervals(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The service hours within [start, end) as UTC instants, in order; hours that touch are one interval.

        Their lengths add up to `between`, where both instants are whole seconds. Raises ValueError when naive.
        """
        since, until = micros(start), micros(end)
        if self._always_open:
            if since < until:
                yield moment(since), moment(until)
            return
        opens, closes = since, since
        for span in self._open_spans(since, until):
            if span[0] > closes:
                if opens < closes:
                    yield moment(opens), moment(closes)
                opens = span[0]
            closes = span[1]
        if opens < closes:
            yield moment(opens), moment(closes)

    def _open_spans(self, since: int, until: int) -> Iterator[tuple[int, int]]:
        """Cut to [since, until); cut also where a window ends."""
        for number in range(since // SECOND // WINDOW, (until - 1) // SECOND // WINDOW + 1):
            window = self._window(number)
            for opened, (before, after) in zip(window.opens, pairwise(window.before), strict=True):
                opens, closes = max(opened, since), min(opened + after - before, until)
                if opens < closes:
                    yield opens, closes

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

    def _lay_out(self, window: int) -> "_Window":
        """The hours of [window * WINDOW, (window + 1) * WINDOW)."""
        hours = _Window([], [0])
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


class _Window(NamedTuple):
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


def read_zone(field: str, name: str) -> ZoneInfo:
    """Raises: invalid-argument."""
    if name.partition("/")[0] not in NOT_A_NAME:
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # not found; not a path of the tz database; a folder of it
            pass
    raise Invalid(field, f"not an IANA time zone: {name[:64]!r}")


def read_weekdays(field: str, weekdays: Iterable[Weekday]) -> Sequence[Spans]:
    """The hours of Monday to Sunday. Raises: invalid-argument, with the path below `field`."""
    read: dict[int, Spans] = {}
    for index, entry in enumerate(weekdays):
        path = f"{field}[{index}]"
        if not 1 <= entry.weekday <= 7:
            raise Invalid(f"{path}.weekday", "1 (Monday) to 7 (Sunday)")
        if entry.weekday in read:
            raise Invalid(f"{path}.weekday", "is given twice; put all its spans into one entry")
        read[entry.weekday] = read_spans(f"{path}.spans", entry.spans)
    return [read.get(weekday, ()) for weekday in range(1, 8)]


def read_spans(path: str, spans: Sequence[Span]) -> Spans:
    """One day's hours. Raises: invalid-argument."""
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


def _no_service_hours() -> Refused:
    return Refused("no-service-hours", "no service hours for ten years; publish the calendar with more of them")
