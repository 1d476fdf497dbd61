"""From case events to verdicts: what the policy decides, and when that was true."""

from typing import Any

import pytest
from kept.case.v1 import events_pb2 as case
from kept.customer.v1 import events_pb2 as customer
from kept.sla.v1 import events_pb2 as e

from services.sla.policies import OWN, SlaPolicy
from tests.sla.desk import (
    ALWAYS,
    CUSTOMER,
    HOUR,
    PARTNER,
    PARTS,
    PROBLEM,
    Desk,
    Told,
    acknowledged,
    armed,
    at,
    broken,
    calendar,
    cancelled,
    classified,
    corrected,
    held,
    hours,
    kept,
    opened,
    passed,
    pins,
    policy,
    prioritized,
    rejected,
    released,
    reopened,
    replanned,
    resolved,
    resumed,
    rule,
    warned,
)

CRITICAL, HIGH, LOW = case.PRIORITY_CRITICAL, case.PRIORITY_HIGH, case.PRIORITY_LOW
COMPLAINT = case.CASE_KIND_COMPLAINT

# Which rule sets a clock

RULES = (
    rule(1 * HOUR, priority=CRITICAL),
    rule(2 * HOUR, kind=COMPLAINT, priority=HIGH),
    rule(3 * HOUR, kind=COMPLAINT),
    rule(4 * HOUR, entitlement="gold"),
    rule(5 * HOUR, product_stage=customer.PRODUCT_STAGE_LAUNCH),
    rule(6 * HOUR),
    rule(7 * HOUR, priority=LOW),  # never reached
)


@pytest.mark.parametrize(
    ("facts", "budget_s"),
    [
        ({"priority": CRITICAL}, 1 * HOUR),
        ({"priority": CRITICAL, "kind": COMPLAINT, "entitlement": "gold"}, 1 * HOUR),
        ({"priority": HIGH, "kind": COMPLAINT}, 2 * HOUR),
        ({"priority": LOW, "kind": COMPLAINT}, 3 * HOUR),
        ({"entitlement": "gold", "product_stage": customer.PRODUCT_STAGE_LAUNCH}, 4 * HOUR),
        ({"entitlement": "silver", "product_stage": customer.PRODUCT_STAGE_LAUNCH}, 5 * HOUR),
        ({"product_stage": customer.PRODUCT_STAGE_MATURE}, 6 * HOUR),
        ({"priority": LOW}, 6 * HOUR),
    ],
)
def test_the_first_rule_that_matches_sets_the_clock(facts: dict[str, Any], budget_s: int) -> None:
    due = f"06 {9 + budget_s // HOUR:02d}:00"

    Desk(*RULES).when(opened("06 09:00", **facts)).then(armed("06 09:00", due=due, budget_s=budget_s))


def test_a_case_that_no_rule_matches_gets_no_clock() -> None:
    desk = Desk(rule(kind=COMPLAINT), rule(entitlement="gold"))

    desk.when(opened("06 09:00"), resolved("06 10:00")).then_nothing()


def test_a_case_opened_before_any_policy_gets_no_clock() -> None:
    desk = Desk().given(calendar("office", 1, hours()))

    desk.when(opened("06 09:00"), policy(1, rule()), passed("20 09:00"), resolved("20 10:00")).then_nothing()


def test_each_target_has_a_clock_of_its_own() -> None:
    desk = Desk(rule(2 * HOUR, OWN), rule())

    desk.when(opened("06 09:00"), acknowledged("06 10:00"), resolved("06 12:00")).then(
        armed("06 09:00", due="06 11:00", budget_s=2 * HOUR).own(),
        armed("06 09:00", due="06 17:00"),
        kept("06 10:00", used_s=HOUR, due="06 11:00", budget_s=2 * HOUR).own(),
        kept("06 12:00", used_s=3 * HOUR, due="06 17:00"),
    )


