"""One outage: gateways of two cities in the east cannot reach their server for half a morning.

A few customers call before anybody knows. What is affected is first guessed too wide in one place and too narrow in
another; the root cause corrects it. Made up, as outages are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp
from kept.case.v1 import events_pb2 as e
from kept.case.v1 import service_pb2 as case
from kept.customer.v1 import events_pb2 as customer_events

from services.cli.demo.chance import Chance
from services.cli.demo.company import EAST, GATEWAY, Company
from services.cli.demo.customers import Customer, Item
from services.cli.demo.handling import Call, Handling
from services.cli.demo.needs import OFFLINE
from services.cli.demo.script import GRID, Part, Script, Step, Wait, day, on_grid

DAY = 45
# After midnight of its day.
BEGAN, OPENED, CAUSE_FOUND, RESOLVED = (
    timedelta(hours=hour, minutes=minute) for hour, minute in ((6, 40), (9, 0), (10, 0), (12, 30))
)
CALLED_EARLY, CALLED_LATE = (BEGAN, OPENED), (CAUSE_FOUND, RESOLVED - timedelta(hours=1))
HANGZHOU, SHANGHAI, SUZHOU = "330100", "310100", "320500"
FIRST_GUESS, REALLY = (HANGZHOU, SHANGHAI), (HANGZHOU, SUZHOU)
# Who calls on an affected gateway: before it was known, and after they were told.
EARLY, LATE = 7, 3
ACTOR = "user:operations.east"


@dataclass
class Outage:
    company: Company
    midnight: datetime
    problem_id: str = ""  # once it is opened


def outage(company: Company, customers: Sequence[Customer], *, on: int, first_number: int) -> Iterator[Part]:
    """The problem's own script and the callers'."""
    chance, of = Chance(company.seed, "outage"), Outage(company, day(on))
    touched = [one for one in customers if one.tenant == EAST and f"{one.area.code[:4]}00" in REALLY and _gateway(one)]
    callers = chance.some_of(touched, EARLY + LATE)
    yield Part("outage", of.midnight + OPENED, _problem(of))
    for number, one in enumerate(callers):
        since, until = CALLED_EARLY if number < EARLY else CALLED_LATE
        at = on_grid(of.midnight + since + GRID * chance.within(1, (until - since) // GRID - 2))
        call = Call(first_number + number, at, one, _gateway(one), OFFLINE)
        yield Part(f"outage-call-{number}", at, _caller(of, call))


def _gateway(one: Customer) -> Item | None:
    return next((item for item in one.items if item.product is GATEWAY), None)


def _problem(of: Outage) -> Script:
    opened = case.OpenProblemRequest(
        title="RT3 gateways offline",
        scope=_scope(of, FIRST_GUESS),
        priority=e.PRIORITY_HIGH,
        expected_until=_told(of.midnight + RESOLVED - timedelta(minutes=20)),
    )
    of.problem_id = (yield Step(of.midnight + OPENED, EAST, ACTOR, "case", opened)).id
    cause = case.FindRootCauseRequest(
        problem_id=of.problem_id,
        cause="the certificate of the message server for Hangzhou and Suzhou had expired",
        scope=_scope(of, REALLY),
        expected_until=_told(of.midnight + RESOLVED + timedelta(minutes=40)),
    )
    yield Step(of.midnight + CAUSE_FOUND, EAST, ACTOR, "case", cause)
    remedy = case.ResolveProblemRequest(
        problem_id=of.problem_id, remedy="certificate renewed; renewal is watched from now on"
    )
    yield Step(of.midnight + RESOLVED, EAST, ACTOR, "case", remedy)
    closed = case.CloseProblemRequest(problem_id=of.problem_id, reason="no gateway offline for a day")
    yield Step(of.midnight + RESOLVED + timedelta(days=1), EAST, ACTOR, "case", closed)


def _caller(of: Outage, call: Call) -> Script:
    """A case of the outage: linked to the problem once it is known, and resolved with it."""
    case_ = Handling(of.company, call, Chance(of.company.seed, f"case/{call.number}"))
    yield from case_.opened(e.PRIORITY_HIGH, customer_events.CHANNEL_PHONE)
    yield from case_.owned("controls", timedelta(minutes=10))
    case_.at = max(case_.at, of.midnight + OPENED) + GRID
    yield Wait(case_.at)
    link = case.LinkCaseRequest(problem_id=of.problem_id, case_id=case_.id)
    yield case_.step(link, actor=ACTOR)
    yield from case_.waits("problem", of.midnight + RESOLVED + GRID - case_.at)
    yield from case_.resolved("the outage is over", GRID)
    yield from case_.closed()


def _scope(of: Outage, regions: tuple[str, ...]) -> e.Scope:
    return e.Scope(product=GATEWAY.name, regions=regions, began_at=_told(of.midnight + BEGAN))


def _told(at: datetime) -> Timestamp:
    return Timestamp(seconds=int(at.timestamp()))
