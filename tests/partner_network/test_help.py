"""Who can help: the answer equals one that is worked out by brute force, from the words of the contract alone."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kept.partner_network.v1 import events_pb2 as e
from kept.partner_network.v1 import service_pb2 as m
from kept.sla.v1.events_pb2 import Span, Weekday

from services.kernel.clock import moment_of, timestamp
from services.partner_network.help import Candidate, Wanted, distance_km, find_help

NAMES = UUID("5d0b5b0e-8f0e-4f57-9d0a-6f0f0d6f7a11")
MONDAY = datetime(2024, 5, 6, tzinfo=UTC)
HOUR = timedelta(hours=1)
ZONES = ("Asia/Shanghai", "America/Sao_Paulo", "UTC")
# Each region with all that it lies in.
INSIDE = {
    "330106": {"330106", "330100", "330000"},
    "330122": {"330122", "330100", "330000"},
    "330100": {"330100", "330000"},
    "330200": {"330200", "330000"},
    "330000": {"330000"},
    "310000": {"310000"},
    "yard 7": {"yard 7"},
    "": set[str](),
}
# What is looked for is often there, so that there is something to put in order.
REGIONS = st.sampled_from(["330100", "330000", *(name for name in INSIDE if name)])
THINGS = st.sampled_from([["a"], ["a", "b"], ["b", "a"], ["b"]])
STATES = st.sampled_from([e.ADMISSION_STATE_ADMITTED, e.ADMISSION_STATE_PROBATION, *e.AdmissionState.values()])
MOMENTS = st.integers(0, 48).map(lambda halves: MONDAY + halves * HOUR / 2)


class Signed(NamedTuple):
    """An agreement in plain Python; hours are (zone, weekday from 0, opens, closes)."""

    number: str
    regions: list[str]
    products: list[str]
    skills: list[str]
    hours: tuple[str, list[tuple[int, int, int]]]
    valid_from: datetime
    valid_until: datetime | None


class Company(NamedTuple):
    id: str
    name: str
    state: int
    signed: list[Signed]
    points: list[tuple[str, str, e.Place]]


@st.composite
def places(draw: st.DrawFn) -> e.Place:
    region, point = draw(st.one_of(REGIONS, st.just(""))), draw(st.booleans())
    if not region or point:
        # Not so many that none are equally far.
        latitude, longitude = draw(st.sampled_from([-90, 0, 30.25, 90])), draw(st.sampled_from([-180, 0, 120.5, 180]))
        return e.Place(region=region, latitude_deg=latitude, longitude_deg=longitude)
    return e.Place(region=region)


@st.composite
def signings(draw: st.DrawFn) -> Signed:
    days = draw(st.sampled_from([range(7), range(7), range(1), range(2, 5)]))
    opens = draw(st.sampled_from([0, 0, 9, 23]))
    spans = [(day, opens, draw(st.integers(opens + 1, 24))) for day in sorted(days)]
    return Signed(
        number=draw(st.sampled_from(["C-1", "C-2", "C-3"])),
        regions=draw(st.lists(REGIONS, min_size=2, max_size=4)),
        products=draw(THINGS),
        skills=draw(THINGS),
        hours=(draw(st.sampled_from(ZONES)), spans),
        valid_from=MONDAY + draw(st.sampled_from([-5, -5, 0, 3])) * HOUR,
        valid_until=draw(st.one_of(st.none(), MOMENTS.map(lambda at: at + 15 * HOUR))),
    )


@st.composite
def companies(draw: st.DrawFn) -> list[Company]:
    made = []
    for number in range(draw(st.sampled_from([6, 6, 3, 1, 0]))):
        points = [
            (str(uuid5(NAMES, f"{number}/{at}")), draw(st.sampled_from(["north", "south"])), draw(places()))
            for at in range(draw(st.sampled_from([1, 3, 2, 0])))
        ]
        signed = draw(
            st.lists(signings(), min_size=draw(st.integers(0, 1)), max_size=3, unique_by=lambda one: one.number)
        )
        name = draw(st.sampled_from(["Fast", "Slow"]))
        made.append(Company(str(uuid5(NAMES, str(number))), name, draw(STATES), signed, points))
    return made


# By brute force


def opening(signed: Signed, at: datetime) -> datetime:
    """When they work at that moment or next, found by looking every half hour."""
    zone, spans = signed.hours
    while True:
        local = at.astimezone(ZoneInfo(zone))
        hour = local.hour + local.minute / 60
        if any(day == local.weekday() and opens <= hour < closes for day, opens, closes in spans):
            return at
        at += HOUR / 2


def far(one: e.Place, other: e.Place) -> float | None:
    """By the angle between two directions from the middle of the earth."""
    if not one.HasField("longitude_deg") or not other.HasField("longitude_deg"):
        return None
    vectors = []
    for place in (one, other):
        north, east = math.radians(place.latitude_deg), math.radians(place.longitude_deg)
        vectors.append((math.cos(north) * math.cos(east), math.cos(north) * math.sin(east), math.sin(north)))
    (x, y, z), (u, v, w) = vectors
    across = math.hypot(y * w - z * v, z * u - x * w, x * v - y * u)
    return 6371.0088 * math.atan2(across, x * u + y * v + z * w)


def why_not(company: Company, wanted: Wanted) -> int:
    if company.state in (e.ADMISSION_STATE_UNSPECIFIED, e.ADMISSION_STATE_SUSPENDED):
        return m.WHY_NOT_SUSPENDED if company.state else m.WHY_NOT_NOT_ADMITTED
    reasons = [reason(signed, wanted) for signed in company.signed]
    # The one that came the furthest says why.
    worst = max(reasons, default=m.WHY_NOT_NO_AGREEMENT)
    if worst == 99 and not company.points:
        return m.WHY_NOT_NO_SERVICE_POINT
    return worst


def reason(signed: Signed, wanted: Wanted, *, anywhere: bool = False) -> int:
    """What the agreement fails at first; 99 at nothing."""
    if wanted.at < signed.valid_from or (signed.valid_until is not None and wanted.at >= signed.valid_until):
        return m.WHY_NOT_NO_AGREEMENT
    if not anywhere and INSIDE[wanted.place.region].isdisjoint(signed.regions):
        return m.WHY_NOT_REGION
    if wanted.product not in signed.products:
        return m.WHY_NOT_PRODUCT
    return 99 if wanted.skill in signed.skills else m.WHY_NOT_SKILL


def better(one: m.Helper, other: m.Helper) -> bool:
    """Whether the contract lets nothing come between them in this order."""
    if one.open != other.open:
        return one.open
    if one.state != other.state:
        return one.state == e.ADMISSION_STATE_ADMITTED
    return near(one) <= near(other) + 0.001


def near(helper: m.Helper) -> float:
    return helper.distance_km if helper.HasField("distance_km") else math.inf


@settings(max_examples=300, deadline=None)
@given(companies(), places(), st.sampled_from("aab"), st.sampled_from("aab"), MOMENTS)
def test_the_answer_is_what_brute_force_finds(
    network: list[Company], place: e.Place, product: str, skill: str, at: datetime
) -> None:
    wanted = Wanted(place, product, skill, at)
    answer = find_help([candidate(company) for company in network], wanted)
    by_id = {company.id: company for company in network}
    verdicts = {company.id: why_not(company, wanted) for company in network}

    assert {helper.partner_id for helper in answer.helpers} == {who for who, why in verdicts.items() if why == 99}
    assert len(answer.helpers) + len(answer.others) == len(network)
    for helper in answer.helpers:
        check(helper, by_id[helper.partner_id], wanted, anywhere=False)
        assert near(helper) <= min(distances(by_id[helper.partner_id], wanted)) + 0.001
    for one, other in pairwise(answer.helpers):
        assert better(one, other)
    wrong = sorted((by_id[who].name, who, why) for who, why in verdicts.items() if why != 99)
    assert [(one.partner_name, one.partner_id, one.why) for one in answer.others] == wrong
    check_nearest(answer, network, wanted)


def check(helper: m.Helper, company: Company, wanted: Wanted, *, anywhere: bool) -> None:
    """All that it says of one of the company's agreements and of one of its service points."""
    (signed,) = (one for one in company.signed if one.number == helper.agreement_number)
    (point,) = (one for one in company.points if one[0] == helper.service_point_id)
    assert reason(signed, wanted, anywhere=anywhere) == 99
    assert (helper.partner_name, helper.state) == (company.name, company.state)
    assert (helper.service_point_name, helper.place) == point[1:]
    opens_at = opening(signed, wanted.at)
    assert helper.open == (opens_at == wanted.at)
    assert helper.HasField("opens_at") != helper.open
    assert helper.open or moment_of(helper.opens_at) == opens_at
    distance = far(wanted.place, helper.place)
    assert helper.HasField("distance_km") == (distance is not None)
    assert distance is None or helper.distance_km == pytest.approx(distance, abs=0.001)