def test_decisions_name_their_cause_and_the_policy_that_made_them() -> None:
    desk = Desk(rule(warn_percents=[50])).given(opened("06 09:00"), passed("06 14:00"), resolved("06 15:00"))

    armed_by, warned_by, kept_by = (logged.record for logged in desk.records)
    assert {record.actor for record in (armed_by, warned_by, kept_by)} == {SlaPolicy().actor}
    assert {record.correlation_id for record in (armed_by, warned_by, kept_by)} == {"because of A"}
    assert armed_by.causation_id == warned_by.causation_id != kept_by.causation_id


# When a verdict is reached


def test_a_promise_is_kept_exactly_at_the_deadline() -> None:
    desk = Desk(rule()).given(opened("06 09:00"), passed("06 17:00"))

    desk.when(resolved("06 17:00")).then(kept("06 17:00", used_s=8 * HOUR, due="06 17:00"))


def test_a_promise_is_broken_strictly_after_the_deadline_and_occurred_at_it() -> None:
    desk = Desk(rule()).given(opened("06 09:00"))

    desk.when(passed("06 17:00")).then_nothing()
    desk.when(passed("06 17:00:00.000001")).then(broken("06 17:00"))


def test_a_deadline_counts_from_the_microsecond_of_opening() -> None:
    desk = Desk(rule()).given(opened("06 09:00:00.000250"))

    desk.when(passed("07 09:00:00.000250")).then_nothing()
    desk.when(passed("07 09:00:00.000251")).then(broken("07 09:00:00.000250"))


def test_a_deadline_that_nobody_noticed_in_time_is_broken_before_what_came_after_it() -> None:
    """A worker that was down reads the resolution before it sees that time has passed."""
    desk = Desk(rule()).given(opened("06 09:00"))

    desk.when(resolved("06 17:00:00.000001")).then(broken("06 17:00"))


@pytest.mark.parametrize("late", [held, resumed, reopened, cancelled, lambda when: prioritized(when, CRITICAL)])
def test_whatever_comes_after_the_deadline_finds_it_broken(late: Any) -> None:
    desk = Desk(rule(priority=CRITICAL, budget_s=HOUR), rule()).given(opened("06 09:00"))

    desk.when(late("07 09:00"), resolved("07 10:00")).then(broken("06 17:00"))


def test_a_broken_promise_has_one_verdict_however_much_time_passes() -> None:
    desk = Desk(rule()).given(opened("06 09:00"), passed("07 09:00"))

    desk.when(passed("08 09:00"), resolved("09 09:00"), passed("10 09:00")).then_nothing()


@pytest.mark.parametrize("owned_by", [acknowledged, held, resolved])
def test_a_case_is_owned_as_soon_as_somebody_does_something(owned_by: Any) -> None:
    desk = Desk(rule(2 * HOUR, OWN)).given(opened("06 09:00"))

    desk.when(owned_by("06 10:30")).then(
        kept("06 10:30", used_s=5400, due="06 11:00", budget_s=2 * HOUR).own(),
    )
    desk.when(resolved("06 16:00"), reopened("07 09:00"), passed("20 09:00")).then_nothing()


@pytest.mark.parametrize(
    ("boundary", "due"), [(e.BOUNDARY_CLOSING_TIME, "10 17:00"), (e.BOUNDARY_NEXT_OPENING, "13 09:00")]
)
def test_a_budget_that_ends_at_closing_time_is_due_as_the_rule_says(boundary: e.Boundary.ValueType, due: str) -> None:
    Desk(rule(boundary=boundary)).when(opened("10 09:00")).then(armed("10 09:00", due=due))


def test_deadlines_fire_in_their_order_across_cases() -> None:
    cases = [opened(f"06 {9 + number}:00", f"case {number}") for number in (3, 1, 2)]
    desk = Desk(rule(HOUR)).given(*cases)

    desk.when(passed("07 09:00")).then(
        *(broken(f"06 {10 + number}:00", budget_s=HOUR).of(f"case {number}") for number in (1, 2, 3))
    )


