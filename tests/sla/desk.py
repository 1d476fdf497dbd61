"""The sla policy at its desk, without a log: events are told to it, and one looks at what it decides.

Times are May 2024 in Shanghai, whose clocks are never changed: `at("06 09:00")` is Monday the 6th, nine o'clock.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from google.protobuf.message import Message
from kept.case.v1 import events_pb2 as case
from kept.cell.v1.events_pb2 import TimeAdvanced
from kept.customer.v1.events_pb2 import ProductStage
from kept.sla.v1 import events_pb2 as e

from services.kernel.clock import micros, timestamp_of
from services.kernel.database import SQLite
from services.kernel.events import DomainEvent, LogEvent, ProtobufMapper, Stamp, log_event
from services.kernel.log.port import Recorded
from services.kernel.log.schema import migrate
from services.kernel.policy import Aggregates, Work
from services.sla.domain import calendar_id, clock_id, policy_id
from services.sla.policies import OWN, RESOLVE, SlaPolicy

HOUR = 3600
ZONE = ZoneInfo("Asia/Shanghai")
NAMES = UUID("5d0b5b0e-8f0e-4f57-9d0a-6f0f0d6f7a11")
MONDAY_TO_FRIDAY, EVERY_DAY = range(1, 6), range(1, 8)
INCIDENT, MODERATE = case.CASE_KIND_INCIDENT, case.PRIORITY_MODERATE
CUSTOMER, PARTNER = case.WAITING_FOR_CUSTOMER, case.WAITING_FOR_PARTNER
PARTS, PROBLEM = case.WAITING_FOR_PARTS, case.WAITING_FOR_PROBLEM


def at(text: str) -> int:
    """Microseconds; a fraction of the second may follow: `06 17:00:00.000001`."""
    return micros(datetime.fromisoformat(f"2024-05-{text.replace(' ', 'T')}").replace(tzinfo=ZONE))


def stream_of(name: str, tenant: str = "main") -> UUID:
    """The id of the case with that name."""
    return uuid5(NAMES, f"{tenant}/{name}")


# What is told


class Told(NamedTuple):
    body: Message
    at: int
    case: str = "A"


def opened(
    when: str,
    name: str = "A",
    *,
    kind: case.CaseKind.ValueType = INCIDENT,
    priority: case.Priority.ValueType = MODERATE,
    entitlement: str = "",
    product_stage: ProductStage.ValueType = 0,  # type: ignore[assignment]  # unspecified
) -> Told:
    body = case.CaseOpened(
        customer_id=str(stream_of("customer")),
        classification=case.Classification(kind=kind),
        priority=priority,
        entitlement=entitlement,
        product_stage=product_stage,
    )
    return Told(body, at(when), name)


def acknowledged(when: str, name: str = "A") -> Told:
    return Told(case.CaseAcknowledged(), at(when), name)


def held(when: str, waiting_for: case.WaitingFor.ValueType = CUSTOMER, name: str = "A") -> Told:
    return Told(case.CaseHeld(waiting_for=waiting_for, reason="waits"), at(when), name)


def resumed(when: str, name: str = "A") -> Told:
    return Told(case.CaseResumed(reason="goes on"), at(when), name)


def resolved(when: str, name: str = "A") -> Told:
    return Told(case.CaseResolved(reason="done"), at(when), name)


def reopened(when: str, name: str = "A") -> Told:
    return Told(case.CaseReopened(reason="again"), at(when), name)


def cancelled(when: str, name: str = "A") -> Told:
    return Told(case.CaseCancelled(reason="not wanted"), at(when), name)


def rejected(when: str, name: str = "A") -> Told:
    return Told(case.CaseRejected(reason="not ours"), at(when), name)


def prioritized(when: str, priority: case.Priority.ValueType, name: str = "A") -> Told:
    return Told(case.CasePrioritized(priority=priority, reason="looked again"), at(when), name)


def classified(when: str, kind: case.CaseKind.ValueType, name: str = "A") -> Told:
    return Told(case.CaseClassified(classification=case.Classification(kind=kind)), at(when), name)


def passed(when: str) -> Told:
    """The cell's clock moved to that moment."""
    return Told(TimeAdvanced(now=timestamp_of(at(when))), at(when), "")


