"""Why a clock is due when it is, from the log alone: the rule, the hours, how the deadline moved, and where time was used.

Everything follows from the clock's own events and from the calendars that they pin. Between two plans a clock runs once,
without a break in which service time passes: else the deadline would have moved, and that would have been a plan. So a
plan's service time is one piece of its calendar's hours: it leads up to the plan's deadline, and is cut where the next
event says how much was used.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Self
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from kept.case.v1 import events_pb2 as case
from kept.common.v1.record_pb2 import Record
from kept.sla.v1 import events_pb2 as e
from kept.sla.v1.service_pb2 import Clock, ClockStep, ExplainClockResponse, Stretch

from services.kernel.clock import moment_of, timestamp
from services.kernel.database import Session
from services.kernel.events import parse_event
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Selection
from services.sla.calendar import Calendar
from services.sla.editions import calendar_definition, calendar_version, first_match, policy_version

STRETCHES_MOST = 500


MOST_EVENTS = 10_000


def records(log: EventLog, stream: UUID, upto: int) -> list[Record]:
    """A stream's events up to a position of the log, oldest first."""
    found = log.select(Selection(streams=frozenset({stream})), 0, upto, MOST_EVENTS)
    return [Record.FromString(recorded.record) for recorded in found]


def explain(
    session: Session, tenant: str, clock: Clock, own: Sequence[Record], of_case: Sequence[Record]
) -> ExplainClockResponse:
    """`own` is the clock's stream and `of_case` its case's, whole and oldest first; the session reads the sla views."""
    pins = clock.pins

    def calendar(pins: e.Pins) -> Calendar:
        return calendar_version(session, tenant, pins.calendar, pins.calendar_version)

    return ExplainClockResponse(
        clock=clock,
        rule=_rule(policy_version(session, tenant, pins.policy, pins.policy_version), clock.target, own, of_case),
        calendar=calendar_definition(session, tenant, pins.calendar, pins.calendar_version),
        steps=_steps(own, {record.id: record.type for record in of_case}),
        stretches=islice(stretches(own, calendar), STRETCHES_MOST),
    )


# The rule


def _rule(
    definition: e.PolicyDefinition, target: int, own: Sequence[Record], of_case: Sequence[Record]
) -> e.TargetRule | None:
    """What won last while the clock could still follow the case: until its verdict, if it has one that stands."""
    settled_by = _settled_by(own)
    found: e.TargetRule | None = None
    kind, priority, entitlement, product_stage = 0, 0, "", 0
    for record in of_case:
        match parse_event(record.type, record.data):
            case case.CaseOpened() as opened:
                kind, priority = opened.classification.kind, opened.priority
                entitlement, product_stage = opened.entitlement, opened.product_stage
            case case.CaseClassified() as classified:
                kind = classified.classification.kind
            case case.CasePrioritized() as prioritized:
                priority = prioritized.priority
        # Where nothing matches any more the promise is released: the rule that it was released from explains it.
        found = first_match(definition, target, (kind, priority, entitlement, product_stage)) or found
        if record.id == settled_by:
            break
    return found


def _settled_by(own: Sequence[Record]) -> str:
    """The case's event that the standing verdict followed from; empty while there is none."""
    settled_by = ""
    for record in own:
        match parse_event(record.type, record.data):
            case e.VerdictReached():
                settled_by = record.causation_id
            case e.ClockReplanned():
                settled_by = ""
    return settled_by


# The steps


def _steps(own: Sequence[Record], types: dict[str, str]) -> Iterator[ClockStep]:
    budget_s = 0
    for record in own:
        body = parse_event(record.type, record.data)
        used_s, due_at = 0, Timestamp()
        match body:
            case e.ClockArmed():
                budget_s, due_at = body.budget_s, body.due_at
            case e.ClockReplanned():
                budget_s, used_s, due_at = body.budget_s, body.used_s, body.due_at
            case e.ThresholdReached():
                used_s, due_at = budget_s * body.percent // 100, body.due_at
            case e.VerdictReached() | e.VerdictCorrected():
                used_s, due_at = body.used_s, body.due_at
        yield ClockStep(
            event_id=record.id,
            type=record.type,
            occurred_at=record.occurred_at,
            used_s=used_s,
            due_at=due_at,
            causation_id=record.causation_id,
            cause_type=types.get(record.causation_id, ""),
        )


# The stretches


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a clock went by until the next plan: so much was used before, and the rest leads up to the deadline."""

    pins: e.Pins
    budget_s: int
    used_s: int
    due_at: datetime

    @classmethod
    def of(cls, event: e.ClockArmed | e.ClockReplanned) -> Self:
        used_s = event.used_s if isinstance(event, e.ClockReplanned) else 0
        return cls(event.pins, event.budget_s, used_s, moment_of(event.due_at).replace(microsecond=0))


def stretches(own: Sequence[Record], calendar: Callable[[e.Pins], Calendar]) -> Iterator[Stretch]:
    """In order, to the second, without overlap; they add up to what is used at the verdict, or else at the deadline."""
    for plan, until_s in _plans(own):
        left_s = plan.budget_s - plan.used_s
        if until_s <= plan.used_s or left_s <= 0:
            continue
        hours = calendar(plan.pins)
        start = hours.subtract(plan.due_at, left_s)
        for opens, closes in hours.open_intervals(start, hours.add(start, until_s - plan.used_s)):
            yield Stretch(**{"from": timestamp(opens)}, until=timestamp(closes))


def _plans(own: Sequence[Record]) -> list[tuple[_Plan, int]]:
    """Each plan, and how much service time was used when it ended; a restart forgets what was used before it."""
    plans: list[tuple[_Plan, int]] = []
    for record in own:
        body = parse_event(record.type, record.data)
        match body:
            case e.ClockArmed() | e.ClockReplanned():
                plan = _Plan.of(body)
                if plans and plan.used_s < plans[-1][0].used_s:
                    plans = []
                elif plans:
                    plans[-1] = plans[-1][0], plan.used_s
                plans.append((plan, plan.budget_s))
            case e.VerdictReached() | e.VerdictCorrected():
                plans[-1] = plans[-1][0], body.used_s
    return plans