# Warnings


def test_each_warning_is_given_once_when_its_share_was_used() -> None:
    desk = Desk(rule(warn_percents=[50, 75])).given(opened("06 09:00"))

    desk.when(passed("06 13:00"), passed("06 13:01"), passed("06 14:00")).then(warned("06 13:00", 50, due="06 17:00"))
    desk.when(passed("06 15:01"), passed("06 17:00")).then(warned("06 15:00", 75, due="06 17:00"))
    desk.when(passed("07 09:00")).then(broken("06 17:00"))


def test_warnings_and_the_breach_come_in_order_when_time_leaps() -> None:
    desk = Desk(rule(warn_percents=[50, 75])).given(opened("06 09:00"))

    desk.when(passed("20 09:00")).then(
        warned("06 13:00", 50, due="06 17:00"), warned("06 15:00", 75, due="06 17:00"), broken("06 17:00")
    )


def test_a_warning_that_nobody_noticed_in_time_comes_before_what_came_after_it() -> None:
    desk = Desk(rule(warn_percents=[75])).given(opened("06 09:00"))

    desk.when(resolved("06 16:00")).then(
        warned("06 15:00", 75, due="06 17:00"), kept("06 16:00", used_s=7 * HOUR, due="06 17:00")
    )


def test_a_pause_puts_a_warning_off() -> None:
    desk = Desk(rule(warn_percents=[75])).given(opened("06 09:00"), held("06 14:00"))

    desk.when(passed("07 13:00")).then_nothing()
    desk.when(resumed("07 13:00"), passed("07 15:00")).then(
        replanned("07 13:00", used_s=5 * HOUR, due="07 16:00"), warned("07 14:00", 75, due="07 16:00")
    )


# Pauses

OVERNIGHT, WEEKEND = ("06 17:00", "07 09:00"), ("10 17:00", "13 09:00")


@pytest.mark.parametrize(
    ("start", "hold", "resume", "used_s", "due"),
    [
        ("06 09:00", "06 11:00", "06 12:00", 2 * HOUR, "07 10:00"),
        ("06 09:00", "06 11:00", "07 11:00", 2 * HOUR, "07 17:00"),  # a night: six hours of service and sixteen of none
        ("06 09:00", "06 16:30", "07 09:30", 27_000, "07 10:00"),
        ("10 12:00", "10 16:00", "13 10:00", 4 * HOUR, "13 14:00"),  # a weekend
        ("10 12:00", "11 12:00", "13 10:00", 5 * HOUR, "13 13:00"),  # held on Saturday
        ("10 12:00", "12 12:00", "14 09:00", 5 * HOUR, "14 12:00"),  # on Sunday, for all of Monday
        ("06 08:00", "06 08:30", "06 10:00", 0, "07 10:00"),  # before opening
    ],
)
def test_a_pause_puts_the_deadline_off_by_its_service_time(
    start: str, hold: str, resume: str, used_s: int, due: str
) -> None:
    desk = Desk(rule()).given(opened(start), held(hold))

    desk.when(resumed(resume)).then(replanned(resume, used_s=used_s, due=due))


@pytest.mark.parametrize(
    ("start", "due", "hold", "resume"),
    [
        ("06 12:00", "07 12:00", *OVERNIGHT),
        ("10 12:00", "13 12:00", *WEEKEND),
        ("10 12:00", "13 12:00", "11 03:00", "12 23:00"),
        ("06 12:00", "07 12:00", "06 15:00", "06 15:00"),
    ],
)
def test_a_pause_outside_service_hours_adds_nothing(start: str, due: str, hold: str, resume: str) -> None:
    desk = Desk(rule()).given(opened(start))

    desk.when(held(hold), resumed(resume)).then_nothing()
    desk.when(passed("20 09:00")).then(broken(due))