def check_nearest(answer: m.FindHelpResponse, network: Sequence[Company], wanted: Wanted) -> None:
    able = [
        company
        for company in network
        if company.state in (e.ADMISSION_STATE_ADMITTED, e.ADMISSION_STATE_PROBATION)
        and company.points
        and any(reason(signed, wanted, anywhere=True) == 99 for signed in company.signed)
    ]
    assert answer.HasField("nearest") == (not answer.helpers and bool(able))
    if answer.HasField("nearest"):
        (company,) = (one for one in able if one.id == answer.nearest.partner_id)
        check(answer.nearest, company, wanted, anywhere=True)
        least = min(distance for one in able for distance in distances(one, wanted))
        assert near(answer.nearest) <= least + 0.001


def distances(company: Company, wanted: Wanted) -> list[float]:
    found = [far(wanted.place, place) for _, _, place in company.points]
    return [math.inf if distance is None else distance for distance in found]


def candidate(company: Company) -> Candidate:
    """As the views have it."""
    summary = m.PartnerSummary(
        partner_id=company.id,
        name=company.name,
        state=company.state,  # type: ignore[arg-type]  # one of the enum's
    )
    points = [
        m.ServicePoint(service_point_id=point_id, partner_id=company.id, name=name, place=place)
        for point_id, name, place in company.points
    ]
    return Candidate(summary, [as_message(one) for one in company.signed], points)


