"""Laws of offers over random histories: at most one partner has the work order, and an offer expires once or never."""

import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast
from uuid import UUID, uuid5

from hypothesis import given, settings
from hypothesis import strategies as st
from kept.cell.v1.events_pb2 import TimeAdvanced
from kept.common.v1.sealed_pb2 import Sealed
from kept.partner_network.v1 import events_pb2 as e

from services.kernel.cell import TIME_STREAM, CellClock
from services.kernel.clock import FixedClock, MachineClock, micros_of, moment, timestamp_of
from services.kernel.database import SQLite
from services.kernel.errors import KeptError
from services.kernel.events import DomainEvent, LogEvent, ProtobufMapper, Stamp, log_event
from services.kernel.lockstep import Lockstep
from services.kernel.log.bell import SilentBell
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Save
from services.kernel.policy import PolicyFollower
from services.partner_network.domain import WorkOrder, offer_id
from services.partner_network.policies import OfferPolicy
from tests.partner_network.desk import CUSTOMER, NAMES, at, order_of

PARTNERS = [str(uuid5(NAMES, f"partner {number}")) for number in range(3)]
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # hundreds of logs are made and dropped
END = 10_000


class Step(NamedTuple):
    """One event of a work order, and what time it was when it was told."""

    order: UUID
    event: DomainEvent
    told_at: int

    @property
    def at(self) -> int:
        return self.event.stamp.occurred_at


class Choice(NamedTuple):
    """What somebody may try: `partner` accepts or declines; the next round goes to all up to `partner`."""

    order: int
    command: int
    partner: int
    minutes: int  # that the offer stands


def window() -> e.VisitWindow:
    return e.VisitWindow(**{"from": timestamp_of(at(0)), "until": timestamp_of(at(END))})


def accept(order: WorkOrder, choice: Choice, now: int) -> None:
    said = e.WorkOrderAccepted(partner_id=PARTNERS[choice.partner], technician=Sealed(ciphertext=b"who"))
    order.accept(said, now=now)


def decline(order: WorkOrder, choice: Choice, now: int) -> None:
    order.decline(PARTNERS[choice.partner], reason="busy", now=now)


def reoffer(order: WorkOrder, choice: Choice, now: int) -> None:
    expires_at = timestamp_of(now + choice.minutes * 60_000_000)
    partner_ids = PARTNERS[: choice.partner + 1]
    order.reoffer(e.WorkOrderReoffered(partner_ids=partner_ids, window=window(), expires_at=expires_at), now=now)


def cancel(order: WorkOrder, choice: Choice, now: int) -> None:
    order.cancel(reason="sold")


COMMANDS: list[Callable[[WorkOrder, Choice, int], None]] = [accept, decline, reoffer, cancel]
CHOICES = st.builds(
    Choice,
    order=st.integers(0, 1),
    # Mostly what lets a history go on.
    command=st.sampled_from([2, 1, 1, 0, 1, 2, 3]),
    partner=st.integers(0, 2),
    minutes=st.sampled_from([10, 20, 60]),
)
# Often exactly what an offer stands.
FORTH = st.sampled_from([0, 0, 0, 1, 5, 10, 20])
# How many minutes ago it was, where news come late.
AT_ONCE, AGO = st.just(0), st.sampled_from([0, 0, 5, 15, 30])


@st.composite
def histories(draw: st.DrawFn, ago: st.SearchStrategy[int] = AT_ONCE) -> list[Step]:
    """What can happen to two work orders; refused commands leave nothing."""
    now, steps = 0, []
    orders = [WorkOrder(order_of("A")), WorkOrder(order_of("B"))]
    for number, order in enumerate(orders):
        order.stamp = stamp(at(now))
        expires_at = timestamp_of(at(draw(st.sampled_from([10, 20, 60]))))
        partner_ids = PARTNERS[: number + 2]
        order.offer(
            e.WorkOrderOffered(customer_id=CUSTOMER, partner_ids=partner_ids, window=window(), expires_at=expires_at)
        )
        steps += [Step(order.id, event, at(now)) for event in order.collect_events()]
    for choice, leap, before in draw(st.lists(st.tuples(CHOICES, FORTH, ago), min_size=10, max_size=40)):
        now += leap
        occurred_at = at(max(now - before, 0))
        order = orders[choice.order]
        order.stamp = stamp(occurred_at)
        try:
            COMMANDS[choice.command](order, choice, occurred_at)
        except KeptError:
            continue
        steps += [Step(order.id, event, at(now)) for event in order.collect_events()]
    return steps


def stamp(now: int) -> Stamp:
    return Stamp("main", "user:ana", now, correlation_id="because")


# Every way to run it


