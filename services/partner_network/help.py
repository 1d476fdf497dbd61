"""Who can help there, with that, and when; and why not the others. Pure: the partners of one company go in as they are."""

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from math import asin, cos, inf, radians, sin, sqrt
from typing import NamedTuple

from kept.partner_network.v1 import events_pb2 as e
from kept.partner_network.v1 import service_pb2 as m

from services.kernel.clock import micros, timestamp
from services.kernel.hours import Hours, read_weekdays, read_zone
from services.kernel.regions import areas_of, within
from services.partner_network.coverage import Need, barred, covering

MOST = 100
EARTH_KM = 6371.0088  # the mean radius (IUGG)


class Candidate(NamedTuple):
    """A partner with its agreements, and with the service points that are open."""

    summary: m.PartnerSummary
    signed: Sequence[e.AgreementSigned]
    points: Sequence[m.ServicePoint]


class Wanted(NamedTuple):
    """Help with a product, by a skill, at a place and a moment (UTC)."""

    place: e.Place
    product: str
    skill: str
    at: datetime

    def need(self, region: str | None) -> Need:
        return Need(region, self.product, self.skill, micros(self.at))


class Rank(NamedTuple):
    """The smaller the better: open ones first, admitted before on probation, then the nearest."""

    closed: bool
    on_probation: bool
    distance_km: float
    # How far one must zoom out for a region that both lie in: decides where no point is known.
    regions_apart: int
    names: tuple[str, ...]

    def by_nearness(self) -> "tuple[float, int, Rank]":
        """For where nobody can help: the nearest first."""
        return self.distance_km, self.regions_apart, self


Way = tuple[Rank, m.Helper]


def find_help(candidates: Sequence[Candidate], wanted: Wanted) -> m.FindHelpResponse:
    """At most 100 helpers, each with its nearest service point, and 100 others. Where nobody can help, `nearest` is who
    could but for the place. A place without a region is covered by no agreement: agreements go by region."""
    helpers: list[Way] = []
    others: list[m.NotEligible] = []
    for candidate in candidates:
        ways, why = _ways(candidate, wanted, wanted.place.region)
        if ways:
            helpers.append(min(ways, key=lambda way: way[0]))
        else:
            others.append(_not_eligible(candidate, why))
    helpers.sort(key=lambda found: found[0])
    others.sort(key=lambda one: (one.partner_name, one.partner_id))
    return m.FindHelpResponse(
        helpers=[helper for _, helper in helpers[:MOST]],
        others=others[:MOST],
        nearest=None if helpers else _nearest(candidates, wanted),
    )


def distance_km(one: e.Place, other: e.Place) -> float | None:
    """Along the great circle (haversine); None where a point is not known."""
    if not (one.HasField("latitude_deg") and other.HasField("latitude_deg")):
        return None
    north, others_north = radians(one.latitude_deg), radians(other.latitude_deg)
    east = radians(other.longitude_deg - one.longitude_deg)
    haversine = sin((others_north - north) / 2) ** 2 + cos(north) * cos(others_north) * sin(east / 2) ** 2
    return 2 * EARTH_KM * asin(min(1.0, sqrt(haversine)))


def _ways(candidate: Candidate, wanted: Wanted, region: str | None) -> tuple[Sequence[Way], m.WhyNot.ValueType]:
    """From which service points, by which agreements a partner can help in a region; or none, and why."""
    signed, uncovered = covering(candidate.signed, wanted.need(region))
    obstacle = barred(candidate.summary.state) or uncovered
    if obstacle is not None:
        return (), m.WhyNot.Value(f"WHY_NOT_{obstacle.name}")
    if not candidate.points:
        return (), m.WHY_NOT_NO_SERVICE_POINT
    ways = [_way(candidate.summary, one, point, wanted) for one in signed for point in candidate.points]
    return ways, m.WHY_NOT_UNSPECIFIED


def _nearest(candidates: Sequence[Candidate], wanted: Wanted) -> m.Helper | None:
    ways = [way for candidate in candidates for way in _ways(candidate, wanted, None)[0]]
    return min(ways, key=lambda way: way[0].by_nearness(), default=(None, None))[1]


def _way(partner: m.PartnerSummary, signed: e.AgreementSigned, point: m.ServicePoint, wanted: Wanted) -> Way:
    hours = _hours(signed.agreement.hours.SerializeToString(deterministic=True))
    opens_at = hours.next_open(wanted.at)
    distance = distance_km(wanted.place, point.place)
    helper = m.Helper(
        partner_id=partner.partner_id,
        partner_name=partner.name,
        state=partner.state,
        agreement_number=signed.number,
        service_point_id=point.service_point_id,
        service_point_name=point.name,
        place=point.place,
        distance_km=distance,
        open=opens_at == wanted.at,
        opens_at=None if opens_at == wanted.at else timestamp(opens_at),
    )
    rank = Rank(
        closed=not helper.open,
        on_probation=partner.state == e.ADMISSION_STATE_PROBATION,
        distance_km=inf if distance is None else distance,
        regions_apart=_regions_apart(wanted.place.region, point.place.region),
        names=(partner.name, partner.partner_id, signed.number, point.name, point.service_point_id),
    )
    return rank, helper


def _regions_apart(one: str, other: str) -> int:
    areas = areas_of(one)
    return next((zoom for zoom, area in enumerate(areas) if within(other, area)), len(areas))


def _not_eligible(candidate: Candidate, why: m.WhyNot.ValueType) -> m.NotEligible:
    return m.NotEligible(partner_id=candidate.summary.partner_id, partner_name=candidate.summary.name, why=why)


@lru_cache(maxsize=1024)
def _hours(packed: bytes) -> Hours:
    """Laid out once for all agreements that have the same."""
    hours = e.Hours.FromString(packed)
    return Hours(read_zone("time_zone", hours.time_zone), read_weekdays("weekdays", hours.weekdays))
