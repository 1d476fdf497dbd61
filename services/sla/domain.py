"""Calendars, policies and clocks. Source: protos/kept/sla/v1/events.proto."""

from uuid import NAMESPACE_URL, UUID, uuid5

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kept.sla.v1 import events_pb2 as e

from services.kernel.aggregate import Aggregate

_NAMES = uuid5(NAMESPACE_URL, "kept:sla")


def calendar_id(tenant: str, name: str) -> UUID:
    return uuid5(_NAMES, f"{tenant}/calendar/{name}")


def policy_id(tenant: str, name: str) -> UUID:
    return uuid5(_NAMES, f"{tenant}/policy/{name}")


def clock_id(case_id: str, target: e.TargetKind.ValueType) -> UUID:
    return uuid5(_NAMES, f"{case_id}/clock/{target}")


class PublishedCalendar(Aggregate):
    """A calendar and its versions."""

    noun = "calendar"
    born_by = (e.CalendarPublished,)

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.published = e.CalendarPublished()

    def publish(self, *, name: str, definition: e.CalendarDefinition) -> None:
        if self.version and self.published.definition == definition:
            return
        number = self.published.version + 1
        self.record(e.CalendarPublished(name=name, version=number, definition=definition))

    def evolve(self, event: Message) -> None:
        if isinstance(event, e.CalendarPublished):
            self.published = event


class PublishedPolicy(Aggregate):
    """A policy and its versions."""

    noun = "policy"
    born_by = (e.PolicyPublished,)

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.published = e.PolicyPublished()

    def publish(self, *, name: str, definition: e.PolicyDefinition) -> None:
        if self.version and self.published.definition == definition:
            return
        number = self.published.version + 1
        self.record(e.PolicyPublished(name=name, version=number, definition=definition))

    def evolve(self, event: Message) -> None:
        if isinstance(event, e.PolicyPublished):
            self.published = event


class Clock(Aggregate):
    """One target of one case: the promise, its deadline as it moved, and what became of it.

    Only the sla policy decides on clocks; pauses are folded from the case's own events.
    """

    noun = "clock"
    born_by = (e.ClockArmed,)

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.pins = e.Pins()
        self.due_at = Timestamp()
        self.budget_s = 0
        self.pause_on: list[int] = []
        self.outcome: e.Outcome.ValueType = e.OUTCOME_UNSPECIFIED

    def arm(self, armed: e.ClockArmed, *, customer_id: str) -> None:
        self.customer_id = customer_id
        self.record(armed)

    def replan(self, planned: e.ClockReplanned) -> None:
        if self.outcome or _plan(planned) != (self.pins, self.budget_s, self.due_at, self.pause_on):
            self.record(planned)

    def warn(self, *, percent: int, at: int) -> None:
        """`at` in microseconds UTC."""
        self.record(e.ThresholdReached(percent=percent, due_at=self.due_at), occurred_at=at)

    def conclude(self, outcome: e.Outcome.ValueType, *, used_s: int, at: int) -> None:
        """A verdict is reached once; `at` in microseconds UTC."""
        if not self.outcome:
            verdict = e.VerdictReached(outcome=outcome, budget_s=self.budget_s, used_s=used_s, due_at=self.due_at)
            self.record(verdict, occurred_at=at)

    def correct(self, outcome: e.Outcome.ValueType, *, used_s: int) -> None:
        if self.outcome != outcome:
            self.record(e.VerdictCorrected(outcome=outcome, used_s=used_s, due_at=self.due_at))

    def evolve(self, event: Message) -> None:
        match event:
            case e.ClockArmed():
                self.pins, self.budget_s, self.due_at, self.pause_on = _plan(event)
            case e.ClockReplanned():
                self.pins, self.budget_s, self.due_at, self.pause_on = _plan(event)
                self.outcome = e.OUTCOME_UNSPECIFIED
            case e.VerdictReached() | e.VerdictCorrected():
                self.outcome = event.outcome


def _plan(event: e.ClockArmed | e.ClockReplanned) -> tuple[e.Pins, int, Timestamp, list[int]]:
    return event.pins, event.budget_s, event.due_at, list(event.pause_on)
