"""A visit for a case: offered to partner companies, round by round, until one takes it, comes, and is done.

Made up, and not measured: how often somebody has to come, how the companies answer, and how punctual they are.
"""

from collections.abc import Generator, Sequence
from datetime import datetime, timedelta
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from kept.case.v1 import service_pb2 as case
from kept.partner_network.v1 import events_pb2 as e
from kept.partner_network.v1 import service_pb2 as partner

from services.cli.demo.company import Partner
from services.cli.demo.handling import Handling
from services.cli.demo.names import chinese_name
from services.cli.demo.script import GRID, Script, Step, Wait, at_work, on_grid

VISITED_SHARE = 0.5  # of the cases that need a skill on site
ANSWERS = {"accepted": 0.72, "declined": 0.16, "expired": 0.12}
ROUNDS = 3  # somebody always takes the last one
ON_TIME_SHARE = 0.88
OFFER_LASTS = timedelta(hours=3)
WINDOW = timedelta(hours=3)
DONE = ("heating element replaced", "control board replaced", "seal replaced", "installed and tested", "maintained")
DECLINED = ("no technician free that day", "the part is not in stock", "too far for that day")


def visit(case_: Handling) -> Generator[Step | Wait, Any, str]:
    """Gives what was done; nothing where nobody has to come, or nobody could."""
    item, skill = case_.call.item, case_.call.need.skill
    if not item or not skill or not case_.chance.happens(VISITED_SHARE):
        return ""
    case_.at = _offering(case_.at)
    of = case_.call.of
    helpers = case_.company.helpers(of.tenant, of.area.code, item.product.name, skill, case_.at)
    if not helpers:
        return ""
    order_id, taker, window = yield from _taken(case_, helpers, product=item.product.name, skill=skill)
    yield case_.step(case.AssignRequest(case_id=case_.id, partner=taker.name))
    return (yield from _done(case_, order_id, taker, window))


def _taken(
    case_: Handling, helpers: Sequence[Partner], *, product: str, skill: str
) -> Generator[Step | Wait, Any, tuple[str, Partner, tuple[datetime, datetime]]]:
    """The work order, who has it, and when they come."""
    chance, order_id = case_.chance, ""
    for last in (number == ROUNDS for number in range(1, ROUNDS + 1)):
        asked = chance.some_of(helpers, chance.within(1, 3))
        window = _window(case_)
        terms: dict[str, Any] = {
            "partner_ids": [one.id for one in asked],
            "window": e.VisitWindow(**{"from": _told(window[0]), "until": _told(window[1])}),
            "expires_at": _told(case_.at + OFFER_LASTS),
        }
        if not order_id:
            region = case_.call.of.area.code
            request = partner.OfferWorkOrderRequest(
                case_id=case_.id, product=product, skill=skill, region=region, **terms
            )
            receipt = yield case_.step(request, service="partner_network")
            order_id = receipt.id
        else:
            again = partner.ReofferWorkOrderRequest(work_order_id=order_id, **terms)
            yield case_.step(again, service="partner_network")
        answer = "accepted" if last else chance.by_share(ANSWERS)
        if answer == "accepted":
            yield from _accepted(case_, order_id, asked[0])
            return order_id, asked[0], window
        if answer == "declined":
            yield from _declined(case_, order_id, asked)
            case_.at = _offering(case_.at)
        else:
            case_.at = _offering(case_.at + OFFER_LASTS)
    raise AssertionError("the last round is accepted")


def _offering(after: datetime) -> datetime:
    """The next moment at which those who are asked can still answer on the same day."""
    at = on_grid(at_work(after + GRID))
    return at if at_work(at + OFFER_LASTS) == at + OFFER_LASTS else at_work(at + OFFER_LASTS)


def _window(case_: Handling) -> tuple[datetime, datetime]:
    """The next working day or the one after, in the morning or in the afternoon."""
    day = at_work(case_.at.replace(hour=9, minute=0) + timedelta(days=case_.chance.within(1, 2)))
    begins = day.replace(hour=case_.chance.one_of((9, 14)), minute=0)
    return begins, begins + WINDOW


def _accepted(case_: Handling, order_id: str, taker: Partner) -> Script:
    request = partner.AcceptWorkOrderRequest(
        work_order_id=order_id, partner_id=taker.id, technician=chinese_name(case_.chance)
    )
    after = timedelta(minutes=case_.chance.within(10, 150))
    yield case_.step(request, after, actor=f"partner:{taker.id}", service="partner_network")


def _declined(case_: Handling, order_id: str, asked: Sequence[Partner]) -> Script:
    for one in asked:
        reason = case_.chance.one_of(DECLINED)
        request = partner.DeclineWorkOrderRequest(work_order_id=order_id, partner_id=one.id, reason=reason)
        after = timedelta(minutes=case_.chance.within(5, 30))
        yield case_.step(request, after, actor=f"partner:{one.id}", service="partner_network")


def _done(
    case_: Handling, order_id: str, taker: Partner, window: tuple[datetime, datetime]
) -> Generator[Step | Wait, Any, str]:
    chance, actor = case_.chance, f"partner:{taker.id}"
    punctual = chance.happens(ON_TIME_SHARE)
    late = window[0] + timedelta(minutes=chance.within(0, 150)) if punctual else window[1]
    case_.at = late + timedelta(minutes=0 if punctual else chance.within(10, 90))
    yield case_.step(partner.ReportArrivalRequest(work_order_id=order_id), actor=actor, service="partner_network")
    outcome = chance.one_of(DONE)
    request = partner.CompleteWorkOrderRequest(work_order_id=order_id, outcome=outcome)
    after = timedelta(minutes=chance.within(30, 180))
    yield case_.step(request, after, actor=actor, service="partner_network")
    return outcome


def _told(at: datetime) -> Timestamp:
    return Timestamp(seconds=int(at.timestamp()))
