"""Laws of the sla policy over random histories: decisions follow from the log's order, and from nothing else (I12)."""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, cast
from uuid import UUID

from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from kept.case.v1 import events_pb2 as case
from kept.cell.v1.events_pb2 import TimeAdvanced
from kept.sla.v1 import events_pb2 as e

from services.case.domain import Case
from services.kernel.cell import TIME_STREAM, CellClock
from services.kernel.clock import FixedClock, MachineClock, moment, timestamp_of
from services.kernel.database import SQLite
from services.kernel.errors import KeptError
from services.kernel.events import DomainEvent, LogEvent, ProtobufMapper, Stamp, event_id, log_event
from services.kernel.lockstep import Lockstep
from services.kernel.log.bell import SilentBell
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Entry, Save
from services.kernel.policy import PolicyFollower
from services.sla.calendar import Calendar
from services.sla.domain import calendar_id, clock_id, policy_id
from services.sla.policies import OWN, RESOLVE, SlaPolicy
from tests.sla.desk import ALWAYS, CUSTOMER, HOUR, OFFICE, PARTNER, at, rule, stream_of

CALENDARS = {"office": OFFICE, "always": ALWAYS}
# Each priority has a budget and a calendar of its own; critical makes no promise to resolve.
RULES = (
    rule(2 * HOUR, OWN, warn_percents=[50]),
    rule(4 * HOUR, priority=case.PRIORITY_HIGH, calendar="always", warn_percents=[50, 90]),
    rule(9 * HOUR, priority=case.PRIORITY_MODERATE, warn_percents=[75], boundary=e.BOUNDARY_NEXT_OPENING),
    rule(16 * HOUR, priority=case.PRIORITY_LOW, on_reopen=e.ON_REOPEN_RESTART, pause_on=[CUSTOMER]),
)
PROMISES: dict[int, e.TargetRule] = {rule.priority: rule for rule in RULES if rule.priority}
HOURS = {name: Calendar(definition) for name, definition in CALENDARS.items()}
PRIORITIES = (case.PRIORITY_CRITICAL, case.PRIORITY_HIGH, case.PRIORITY_MODERATE, case.PRIORITY_LOW)
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # hundreds of logs are made and dropped
START = at("06 09:00")
END = at("31 00:00")


class Step(NamedTuple):
    """One event of a case."""

    case: UUID
    event: DomainEvent

    @property
    def at(self) -> int:
        return self.event.stamp.occurred_at

    @property
    def event_id(self) -> str:
        return event_id(self.event.originator_id, self.event.originator_version)


COMMANDS: list[Callable[[Case, int], None]] = [
    lambda one, _: one.acknowledge(),
    lambda one, choice: one.hold(waiting_for=(CUSTOMER, PARTNER, case.WAITING_FOR_PARTS)[choice % 3], reason="waits"),
    lambda one, _: one.resume(reason="goes on"),
    lambda one, _: one.resolve(reason="done"),
    lambda one, _: one.reopen(reason="again"),
    lambda one, _: one.close(customer_confirmed=True, reason=""),
    lambda one, _: one.cancel(reason="not wanted"),
    lambda one, choice: one.prioritize(priority=PRIORITIES[choice], reason="looked again"),
]
# Mostly what moves a case on, so that histories become long.
COMMON = st.sampled_from([0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 5, 6, 7, 7])
FORTH = st.sampled_from([0, 0, 1, 600, HOUR, 2 * HOUR, 5 * HOUR, 14 * HOUR, 61 * HOUR])
ANYWHERE = st.integers(-30 * HOUR, 40 * HOUR)
TWO_CASES = (stream_of("A"), stream_of("B"))


