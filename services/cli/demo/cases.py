"""Sixty days of cases: when they come, and what is done about each until it is closed.

Rates and durations are measured (`figures`). The measured log knows no visits and no kinds but incidents; what is said of
those here is made up: the share of cases with a visit, and how partner companies answer.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from kept.case.v1 import events_pb2 as e
from kept.case.v1 import service_pb2 as case
from kept.customer.v1 import events_pb2 as customer_events

from services.cli.demo.chance import Chance
from services.cli.demo.company import Company
from services.cli.demo.customers import Customer
from services.cli.demo.figures import FIGURES
from services.cli.demo.handling import Call, Handling
from services.cli.demo.names import STAFF
from services.cli.demo.needs import NEEDS, OFFER, SHARES, UPDATE
from services.cli.demo.script import DAYS, FIRST_DAY, GRID, Part, Script, on_grid
from services.cli.demo.visits import visit

CHANNELS = {
    "Phone": customer_events.CHANNEL_PHONE,
    "IVR": customer_events.CHANNEL_PHONE,
    "Email": customer_events.CHANNEL_EMAIL,
    "Self service": customer_events.CHANNEL_APP,
}
PRIORITIES = {
    "1 - Critical": e.PRIORITY_CRITICAL,
    "2 - High": e.PRIORITY_HIGH,
    "3 - Moderate": e.PRIORITY_MODERATE,
    "4 - Low": e.PRIORITY_LOW,
}
TEAMS = ("hotline", "heating", "controls", "field service", "spare parts", "quality")
OUTCOMES = ("part replaced", "settings corrected", "explained by phone", "restarted and tested", "cleaned and tested")
UPDATED_SHARE = 0.4
# Of the measured rate, so that sixty days of two thousand customers are played in about a minute.
TOLD_SHARE = 0.4


def all_calls(seed: int, customers: Sequence[Customer], days: int = DAYS) -> list[Call]:
    """In the order of their time: when as measured, and fewer than that."""
    chance = Chance(seed, "calls")
    count = round(len(customers) * FIGURES.cases_per_caller_in_60_days * TOLD_SHARE * days / DAYS)
    moments = sorted(_moment(chance, days) for _ in range(count))
    return [_call(Chance(seed, f"call/{number}"), number, at, customers) for number, at in enumerate(moments)]


def _moment(chance: Chance, days: int) -> datetime:
    weekday_of_first = FIRST_DAY.isoweekday()
    shares = {
        str(number): FIGURES.arrivals_by_weekday[str((weekday_of_first - 1 + number) % 7 + 1)] for number in range(days)
    }
    day, hour = int(chance.by_share(shares)), int(chance.by_share(FIGURES.arrivals_by_hour))
    return on_grid(FIRST_DAY + timedelta(days=day, hours=hour, minutes=chance.within(0, 59)))


def _call(chance: Chance, number: int, at: datetime, customers: Sequence[Customer]) -> Call:
    one = chance.one_of(customers)
    need = OFFER if one.prospect else NEEDS[int(chance.by_share(SHARES))]
    return Call(number, at, one, chance.one_of(one.items) if one.items else None, need)


def course(company: Company, call: Call) -> Script:
    """A case from its first word to its closing."""
    chance = Chance(company.seed, f"case/{call.number}")
    case_ = Handling(company, call, chance)
    rank = chance.by_share(FIGURES.priorities)
    channel = CHANNELS.get(chance.by_share(FIGURES.channels), customer_events.CHANNEL_UNSPECIFIED)
    yield from case_.opened(PRIORITIES[rank], channel)
    at_once = chance.happens(FIGURES.acknowledged_at_once)
    yield from case_.owned(TEAMS[0], timedelta(0) if at_once else chance.lasts(FIGURES.minutes_to_acknowledge))
    if chance.happens(UPDATED_SHARE):
        text = UPDATE[call.of.named.language]
        yield case_.step(case.AddNoteRequest(case_id=case_.id, audience=e.NOTE_AUDIENCE_CUSTOMER, text=text), GRID)
    yield from _worked(case_, chance.lasts(FIGURES.minutes_of_work[rank]))
    came = yield from visit(case_)
    yield from case_.resolved("visited: " + came if came else chance.one_of(OUTCOMES), GRID if came else timedelta(0))
    if chance.happens(FIGURES.reopened):
        again = chance.lasts(FIGURES.minutes_until_reopened)
        yield case_.step(case.ReopenRequest(case_id=case_.id, reason="the customer says that it is back"), again)
        yield from case_.resolved(chance.one_of(OUTCOMES), chance.lasts(FIGURES.minutes_of_work[rank]))
    yield from case_.closed()


def _worked(case_: Handling, work: timedelta) -> Script:
    """The work, cut by reassignments and waits."""
    chance = case_.chance
    teams = chance.some_of(TEAMS[1:], int(chance.by_share(FIGURES.reassigned_times)))
    waits = [reason for reason, share in FIGURES.held_for.items() if chance.happens(share)]
    part = work / (len(teams) + 1)
    for team in teams:
        assignee = chance.one_of(STAFF)
        yield case_.step(case.AssignRequest(case_id=case_.id, team=team, assignee=assignee), part)
    for reason in waits:
        yield from case_.waits(reason, chance.lasts(FIGURES.minutes_held_for[reason]))
    case_.at += part


def courses(company: Company, calls: Sequence[Call]) -> Iterator[Part]:
    return (Part(f"case-{call.number}", call.at, course(company, call), call.of.number) for call in calls)