class Run:
    """The policy's follower on a log of its own; live by a clock that is set, or in history mode."""

    def __init__(self, folder: Path, batch: int, *, live: bool) -> None:
        self.log = EventLog(SQLite(folder / "log.db", durable=False), SilentBell())
        self.log.migrate("toy")
        self._now = FixedClock(moment(at(0))) if live else None
        clock = CellClock(self.log, cast(MachineClock, self._now))
        self._follower = PolicyFollower(OfferPolicy(), self.log, clock, batch=batch)
        self._follower.migrate()
        if not live:
            with self.log.database.write() as session:
                session.execute("UPDATE cell SET history_now = 0")

    def append(self, event: DomainEvent) -> None:
        (outcome,) = self.log.append([Save((ProtobufMapper().to_stored_event(event),))])
        assert isinstance(outcome, int)

    def passes(self, to: int) -> None:
        """In history mode time is an event; in a live cell it only passes."""
        if self._now is not None:
            self._now.set(moment(to))
            return
        version = self.log.version(TIME_STREAM) + 1
        event = TimeAdvanced(now=timestamp_of(to))
        with self.log.database.write() as session:
            session.execute("UPDATE cell SET history_now = ?", (to,))
        self.append(DomainEvent(TIME_STREAM, version, event, Stamp("cell", "user:ana", to, correlation_id="")))

    def drain(self) -> None:
        with self.log.database.write() as session:
            Lockstep(session).begin_tick()
        while self._follower.step():
            pass
        with self.log.database.read() as session:
            assert session.execute("SELECT * FROM parked").fetchall() == []

    def decisions(self) -> list[LogEvent]:
        everything = (log_event(one) for one in self.log.read(0, 100_000))
        return [one for one in everything if one.record.actor == OfferPolicy().actor]


@contextmanager
def running(batch: int, *, live: bool) -> Iterator[Run]:
    with tempfile.TemporaryDirectory(prefix="kept-", dir=MEMORY) as folder:
        run = Run(Path(folder), batch, live=live)
        try:
            yield run
        finally:
            run.log.database.close()


def decided(
    steps: Sequence[Step], *, batch: int = 500, live: bool = False, lockstep: bool = False
) -> list[tuple[LogEvent, int]]:
    """What is decided on this history, in order, each with the latest time that it can have known of; in lockstep
    nothing new happens before everything was read."""
    seen: dict[str, tuple[LogEvent, int]] = {}
    with running(batch, live=live) as run:
        now = at(0)

        def look() -> None:
            run.drain()
            for one in run.decisions():
                seen.setdefault(one.record.id, (one, now))

        for step in steps:
            if step.told_at > now:
                now = step.told_at
                run.passes(now)
                if lockstep:
                    look()
            run.append(step.event)
            if lockstep:
                look()
        now = at(END)
        run.passes(now)
        look()
    return list(seen.values())


def by_offer(decisions: Sequence[tuple[LogEvent, int]]) -> dict[str, bytes]:
    return {one.record.stream: one.record.SerializeToString(deterministic=True) for one, _ in decisions}


# The laws


@settings(max_examples=150, deadline=None)
@given(steps=histories(AGO))
def test_at_most_one_partner_has_a_work_order(steps: list[Step]) -> None:
    acceptors = Counter(step.order for step in steps if isinstance(step.event.body, e.WorkOrderAccepted))

    assert all(count == 1 for count in acceptors.values())


@settings(max_examples=40, deadline=None)
@given(steps=histories(AGO))
def test_an_offer_expires_once_or_never_and_just_when_nothing_closed_it_by_then(steps: list[Step]) -> None:
    decisions = decided(steps, lockstep=True)

    assert Counter((one.record.stream, one.occurred_at) for one, _ in decisions) == Counter(to_expire(steps))


@settings(max_examples=40, deadline=None)
@given(steps=histories(AGO))
def test_an_offer_never_expires_before_its_moment(steps: list[Step]) -> None:
    for one, known in decided(steps, live=True, lockstep=True):
        assert one.occurred_at <= known


@settings(max_examples=15, deadline=None)
@given(steps=histories(AGO))
def test_decisions_do_not_depend_on_the_size_of_batches(steps: list[Step]) -> None:
    one_by_one = [one.record for one, _ in decided(steps, batch=1)]

    assert [one.record for one, _ in decided(steps, batch=7)] == one_by_one
    assert [one.record for one, _ in decided(steps, batch=500)] == one_by_one
    assert [one.record for one, _ in decided(steps, lockstep=True)] == one_by_one


@settings(max_examples=15, deadline=None)
@given(steps=histories())
def test_a_follower_that_was_down_and_an_imported_history_decide_as_a_live_one_in_time(steps: list[Step]) -> None:
    in_time = by_offer(decided(steps, live=True, lockstep=True))

    assert by_offer(decided(steps, live=True)) == in_time
    assert by_offer(decided(steps)) == in_time


def to_expire(steps: Sequence[Step]) -> Iterator[tuple[str, int]]:
    """Each round that was open when its moment came, from the events alone."""
    of_order: dict[UUID, list[Step]] = defaultdict(list)
    for step in steps:
        of_order[step.order].append(step)
    for order, history in of_order.items():
        for place, step in enumerate(history):
            body = step.event.body
            if not isinstance(body, e.WorkOrderOffered | e.WorkOrderReoffered):
                continue
            expires_at = micros_of(body.expires_at)
            closed = closing(history[place + 1 :], set(body.partner_ids))
            # Closed in time means: it was so before the moment, and known before the clock, ticking on after the round
            # was told, had passed that moment.
            if closed is None or closed.at >= expires_at or closed.told_at > max(expires_at, step.told_at):
                number = body.round if isinstance(body, e.WorkOrderReoffered) else 1
                yield str(offer_id(order, number)), expires_at


def closing(history: Sequence[Step], waiting: set[str]) -> Step | None:
    """What ended a round: somebody accepted or cancelled, the last one declined, or the next round began."""
    for step in history:
        body = step.event.body
        if isinstance(body, e.WorkOrderDeclined):
            waiting.discard(body.partner_id)
        if not waiting or not isinstance(body, e.WorkOrderDeclined):
            return step
    return None
