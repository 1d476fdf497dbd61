"""Calendars, policies and clocks as aggregates: recorded, repeated, and what a clock makes of both."""

from datetime import UTC, datetime, timedelta

from kept.sla.v1 import events_pb2 as e

from services.kernel.clock import micros, timestamp
from services.sla.domain import Clock, PublishedCalendar, PublishedPolicy, calendar_id, clock_id, policy_id
from services.sla.policies import RESOLVE
from tests.given import given
from tests.sla.desk import ALWAYS, HOUR, OFFICE, pins, rule

CUSTOMER = "1b4db7eb-4057-5ddf-91e0-36dec72071f5"
DUE = datetime(2024, 5, 6, 17, 0, tzinfo=UTC)
LATER = timestamp(DUE + timedelta(hours=1))
BEFORE = micros(DUE - timedelta(hours=2))
RULES = e.PolicyDefinition(rules=[rule()])
OTHER_RULES = e.PolicyDefinition(rules=[rule(4 * HOUR)])

FIRST_CALENDAR = e.CalendarPublished(name="office", version=1, definition=OFFICE)
SECOND_CALENDAR = e.CalendarPublished(name="office", version=2, definition=ALWAYS)
FIRST_POLICY = e.PolicyPublished(name="standard", version=1, definition=RULES)
SECOND_POLICY = e.PolicyPublished(name="standard", version=2, definition=OTHER_RULES)

ARMED = e.ClockArmed(case_id=CUSTOMER, target=RESOLVE, pins=pins(), budget_s=8 * HOUR, due_at=timestamp(DUE))
REPLANNED = e.ClockReplanned(pins=pins(), budget_s=8 * HOUR, used_s=60, due_at=LATER)


def verdict(outcome: e.Outcome.ValueType, used_s: int) -> e.VerdictReached:
    return e.VerdictReached(outcome=outcome, budget_s=8 * HOUR, used_s=used_s, due_at=timestamp(DUE))


KEPT, BROKEN = verdict(e.OUTCOME_KEPT, HOUR), verdict(e.OUTCOME_BROKEN, 8 * HOUR)


# Calendars and policies


def test_a_calendar_is_published_as_its_first_version() -> None:
    given(PublishedCalendar).when(lambda one: one.publish(name="office", definition=OFFICE)).then(FIRST_CALENDAR)


def test_another_definition_is_the_next_version_of_the_calendar() -> None:
    given(PublishedCalendar, FIRST_CALENDAR).when(lambda one: one.publish(name="office", definition=ALWAYS)).then(
        SECOND_CALENDAR
    )


def test_the_newest_calendar_again_is_nothing_new() -> None:
    given(PublishedCalendar, FIRST_CALENDAR, SECOND_CALENDAR).when(
        lambda one: one.publish(name="office", definition=ALWAYS)
    ).then_nothing()


def test_an_earlier_calendar_again_is_a_version_of_its_own() -> None:
    given(PublishedCalendar, FIRST_CALENDAR, SECOND_CALENDAR).when(
        lambda one: one.publish(name="office", definition=OFFICE)
    ).then(e.CalendarPublished(name="office", version=3, definition=OFFICE))


def test_a_policy_counts_its_versions_up() -> None:
    given(PublishedPolicy).when(lambda one: one.publish(name="standard", definition=RULES)).then(FIRST_POLICY)
    given(PublishedPolicy, FIRST_POLICY).when(lambda one: one.publish(name="standard", definition=OTHER_RULES)).then(
        SECOND_POLICY
    )


def test_the_newest_policy_again_is_nothing_new() -> None:
    given(PublishedPolicy, FIRST_POLICY).when(lambda one: one.publish(name="standard", definition=RULES)).then_nothing()


def test_names_are_a_companys_own() -> None:
    assert calendar_id("main", "office") != calendar_id("south", "office")
    assert policy_id("main", "office") not in (policy_id("south", "office"), calendar_id("main", "office"))


# Clocks