@pytest.mark.parametrize("waiting_for", [PARTS, PROBLEM])
def test_a_wait_that_the_rule_does_not_pause_for_costs_time(waiting_for: case.WaitingFor.ValueType) -> None:
    desk = Desk(rule()).given(opened("06 09:00"))

    desk.when(held("06 10:00", waiting_for), resumed("06 16:00"), passed("07 09:00")).then(broken("06 17:00"))


def test_from_one_pause_into_another_the_clock_stands_on() -> None:
    desk = Desk(rule()).given(opened("06 09:00"))

    desk.when(held("06 10:00", CUSTOMER), held("06 12:00", PARTNER)).then_nothing()
    desk.when(resumed("06 14:00")).then(replanned("06 14:00", used_s=HOUR, due="07 13:00"))


def test_from_a_pause_into_a_wait_that_is_none_the_clock_goes_on() -> None:
    desk = Desk(rule()).given(opened("06 09:00"))

    desk.when(held("06 10:00", CUSTOMER), held("06 12:00", PARTS)).then(
        replanned("06 12:00", used_s=HOUR, due="07 11:00")
    )
    desk.when(held("06 13:00", PARTNER), resumed("06 14:00")).then(
        replanned("06 14:00", used_s=2 * HOUR, due="07 12:00")
    )


def test_nothing_falls_due_while_the_clock_stands() -> None:
    desk = Desk(rule(warn_percents=[50])).given(opened("06 09:00"), held("06 10:00"))

    assert desk.due() is None
    desk.when(passed("31 09:00")).then_nothing()


def test_a_case_resolved_while_it_waits_is_kept_with_the_time_up_to_the_wait() -> None:
    desk = Desk(rule()).given(opened("06 09:00"), held("06 10:00"))

    desk.when(resolved("20 12:00")).then(kept("20 12:00", used_s=HOUR, due="06 17:00"))


# Reopening


@pytest.mark.parametrize(
    ("on_reopen", "events", "used_s", "due"),
    [
        (e.ON_REOPEN_RESUME, (), 4 * HOUR, "06 19:00"),
        (e.ON_REOPEN_RESTART, (), 1 * HOUR, "06 22:00"),
        (e.ON_REOPEN_RESUME, (held("06 10:00"), resumed("06 11:00")), 3 * HOUR, "06 20:00"),
        (e.ON_REOPEN_RESTART, (held("06 10:00"), resumed("06 11:00")), 1 * HOUR, "06 22:00"),
        (e.ON_REOPEN_RESUME, (held("06 11:00"),), 3 * HOUR, "06 20:00"),  # resolved while it waited
        (e.ON_REOPEN_RESTART, (held("06 11:00"),), 1 * HOUR, "06 22:00"),
    ],
)
def test_a_reopened_case_uses_the_tabulated_seconds(
    on_reopen: e.OnReopen.ValueType, events: tuple[Told, ...], used_s: int, due: str
) -> None:
    """Resolved at twelve, reopened at two, resolved again at three."""
    desk = Desk(rule(calendar="always", on_reopen=on_reopen))
    desk.given(opened("06 09:00"), *events, resolved("06 12:00"))

    desk.when(reopened("06 14:00"), resolved("06 15:00")).then(
        replanned("06 14:00", used_s=used_s - HOUR, due=due, by=pins(calendar="always")),
        kept("06 15:00", used_s=used_s, due=due),
    )


def test_the_time_between_resolving_and_reopening_costs_nothing() -> None:
    desk = Desk(rule()).given(opened("06 09:00"), resolved("06 16:00"))

    desk.when(passed("17 09:00"), reopened("17 16:00"), passed("20 17:00")).then(
        replanned("17 16:00", used_s=7 * HOUR, due="17 17:00"), broken("17 17:00")
    )


