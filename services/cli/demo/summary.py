"""What the demo came to, asked of the cell: by company, and in all."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from kept.case.v1 import events_pb2 as case_events
from kept.case.v1 import service_pb2 as case
from kept.cell.v1 import service_pb2 as cell
from kept.customer.v1 import service_pb2 as customer
from kept.notification.v1 import service_pb2 as notification
from kept.sla.v1 import events_pb2 as sla_events
from kept.sla.v1 import service_pb2 as sla

from services.cli.demo.company import HQ
from services.cli.demo.places import AREAS
from services.cli.demo.player import DIRECTOR, Call
from services.cli.demo.script import FIRST_DAY, Step

PAGE = 100


@dataclass
class Counts:
    """`breaches` are clocks whose verdict is broken; sums are in fen, by currency."""

    customers: int = 0
    cases: int = 0
    case_states: Counter[str] = field(default_factory=Counter)
    notices: Counter[str] = field(default_factory=Counter)  # by state
    breaches: int = 0
    problems: int = 0
    affected: int = 0
    told_first: int = 0
    called_first: int = 0
    lost_deals: int = 0
    lost_minor_units: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(**{name.name: getattr(self, name.name) + getattr(other, name.name) for name in fields(Counts)})


@dataclass(frozen=True)
class Summary:
    """`replay` is verified, differs, or "not verified" where nobody asked for it."""

    seed: int
    events: int
    total: Counts
    tenants: dict[str, Counts]
    seconds: float
    replay: str = "not verified"

    def to_json(self) -> str:
        told = {"seed": self.seed, "events": self.events, **vars(self.total)}
        told["tenants"] = {tenant: vars(counts) for tenant, counts in self.tenants.items()}
        return json.dumps({**told, "seconds": round(self.seconds, 1), "replay": self.replay}, ensure_ascii=False)

    def lines(self) -> Iterator[str]:
        """The same for people."""
        total = self.total
        yield f"{total.customers:,} customers, {total.cases:,} cases, {self.events:,} events in {self.seconds:.0f} s"
        yield f"  cases: {_told(total.case_states)}"
        yield f"  notices: {_told(total.notices)}"
        yield f"  {total.breaches:,} promises broken"
        yield (
            f"  {total.problems} outage: {total.affected} customers affected, {total.told_first} told first, "
            f"{total.called_first} called first"
        )
        sums = ", ".join(f"{currency} {units / 100:,.0f}" for currency, units in total.lost_minor_units.items())
        yield f"  {total.lost_deals} deals lost: {sums or 'none'}"


def summarised(call: Call, *, seed: int, lost: Iterable[tuple[str, str]], since: float) -> Summary:
    """Of the whole cell; `lost` are tenant and customer of the deals that went elsewhere, `since` is on the monotonic clock."""

    def ask(tenant: str, service: str, request: Any) -> Any:
        return call(Step(FIRST_DAY, tenant, DIRECTOR, service, request))

    head = ask(HQ, "cell", cell.GetCellRequest()).position
    tenants: dict[str, Counts] = {}
    for tenant in AREAS:
        losers = dict.fromkeys(customer_id for of, customer_id in lost if of == tenant)
        tenants[tenant] = _counted(partial(ask, tenant), list(losers), head)
    return Summary(seed, head, sum(tenants.values(), Counts()), tenants, time.monotonic() - since)


def _counted(ask: Callable[[str, Any], Any], lost: Sequence[str], after_position: int) -> Counts:
    counts = Counts(customers=_customers(ask, after_position))
    for state in ask("case", case.CountCasesRequest(after_position=after_position)).counts:
        counts.case_states[_name(case_events.CaseState.Name(state.state), "CASE_STATE_")] = state.cases
    counts.cases = counts.case_states.total()
    for verdict in ask("sla", sla.CountVerdictsRequest(after_position=after_position)).counts:
        counts.breaches += verdict.clocks * (verdict.outcome == sla_events.OUTCOME_BROKEN)
    notices = notification.CountNoticesRequest(after_position=after_position)
    for notice in ask("notification", notices).counts:
        counts.notices[_name(notification.NoticeState.Name(notice.state), "NOTICE_STATE_")] += notice.notices
    for problem in ask("case", case.ListProblemsRequest(after_position=after_position)).problems:
        counts.problems += 1
        counts.affected += problem.affected
        counts.told_first += problem.told_first
        counts.called_first += problem.called_first
    for customer_id in lost:
        one = customer.GetCustomerRequest(customer_id=customer_id, after_position=after_position)
        for deal in ask("customer", one).lost_deals:
            counts.lost_deals += 1
            counts.lost_minor_units[deal.sum.currency] += deal.sum.minor_units
    return counts


def _customers(ask: Callable[[str, Any], Any], after_position: int) -> int:
    request, count = customer.ListCustomersRequest(after_position=after_position, page_size=PAGE), 0
    while True:
        page = ask("customer", request)
        count += len(page.customers)
        if not page.next_page_token:
            return count
        request.page_token = page.next_page_token


def _name(name: str, prefix: str) -> str:
    return name.removeprefix(prefix).lower()


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or "none"
