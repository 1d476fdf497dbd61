"""How a case is handled, step by step, by those who keep its time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from kept.case.v1 import events_pb2 as e
from kept.case.v1 import service_pb2 as case
from kept.customer.v1 import events_pb2 as customer_events

from services.cli.demo.chance import Chance
from services.cli.demo.company import Company, OpenedCase
from services.cli.demo.customers import Customer, Item
from services.cli.demo.figures import FIGURES
from services.cli.demo.names import STAFF
from services.cli.demo.needs import URGENT, Need
from services.cli.demo.script import GRID, Script, Step, at_work, on_grid

WAITS = {
    "customer": (e.WAITING_FOR_CUSTOMER, "asked for a photo of the type plate", "the photo came"),
    "partner": (e.WAITING_FOR_PARTNER, "the partner company checks on site", "the partner company answered"),
    "problem": (e.WAITING_FOR_PROBLEM, "the factory looks for the cause", "the factory knows the cause"),
}
URGENT_SHARE, CONFIRMED_SHARE = 0.15, 0.7


@dataclass(frozen=True)
class Call:
    """A customer gets in touch."""

    number: int
    at: datetime
    of: Customer
    item: Item | None
    need: Need


class Handling:
    """One case and those who handle it; keeps the time."""

    def __init__(self, company: Company, call: Call, chance: Chance) -> None:
        self.company, self.call, self.chance = company, call, chance
        self.at = call.at
        self.id = ""
        self.actor = f"user:{chance.one_of(STAFF)}"

    def step(self, request: Any, after: timedelta = timedelta(0), actor: str = "", service: str = "case") -> Step:
        """What somebody of ours or of a partner's does, when they work."""
        self.at = on_grid(at_work(self.at + after))
        return Step(self.at, self.call.of.tenant, actor or self.actor, service, request)

    def opened(self, priority: e.Priority.ValueType, channel: customer_events.Channel.ValueType) -> Script:
        one, item, need = self.call.of, self.call.item, self.call.need
        product = item.product.name if item else "HP6 heat pump"
        request = case.OpenRequest(
            customer_id=one.id,
            classification=e.Classification(kind=need.kind, category=need.category),
            priority=priority,
            need=need.text(one.named.language, product),
            urgency=URGENT[one.named.language] if self.chance.happens(URGENT_SHARE) else "",
            channel=channel,
            region=one.area.code,
            item_id=item.id if item else "",
            entitlement=one.entitlement,
            product_stage=item.product.stage if item else customer_events.PRODUCT_STAGE_UNSPECIFIED,
        )
        receipt = yield Step(self.at, one.tenant, self.actor, "case", request)
        self.id = receipt.id
        self.company.cases.append(OpenedCase(self.call.number, one.tenant, one.id, self.id, self.at))

    def owned(self, team: str, after: timedelta) -> Script:
        yield self.step(case.AcknowledgeRequest(case_id=self.id), after)
        yield self.step(case.AssignRequest(case_id=self.id, team=team, assignee=self.actor.removeprefix("user:")))

    def waits(self, reason: str, lasts: timedelta) -> Script:
        waiting_for, why, why_no_longer = WAITS[reason]
        yield self.step(case.HoldRequest(case_id=self.id, waiting_for=waiting_for, reason=why), GRID)
        yield self.step(case.ResumeRequest(case_id=self.id, reason=why_no_longer), max(lasts, GRID))

    def resolved(self, reason: str, after: timedelta) -> Script:
        yield self.step(case.ResolveRequest(case_id=self.id, reason=reason), after)

    def closed(self) -> Script:
        confirmed = self.chance.happens(CONFIRMED_SHARE)
        reason = "" if confirmed else "no answer for five days"
        after = self.chance.lasts(FIGURES.minutes_until_closed)
        yield self.step(case.CloseRequest(case_id=self.id, customer_confirmed=confirmed, reason=reason), after)