def test_what_was_kept_to_the_last_second_is_broken_as_soon_as_it_is_reopened() -> None:
    desk = Desk(rule()).given(opened("06 09:00"), resolved("06 17:00"))

    desk.when(reopened("08 10:00"), passed("08 10:01")).then(
        replanned("08 10:00", used_s=8 * HOUR, due="08 10:00"), broken("08 10:00")
    )


def test_a_broken_promise_stays_broken_when_the_case_is_reopened() -> None:
    desk = Desk(rule()).given(opened("06 09:00"), passed("07 09:00"), resolved("07 10:00"))

    desk.when(reopened("07 11:00"), passed("20 09:00"), resolved("20 10:00")).then_nothing()


def test_a_promise_that_starts_again_can_be_kept_after_it_was_broken() -> None:
    desk = Desk(rule(on_reopen=e.ON_REOPEN_RESTART, warn_percents=[75]))
    desk.given(opened("06 09:00"), passed("07 09:00"), resolved("07 10:00"))

    desk.when(reopened("08 09:00"), passed("08 16:00"), resolved("08 16:30")).then(
        replanned("08 09:00", used_s=0, due="08 17:00"),
        warned("08 15:00", 75, due="08 17:00"),
        kept("08 16:30", used_s=27_000, due="08 17:00"),
    )


def test_a_promise_that_was_released_does_not_start_again() -> None:
    desk = Desk(rule(priority=case.PRIORITY_MODERATE, on_reopen=e.ON_REOPEN_RESTART)).given(opened("06 09:00"))
    desk.given(prioritized("06 10:00", LOW), prioritized("06 11:00", case.PRIORITY_MODERATE), resolved("06 12:00"))

    desk.when(reopened("06 13:00"), passed("20 09:00")).then_nothing()


def test_a_promise_that_starts_again_goes_by_the_priority_that_the_case_has_then() -> None:
    again = e.ON_REOPEN_RESTART
    desk = Desk(rule(2 * HOUR, priority=CRITICAL, on_reopen=again), rule()).given(opened("06 09:00"))
    desk.given(passed("07 09:00"), prioritized("07 09:00", CRITICAL), resolved("07 10:00"))

    desk.when(reopened("07 11:00")).then(replanned("07 11:00", used_s=0, due="07 13:00", budget_s=2 * HOUR))


def test_a_broken_promise_does_not_start_again_under_a_priority_that_promises_nothing() -> None:
    desk = Desk(rule(priority=case.PRIORITY_MODERATE, on_reopen=e.ON_REOPEN_RESTART)).given(opened("06 09:00"))
    desk.given(passed("07 09:00"), prioritized("07 09:00", LOW), resolved("07 10:00"))

    desk.when(reopened("07 11:00"), passed("20 09:00")).then_nothing()


# Ending without a verdict


@pytest.mark.parametrize("end", [cancelled, rejected])
def test_a_case_that_ends_unserved_releases_every_promise(end: Any) -> None:
    desk = Desk(rule(2 * HOUR, OWN), rule()).given(opened("06 09:00"))

    desk.when(end("06 10:00"), passed("20 09:00")).then(
        released("06 10:00", used_s=HOUR, due="06 11:00", budget_s=2 * HOUR).own(),
        released("06 10:00", used_s=HOUR, due="06 17:00"),
    )


def test_a_waiting_case_that_is_cancelled_releases_its_promise() -> None:
    desk = Desk(rule()).given(opened("06 09:00"), held("06 11:00"))

    desk.when(cancelled("10 10:00")).then(released("10 10:00", used_s=2 * HOUR, due="06 17:00"))


def test_cancelling_does_not_undo_a_broken_promise() -> None:
    desk = Desk(rule()).given(opened("06 09:00"))

    desk.when(cancelled("07 10:00")).then(broken("06 17:00"))


# Another priority or kind