PAUSES = (CUSTOMER, PARTNER)


def rule(budget_s: int = 8 * HOUR, target: e.TargetKind.ValueType = RESOLVE, **fields: Any) -> e.TargetRule:
    """Office hours, standing for the customer and for a partner, where the fields say nothing else."""
    usual: dict[str, Any] = {
        "calendar": "office",
        "pause_on": PAUSES,
        "on_reopen": e.ON_REOPEN_RESUME,
        "boundary": e.BOUNDARY_CLOSING_TIME,
    }
    return e.TargetRule(target=target, budget_s=budget_s, **(usual | fields))


def hours(opens: int = 9, closes: int = 17, days: Iterable[int] = MONDAY_TO_FRIDAY) -> e.CalendarDefinition:
    span = e.Span(from_s=opens * HOUR, until_s=closes * HOUR)
    return e.CalendarDefinition(time_zone=ZONE.key, weekdays=[e.Weekday(weekday=day, spans=[span]) for day in days])


OFFICE, ALWAYS = hours(), hours(0, 24, EVERY_DAY)


def calendar(name: str, version: int, definition: e.CalendarDefinition) -> Told:
    return Told(e.CalendarPublished(name=name, version=version, definition=definition), at("01 00:00"), "")


def policy(version: int, *rules: e.TargetRule, name: str = "standard") -> Told:
    definition = e.PolicyDefinition(rules=rules)
    return Told(e.PolicyPublished(name=name, version=version, definition=definition), at("01 00:00"), "")


# What is decided


class Decided(NamedTuple):
    """`at` is when it occurred, as a moment of `at`."""

    body: Message
    at: int
    case: str = "A"
    target: e.TargetKind.ValueType = RESOLVE

    def of(self, name: str) -> "Decided":
        return self._replace(case=name)

    def own(self) -> "Decided":
        body = self.body
        if isinstance(body, e.ClockArmed):
            body = e.ClockArmed.FromString(body.SerializeToString())
            body.target = OWN
        return self._replace(target=OWN, body=body)


def pins(policy_version: int = 1, calendar: str = "office", calendar_version: int = 1) -> e.Pins:
    return e.Pins(
        policy="standard", policy_version=policy_version, calendar=calendar, calendar_version=calendar_version
    )


def armed(
    when: str,
    *,
    due: str,
    budget_s: int = 8 * HOUR,
    by: e.Pins | None = None,
    name: str = "A",
    tenant: str = "main",
    pauses: Iterable[case.WaitingFor.ValueType] = PAUSES,
) -> Decided:
    body = e.ClockArmed(
        case_id=str(stream_of(name, tenant)),
        target=RESOLVE,
        pins=by or pins(),
        budget_s=budget_s,
        due_at=timestamp_of(at(due)),
        pause_on=pauses,
    )
    return Decided(body, at(when), name)


def replanned(
    when: str,
    *,
    used_s: int,
    due: str,
    budget_s: int = 8 * HOUR,
    by: e.Pins | None = None,
    pauses: Iterable[case.WaitingFor.ValueType] = PAUSES,
) -> Decided:
    body = e.ClockReplanned(
        pins=by or pins(), budget_s=budget_s, used_s=used_s, due_at=timestamp_of(at(due)), pause_on=pauses
    )
    return Decided(body, at(when))


def warned(when: str, percent: int, *, due: str) -> Decided:
    return Decided(e.ThresholdReached(percent=percent, due_at=timestamp_of(at(due))), at(when))


def _verdict(when: str, outcome: e.Outcome.ValueType, used_s: int, due: str, budget_s: int) -> Decided:
    body = e.VerdictReached(outcome=outcome, budget_s=budget_s, used_s=used_s, due_at=timestamp_of(at(due)))
    return Decided(body, at(when))