@st.composite
def histories(draw: st.DrawFn, leaps: st.SearchStrategy[int] = FORTH) -> list[Step]:
    """What can happen to two cases; refused commands leave nothing. With leaps back, news come late."""
    now, steps = START, []
    cases = [Case(case_id) for case_id in TWO_CASES]
    for one in cases:
        one.stamp = stamp(now, one.id)
        opened = case.CaseOpened(customer_id=str(stream_of("customer")), priority=draw(st.sampled_from(PRIORITIES)))
        opened.classification.kind = case.CASE_KIND_INCIDENT
        one.open(opened)
        steps += [Step(one.id, event) for event in one.collect_events()]
    orders = st.tuples(st.sampled_from(cases), COMMON, st.integers(0, 3), leaps)
    for one, command, choice, leap in draw(st.lists(orders, max_size=25)):
        now = max(now + leap * 1_000_000, 0)
        one.stamp = stamp(now, one.id)
        try:
            COMMANDS[command](one, choice)
        except KeptError:
            continue
        steps += [Step(one.id, event) for event in one.collect_events()]
    return steps


def stamp(at: int, cause: UUID) -> Stamp:
    return Stamp("main", "user:ana", at, correlation_id=str(cause))


# Every way to run it


class Run:
    """The policy's follower on a log of its own."""

    def __init__(self, folder: Path, batch: int, now: FixedClock | None) -> None:
        self.log = EventLog(SQLite(folder / "log.db", durable=False), SilentBell())
        self.log.migrate("toy")
        self._now = now
        self._follower = PolicyFollower(
            SlaPolicy(), self.log, CellClock(self.log, cast(MachineClock, now)), batch=batch
        )
        self._follower.migrate()
        if now is None:
            with self.log.database.write() as session:
                session.execute("UPDATE cell SET history_now = 0")
        self._publish()

    def append(self, step: Step) -> None:
        self._append(step.event)

    def drain(self) -> None:
        with self.log.database.write() as session:
            Lockstep(session).begin_tick()
        while self._follower.step():
            pass

    def passes(self, to: int) -> None:
        """In history mode time is an event; in a live cell it only passes."""
        if self._now is not None:
            self._now.set(moment(to))
            return
        version = self.log.version(TIME_STREAM) + 1
        event = TimeAdvanced(now=timestamp_of(to))
        with self.log.database.write() as session:
            session.execute("UPDATE cell SET history_now = ?", (to,))
        self._append(DomainEvent(TIME_STREAM, version, event, Stamp("cell", "user:ana", to, correlation_id="")))

    def decisions(self) -> list[LogEvent]:
        everything = (log_event(one) for one in self.log.read(0, 100_000))
        return [one for one in everything if one.record.actor == SlaPolicy().actor]

    def parked(self) -> list[object]:
        with self.log.database.read() as session:
            return list(session.execute("SELECT * FROM parked"))

    def close(self) -> None:
        self.log.database.close()

    def _publish(self) -> None:
        told: list[tuple[UUID, Message]] = [
            (calendar_id("main", name), e.CalendarPublished(name=name, version=1, definition=definition))
            for name, definition in CALENDARS.items()
        ]
        policy = e.PolicyPublished(name="standard", version=1, definition=e.PolicyDefinition(rules=RULES))
        for stream, body in [*told, (policy_id("main", "standard"), policy)]:
            self._append(DomainEvent(stream, 1, body, stamp(START, stream)))

    def _append(self, event: DomainEvent) -> None:
        entry: Entry = ProtobufMapper().to_stored_event(event)
        (outcome,) = self.log.append([Save((entry,))])
        assert isinstance(outcome, int)


@contextmanager
def running(batch: int = 500, *, live: bool = False) -> Iterator[Run]:
    with tempfile.TemporaryDirectory(prefix="kept-", dir=MEMORY) as folder:
        run = Run(Path(folder), batch, FixedClock(moment(START)) if live else None)
        try:
            yield run
        finally:
            run.close()


def decided(steps: Sequence[Step], *, batch: int = 500, live: bool = False, lockstep: bool = False) -> list[LogEvent]:
    """What is decided on this history; in lockstep nothing new happens before everything was read."""
    with running(batch, live=live) as run:
        now = START
        for step in steps:
            if step.at > now:
                now = step.at
                run.passes(now)
                if lockstep:
                    run.drain()
            run.append(step)
            if lockstep:
                run.drain()
        run.passes(END)
        run.drain()
        assert run.parked() == []
        return run.decisions()


