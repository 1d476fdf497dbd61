"""From case events to clocks: arms, pauses, replans, warns, and reaches verdicts. Reads nothing sealed (I5)."""

from collections.abc import Callable
from uuid import UUID

from kept.case.v1 import events_pb2 as case
from kept.cell.v1.events_pb2 import TimeAdvanced
from kept.sla.v1 import events_pb2 as e

from services.kernel.clock import micros_of, timestamp_of
from services.kernel.database import Session, uuid_of
from services.kernel.events import LogEvent, Stamp, full_name
from services.kernel.policy import Policy, Work
from services.kernel.tables import Table
from services.sla.calendar import Calendar
from services.sla.clocks import CLOCKS, ClockState, clocks_of, due_clocks
from services.sla.domain import Clock, clock_id
from services.sla.editions import (
    CALENDARS,
    POLICIES,
    calendar_version,
    first_match,
    keep_calendar,
    keep_policy,
    latest_calendar,
    latest_policy,
    policy_version,
)

OWN, RESOLVE = e.TARGET_KIND_TIME_TO_OWN, e.TARGET_KIND_TIME_TO_RESOLVE
DUE_AT_ONCE = 200


class SlaPolicy(Policy):
    name = "sla"
    version = "2"
    reads = frozenset(
        full_name(event)
        for event in (
            TimeAdvanced, e.CalendarPublished, e.PolicyPublished,
            case.CaseOpened, case.CaseAcknowledged, case.CaseHeld, case.CaseResumed, case.CaseResolved, case.CaseReopened,
            case.CaseCancelled, case.CaseRejected, case.CasePrioritized, case.CaseClassified,
        )
    )  # fmt: skip

    tables = (
        CALENDARS,
        POLICIES,
        Table(
            "sla_case",
            {
                "case_id": "uuid", "tenant": "text", "customer_id": "text", "correlation_id": "text", "kind": "int",
                "priority": "int", "entitlement": "text", "product_stage": "int",
            },
            key=("case_id",),
        ),
        CLOCKS,
    )  # fmt: skip

    def __init__(self) -> None:
        # A published version never changes, so what was read once stays right.
        self._calendars: dict[tuple[str, str, int], Calendar] = {}

    def decide(self, work: Work, event: LogEvent) -> None:
        body, at = event.body, event.occurred_at
        match body:
            case TimeAdvanced():
                self.due(work, micros_of(body.now))
                return
            case e.CalendarPublished():
                keep_calendar(work.session, event.record.tenant, body)
                return
            case e.PolicyPublished():
                keep_policy(work.session, event.record.tenant, body)
                return
            case case.CaseOpened():
                self._open(work, event, body)
                return
        case_id = uuid_of(event.record.stream)
        states = clocks_of(work.session, case_id)
        self._catch_up(work, states, at)
        clocks = [_Running(self, work, event, state) for state in states]
        match body:
            case case.CaseAcknowledged():
                _each(clocks, OWN, lambda clock: clock.stop(at))
            case case.CaseHeld():
                # Whoever makes the customer wait for something has the case in hand.
                _each(clocks, OWN, lambda clock: clock.stop(at))
                _each(clocks, RESOLVE, lambda clock: clock.wait(at, body.waiting_for))
            case case.CaseResumed():
                _each(clocks, OWN, lambda clock: clock.stop(at))
                _each(clocks, RESOLVE, lambda clock: clock.wait(at, case.WAITING_FOR_UNSPECIFIED))
            case case.CaseResolved():
                _each(clocks, OWN, lambda clock: clock.stop(at))
                _each(clocks, RESOLVE, lambda clock: clock.stop(at))
            case case.CaseReopened():
                rules = self._rules(work.session, case_id, clocks)
                _each(clocks, RESOLVE, lambda clock: clock.reopen(at, rules[clock.state.target]))
            case case.CaseCancelled() | case.CaseRejected():
                for clock in clocks:
                    clock.release(at)
            case case.CasePrioritized() | case.CaseClassified():
                self._reconsider(work, event, case_id, clocks)

    def due(self, work: Work, now: int) -> None:
        while due := due_clocks(work.session, now, DUE_AT_ONCE):
            for state in due:
                self._fire(work, state)

    def _catch_up(self, work: Work, states: list[ClockState], at: int) -> None:
        """What fell due before the event was true comes before it, however late the two are read."""
        while late := [(state.next_at, state.target) for state in states if state.next_at and state.next_at < at]:
            self._fire(work, next(state for state in states if (state.next_at, state.target) == min(late)))

    def _fire(self, work: Work, state: ClockState) -> None:
        tenant, _, correlation_id, *_ = _facts(work.session, state.case_id)
        assert state.next_at is not None
        stamp = Stamp(tenant, self.actor, state.next_at, correlation_id, causation_id=state.cause_id)
        _fire(work, stamp, state, self.calendar(work.session, tenant, state))

    def next_due(self, session: Session) -> int | None:
        row = session.execute("SELECT min(next_at) FROM sla_clock").fetchone()
        return None if row is None or row[0] is None else int(row[0])

    def _open(self, work: Work, event: LogEvent, opened: case.CaseOpened) -> None:
        record = event.record
        case_id = uuid_of(record.stream)
        kind = opened.classification.kind
        facts = (record.tenant, opened.customer_id, record.correlation_id)
        matched = (kind, opened.priority, opened.entitlement, opened.product_stage)
        work.session.execute("INSERT INTO sla_case VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (case_id, *facts, *matched))
        found = latest_policy(work.session, record.tenant)
        if found is None:
            return
        policy, version, definition = found
        for target in (OWN, RESOLVE):
            rule = first_match(definition, target, matched)
            if rule is not None:
                self._arm(work, event, policy, version, rule)

    def _arm(self, work: Work, event: LogEvent, policy: str, version: int, rule: e.TargetRule) -> None:
        record = event.record
        number = latest_calendar(work.session, record.tenant, rule.calendar)
        state = ClockState(
            clock_id=clock_id(record.stream, rule.target),
            case_id=uuid_of(record.stream),
            target=rule.target,
            policy=policy,
            policy_version=version,
            calendar_version=number,
            rule=rule.SerializeToString(deterministic=True),
            used_s=0,
            running_since=None,
            stood_since=None,
            waiting_for=case.WAITING_FOR_UNSPECIFIED,
            due_at=0,
            warned=0,
            outcome=e.OUTCOME_UNSPECIFIED,
            next_at=None,
            cause_id=record.id,
        )
        state.run(self.calendar(work.session, record.tenant, state), event.occurred_at)
        state.insert(work.session)
        armed = e.ClockArmed(
            case_id=record.stream,
            target=rule.target,
            pins=state.pins(),
            budget_s=rule.budget_s,
            due_at=timestamp_of(state.due_at),
            pause_on=rule.pause_on,
        )
        work.decide(
            Clock, state.clock_id, self.stamp(event), lambda clock: clock.arm(armed, customer_id=record.customer_id)
        )

    def _reconsider(self, work: Work, event: LogEvent, case_id: UUID, clocks: list["_Running"]) -> None:
        """Another priority or kind: other budgets, and what was used stays used."""
        body = event.body
        if isinstance(body, case.CasePrioritized):
            work.session.execute("UPDATE sla_case SET priority = ? WHERE case_id = ?", (body.priority, case_id))
        elif isinstance(body, case.CaseClassified):
            kind = body.classification.kind
            work.session.execute("UPDATE sla_case SET kind = ? WHERE case_id = ?", (kind, case_id))
        rules = self._rules(work.session, case_id, clocks)
        for clock in clocks:
            clock.follow(event.occurred_at, rules[clock.state.target])

    def _rules(self, session: Session, case_id: UUID, clocks: list["_Running"]) -> dict[int, e.TargetRule | None]:
        """For each target, the rule of its pinned policy that matches the case as it is now."""
        if not clocks:
            return {}
        facts = _facts(session, case_id)
        tenant, matched = facts[0], facts[3:]
        rules = {}
        for state in (clock.state for clock in clocks):
            definition = policy_version(session, tenant, state.policy, state.policy_version)
            rules[state.target] = first_match(definition, state.target, matched)
        return rules

    def calendar(self, session: Session, tenant: str, state: ClockState) -> Calendar:
        """The calendar version that the clock is pinned to."""
        key = (tenant, state.target_rule.calendar, state.calendar_version)
        if key not in self._calendars:
            self._calendars[key] = calendar_version(session, *key)
        return self._calendars[key]


class _Running:
    """One clock of a case while one of the case's events is handled."""

    def __init__(self, policy: SlaPolicy, work: Work, event: LogEvent, state: ClockState) -> None:
        self._policy = policy
        self._work = work
        self._event = event
        self._tenant = event.record.tenant
        self.state = state
        self._calendar = policy.calendar(work.session, self._tenant, state)

    def stop(self, at: int) -> None:
        """Kept, since a missed deadline has fired by now; late news of a stop in time corrects a broken verdict."""
        state = self.state
        if state.outcome == e.OUTCOME_UNSPECIFIED:
            state.stand(self._calendar, at)
            # More is used only where the budget became less in this very moment.
            in_time = state.used_s <= state.target_rule.budget_s
            self._conclude(e.OUTCOME_KEPT if in_time else e.OUTCOME_BROKEN, at)
        elif state.outcome == e.OUTCOME_BROKEN and state.running_since is not None:
            late = at > state.due_at
            state.stand(self._calendar, at)
            if not late:
                state.outcome = e.OUTCOME_KEPT
                self._decide(lambda clock: clock.correct(e.OUTCOME_KEPT, used_s=state.used_s))
            self._save()

    def wait(self, at: int, waiting_for: case.WaitingFor.ValueType) -> None:
        """Stands or runs, as its rule has it for a case that waits so; unspecified when it waits no longer."""
        state = self.state
        if state.outcome != e.OUTCOME_UNSPECIFIED:
            return
        state.waiting_for = waiting_for
        if state.pauses():
            state.stand(self._calendar, at)
            self._save()
        elif state.running_since is None:
            self._rerun(at)
        else:
            self._save()

    def reopen(self, at: int, rule: e.TargetRule | None) -> None:
        """Goes on, or starts again, as the rule has it. Only that undoes a broken promise; a released one is over."""
        state = self.state
        restart = rule is not None and rule.on_reopen == e.ON_REOPEN_RESTART
        if rule is None or not (state.outcome == e.OUTCOME_KEPT or (state.outcome == e.OUTCOME_BROKEN and restart)):
            return
        state.outcome, state.waiting_for = e.OUTCOME_UNSPECIFIED, case.WAITING_FOR_UNSPECIFIED
        if restart:
            state.used_s, state.warned = 0, 0
        self._adopt(rule)
        self._rerun(at)

    def release(self, at: int) -> None:
        if self.state.outcome == e.OUTCOME_UNSPECIFIED:
            self.state.stand(self._calendar, at)
            self._conclude(e.OUTCOME_RELEASED, at)

    def follow(self, at: int, rule: e.TargetRule | None) -> None:
        """Goes by another rule, or by none."""
        if self.state.outcome != e.OUTCOME_UNSPECIFIED:
            return
        if rule is None:
            self.release(at)
        elif rule != self.state.target_rule:
            self.state.stand(self._calendar, at)
            self._adopt(rule)
            self._rerun(at)

    def _adopt(self, rule: e.TargetRule) -> None:
        state = self.state
        if rule == state.target_rule:
            return
        if rule.calendar != state.target_rule.calendar:
            state.calendar_version = latest_calendar(self._work.session, self._tenant, rule.calendar)
        state.rule = rule.SerializeToString(deterministic=True)
        # Warnings that the used time has passed already, under the new budget, are not given late.
        state.warned = max((p for p in rule.warn_percents if rule.budget_s * p <= state.used_s * 100), default=0)
        self._calendar = self._policy.calendar(self._work.session, self._tenant, state)

    def _rerun(self, at: int) -> None:
        """Plans anew from `at`. One that stands is due as if it ran; but with more than its budget used, it breaks now."""
        state = self.state
        state.run(self._calendar, at)
        if state.pauses() and state.used_s <= state.target_rule.budget_s:
            state.running_since = state.next_at = None
        self._save()
        rule, due_at = state.target_rule, timestamp_of(state.due_at)
        planned = e.ClockReplanned(
            pins=state.pins(), budget_s=rule.budget_s, used_s=state.used_s, due_at=due_at, pause_on=rule.pause_on
        )
        self._decide(lambda clock: clock.replan(planned))

    def _conclude(self, outcome: e.Outcome.ValueType, at: int) -> None:
        self.state.outcome = outcome
        self._save()
        self._decide(lambda clock: clock.conclude(outcome, used_s=self.state.used_s, at=at))

    def _save(self) -> None:
        self.state.cause_id = self._event.record.id
        self.state.update(self._work.session)

    def _decide(self, decision: Callable[[Clock], None]) -> None:
        self._work.decide(Clock, self.state.clock_id, self._policy.stamp(self._event), decision)


def _fire(work: Work, stamp: Stamp, state: ClockState, calendar: Calendar) -> None:
    """One due moment: a warning, or the deadline itself, each occurred when it was due."""
    at = state.next_at
    assert at is not None
    percent = state.next_warning()
    if percent is not None and at < state.due_at:
        state.warned = percent
        state.plan(calendar)
        state.update(work.session)
        work.decide(Clock, state.clock_id, stamp, lambda clock: clock.warn(percent=percent, at=at))
        return
    # It runs on, so that late news of a stop in time can still be measured.
    state.outcome, state.next_at = e.OUTCOME_BROKEN, None
    state.update(work.session)
    used_s = state.used_at(calendar, at)
    work.decide(Clock, state.clock_id, stamp, lambda clock: clock.conclude(e.OUTCOME_BROKEN, used_s=used_s, at=at))


def _each(clocks: list[_Running], target: e.TargetKind.ValueType, act: Callable[[_Running], None]) -> None:
    for clock in clocks:
        if clock.state.target == target:
            act(clock)


def _facts(session: Session, case_id: UUID) -> tuple[str, str, str, int, int, str, int]:
    """Tenant, customer, correlation id; then kind, priority, entitlement, product stage."""
    row = session.execute(
        """SELECT tenant, customer_id, correlation_id, kind, priority, entitlement, product_stage
           FROM sla_case WHERE case_id = ?""",
        (case_id,),
    ).fetchone()
    assert row is not None
    return row