def as_message(signed: Signed) -> e.AgreementSigned:
    zone, spans = signed.hours
    weekdays = [
        Weekday(weekday=day + 1, spans=[Span(from_s=opens * 3600, until_s=closes * 3600)])
        for day, opens, closes in spans
    ]
    agreement = e.Agreement(
        regions=signed.regions,
        products=signed.products,
        skills=signed.skills,
        hours=e.Hours(time_zone=zone, weekdays=weekdays),
        valid_from=timestamp(signed.valid_from),
        valid_until=timestamp(signed.valid_until) if signed.valid_until else None,
    )
    return e.AgreementSigned(number=signed.number, agreement=agreement)


# In words


ALWAYS = ("UTC", [(day, 0, 24) for day in range(7)])
NEVER_NOW = ("UTC", [(1, 9, 17)])  # on Tuesdays
HANGZHOU, SHANGHAI = (30.25, 120.17), (31.23, 121.47)


def company(
    name: str,
    state: int = e.ADMISSION_STATE_ADMITTED,
    hours: tuple[str, list[tuple[int, int, int]]] = ALWAYS,
    point: tuple[float, float] | None = HANGZHOU,
    region: str = "330106",
    of: str = "330100",
) -> Company:
    place = e.Place(region=region)
    if point is not None:
        place.latitude_deg, place.longitude_deg = point
    signed = Signed("C-1", [of], ["router"], ["fibre"], hours, MONDAY - HOUR, None)
    return Company(str(uuid5(NAMES, name)), name, state, [signed], [(str(uuid5(NAMES, f"{name}/p")), "yard", place)])