SHIFTING = (
    rule(4 * HOUR, priority=CRITICAL, calendar="always", warn_percents=[50, 75]),
    rule(6 * HOUR, kind=COMPLAINT, warn_percents=[25]),
    rule(8 * HOUR, kind=case.CASE_KIND_INCIDENT, warn_percents=[75]),
)
URGENT = pins(calendar="always")


def test_another_priority_keeps_the_used_time_and_counts_on_by_its_own_calendar() -> None:
    desk = Desk(*SHIFTING).given(opened("06 14:00"), held("06 15:00"), resumed("06 16:00"))

    desk.when(prioritized("06 16:30", CRITICAL), resolved("06 18:00")).then(
        replanned("06 16:30", used_s=5400, due="06 19:00", budget_s=4 * HOUR, by=URGENT),
        warned("06 17:00", 50, due="06 19:00"),
        kept("06 18:00", used_s=3 * HOUR, due="06 19:00", budget_s=4 * HOUR),
    )


def test_warnings_that_the_used_time_has_passed_are_not_given_late() -> None:
    desk = Desk(*SHIFTING).given(opened("06 09:00"))

    desk.when(prioritized("06 12:30", CRITICAL), passed("06 12:59")).then(
        replanned("06 12:30", used_s=12_600, due="06 13:00", budget_s=4 * HOUR, by=URGENT)
    )


def test_a_larger_budget_warns_anew() -> None:
    desk = Desk(*SHIFTING).given(opened("06 09:00", kind=COMPLAINT), passed("06 11:00"))

    desk.when(classified("06 11:00", case.CASE_KIND_INCIDENT), passed("06 16:00")).then(
        replanned("06 11:00", used_s=2 * HOUR, due="06 17:00"), warned("06 15:00", 75, due="06 17:00")
    )


def test_a_priority_whose_budget_is_used_up_breaks_the_promise_when_it_is_set() -> None:
    desk = Desk(*SHIFTING).given(opened("06 09:00"))

    desk.when(prioritized("06 14:00", CRITICAL), passed("06 14:01")).then(
        replanned("06 14:00", used_s=5 * HOUR, due="06 14:00", budget_s=4 * HOUR, by=URGENT),
        broken("06 14:00", used_s=5 * HOUR, budget_s=4 * HOUR),
    )


def test_a_case_resolved_as_its_budget_becomes_too_small_is_broken() -> None:
    desk = Desk(*SHIFTING).given(opened("06 09:00"))

    desk.when(prioritized("06 14:00", CRITICAL), resolved("06 14:00")).then(
        replanned("06 14:00", used_s=5 * HOUR, due="06 14:00", budget_s=4 * HOUR, by=URGENT),
        broken("06 14:00", used_s=5 * HOUR, budget_s=4 * HOUR),
    )


def test_a_waiting_case_goes_by_its_new_priority_at_once() -> None:
    """The deadline is told as if it went on now; and it stands on."""
    desk = Desk(*SHIFTING).given(opened("06 09:00"), held("06 11:00"))

    desk.when(prioritized("06 12:00", CRITICAL), passed("20 09:00")).then(
        replanned("06 12:00", used_s=2 * HOUR, due="06 14:00", budget_s=4 * HOUR, by=URGENT)
    )
    desk.when(resolved("20 10:00")).then(kept("20 10:00", used_s=2 * HOUR, due="06 14:00", budget_s=4 * HOUR))


def test_a_waiting_case_whose_new_budget_is_used_up_does_not_wait_for_its_verdict() -> None:
    desk = Desk(*SHIFTING).given(opened("06 09:00"), held("06 15:00"))

    desk.when(prioritized("07 12:00", CRITICAL), resolved("08 10:00")).then(
        replanned("07 12:00", used_s=6 * HOUR, due="07 12:00", budget_s=4 * HOUR, by=URGENT),
        broken("07 12:00", used_s=6 * HOUR, budget_s=4 * HOUR),
    )


