"""Explained clocks: the rule, the steps and the stretches are those by which the policy decided."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kept.case.v1 import events_pb2 as case
from kept.case.v1 import service_pb2 as case_service
from kept.common.v1.record_pb2 import Record
from kept.customer.v1 import events_pb2 as customer
from kept.sla.v1 import events_pb2 as e
from kept.sla.v1 import service_pb2 as m

from services.kernel.clock import FixedClock, moment, moment_of, timestamp_of
from services.kernel.errors import Invalid, NotFound
from services.kernel.events import parse_event
from services.sla.calendar import Calendar
from services.sla.clocks import ClockState
from services.sla.domain import clock_id
from services.sla.explain import STRETCHES_MOST, _rule, records, stretches
from services.sla.policies import RESOLVE
from services.sla.views import VIEWS
from tests.databases import Cell
from tests.history import Played
from tests.scene import UNKNOWN, edited, open_case, register_customer
from tests.sla.desk import (
    ALWAYS,
    CUSTOMER,
    HOUR,
    OFFICE,
    Desk,
    at,
    held,
    opened,
    passed,
    prioritized,
    reopened,
    resolved,
    resumed,
    rule,
)
from tests.sla.test_policy_laws import (
    ANYWHERE,
    END,
    FORTH,
    HOURS,
    PROMISES,
    RULES,
    START,
    Run,
    Step,
    histories,
    running,
)

Interval = tuple[datetime, datetime]
HIGH, LOW = case.PRIORITY_HIGH, case.PRIORITY_LOW


def calendar(pins: e.Pins) -> Calendar:
    return HOURS[pins.calendar]


def intervals(own: Sequence[Record]) -> list[Interval]:
    found = stretches(own, calendar)
    return [(moment_of(getattr(stretch, "from")), moment_of(stretch.until)) for stretch in found]


def length_s(found: Sequence[Interval]) -> int:
    return sum((until - since) // timedelta(seconds=1) for since, until in found)


def merged(found: Sequence[Interval]) -> list[Interval]:
    """Those that touch as one."""
    joined: list[Interval] = []
    for since, until in found:
        if joined and joined[-1][1] == since:
            joined[-1] = joined[-1][0], until
        else:
            joined.append((since, until))
    return joined


def played(run: Run, steps: Sequence[Step]) -> Iterator[tuple[ClockState, list[Record], list[Record]]]:
    """Every clock as the policy left it, with its own stream and its case's."""
    now = START
    for step in steps:
        if step.at > now:
            now = step.at
            run.passes(now)
            run.drain()
        run.append(step)
        run.drain()
    run.passes(END)
    run.drain()
    with run.log.database.read() as session:
        states = [ClockState.of_row(row) for row in session.execute("SELECT * FROM sla_clock").fetchall()]
    for state in states:
        head = run.log.position()
        yield state, records(run.log, state.clock_id, head), records(run.log, state.case_id, head)


# Laws


@settings(max_examples=20, deadline=None)
@given(steps=histories(st.one_of(FORTH, ANYWHERE)))
def test_stretches_add_up_to_what_is_used_in_whatever_order_news_come(steps: list[Step]) -> None:
    with running() as run:
        for state, own, _ in played(run, steps):
            found = intervals(own)
            assert all(since < until for since, until in found)
            assert all(one[1] <= other[0] for one, other in pairwise(found))
            assert length_s(found) == used_in_the_end(own)
            if found and not state.outcome:
                hours = calendar(state.pins())
                assert found[-1][1] <= moment(state.due_at)
                assert hours.between(found[-1][1], moment(state.due_at)) == 0


@settings(max_examples=20, deadline=None)
@given(steps=histories())
def test_stretches_are_the_service_hours_in_which_the_case_did_not_wait(steps: list[Step]) -> None:
    with running() as run:
        for state, own, _ in played(run, steps):
            verdict = parse_event(own[-1].type, own[-1].data)
            if state.target == RESOLVE and state.outcome == e.OUTCOME_KEPT and isinstance(verdict, e.VerdictReached):
                (resolved,) = (step for step in steps if step.event_id == own[-1].causation_id)
                of_case = [step for step in steps if step.case == resolved.case]
                assert merged(intervals(own)) == merged(ran_until(resolved, of_case))


@settings(max_examples=20, deadline=None)
@given(steps=histories())
def test_the_rule_is_the_one_that_the_policy_went_by(steps: list[Step]) -> None:
    with running() as run:
        for state, own, of_case in played(run, steps):
            assert _rule(e.PolicyDefinition(rules=RULES), state.target, own, of_case) == state.target_rule


def used_in_the_end(own: Sequence[Record]) -> int:
    """By the verdict; at the deadline where there is none, as for a clock that stands."""
    used_s = 0
    for record in own:
        match parse_event(record.type, record.data):
            case e.ClockArmed() | e.ClockReplanned() as plan:
                used_s = plan.budget_s
            case e.VerdictReached() | e.VerdictCorrected() as verdict:
                used_s = verdict.used_s
    return used_s