def asked(network: list[Company], region: str = "330122", point: tuple[float, float] | None = HANGZHOU) -> Wanted:
    place = e.Place(region=region)
    if point is not None:
        place.latitude_deg, place.longitude_deg = point
    return Wanted(place, "router", "fibre", MONDAY)


def helpers(network: list[Company]) -> list[str]:
    answer = find_help([candidate(one) for one in reversed(network)], asked(network))
    return [helper.partner_name for helper in answer.helpers]


def nearest(network: list[Company], wanted: Wanted) -> str:
    return find_help([candidate(one) for one in network], wanted).nearest.partner_name


def test_open_ones_come_first_then_the_admitted_then_the_near() -> None:
    probation = e.ADMISSION_STATE_PROBATION

    assert helpers(
        [
            company("here"),
            company("an hour away", point=SHANGHAI),
            company("somewhere", point=None),
            company("on probation here", probation),
            company("on probation away", probation, point=SHANGHAI),
            company("closed here", hours=NEVER_NOW),
            company("closed on probation", probation, NEVER_NOW),
        ]
    ) == [
        "here", "an hour away", "somewhere", "on probation here", "on probation away", "closed here",
        "closed on probation",
    ]  # fmt: skip


def test_at_most_a_hundred_are_named_of_each() -> None:
    many = [company(f"P{number:03}") for number in range(120)]
    suspended = [company(f"S{number:03}", e.ADMISSION_STATE_SUSPENDED) for number in range(120)]

    answer = find_help([candidate(one) for one in [*many, *suspended]], asked(many))
    assert [one.partner_name for one in answer.helpers] == [f"P{number:03}" for number in range(100)]
    assert [one.partner_name for one in answer.others] == [f"S{number:03}" for number in range(100)]


def test_where_nobody_can_help_the_nearest_is_named_whatever_its_hours() -> None:
    near, away = company("near", hours=NEVER_NOW, of="310000"), company("away", point=SHANGHAI, of="310000")

    assert nearest([away, near], asked([])) == "near"


def test_where_points_are_known_the_distance_decides_whatever_the_region() -> None:
    near = company("near", region="310000", of="310000")
    away = company("away", point=SHANGHAI, region="330122", of="310000")

    assert nearest([away, near], asked([])) == "near"


def test_where_no_point_is_known_the_smaller_region_that_both_lie_in_is_nearer() -> None:
    network = [
        company("another province", region="310000", of="310000"),
        company("the same province", region="330200", of="310000"),
        company("the same city", region="330106", of="310000"),
    ]

    assert nearest(network, asked(network, point=None)) == "the same city"
    assert nearest(network[:2], asked(network, point=None)) == "the same province"


def test_a_point_without_a_region_is_covered_by_nobody_and_told_the_nearest() -> None:
    network = [company("here"), company("away", point=SHANGHAI)]
    answer = find_help([candidate(one) for one in network], asked(network, region=""))

    assert {one.why for one in answer.others} == {m.WHY_NOT_REGION}
    assert answer.nearest.partner_name == "here"


@pytest.mark.parametrize(
    ("one", "other", "km"),
    [
        (HANGZHOU, HANGZHOU, 0),
        (HANGZHOU, SHANGHAI, 165.2),
        ((52.52, 13.405), (48.8566, 2.3522), 877.5),  # Berlin to Paris
        ((0, 179.5), (0, -179.5), 111.2),  # over the date line
        ((90, 0), (-90, 0), 20015.1),
        ((0, 0), (0, 180), 20015.1),
    ],
)
def test_distances_are_those_of_the_great_circle(
    one: tuple[float, float], other: tuple[float, float], km: float
) -> None:
    places = [e.Place(latitude_deg=latitude, longitude_deg=longitude) for latitude, longitude in (one, other)]

    assert distance_km(*places) == pytest.approx(km, abs=0.1)
    assert distance_km(places[0], e.Place(region="330106")) is None