def test_a_waiting_case_stands_only_for_what_its_new_priority_pauses_for() -> None:
    desk = Desk(rule(priority=HIGH, pause_on=[CUSTOMER]), rule(pause_on=[PARTNER]))

    desk.given(opened("06 09:00"), held("06 10:00", CUSTOMER), prioritized("06 11:00", HIGH))
    desk.when(prioritized("06 13:00", LOW), resolved("06 14:00")).then(
        replanned("06 13:00", used_s=2 * HOUR, due="07 11:00", pauses=[PARTNER]),
        kept("06 14:00", used_s=3 * HOUR, due="07 11:00"),
    )


def test_the_pins_change_even_where_the_deadline_does_not() -> None:
    desk = Desk(rule(priority=HIGH, calendar="always"), rule()).given(opened("06 09:00"))

    desk.when(prioritized("06 10:00", HIGH)).then(replanned("06 10:00", used_s=HOUR, due="06 17:00", by=URGENT))


def test_a_priority_that_no_rule_promises_anything_for_releases_the_promise() -> None:
    desk = Desk(rule(priority=case.PRIORITY_MODERATE)).given(opened("06 09:00"))

    desk.when(prioritized("06 12:00", LOW), passed("20 09:00")).then(
        released("06 12:00", used_s=3 * HOUR, due="06 17:00")
    )


def test_a_priority_under_the_same_rule_changes_nothing() -> None:
    desk = Desk(rule()).given(opened("06 09:00"))

    desk.when(prioritized("06 12:00", LOW), classified("06 13:00", COMPLAINT)).then_nothing()


@pytest.mark.parametrize("end", [resolved, cancelled])
def test_another_priority_changes_no_verdict(end: Any) -> None:
    desk = Desk(rule(HOUR, OWN), *SHIFTING).given(opened("06 09:00"), passed("06 11:00"), end("06 12:00"))

    desk.when(prioritized("06 16:00", CRITICAL), passed("20 09:00")).then_nothing()


# Pins


def test_a_policy_published_later_leaves_running_clocks_alone() -> None:
    desk = Desk(rule(2 * HOUR, priority=CRITICAL), rule(8 * HOUR)).given(opened("06 09:00"))
    desk.given(policy(2, rule(1 * HOUR, priority=CRITICAL), rule(3 * HOUR)))

    desk.when(opened("06 09:00", "B")).then(
        armed("06 09:00", due="06 12:00", budget_s=3 * HOUR, by=pins(policy_version=2), name="B")
    )
    desk.when(prioritized("06 10:00", CRITICAL), held("06 10:30"), resumed("06 11:00")).then(
        replanned("06 10:00", used_s=HOUR, due="06 11:00", budget_s=2 * HOUR),
        replanned("06 11:00", used_s=5400, due="06 11:30", budget_s=2 * HOUR),
    )


def test_a_calendar_published_later_leaves_running_clocks_alone() -> None:
    desk = Desk(rule()).given(opened("06 09:00"), held("06 10:00"), calendar("office", 2, ALWAYS))

    desk.when(opened("06 09:00", "B")).then(
        armed("06 09:00", due="06 17:00", by=pins(calendar_version=2), name="B"),
    )
    desk.when(resumed("06 11:00")).then(replanned("06 11:00", used_s=HOUR, due="07 10:00"))


def test_a_clock_that_changes_to_another_calendar_takes_its_newest_version() -> None:
    desk = Desk(rule(priority=HIGH, calendar="always"), rule()).given(opened("06 09:00"))
    desk.given(calendar("always", 2, hours(8, 20, range(1, 8))), calendar("office", 2, ALWAYS))

    desk.when(prioritized("06 16:00", HIGH)).then(
        replanned("06 16:00", used_s=7 * HOUR, due="06 17:00", by=pins(calendar="always", calendar_version=2))
    )


# Late news


