"""The company: headquarters and three regional companies, what they sell, what they promise, and their partners.

It makes heat pumps, boilers and what controls them. Its promises are typical of field service and tuned to nothing: with
waits as long as in the measured log, a good share of them is broken.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from kept.case.v1 import events_pb2 as case
from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import service_pb2 as notification
from kept.partner_network.v1 import events_pb2 as partner_events
from kept.partner_network.v1 import service_pb2 as partner
from kept.sla.v1 import events_pb2 as sla_events
from kept.sla.v1 import service_pb2 as sla

from services.cli.demo.chance import Chance
from services.cli.demo.names import partner_names
from services.cli.demo.places import AREAS, Area
from services.cli.demo.script import FIRST_DAY, Script, Step, day

HQ, NORTH, EAST, SOUTH = "hq", "north", "east", "south"
# Where the customers and the partner companies are, in percent of all.
CUSTOMERS_PERCENT = {HQ: 10, NORTH: 25, EAST: 40, SOUTH: 25}
PARTNERS_PERCENT = {HQ: 10, NORTH: 25, EAST: 40, SOUTH: 25}
PARTNERS = 40


@dataclass(frozen=True)
class Product:
    """`percent` of all that is installed; `launched` in a year, on sale ever since."""

    name: str
    stage: customer.ProductStage.ValueType
    percent: int
    launched: int


GATEWAY = Product("RT3 gateway", customer.PRODUCT_STAGE_GROWTH, 24, 2023)
PRODUCTS = (
    Product("HP6 heat pump", customer.PRODUCT_STAGE_LAUNCH, 8, 2025),
    GATEWAY,
    Product("WH80 water heater", customer.PRODUCT_STAGE_MATURE, 30, 2018),
    Product("GB24 boiler", customer.PRODUCT_STAGE_MATURE, 26, 2017),
    Product("GB18 boiler", customer.PRODUCT_STAGE_DECLINE, 12, 2012),
)
REPAIR, INSTALL, INSPECT = "repair", "install", "inspect"
CARE = "care-plus"  # the better level of service, for those who pay for it

HOUR = 3600
OFFICE, ALWAYS = "office", "always"
# Priority, calendar, seconds to own, seconds to resolve; as in the import of the real log.
TARGETS = (
    (case.PRIORITY_CRITICAL, ALWAYS, HOUR // 2, 4 * HOUR),
    (case.PRIORITY_HIGH, ALWAYS, 1 * HOUR, 8 * HOUR),
    (case.PRIORITY_MODERATE, OFFICE, 4 * HOUR, 40 * HOUR),
    (case.PRIORITY_LOW, OFFICE, 8 * HOUR, 80 * HOUR),
)
# A partner company works for us: waiting for it stops no clock.
PAUSES = (case.WAITING_FOR_CUSTOMER, case.WAITING_FOR_PARTS, case.WAITING_FOR_PROBLEM)
QINGMING = ("2026-04-04", "2026-04-05", "2026-04-06")
POLICY, RULES = "service-promises", "service-notices"


@dataclass
class Partner:
    """`suspended_at` is when it gets no offers any more; none is made shortly before."""

    tenant: str
    number: int
    name: str
    regions: tuple[str, ...]
    products: tuple[str, ...]
    skills: tuple[str, ...]
    points: tuple[Area, ...]
    state: partner_events.AdmissionState.ValueType = partner_events.ADMISSION_STATE_ADMITTED
    suspended_at: datetime | None = None
    id: str = ""  # once it is registered

    def can_help(self, region: str, product: str, skill: str, at: datetime) -> bool:
        """By its agreement, at a moment far enough from its suspension for the visit to be over."""
        free = self.suspended_at is None or at < self.suspended_at - timedelta(days=7)
        return free and region in self.regions and product in self.products and skill in self.skills


@dataclass
class Company:
    """What the scripts know of one another: partners, opened cases, lost deals."""

    seed: int
    rules: str  # YAML
    partners: list[Partner] = field(default_factory=list)
    cases: list["OpenedCase"] = field(default_factory=list)
    lost: list[tuple[str, str]] = field(default_factory=list)  # tenant and customer, of each deal

    def helpers(self, tenant: str, region: str, product: str, skill: str, at: datetime) -> list[Partner]:
        """Those on probation last."""
        able = [one for one in self.partners if one.tenant == tenant and one.can_help(region, product, skill, at)]
        return sorted(able, key=lambda one: one.state)


@dataclass(frozen=True)
class OpenedCase:
    number: int
    tenant: str
    customer_id: str
    case_id: str
    opened_at: datetime


def founded(seed: int, rules: str) -> Company:
    """The company with its partners as they are before the first day: one on probation, one to be suspended."""
    company = Company(seed, rules)
    chance = Chance(seed, "partners")
    places = [
        (tenant, area) for tenant in AREAS for area in _spread(AREAS[tenant], _part(PARTNERS, PARTNERS_PERCENT, tenant))
    ]
    names = partner_names(chance, [area for _, area in places])
    for number, ((tenant, area), name) in enumerate(zip(places, names, strict=True)):
        company.partners.append(_partner(chance, tenant, number, name, area))
    in_north = [one for one in company.partners if one.tenant == NORTH]
    in_north[-1].state = partner_events.ADMISSION_STATE_PROBATION
    in_south = [one for one in company.partners if one.tenant == SOUTH]
    in_south[-1].suspended_at = day(20, 10)
    return company


def _part(whole: int, percent: dict[str, int], tenant: str) -> int:
    return whole * percent[tenant] // 100


def _spread(areas: tuple[Area, ...], count: int) -> Iterator[Area]:
    for number in range(count):
        yield areas[number % len(areas)]


def _partner(chance: Chance, tenant: str, number: int, name: str, home: Area) -> Partner:
    """It serves its home and one or two other districts of the same company, with most of the products."""
    others = chance.some_of([area for area in AREAS[tenant] if area is not home], chance.within(1, 2))
    products = chance.some_of([product.name for product in PRODUCTS], chance.within(3, len(PRODUCTS)))
    skills = (REPAIR, *chance.some_of((INSTALL, INSPECT), chance.within(1, 2)))
    points = (home, *others[: chance.within(0, 1)])
    return Partner(
        tenant, number, name, tuple(sorted(one.code for one in (home, *others))), tuple(products), skills, points
    )


def opening(company: Company, tenant: str) -> Script:
    """Publishes what the tenant promises and how it tells; every company does it for itself."""
    actor = f"user:quality.{tenant}"

    def step(request: object) -> Step:
        return Step(FIRST_DAY, tenant, actor, "sla", request)

    for name, days, hours in ((OFFICE, 6, ((8.5, 12), (13, 18))), (ALWAYS, 7, ((0, 24),))):
        definition = calendar(days, hours, closed=QINGMING if name == OFFICE else ())
        yield step(sla.PublishCalendarRequest(name=name, definition=definition))
    yield step(sla.PublishPolicyRequest(name=POLICY, definition=policy()))
    publish = notification.PublishRuleSetRequest(name=RULES, source=company.rules)
    yield Step(FIRST_DAY, tenant, actor, "notification", publish)


def calendar(
    days: int, hours: tuple[tuple[float, float], ...], closed: tuple[str, ...]
) -> sla_events.CalendarDefinition:
    spans = [sla_events.Span(from_s=int(since * HOUR), until_s=int(until * HOUR)) for since, until in hours]
    return sla_events.CalendarDefinition(
        time_zone="Asia/Shanghai",
        weekdays=[sla_events.Weekday(weekday=number, spans=spans) for number in range(1, days + 1)],
        exceptions=[sla_events.DateException(date=date) for date in closed],
    )


def policy() -> sla_events.PolicyDefinition:
    """Two targets for each priority; twice as fast for the better level of service, and for what is new on the market."""
    rules = []
    for priority, hours, own_s, resolve_s in TARGETS:
        for target, budget_s in (
            (sla_events.TARGET_KIND_TIME_TO_OWN, own_s),
            (sla_events.TARGET_KIND_TIME_TO_RESOLVE, resolve_s),
        ):
            plain = sla_events.TargetRule(
                target=target,
                priority=priority,
                budget_s=budget_s,
                calendar=hours,
                warn_percents=[75],
                on_reopen=sla_events.ON_REOPEN_RESUME,
                boundary=sla_events.BOUNDARY_CLOSING_TIME,
                pause_on=PAUSES if target == sla_events.TARGET_KIND_TIME_TO_RESOLVE else (),
            )
            for better in ({"entitlement": CARE}, {"product_stage": customer.PRODUCT_STAGE_LAUNCH}):
                faster = sla_events.TargetRule(**better)
                faster.MergeFrom(plain)
                faster.budget_s = budget_s // 2
                rules.append(faster)
            rules.append(plain)
    return sla_events.PolicyDefinition(rules=rules)


def joining(company: Company, joined: Partner) -> Script:
    """A partner company, from its registration some years ago until it could be asked."""
    chance = Chance(company.seed, f"partner/{joined.number}")
    since = FIRST_DAY - timedelta(days=chance.within(200, 1500))
    actor = f"user:partners.{joined.tenant}"

    def step(request: object, after_days: int = 0) -> Step:
        return Step(since + timedelta(days=after_days), joined.tenant, actor, "partner_network", request)

    receipt = yield step(partner.RegisterPartnerRequest(name=joined.name))
    joined.id = receipt.id
    reason = (
        "fewer than three certified technicians"
        if joined.state != partner_events.ADMISSION_STATE_ADMITTED
        else "audited"
    )
    yield step(partner.DecideAdmissionRequest(partner_id=joined.id, state=joined.state, reason=reason), 20)
    number = f"{joined.tenant.upper()}-{since.year}-{joined.number:03d}"
    signed = partner.SignAgreementRequest(partner_id=joined.id, number=number, agreement=_agreement(joined, since))
    yield step(signed, 21)
    for area in joined.points:
        point = partner_events.Place(region=area.code, latitude_deg=area.latitude_deg, longitude_deg=area.longitude_deg)
        name = f"{area.chinese_city}{area.chinese}服务点"
        yield step(partner.OpenServicePointRequest(partner_id=joined.id, name=name, place=point), 22)


def _agreement(joined: Partner, since: datetime) -> partner_events.Agreement:
    hours = calendar(6, ((8, 18),), closed=())
    return partner_events.Agreement(
        regions=joined.regions,
        products=joined.products,
        skills=joined.skills,
        hours=partner_events.Hours(time_zone=hours.time_zone, weekdays=hours.weekdays),
        valid_from=Timestamp(seconds=int((since + timedelta(days=21)).timestamp())),
    )


def suspension(suspended: Partner) -> Script:
    """It gets no offers from then on."""
    assert suspended.suspended_at is not None
    request = partner.DecideAdmissionRequest(
        partner_id=suspended.id,
        state=partner_events.ADMISSION_STATE_SUSPENDED,
        reason="its gas certificate has expired",
    )
    yield Step(
        suspended.suspended_at, suspended.tenant, f"user:partners.{suspended.tenant}", "partner_network", request
    )
