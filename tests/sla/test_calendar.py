"""Service hours, judged by other systems' published cases, twenty years of Chinese workdays, and a slow oracle."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kept.sla.v1.events_pb2 import (
    BOUNDARY_CLOSING_TIME,
    BOUNDARY_NEXT_OPENING,
    Boundary,
    CalendarDefinition,
    DateException,
    Span,
    Weekday,
)

from services.kernel.clock import micros, moment
from services.kernel.errors import Invalid, Refused
from services.kernel.hours import DAY, MAX_SPANS_A_DAY
from services.sla.calendar import MAX_EXCEPTIONS, Calendar
from tests.shared_data import shared_data

HOUR = 3_600
MINUTE = timedelta(minutes=1)
OFFICE = [(9 * HOUR, 17 * HOUR)]
ALL_DAY = [(0, DAY)]
MONDAY_TO_FRIDAY = range(1, 6)
EVERY_DAY = range(1, 8)

Hours = Iterable[tuple[int, int]]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


MOMENTS = st.integers(micros(utc("1980-01-01")), micros(utc("2040-01-01"))).map(moment)
BUDGETS = st.integers(0, 400 * HOUR)
BOUNDARY_VALUES = st.sampled_from([BOUNDARY_CLOSING_TIME, BOUNDARY_NEXT_OPENING])


def definition(
    zone: str = "UTC",
    weekdays: Mapping[int, Hours] | None = None,
    exceptions: Mapping[str, Hours] | None = None,
) -> CalendarDefinition:
    """Monday to Friday 9 to 17 where no weekdays are given."""
    if weekdays is None:
        weekdays = dict.fromkeys(MONDAY_TO_FRIDAY, OFFICE)
    return CalendarDefinition(
        time_zone=zone,
        weekdays=[Weekday(weekday=day, spans=spans(hours)) for day, hours in weekdays.items()],
        exceptions=[DateException(date=day, spans=spans(hours)) for day, hours in (exceptions or {}).items()],
    )


def calendar(
    zone: str = "UTC",
    weekdays: Mapping[int, Hours] | None = None,
    exceptions: Mapping[str, Hours] | None = None,
) -> Calendar:
    return Calendar(definition(zone, weekdays, exceptions))


def spans(hours: Hours) -> list[Span]:
    return [Span(from_s=opens, until_s=closes) for opens, closes in hours]


def midnight(zone: str, day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


# Other systems' published cases

WEEKDAYS = {"mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6, "sun": 7}
BOUNDARIES = {None: BOUNDARY_CLOSING_TIME, "closing-instant": BOUNDARY_CLOSING_TIME}
# Cases that we answer otherwise on purpose, by id: why. There are none.
EXPECTED_DIFFERENCES: dict[str, str] = {}


def test_every_published_case_is_answered_as_its_system_does() -> None:
    cases = [json.loads(line) for line in shared_data("sla-cases/cases.jsonl").read_text().splitlines()]

    differences = {case["id"]: found for case in cases if (found := answer(case)) != expectation(case)}

    assert len(cases) == 95
    assert differences.keys() == EXPECTED_DIFFERENCES.keys(), differences


def answer(case: Mapping[str, Any]) -> datetime | date | int:
    hours = calendar(
        case["timezone"],
        {WEEKDAYS[day]: [(second_of(a), second_of(b)) for a, b in hours] for day, hours in case["calendar"].items()},
        dict.fromkeys(case["holidays"], ()),
    )
    start = datetime.fromisoformat(case["start"])
    pauses = [(datetime.fromisoformat(a), datetime.fromisoformat(b)) for a, b in case["pauses"]]
    match case["kind"]:
        case "add" | "next_open":
            due = add_around(hours, start, case["duration_seconds"], pauses, BOUNDARIES[case.get("boundary")])
            return due.astimezone(ZoneInfo(case["timezone"])).date() if "expected_precision" in case else due
        case "subtract" if not pauses:
            return hours.subtract(start, case["duration_seconds"])
        case "between":
            end = datetime.fromisoformat(case["end"])
            return hours.between(start, end) - sum(hours.between(max(a, start), min(b, end)) for a, b in pauses)
        case kind:
            raise AssertionError(f"{case['id']}: a kind of case that we do not know: {kind}")


def add_around(
    hours: Calendar,
    start: datetime,
    seconds: int,
    pauses: Iterable[tuple[datetime, datetime]],
    boundary: Boundary.ValueType,
) -> datetime:
    """The deadline of a budget that stands still in each pause."""
    for pause, goes_on in pauses:
        used = hours.between(start, pause)
        if used >= seconds:
            break
        start, seconds = goes_on, seconds - used
    return hours.reach(start, seconds, boundary)


def expectation(case: Mapping[str, Any]) -> datetime | date | int:
    if case["kind"] == "between":
        return int(case["expected_seconds"])
    if "expected_precision" in case:
        return date.fromisoformat(case["expected"])
    return datetime.fromisoformat(case["expected"])


def second_of(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * HOUR + int(minutes) * 60


# Chinese workdays, make-up days included


def test_every_day_from_2007_to_2026_is_worked_as_published() -> None:
    with shared_data("cn-holidays/cn_workdays_2007_2026.csv").open(newline="") as file:
        worked = {date.fromisoformat(row["date"]): row["workday_holiday_cn"] == "1" for row in csv.DictReader(file)}
    unlike = {day for day, works in worked.items() if works != (day.isoweekday() in MONDAY_TO_FRIDAY)}
    shanghai = calendar(
        "Asia/Shanghai", exceptions={day.isoformat(): OFFICE if worked[day] else () for day in sorted(unlike)}
    )

    counted = {
        day: shanghai.between(midnight("Asia/Shanghai", day), midnight("Asia/Shanghai", day + timedelta(days=1)))
        for day in worked
    }

    assert len(worked) == 7_305
    assert sum(worked[day] for day in unlike) > 100  # make-up days; otherwise this shows nothing about them
    assert counted == {day: 8 * HOUR if works else 0 for day, works in worked.items()}


# Where service hours begin and end


@pytest.mark.parametrize(
    ("boundary", "due"),
    [
        pytest.param(BOUNDARY_CLOSING_TIME, "2024-01-19T17:00", id="closing time"),
        pytest.param(BOUNDARY_NEXT_OPENING, "2024-01-22T09:00", id="next opening"),
    ],
)
def test_a_budget_that_ends_with_the_week_is_due_as_the_boundary_says(boundary: Boundary.ValueType, due: str) -> None:
    assert calendar().reach(utc("2024-01-19T16:00"), HOUR, boundary) == utc(due)
    assert calendar().reach(utc("2024-01-15T09:00"), 40 * HOUR, boundary) == utc(due)


def test_a_budget_of_twenty_years_is_added() -> None:
    assert calendar().add(utc("2004-01-12T10:00"), 1044 * 40 * HOUR) == utc("2024-01-15T10:00")


@pytest.mark.parametrize("boundary", [BOUNDARY_CLOSING_TIME, BOUNDARY_NEXT_OPENING])
def test_no_boundary_lies_between_hours_that_touch(boundary: Boundary.ValueType) -> None:
    night_shift = calendar(weekdays={1: [(20 * HOUR, 22 * HOUR), (22 * HOUR, DAY)], 2: [(0, 6 * HOUR)]})

    assert night_shift.reach(utc("2024-01-15T20:00"), 2 * HOUR, boundary) == utc("2024-01-15T22:00")
    assert night_shift.reach(utc("2024-01-15T20:00"), 4 * HOUR, boundary) == utc("2024-01-16T00:00")


@pytest.mark.parametrize("boundary", [BOUNDARY_CLOSING_TIME, BOUNDARY_NEXT_OPENING])
@pytest.mark.parametrize(
    ("start", "due"),
    [
        pytest.param("2024-01-15T09:00", "2024-01-15T09:00", id="at opening"),
        pytest.param("2024-01-15T10:00:00.250", "2024-01-15T10:00:00.250", id="in service hours"),
        pytest.param("2024-01-15T17:00", "2024-01-16T09:00", id="at closing"),
        pytest.param("2024-01-19T23:59:59.999999", "2024-01-22T09:00", id="at night"),
    ],
)
def test_an_empty_budget_is_due_in_service_hours(start: str, due: str, boundary: Boundary.ValueType) -> None:
    assert calendar().reach(utc(start), 0, boundary) == utc(due)


@pytest.mark.parametrize(
    ("end", "seconds", "start"),
    [
        pytest.param("2024-01-15T10:00", 0, "2024-01-15T10:00", id="nothing, in service hours"),
        pytest.param("2024-01-15T17:00", 0, "2024-01-15T17:00", id="nothing, at closing"),
        pytest.param("2024-01-15T09:00", 0, "2024-01-12T17:00", id="nothing, at opening"),
        pytest.param("2024-01-15T10:00", HOUR, "2024-01-15T09:00", id="back to an opening"),
        pytest.param("2024-01-15T10:00", HOUR + 1, "2024-01-12T16:59:59", id="back over a weekend"),
        pytest.param("2024-01-15T10:00", 1044 * 40 * HOUR, "2004-01-12T10:00", id="back over twenty years"),
    ],
)
def test_what_leads_up_to_an_end_is_subtracted(end: str, seconds: int, start: str) -> None:
    assert calendar().subtract(utc(end), seconds) == utc(start)


def test_parts_of_a_second_are_kept_by_add_and_cut_off_by_between() -> None:
    start = utc("2024-01-15T16:59:59.250")

    assert calendar().add(start, 1) == utc("2024-01-16T09:00:00.250")
    assert calendar().between(start, utc("2024-01-15T17:00")) == 1
    assert calendar().between(start, utc("2024-01-15T16:59:59.999")) == 0


def test_an_end_before_its_start_leaves_no_service_time() -> None:
    assert calendar().between(utc("2024-01-16T12:00"), utc("2024-01-15T12:00")) == 0
    assert calendar(weekdays=dict.fromkeys(EVERY_DAY, ALL_DAY)).between(utc("2024-01-16"), utc("2024-01-15")) == 0


# Exceptions


def test_an_exception_closes_its_date_or_opens_it_for_its_own_hours() -> None:
    hours = calendar(exceptions={"2024-02-12": (), "2024-02-18": [(10 * HOUR, 12 * HOUR)]})

    assert worked_on(hours, "2024-02-12") == 0
    assert worked_on(hours, "2024-02-18") == 2 * HOUR
    assert worked_on(hours, "2025-02-12") == 8 * HOUR


def test_a_yearly_exception_holds_in_every_year_but_where_a_date_says_otherwise() -> None:
    hours = calendar(exceptions={"--05-01": (), "2024-05-01": [(9 * HOUR, 10 * HOUR)], "--02-29": ()})

    assert [worked_on(hours, f"{year}-05-01") for year in (2023, 2024, 2025)] == [0, HOUR, 0]
    assert [worked_on(hours, day) for day in ("2024-02-28", "2024-02-29", "2024-03-01")] == [8 * HOUR, 0, 8 * HOUR]
    assert worked_on(hours, "2023-03-01") == 8 * HOUR


def worked_on(hours: Calendar, day: str) -> int:
    return hours.between(utc(day), utc(day) + timedelta(days=1))


# Clock changes


@pytest.mark.parametrize(
    ("zone", "day", "length"),
    [
        pytest.param("Europe/Berlin", "2024-03-31", 23 * HOUR, id="spring, at night"),
        pytest.param("Europe/Berlin", "2024-10-27", 25 * HOUR, id="autumn, at night"),
        pytest.param("America/Sao_Paulo", "2016-10-16", 23 * HOUR, id="spring, at midnight"),
        pytest.param("America/Sao_Paulo", "2016-02-20", 25 * HOUR, id="autumn, at midnight"),
        pytest.param("Australia/Lord_Howe", "2024-04-07", 24 * HOUR + HOUR // 2, id="half an hour"),
        pytest.param("Asia/Shanghai", "1990-04-15", 23 * HOUR, id="a rule of long ago"),
        pytest.param("Africa/Casablanca", "2023-03-19", 25 * HOUR, id="there and back within five weeks"),
        pytest.param("Pacific/Apia", "2011-12-30", 0, id="a date that never was"),
        pytest.param("Pacific/Apia", "2011-12-29", 24 * HOUR, id="the date before it"),
    ],
)
def test_an_open_day_lasts_as_long_as_it_really_does(zone: str, day: str, length: int) -> None:
    hours = calendar(zone, weekdays={}, exceptions={day: ALL_DAY})
    noon = utc(f"{day}T12:00")

    assert hours.between(noon - timedelta(days=3), noon + timedelta(days=3)) == length


def test_hours_within_a_clock_change_are_those_that_the_clock_shows() -> None:
    berlin = calendar("Europe/Berlin", weekdays={7: [(2 * HOUR + HOUR // 2, 3 * HOUR + HOUR // 2)]})

    # Spring: 02:30 is never shown, the clock goes from 02:00 to 03:00 at 01:00 UTC.
    assert berlin.add(utc("2024-03-31T00:00"), 0) == utc("2024-03-31T01:00")
    assert berlin.between(utc("2024-03-31T00:00"), utc("2024-04-01T00:00")) == HOUR // 2
    # Autumn: 02:30 is shown at 00:30 and at 01:30 UTC, with half an hour of 02:00 to 02:30 between.
    assert berlin.add(utc("2024-10-27T00:00"), HOUR // 2) == utc("2024-10-27T01:00")
    assert berlin.reach(utc("2024-10-27T00:00"), HOUR // 2, BOUNDARY_NEXT_OPENING) == utc("2024-10-27T01:30")
    assert berlin.between(utc("2024-10-27T00:00"), utc("2024-10-28T00:00")) == 3 * HOUR // 2


# Calendars that never close, and calendars that never open


@settings(deadline=None, max_examples=50)
@given(start=MOMENTS, budget=BUDGETS)
def test_a_calendar_that_never_closes_counts_elapsed_time(start: datetime, budget: int) -> None:
    always = calendar("Europe/Berlin", {day: [(0, HOUR), (HOUR, DAY)] for day in EVERY_DAY}, {"--01-01": ALL_DAY})
    almost = calendar("Europe/Berlin", dict.fromkeys(EVERY_DAY, ALL_DAY), {"9000-01-01": ()})
    for hours in (always, almost):
        assert hours.reach(start, budget, BOUNDARY_NEXT_OPENING) == hours.add(start, budget)
        assert hours.add(start, budget) == start + timedelta(seconds=budget)
        assert hours.subtract(start, budget) == start - timedelta(seconds=budget)
        assert hours.between(start, start + timedelta(seconds=budget)) == budget


def test_nights_close_a_calendar_that_opens_on_every_day() -> None:
    hours = calendar(weekdays=dict.fromkeys(EVERY_DAY, OFFICE))

    assert hours.add(utc("2024-01-20T16:00"), 2 * HOUR) == utc("2024-01-21T10:00")


def test_a_holiday_closes_even_a_calendar_that_is_open_on_every_day() -> None:
    hours = calendar("Asia/Shanghai", dict.fromkeys(EVERY_DAY, ALL_DAY), {"--01-01": ()})

    assert hours.add(utc("2023-12-31T15:00"), 2 * HOUR) == utc("2024-01-01T17:00")


def test_a_budget_beyond_the_last_service_hour_is_refused() -> None:
    one_day = calendar(weekdays={}, exceptions={"2024-01-15": OFFICE})

    assert one_day.add(utc("2014-03-01"), 8 * HOUR) == utc("2024-01-15T17:00")
    assert one_day.subtract(utc("2033-12-01"), 8 * HOUR) == utc("2024-01-15T09:00")
    beyond: list[Callable[[], object]] = [
        lambda: one_day.add(utc("2014-03-01"), 8 * HOUR + 1),
        lambda: one_day.reach(utc("2014-03-01"), 8 * HOUR, BOUNDARY_NEXT_OPENING),
        lambda: one_day.add(utc("2001-01-01"), 0),
        lambda: one_day.subtract(utc("2033-12-01"), 8 * HOUR + 1),
        lambda: one_day.subtract(utc("2047-01-01"), 0),
    ]
    for refused in beyond:
        with pytest.raises(Refused) as error:
            refused()
        assert error.value.slug == "no-service-hours"


@pytest.mark.parametrize("days", [MONDAY_TO_FRIDAY, EVERY_DAY])
def test_a_budget_beyond_all_time_is_refused(days: Iterable[int]) -> None:
    hours = calendar("Asia/Shanghai", dict.fromkeys(days, ALL_DAY))

    for start in (utc("2024-01-15T09:00"), datetime.max.replace(tzinfo=UTC)):
        with pytest.raises(Refused):
            hours.add(start, 2**63 - 1)
    with pytest.raises(Refused):
        hours.subtract(utc("2024-01-15T09:00"), 2**63 - 1)


def test_no_service_lies_at_the_ends_of_time() -> None:
    hours, first, last = calendar("Asia/Shanghai"), datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

    assert hours.between(first, first + timedelta(days=100)) == 0
    assert hours.between(last - timedelta(days=100), last) == 0
    with pytest.raises(Refused):
        hours.add(utc("9999-07-01"), 1000 * HOUR)
    with pytest.raises(Refused):
        hours.subtract(utc("0001-07-01"), 1000 * HOUR)


# Laws that hold for every calendar

ZONES = ["America/Sao_Paulo", "Europe/Berlin", "Asia/Shanghai", "Australia/Lord_Howe", "Pacific/Apia"]
# Four days around a clock change, or an ordinary day: the zone, and the first of them in UTC.
SCENES = [
    ("America/Sao_Paulo", "2016-02-19"),
    ("America/Sao_Paulo", "2016-10-14"),
    ("Europe/Berlin", "2016-03-25"),
    ("Europe/Berlin", "2016-10-28"),
    ("Asia/Shanghai", "1990-04-13"),
    ("Asia/Shanghai", "2016-10-01"),
    ("Australia/Lord_Howe", "2024-04-05"),
    ("Pacific/Apia", "2011-12-28"),
]
SCENE_MINUTES = 4 * 24 * 60


@st.composite
def hours_of_a_day(draw: st.DrawFn) -> list[tuple[int, int]]:
    edges = sorted(draw(st.sets(st.integers(0, 24 * 60) | st.integers(0, 48).map(lambda n: 30 * n), max_size=6)))
    return [(60 * opens, 60 * closes) for opens, closes in zip(edges[::2], edges[1::2], strict=False)]


@st.composite
def definitions(
    draw: st.DrawFn, zones: Iterable[str] = ZONES, dates: Iterable[str] = ("--05-01",)
) -> CalendarDefinition:
    weekdays = draw(st.dictionaries(st.integers(1, 7), hours_of_a_day()))
    weekdays[draw(st.integers(1, 7))] = [(20 * HOUR, DAY)]  # without some hours in every week a budget takes centuries
    return definition(
        draw(st.sampled_from(list(zones))),
        weekdays,
        draw(st.dictionaries(st.sampled_from(list(dates)), hours_of_a_day(), max_size=3)),
    )


@settings(deadline=None, max_examples=50)
@given(definition=definitions(), moments=st.lists(MOMENTS, min_size=3, max_size=3).map(sorted))
def test_service_time_of_the_parts_adds_up_to_the_whole(
    definition: CalendarDefinition, moments: list[datetime]
) -> None:
    hours, (first, middle, last) = Calendar(definition), moments

    assert hours.between(first, middle) + hours.between(middle, last) == hours.between(first, last)


@settings(deadline=None, max_examples=50)
@given(definition=definitions(), ends=st.lists(MOMENTS, min_size=2, max_size=2), days=st.integers(0, 400))
def test_open_intervals_are_the_service_hours_and_nothing_else(
    definition: CalendarDefinition, ends: list[datetime], days: int
) -> None:
    hours, (start, other) = Calendar(definition), ends
    end = min(other, start + timedelta(days=days))
    start, end = start.replace(microsecond=0), end.replace(microsecond=0)
    found = list(hours.open_intervals(start, end))

    assert sum(hours.between(opens, closes) for opens, closes in found) == hours.between(start, end)
    assert sum(seconds(opens, closes) for opens, closes in found) == hours.between(start, end)
    edges = [edge for interval in found for edge in interval]
    assert edges == sorted(set(edges)), "in order; hours that touch are one"
    assert all(start <= edge <= end for edge in edges)


def seconds(start: datetime, end: datetime) -> int:
    return (end - start) // timedelta(seconds=1)


def test_open_intervals_are_cut_at_both_ends_to_the_microsecond() -> None:
    office = calendar("UTC", dict.fromkeys(MONDAY_TO_FRIDAY, OFFICE))
    start, end = utc("2024-05-06T10:00:00.000001"), utc("2024-05-07T09:00:00.000002")

    assert list(office.open_intervals(start, end)) == [
        (start, utc("2024-05-06T17:00")),
        (utc("2024-05-07T09:00"), end),
    ]
    assert list(office.open_intervals(end, start)) == []
    assert list(office.open_intervals(utc("2024-05-06T17:00"), utc("2024-05-07T09:00"))) == []


def test_a_calendar_that_never_closes_is_open_in_one_interval() -> None:
    always, start = calendar("Europe/Berlin", dict.fromkeys(EVERY_DAY, ALL_DAY)), utc("2024-03-01")

    assert list(always.open_intervals(start, start + timedelta(days=400))) == [(start, start + timedelta(days=400))]
    assert list(always.open_intervals(start, start)) == []


@settings(deadline=None)
@given(definition=definitions(), start=MOMENTS, budget=BUDGETS, boundary=BOUNDARY_VALUES)
def test_a_budget_is_what_lies_between_its_start_and_its_end(
    definition: CalendarDefinition, start: datetime, budget: int, boundary: Boundary.ValueType
) -> None:
    hours = Calendar(definition)

    assert hours.between(start, hours.reach(start, budget, boundary)) == budget
    assert hours.between(hours.subtract(start, budget), start) == budget


@settings(deadline=None)
@given(definition=definitions(), start=MOMENTS, budget=BUDGETS, more=BUDGETS, boundary=BOUNDARY_VALUES)
def test_a_larger_budget_is_due_later(
    definition: CalendarDefinition, start: datetime, budget: int, more: int, boundary: Boundary.ValueType
) -> None:
    hours = Calendar(definition)
    due, later = hours.reach(start, budget, boundary), hours.reach(start, budget + more + 1, boundary)

    assert start <= due < later
    assert hours.reach(due, more + 1, boundary) == later


@settings(deadline=None, max_examples=40)
@given(data=st.data(), scene=st.sampled_from(SCENES), at=st.integers(0, SCENE_MINUTES))
def test_a_walk_from_minute_to_minute_finds_the_same(data: st.DataObject, scene: tuple[str, str], at: int) -> None:
    zone, first = scene[0], utc(scene[1])
    dates = [f"{first + timedelta(days=day):%Y-%m-%d}" for day in range(4)]
    drawn = data.draw(definitions([zone], [*dates, *(day[4:].replace("-", "--", 1) for day in dates)]))
    hours, opened = Calendar(drawn), open_minutes(drawn, first)
    start, behind, ahead = first + at * MINUTE, [n for n in opened if n < at], [n for n in opened if n >= at]

    for used, minute in enumerate(ahead):
        edge = used > 0 and ahead[used - 1] + 1 != minute
        if used % 13 == 0 or edge:
            closing = ahead[used - 1] + 1 if used else minute
            assert hours.reach(start, 60 * used, BOUNDARY_NEXT_OPENING) == first + minute * MINUTE
            assert hours.reach(start, 60 * used, BOUNDARY_CLOSING_TIME) == first + closing * MINUTE
            assert hours.between(start, first + minute * MINUTE) == 60 * used
    for used, minute in enumerate(reversed(behind), start=1):
        if used % 13 == 0:
            assert hours.subtract(start, 60 * used) == first + minute * MINUTE


def open_minutes(definition: CalendarDefinition, first: datetime) -> list[int]:
    """The minutes from `first` that the wall clock shows to be in service; slow, and read straight from the words."""
    zone = ZoneInfo(definition.time_zone)
    weekdays = {entry.weekday: entry.spans for entry in definition.weekdays}
    exceptions = {entry.date: entry.spans for entry in definition.exceptions}
    opened = []
    for minute in range(SCENE_MINUTES):
        local = (first + minute * MINUTE).astimezone(zone)
        weekday = weekdays.get(local.isoweekday(), ())
        today = exceptions.get(f"{local:%Y-%m-%d}", exceptions.get(f"{local:--%m-%d}", weekday))
        second = (local.hour * 60 + local.minute) * 60
        if any(span.from_s <= second < span.until_s for span in today):
            opened.append(minute)
    return opened


# What is turned away


@pytest.mark.parametrize(
    "zone",
    ["", "Mars/Olympus", "Europe", "../etc/passwd", "/etc/localtime", "localtime", "right/Europe/Berlin", "x" * 9999],
)
def test_a_zone_that_is_no_iana_name_is_invalid(zone: str) -> None:
    assert field_refused(definition(zone)) == "definition.time_zone"


@pytest.mark.parametrize("weekday", [-1, 0, 8])
def test_a_weekday_beyond_the_week_is_invalid(weekday: int) -> None:
    assert field_refused(definition(weekdays={1: OFFICE, weekday: OFFICE})) == "definition.weekdays[1].weekday"


def test_a_weekday_given_twice_is_invalid() -> None:
    twice = CalendarDefinition(time_zone="UTC", weekdays=[Weekday(weekday=1, spans=spans(OFFICE)), Weekday(weekday=1)])

    assert field_refused(twice) == "definition.weekdays[1].weekday"


@pytest.mark.parametrize(
    ("hours", "at"),
    [
        pytest.param([(-1, 5), (6, 7)], 0, id="before the day"),
        pytest.param([(0, 1), (5, DAY + 1)], 1, id="after the day"),
        pytest.param([(0, 1), (5, 5)], 1, id="empty"),
        pytest.param([(0, 1), (6, 5)], 1, id="backwards"),
        pytest.param([(0, 3), (2, 5)], 1, id="overlapping"),
        pytest.param([(5, 6), (1, 2)], 1, id="unsorted"),
    ],
)
def test_a_span_that_is_no_part_of_its_day_is_invalid(hours: Hours, at: int) -> None:
    assert field_refused(definition(weekdays={3: OFFICE, 5: hours})) == f"definition.weekdays[1].spans[{at}]"
    assert field_refused(definition(exceptions={"2024-01-15": hours})) == f"definition.exceptions[0].spans[{at}]"


@pytest.mark.parametrize(
    "day",
    [
        "",
        "2023-02-29",
        "0000-01-01",
        "--02-30",
        "2024-1-5",
        "20240105",
        "2024-W01-1",
        "-01-05",
        "2024-01-05 ",
        "٢٠٢٤-01-05",
    ],
)
def test_a_date_of_no_year_is_invalid(day: str) -> None:
    assert field_refused(definition(exceptions={"--01-01": (), day: ()})) == "definition.exceptions[1].date"


@pytest.mark.parametrize("day", ["2024-05-01", "--05-01"])
def test_an_exception_given_twice_is_invalid(day: str) -> None:
    twice = definition()
    twice.exceptions.extend([DateException(date=day), DateException(date=day, spans=spans(OFFICE))])

    assert field_refused(twice) == "definition.exceptions[1].date"


def test_more_than_the_bounds_is_invalid() -> None:
    days = [f"{date(2000, 1, 1) + timedelta(days=n)}" for n in range(MAX_EXCEPTIONS + 1)]
    minutes = [(120 * n, 120 * n + 60) for n in range(MAX_SPANS_A_DAY + 1)]

    assert field_refused(definition(exceptions=dict.fromkeys(days, ()))) == "definition.exceptions"
    assert field_refused(definition(weekdays={1: minutes})) == "definition.weekdays[0].spans"
    Calendar(definition(weekdays={1: minutes[1:]}, exceptions=dict.fromkeys(days[1:], ())))


def test_a_calendar_without_any_hours_is_invalid() -> None:
    assert field_refused(definition(weekdays={1: ()}, exceptions={"2024-05-01": ()})) == "definition.weekdays"


def field_refused(definition: CalendarDefinition) -> str:
    with pytest.raises(Invalid) as error:
        Calendar(definition)
    return error.value.field


def test_naive_times_and_negative_budgets_are_mistakes_of_the_caller() -> None:
    hours, aware, naive = calendar(), utc("2024-01-15"), datetime(2024, 1, 15)  # noqa: DTZ001

    mistakes: list[Callable[[], object]] = [
        lambda: hours.add(naive, 1),
        lambda: hours.subtract(naive, 1),
        lambda: hours.between(naive, aware),
        lambda: hours.between(aware, naive),
        lambda: hours.add(aware, -1),
        lambda: hours.subtract(aware, -1),
    ]
    for mistake in mistakes:
        with pytest.raises(ValueError, match=r"time zone|never negative"):
            mistake()