def by_clock(decisions: Sequence[LogEvent]) -> dict[str, list[bytes]]:
    streams: dict[str, list[bytes]] = defaultdict(list)
    for one in decisions:
        streams[one.record.stream].append(one.record.SerializeToString(deterministic=True))
    return streams


# The laws


@settings(max_examples=15, deadline=None)
@given(steps=histories(st.one_of(FORTH, ANYWHERE)))
def test_decisions_do_not_depend_on_the_size_of_batches(steps: list[Step]) -> None:
    one_by_one = [one.record for one in decided(steps, batch=1)]

    assert [one.record for one in decided(steps, batch=7)] == one_by_one
    assert [one.record for one in decided(steps, batch=500)] == one_by_one
    assert [one.record for one in decided(steps, lockstep=True)] == one_by_one


@settings(max_examples=15, deadline=None)
@given(steps=histories())
def test_a_follower_that_was_down_decides_what_it_would_have_decided_in_time(steps: list[Step]) -> None:
    in_time = by_clock(decided(steps, live=True, lockstep=True))

    assert by_clock(decided(steps, live=True)) == in_time


@settings(max_examples=15, deadline=None)
@given(steps=histories())
def test_an_imported_history_is_judged_as_a_live_one(steps: list[Step]) -> None:
    assert by_clock(decided(steps)) == by_clock(decided(steps, live=True, lockstep=True))


@settings(max_examples=40, deadline=None)
@given(steps=histories())
def test_a_kept_promise_used_what_the_calendar_says_of_its_events(steps: list[Step]) -> None:
    for one in decided(steps):
        if isinstance(one.body, e.VerdictReached) and one.body.outcome == e.OUTCOME_KEPT and resolves(one):
            (resolved,) = (step for step in steps if step.event_id == one.record.causation_id)
            of_case = [step for step in steps if step.case == resolved.case]
            assert one.body.used_s == used_until(resolved, of_case)
            assert one.body.used_s <= one.body.budget_s


@settings(max_examples=40, deadline=None)
@given(steps=histories(st.one_of(FORTH, ANYWHERE)))
def test_a_clock_has_one_verdict_until_it_is_planned_anew(steps: list[Step]) -> None:
    verdicts: dict[str, int] = defaultdict(int)
    for one in decided(steps):
        match one.body:
            case e.VerdictReached():
                verdicts[one.record.stream] += 1
                assert verdicts[one.record.stream] == 1
            case e.ClockReplanned():
                verdicts[one.record.stream] = 0
            case e.VerdictCorrected() | e.ThresholdReached():
                assert verdicts[one.record.stream] == isinstance(one.body, e.VerdictCorrected)


@settings(max_examples=40, deadline=None)
@given(steps=histories(ANYWHERE))
def test_news_in_any_order_never_use_negative_time_or_more_than_there_was(steps: list[Step]) -> None:
    times = [step.at for step in steps]
    most_s = (max(times) - min(times)) // 1_000_000

    for one in decided(steps, lockstep=True):
        match one.body:
            case e.VerdictReached(outcome=e.OUTCOME_BROKEN):
                assert 0 <= one.body.used_s <= max(one.body.budget_s, most_s)
            case e.VerdictReached() | e.VerdictCorrected() | e.ClockReplanned():
                assert 0 <= one.body.used_s <= most_s


def resolves(decision: LogEvent) -> bool:
    return decision.record.stream in {str(clock_id(str(case_id), RESOLVE)) for case_id in TWO_CASES}


def used_until(resolved: Step, steps: Sequence[Step]) -> int:
    """Service seconds of a case's clock to resolve, from the case's events alone: between each two of them it ran, or
    it did not."""
    used_s, waiting_for, over = 0, 0, False
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
                    used_s = 0
        promise = PROMISES.get(priority)
        if promise is not None and not over and waiting_for not in promise.pause_on:
            used_s += HOURS[promise.calendar].between(moment(step.at), moment(following.at))
    return used_s