def ran_until(resolved: Step, steps: Sequence[Step]) -> list[Interval]:
    """From the case's events alone: between each two of them it ran, or it did not."""
    found: list[Interval] = []
    waiting_for, over = 0, False
    priority: int = case.PRIORITY_UNSPECIFIED
    for step, following in pairwise(steps[: steps.index(resolved) + 1]):
        body = step.event.body
        match body:
            case case.CaseOpened() | case.CasePrioritized():
                priority = body.priority
            case case.CaseHeld():
                waiting_for = body.waiting_for
            case case.CaseResumed():
                waiting_for = 0
            case case.CaseResolved():
                waiting_for, over = 0, True
            case case.CaseReopened():
                over = False
                if priority in PROMISES and PROMISES[priority].on_reopen == e.ON_REOPEN_RESTART:
                    found = []
        promise = PROMISES.get(priority)
        if promise is not None and not over and waiting_for not in promise.pause_on:
            found.extend(HOURS[promise.calendar].open_intervals(moment(step.at), moment(following.at)))
    return found


# At the desk


def told(*steps: Any, by: Sequence[e.TargetRule] = ()) -> list[Record]:
    """The records of the one clock that this makes."""
    desk = Desk(*(by or [rule()]))
    desk.when(*steps)
    return [event.record for event in desk.records]


def span(since: str, until: str) -> Interval:
    return moment(at(since)), moment(at(until))


def test_a_pause_is_left_out_and_closed_hours_are_too() -> None:
    own = told(opened("06 15:00"), held("07 10:00"), resumed("07 14:00"))

    assert intervals(own) == [
        span("06 15:00", "06 17:00"),
        span("07 09:00", "07 10:00"),
        span("07 14:00", "07 17:00"),
        span("08 09:00", "08 11:00"),
    ]


def test_parts_of_a_second_are_cut_off_and_nothing_is_lost() -> None:
    own = told(opened("06 09:00:00.5"), held("06 10:00:01.2"), resumed("06 11:00:00.9"))

    assert intervals(own) == [
        span("06 09:00", "06 10:00:01"),
        span("06 11:00", "06 17:00"),
        span("07 09:00", "07 09:59:59"),
    ]


def test_a_deadline_at_the_next_opening_ends_with_the_hours_before() -> None:
    own = told(opened("06 09:00"), by=[rule(boundary=e.BOUNDARY_NEXT_OPENING)])

    assert intervals(own) == [span("06 09:00", "06 17:00")]


def test_a_restart_forgets_what_was_used_before() -> None:
    by = [rule(2 * HOUR, on_reopen=e.ON_REOPEN_RESTART)]
    own = told(
        opened("06 09:00"), held("06 10:00"), resumed("06 11:00"), resolved("06 11:30"), reopened("07 12:00"), by=by
    )

    assert intervals(own) == [span("07 12:00", "07 14:00")]


def test_each_plan_is_counted_in_the_hours_that_it_was_made_with() -> None:
    by = [rule(4 * HOUR, priority=HIGH, calendar="always"), rule()]
    own = told(opened("06 15:00"), prioritized("06 16:00", HIGH), by=by)

    assert intervals(own) == [span("06 15:00", "06 16:00"), span("06 16:00", "06 19:00")]


def test_a_corrected_verdict_ends_the_stretches_where_the_clock_really_stopped() -> None:
    own = told(opened("06 09:00"), passed("06 18:00"), resolved("06 15:00"))

    assert own[-1].type == "kept.sla.v1.VerdictCorrected"
    assert intervals(own) == [span("06 09:00", "06 15:00")]


# The whole answer, on SQLite and on PostgreSQL


@pytest.fixture
def live(cell: Cell) -> Iterator[Played]:
    live = Played(cell.settings, FixedClock(moment(at("06 09:00"))))
    for name, definition in (("office", OFFICE), ("always", ALWAYS)):
        tell(live, "sla", m.PublishCalendarRequest(name=name, definition=definition), "06 09:00")
    urgent = rule(4 * HOUR, priority=HIGH, calendar="always", pause_on=[])
    rules = e.PolicyDefinition(rules=[urgent, rule(priority=LOW, warn_percents=[25])])
    tell(live, "sla", m.PublishPolicyRequest(name="standard", definition=rules), "06 09:00")
    yield live
    live.close()


def tell(live: Played, service: str, request: Any, when: str) -> Any:
    """The receipt, once everything was decided."""
    live.passes(moment(at(when)))
    request = edited(request, {"request_id": str(uuid4()), "occurred_at": timestamp_of(at(when))})
    receipt = live.call(service, request.DESCRIPTOR.name.removesuffix("Request"), request).receipt
    live.drain()
    return receipt