def test_news_of_a_resolution_in_time_corrects_the_verdict_once() -> None:
    desk = Desk(rule()).given(opened("06 09:00"), passed("07 09:00"))

    desk.when(resolved("06 16:00"), passed("08 09:00")).then(corrected("06 16:00", used_s=7 * HOUR, due="06 17:00"))
    desk.when(resolved("06 15:00")).then_nothing()


def test_news_of_a_resolution_at_the_deadline_is_in_time() -> None:
    desk = Desk(rule()).given(opened("06 09:00"), passed("07 09:00"))

    desk.when(resolved("06 17:00")).then(corrected("06 17:00", used_s=8 * HOUR, due="06 17:00"))


def test_news_of_a_late_resolution_corrects_nothing() -> None:
    desk = Desk(rule()).given(opened("06 09:00"), passed("07 09:00"))

    desk.when(resolved("06 17:00:00.000001"), resolved("06 16:00")).then_nothing()


def test_a_case_that_was_owned_in_time_is_told_to_be_so_late() -> None:
    desk = Desk(rule(HOUR, OWN)).given(opened("06 09:00"), passed("06 12:00"))

    desk.when(acknowledged("06 09:30")).then(corrected("06 09:30", used_s=1800, due="06 10:00").own())


def test_a_corrected_verdict_can_be_reopened() -> None:
    desk = Desk(rule()).given(opened("06 09:00"), passed("07 09:00"), resolved("06 16:00"))

    desk.when(reopened("08 09:00"), passed("08 10:01")).then(
        replanned("08 09:00", used_s=7 * HOUR, due="08 10:00"), broken("08 10:00")
    )


def test_no_time_is_counted_twice_when_a_wait_ends_before_it_began() -> None:
    desk = Desk(rule()).given(opened("06 09:00"), held("06 12:00"))

    desk.when(resumed("06 10:00"), resolved("06 13:00")).then(kept("06 13:00", used_s=4 * HOUR, due="06 17:00"))


def test_no_time_is_counted_from_before_the_opening() -> None:
    desk = Desk(rule(priority=HIGH, calendar="always"), rule()).given(opened("06 12:00"))

    desk.when(prioritized("06 09:00", HIGH), resolved("06 08:00")).then(
        replanned("06 09:00", used_s=0, due="06 20:00", by=URGENT), kept("06 08:00", used_s=0, due="06 20:00")
    )


def test_a_case_that_is_told_long_after_its_deadline_is_broken_at_the_deadline() -> None:
    desk = Desk(rule()).given(passed("20 09:00"))

    desk.when(opened("06 09:00"), passed("20 09:01")).then(armed("06 09:00", due="06 17:00"), broken("06 17:00"))


# Tenants


def test_each_company_goes_by_its_own_calendars_and_policies() -> None:
    desk = Desk(rule())
    desk.given(calendar("office", 1, hours(10, 12)), policy(1, rule(4 * HOUR)), tenant="south")

    desk.when(opened("06 09:00", "S"), tenant="south").then(
        armed("06 09:00", due="07 12:00", budget_s=4 * HOUR, name="S", tenant="south")
    )
    desk.when(opened("06 09:00", "N")).then(armed("06 09:00", due="06 17:00", name="N"))
    desk.when(opened("06 09:00", "E"), tenant="east").then_nothing()
    desk.when(passed("08 00:00")).then(broken("06 17:00").of("N"), broken("07 12:00", budget_s=4 * HOUR).of("S"))


def test_verdicts_that_time_brings_belong_to_the_companies_of_their_cases() -> None:
    desk = Desk(rule()).given(calendar("office", 1, hours()), policy(1, rule(HOUR)), tenant="south")
    desk.given(opened("06 09:00", "S"), tenant="south").given(opened("06 09:00", "N")).given(passed("08 00:00"))

    broken_of = [logged.record.tenant for logged in desk.records if isinstance(logged.body, e.VerdictReached)]
    assert broken_of == ["south", "main"]
    assert desk.records[-1].occurred_at == at("06 17:00")
