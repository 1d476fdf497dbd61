"""Deals that went elsewhere: two because a promise was broken, one for its price. Made up, but for the broken promise."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from kept.common.v1.money_pb2 import Money
from kept.customer.v1 import events_pb2 as e
from kept.customer.v1 import service_pb2 as customer
from kept.sla.v1 import events_pb2 as sla_events
from kept.sla.v1 import service_pb2 as sla

from services.cli.demo.company import EAST, NORTH, SOUTH, Company, OpenedCase
from services.cli.demo.script import Part, Script, Step, day

ASKED_MOST = 100  # cases in one call
DECIDED_AFTER = timedelta(days=14)  # for a customer to make up their mind


def losses(company: Company) -> Iterator[Part]:
    hangzhou, tianjin = "maintenance for two years, Hangzhou", "boilers for an apartment house, Tianjin"
    for tenant, at, subject, fen in (
        (EAST, day(48, 15), hangzhou, 18_600_000),
        (NORTH, day(52, 11), tianjin, 46_250_000),
    ):
        yield Part(f"loss-{tenant}", at, _by_service(company, tenant, at, subject, fen))
    at, subject = day(55, 16), "heat pumps for a school, Shenzhen"
    yield Part(f"loss-{SOUTH}", at, _by_price(company, SOUTH, at, subject, 31_900_000))


def _by_service(company: Company, tenant: str, at: datetime, subject: str, fen: int) -> Script:
    """By the first customer of the tenant whose case was not resolved as promised; nothing where there is none."""
    cases = [one for one in _of(company, tenant) if one.opened_at < at - DECIDED_AFTER]
    asked = {one.case_id: one.customer_id for one in cases[:ASKED_MOST]}
    # Only what was decided by then: a play that goes on asks again, and must hear the same.
    answer = yield _step(at, tenant, "sla", sla.ListClocksRequest(case_ids=list(asked)))
    broken = {clock.case_id: clock.clock_id for clock in answer.clocks if _broken(clock, at)}
    lost = next((case_id for case_id in asked if case_id in broken), None)
    if lost is not None:
        company.lost.append((tenant, asked[lost]))
        yield _step(at, tenant, "customer", _deal(asked[lost], subject, fen, e.LOSS_REASON_SERVICE, broken[lost]))


def _by_price(company: Company, tenant: str, at: datetime, subject: str, fen: int) -> Script:
    for one in _of(company, tenant)[:1]:
        company.lost.append((tenant, one.customer_id))
        yield _step(at, tenant, "customer", _deal(one.customer_id, subject, fen, e.LOSS_REASON_PRICE))


def _of(company: Company, tenant: str) -> list[OpenedCase]:
    return sorted((one for one in company.cases if one.tenant == tenant), key=lambda one: one.number)


def _step(at: datetime, tenant: str, service: str, request: Any) -> Step:
    return Step(at, tenant, f"user:sales.{tenant}", service, request)


def _broken(clock: sla.Clock, at: datetime) -> bool:
    resolve = clock.target == sla_events.TARGET_KIND_TIME_TO_RESOLVE
    return resolve and clock.outcome == sla_events.OUTCOME_BROKEN and clock.decided_at.seconds <= at.timestamp()


def _deal(
    customer_id: str, subject: str, fen: int, reason: e.LossReason.ValueType, *clock_ids: str
) -> customer.RecordLostDealRequest:
    money = Money(currency="CNY", minor_units=fen)
    return customer.RecordLostDealRequest(
        customer_id=customer_id, subject=subject, sum=money, reason=reason, clock_ids=clock_ids
    )