def test_a_clock_is_armed_for_the_customer_of_its_case() -> None:
    clock = given(Clock).when(lambda one: one.arm(ARMED, customer_id=CUSTOMER))

    assert [event.customer_id for event in clock.aggregate.pending] == [CUSTOMER]
    assert [event.body for event in clock.aggregate.pending] == [ARMED]


def test_each_target_of_a_case_is_a_stream_of_its_own() -> None:
    assert len({clock_id(CUSTOMER, target) for target in e.TargetKind.values()}) == len(e.TargetKind.values())


def test_a_deadline_that_moves_is_planned_anew() -> None:
    given(Clock, ARMED).when(
        lambda one: one.replan(e.ClockReplanned(pins=pins(), budget_s=8 * HOUR, used_s=60, due_at=LATER))
    ).then(REPLANNED)


def test_the_same_plan_again_is_nothing_new() -> None:
    given(Clock, ARMED).when(
        lambda one: one.replan(e.ClockReplanned(pins=pins(), budget_s=8 * HOUR, used_s=99, due_at=timestamp(DUE)))
    ).then_nothing()
    given(Clock, ARMED, REPLANNED).when(
        lambda one: one.replan(e.ClockReplanned(pins=pins(), budget_s=8 * HOUR, used_s=99, due_at=LATER))
    ).then_nothing()


def test_another_budget_or_other_pins_are_a_new_plan_for_the_same_deadline() -> None:
    for budget_s, by in ((4 * HOUR, pins()), (8 * HOUR, pins(calendar="always"))):
        planned = e.ClockReplanned(pins=by, budget_s=budget_s, used_s=0, due_at=timestamp(DUE))
        given(Clock, ARMED).when(
            lambda one, by=by, s=budget_s: one.replan(
                e.ClockReplanned(pins=by, budget_s=s, used_s=0, due_at=timestamp(DUE))
            )  # type: ignore[misc]
        ).then(planned)


def test_the_same_plan_after_a_verdict_takes_the_verdict_back() -> None:
    again = e.ClockReplanned(pins=pins(), budget_s=8 * HOUR, used_s=HOUR, due_at=timestamp(DUE))

    clock = (
        given(Clock, ARMED, KEPT)
        .when(
            lambda one: one.replan(e.ClockReplanned(pins=pins(), budget_s=8 * HOUR, used_s=HOUR, due_at=timestamp(DUE)))
        )
        .then(again)
    )
    assert clock.outcome == e.OUTCOME_UNSPECIFIED


def test_a_warning_occurred_when_it_was_due() -> None:
    warned = given(Clock, ARMED).when(lambda one: one.warn(percent=75, at=BEFORE))

    assert [event.stamp.occurred_at for event in warned.aggregate.pending] == [BEFORE]
    warned.then(e.ThresholdReached(percent=75, due_at=timestamp(DUE)))


def test_a_verdict_is_reached_once() -> None:
    for first in (KEPT, BROKEN):
        given(Clock, ARMED, first).when(
            lambda one: one.conclude(e.OUTCOME_BROKEN, used_s=8 * HOUR, at=micros(DUE))
        ).then_nothing()
    broken = given(Clock, ARMED).when(lambda one: one.conclude(e.OUTCOME_BROKEN, used_s=8 * HOUR, at=micros(DUE)))
    assert [event.stamp.occurred_at for event in broken.aggregate.pending] == [micros(DUE)]
    broken.then(BROKEN)


def test_a_verdict_is_corrected_once() -> None:
    corrected = e.VerdictCorrected(outcome=e.OUTCOME_KEPT, used_s=HOUR, due_at=timestamp(DUE))

    given(Clock, ARMED, BROKEN).when(lambda one: one.correct(e.OUTCOME_KEPT, used_s=HOUR)).then(corrected)
    given(Clock, ARMED, BROKEN, corrected).when(lambda one: one.correct(e.OUTCOME_KEPT, used_s=HOUR)).then_nothing()