def kept(when: str, *, used_s: int, due: str, budget_s: int = 8 * HOUR) -> Decided:
    return _verdict(when, e.OUTCOME_KEPT, used_s, due, budget_s)


def broken(when: str, *, used_s: int | None = None, due: str | None = None, budget_s: int = 8 * HOUR) -> Decided:
    """All of the budget was used, and it occurred when it was due, where nothing else is said."""
    return _verdict(when, e.OUTCOME_BROKEN, budget_s if used_s is None else used_s, due or when, budget_s)


def released(when: str, *, used_s: int, due: str, budget_s: int = 8 * HOUR) -> Decided:
    return _verdict(when, e.OUTCOME_RELEASED, used_s, due, budget_s)


def corrected(when: str, *, used_s: int, due: str) -> Decided:
    return Decided(e.VerdictCorrected(outcome=e.OUTCOME_KEPT, used_s=used_s, due_at=timestamp_of(at(due))), at(when))


# The desk


class Desk:
    """A policy with its tables in memory. Two calendars are published, and the rules as version 1 of one policy."""

    def __init__(self, *rules: e.TargetRule) -> None:
        self.policy = SlaPolicy()
        self._database = SQLite(":memory:", durable=False)
        tables = [sql for table in SlaPolicy.tables for sql in table.statements(self._database.dialect)]
        migrate(self._database, "sla", [tables])
        self._streams: dict[UUID, list[DomainEvent]] = {}
        self._aggregates = Aggregates(lambda stream: self._streams.get(stream, []))
        self._names: dict[UUID, tuple[str, e.TargetKind.ValueType]] = {}
        self._position = 0
        self._decided: list[Decided] = []
        self.records: list[LogEvent] = []
        if rules:
            self.given(calendar("office", 1, OFFICE), calendar("always", 1, ALWAYS), policy(1, *rules))

    def given(self, *told: Told, tenant: str = "main") -> Self:
        self._tell(told, tenant)
        return self

    def when(self, *told: Told, tenant: str = "main") -> Self:
        self._decided = self._tell(told, tenant)
        return self

    def then(self, *expected: Decided) -> None:
        assert self._decided == list(expected)

    def then_nothing(self) -> None:
        self.then()

    def due(self) -> int | None:
        with self._database.read() as session:
            return self.policy.next_due(session)

    def _tell(self, told: Sequence[Told], tenant: str) -> list[Decided]:
        decided = []
        for one in told:
            event = self._logged(one, tenant)
            with self._database.write() as session:
                work = Work(session, self._aggregates)
                self.policy.decide(work, event)
            for entry in work.decided:
                mapped = ProtobufMapper().to_domain_event(entry)
                self._streams.setdefault(mapped.originator_id, []).append(mapped)
                record = log_event(Recorded(0, entry.topic, 0, entry.state))
                self.records.append(record)
                assert record.record.tenant == tenant or isinstance(one.body, TimeAdvanced)
                assert record.record.version == len(self._streams[mapped.originator_id])
                decided.append(Decided(record.body, record.occurred_at, *self._names[mapped.originator_id]))
        return decided

    def _logged(self, told: Told, tenant: str) -> LogEvent:
        match told.body:
            case e.CalendarPublished():
                stream = calendar_id(tenant, told.body.name)
            case e.PolicyPublished():
                stream = policy_id(tenant, told.body.name)
            case _:
                stream = stream_of(told.case, tenant)
                for target in (OWN, RESOLVE):
                    self._names[clock_id(str(stream), target)] = told.case, target
        events = self._streams.setdefault(stream, [])
        stamp = Stamp(tenant, "user:ana", told.at, correlation_id=f"because of {told.case}")
        customer_id = str(stream_of("customer")) if told.case else ""
        events.append(DomainEvent(stream, len(events) + 1, told.body, stamp, customer_id))
        entry = ProtobufMapper().to_stored_event(events[-1])
        self._position += 1
        return log_event(Recorded(self._position, entry.topic, told.at, entry.state))