def explained(live: Played, clock: str, tenant: str = "main") -> m.ExplainClockResponse:
    answer = live.call("sla", "ExplainClock", m.ExplainClockRequest(clock_id=clock), tenant=tenant)
    assert isinstance(answer, m.ExplainClockResponse)
    return answer


def opened_case(live: Played) -> str:
    customer_id = tell(live, "customer", register_customer(), "06 09:00").id
    return str(tell(live, "case", edited(open_case(customer_id), {"priority": LOW}), "06 09:00").id)


def test_a_clock_is_explained_by_its_rule_its_hours_its_steps_and_its_stretches(live: Played) -> None:
    case_id = opened_case(live)
    hold = case_service.HoldRequest(case_id=case_id, waiting_for=CUSTOMER, reason="r")
    tell(live, "case", hold, "06 12:00")
    tell(live, "case", case_service.ResumeRequest(case_id=case_id, reason="r"), "06 14:00")
    clock = str(clock_id(case_id, RESOLVE))
    answer = explained(live, clock)

    assert (answer.clock.clock_id, answer.clock.case_id) == (clock, case_id)
    assert (answer.rule, answer.calendar) == (rule(priority=LOW, warn_percents=[25]), OFFICE)
    assert [
        (step.type.rpartition(".")[2], step.used_s, step.cause_type.rpartition(".")[2]) for step in answer.steps
    ] == [
        ("ClockArmed", 0, "CaseOpened"),
        ("ThresholdReached", 2 * HOUR, "CaseOpened"),
        ("ClockReplanned", 3 * HOUR, "CaseResumed"),
    ]
    assert [step.due_at for step in answer.steps] == [
        timestamp_of(at(due)) for due in ("06 17:00", "06 17:00", "07 11:00")
    ]
    own = records(live.house.log, UUID(clock), live.house.log.position())
    assert [(step.event_id, step.causation_id, step.occurred_at) for step in answer.steps] == [
        (record.id, record.causation_id, record.occurred_at) for record in own
    ]
    assert [(moment_of(getattr(one, "from")), moment_of(one.until)) for one in answer.stretches] == [
        span("06 09:00", "06 12:00"),
        span("06 14:00", "06 17:00"),
        span("07 09:00", "07 11:00"),
    ]


def test_another_priority_is_explained_by_its_rule_and_each_stretch_by_the_hours_of_then(live: Played) -> None:
    case_id = opened_case(live)
    prioritize = case_service.PrioritizeRequest(case_id=case_id, priority=HIGH, reason="hospital")
    tell(live, "case", prioritize, "06 11:00")
    tell(live, "sla", m.PublishCalendarRequest(name="always", definition=OFFICE), "06 11:30")
    answer = explained(live, str(clock_id(case_id, RESOLVE)))

    assert (answer.rule.budget_s, answer.calendar) == (4 * HOUR, ALWAYS)
    assert [(moment_of(getattr(one, "from")), moment_of(one.until)) for one in answer.stretches] == [
        span("06 09:00", "06 11:00"),
        span("06 11:00", "06 13:00"),
    ]


def test_an_unknown_clock_is_not_found(live: Played) -> None:
    case_id = opened_case(live)
    for clock, tenant in ((UNKNOWN, "main"), (case_id, "main"), (str(clock_id(case_id, RESOLVE)), "south")):
        with pytest.raises(NotFound) as caught:
            explained(live, clock, tenant)
        assert caught.value.slug == "clock-not-found"
    for bad in ("", "x", UNKNOWN.upper()):
        with pytest.raises(Invalid):
            explained(live, bad)


def test_no_more_than_the_most_stretches_are_given(live: Played) -> None:
    forever = rule(10 * 366 * 86_400 // 3, product_stage=customer.PRODUCT_STAGE_GROWTH)
    tell(live, "sla", m.PublishPolicyRequest(name="long", definition=e.PolicyDefinition(rules=[forever])), "06 09:00")
    answer = explained(live, str(clock_id(opened_case(live), RESOLVE)))

    assert len(answer.stretches) == STRETCHES_MOST
    assert [getattr(one, "from") for one in answer.stretches] == sorted(
        (getattr(one, "from") for one in answer.stretches), key=moment_of
    )


def test_a_clock_is_explained_as_far_as_the_view_has_read(live: Played) -> None:
    case_id = opened_case(live)
    clock = str(clock_id(case_id, RESOLVE))
    before = explained(live, clock)
    views = [follower for follower in live.followers if follower.name == VIEWS.follower]
    live.followers = [follower for follower in live.followers if follower not in views]
    tell(live, "sla", m.PublishCalendarRequest(name="always", definition=OFFICE), "06 10:00")
    tell(live, "case", case_service.PrioritizeRequest(case_id=case_id, priority=HIGH, reason="hospital"), "06 11:00")

    assert explained(live, clock) == before

    live.followers += views
    live.drain()
    assert len(explained(live, clock).steps) == len(before.steps) + 1
