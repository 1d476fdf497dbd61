"""Policies: decisions, their tables and the position are one commit, and are the same however they were batched."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example
from hypothesis import given as each
from hypothesis import settings as bounded
from hypothesis import strategies as st
from kept.cell.v1.events_pb2 import TimeAdvanced

from services.kernel.cell import CellClock
from services.kernel.clock import FixedClock, MachineClock, micros, timestamp
from services.kernel.database import SQLite
from services.kernel.errors import Unavailable, VersionConflict
from services.kernel.house import House
from services.kernel.log.bell import SilentBell
from services.kernel.log.event_log import EventLog
from services.kernel.log.positions import Fenced
from services.kernel.policy import PolicyFollower
from tests.databases import Cell
from tests.kernel.toys import (
    NOW,
    Tally,
    Trouble,
    drain,
    entry,
    events,
    given,
    jar_id,
    labelled,
    parked,
    released,
    tag_id,
    told,
)

BAD = ValueError("bad")


class Machine(MachineClock):
    """The machine's time, as set; `meanwhile` happens once when somebody looks at it."""

    def __init__(self) -> None:
        self.time = NOW
        self.meanwhile: Callable[[], object] | None = None

    def now(self) -> datetime:
        if self.meanwhile is not None:
            happen, self.meanwhile = self.meanwhile, None
            happen()
        return self.time


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def trouble() -> Trouble:
    return Trouble()


@pytest.fixture
def follower(house: House, trouble: Trouble, machine: Machine) -> PolicyFollower:
    return make(house, trouble, machine)


def make(house: House, trouble: Trouble, machine: Machine) -> PolicyFollower:
    made = PolicyFollower(Tally(trouble), house.log, CellClock(house.log, machine))
    made.migrate()
    return made


def counts(follower: PolicyFollower) -> list[int]:
    with follower.database.read() as session:
        return sorted(row[0] for row in session.execute("SELECT count FROM tally").fetchall())


# Deciding


def test_decisions_tables_and_position_are_there_together(house: House, follower: PolicyFollower) -> None:
    given(house.log, labelled("a", 1), labelled("b", 1), labelled("a", 2))

    assert follower.step() is True

    assert (told(house.log, "a"), told(house.log, "b"), counts(follower)) == ([2], [], [1, 2])
    assert follower.position() == 4, "it stood at the head, and has nothing to learn from its own event"
    assert follower.step() is False


def test_a_decision_names_its_cause_and_the_policys_version(house: House, follower: PolicyFollower) -> None:
    given(house.log, labelled("a", 1), labelled("a", 2))

    drain(follower)

    cause, decision = events(house.log)[1:]
    assert decision.record.actor == "policy:tally@7"
    assert decision.record.causation_id == cause.record.id
    assert decision.record.correlation_id == cause.record.correlation_id
    assert (decision.record.tenant, decision.occurred_at) == ("main", cause.occurred_at)
    assert decision.record.request_key == ""


def test_behind_the_head_the_position_is_that_of_the_batch(house: House, follower: PolicyFollower) -> None:
    follower._limit = 2
    given(house.log, labelled("a", 1), labelled("a", 2), labelled("b", 1))

    follower.step()

    assert (follower.position(), told(house.log, "a")) == (2, [2])
    assert drain(follower) == 4


def test_what_others_recorded_meanwhile_is_not_skipped(
    house: House, follower: PolicyFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(house.log, labelled("a", 1), labelled("a", 2))
    read = house.log.read

    def read_then_others(after: int, limit: int) -> Any:
        found = read(after, limit)
        monkeypatch.undo()
        given(house.log, labelled("b", 1), labelled("b", 2))
        return found

    monkeypatch.setattr(house.log, "read", read_then_others)
    follower.step()

    assert follower.position() == 2
    drain(follower)
    assert (told(house.log, "a"), told(house.log, "b")) == ([2], [2])


def test_another_process_decides_on_where_the_first_stood(
    house: House, follower: PolicyFollower, cell: Cell, trouble: Trouble, machine: Machine
) -> None:
    given(house.log, *(labelled("a", version) for version in (1, 2, 3)))
    drain(follower)
    given(house.log, labelled("a", 4))

    other = cell.house()
    drain(make(other, trouble, machine))

    assert told(house.log, "a") == [2, 4]
    other.close()


# A second holder, and faults that pass


def test_a_stale_holder_is_fenced_and_decides_nothing(
    house: House, follower: PolicyFollower, cell: Cell, trouble: Trouble, machine: Machine
) -> None:
    stale_house = cell.house()
    stale = make(stale_house, trouble, machine)
    stale.step()
    given(house.log, labelled("a", 1), labelled("a", 2))
    drain(follower)

    with pytest.raises(Fenced):
        stale.step()
    drain(stale)

    assert (told(house.log, "a"), counts(follower)) == ([2], [2])
    stale_house.close()


def test_a_fault_that_passes_leaves_no_trace_and_the_same_decisions_are_made_again(
    house: House, follower: PolicyFollower, trouble: Trouble
) -> None:
    given(house.log, labelled("a", 1), labelled("a", 2, "faulty"))
    trouble.once["faulty"] = Unavailable("x")

    with pytest.raises(Unavailable):
        follower.step()
    assert (told(house.log, "a"), counts(follower), follower.position()) == ([], [], 0)

    drain(follower)
    assert (told(house.log, "a"), counts(follower)) == ([2], [2])


def test_a_stream_that_somebody_else_wrote_to_is_loaded_again(house: House, follower: PolicyFollower) -> None:
    given(house.log, labelled("a", 1), labelled("a", 2))
    drain(follower)
    given(house.log, entry(tag_id(jar_id("a")), 2, TimeAdvanced(now=timestamp(NOW))))
    given(house.log, labelled("a", 3), labelled("a", 4))

    with pytest.raises(VersionConflict):
        follower.step()
    drain(follower)

    assert told(house.log, "a") == [2, int(NOW.timestamp()), 4]


# Events that cannot be handled


@pytest.mark.parametrize("batch", [1, 3, 200])
def test_of_an_event_that_parks_no_decision_is_left(
    house: House, follower: PolicyFollower, trouble: Trouble, batch: int
) -> None:
    follower._limit = batch
    trouble.always["bad"] = BAD
    given(
        house.log,
        *(labelled("a", 1), labelled("a", 2, "bad"), labelled("b", 1), labelled("b", 2), labelled("a", 3)),
        *(labelled("b", 3), labelled("b", 4)),
    )

    drain(follower)

    assert (told(house.log, "a"), told(house.log, "b")) == ([], [2, 4])
    assert parked(follower) == [(2, str(jar_id("a"))), (5, str(jar_id("a")))]
    assert counts(follower) == [1, 4]


def test_a_released_key_is_decided_in_order(house: House, follower: PolicyFollower, trouble: Trouble) -> None:
    trouble.always["bad"] = BAD
    given(house.log, labelled("a", 1), labelled("a", 2, "bad"), labelled("a", 3), labelled("a", 4))
    drain(follower)
    trouble.always.clear()

    given(house.log, released(1, "tally", str(jar_id("a"))), labelled("a", 5), labelled("a", 6))
    drain(follower)

    assert told(house.log, "a") == [2, 4, 6]
    assert (parked(follower), counts(follower)) == ([], [6])


def test_of_a_release_that_fails_again_no_decision_is_left(
    house: House, follower: PolicyFollower, trouble: Trouble
) -> None:
    trouble.always = {"bad": BAD}
    given(house.log, labelled("a", 1), labelled("a", 2, "bad"), labelled("a", 3), labelled("a", 4, "worse"))
    drain(follower)
    trouble.always = {"worse": BAD}

    given(house.log, labelled("b", 1), labelled("b", 2), released(1, "tally", str(jar_id("a"))))
    given(house.log, labelled("b", 3), labelled("b", 4))
    drain(follower)

    assert (told(house.log, "a"), told(house.log, "b")) == ([2], [2, 4])
    assert (parked(follower), counts(follower)) == ([(4, str(jar_id("a")))], [3, 4])


def test_a_skipped_event_decides_nothing(house: House, follower: PolicyFollower, trouble: Trouble) -> None:
    trouble.always["bad"] = BAD
    given(house.log, labelled("a", 1, "bad"), labelled("a", 2), labelled("a", 3))
    drain(follower)

    given(house.log, released(1, "tally", str(jar_id("a")), skip_first=True))
    drain(follower)

    assert (told(house.log, "a"), parked(follower)) == ([2], [])


# Moments that fall due


def test_a_due_moment_fires_when_the_clock_is_past_it_and_not_before(
    house: House, follower: PolicyFollower, machine: Machine
) -> None:
    given(house.log, labelled("a", 1, "due 60"))
    drain(follower)
    at = micros(NOW + timedelta(seconds=60))
    assert follower.next_due() == at

    machine.time = NOW + timedelta(seconds=60)
    assert follower.step() is False
    machine.time += timedelta(microseconds=1)
    assert follower.step() is True

    assert told(house.log, "a") == [60]
    fired = events(house.log)[-1]
    assert (fired.occurred_at, fired.record.actor, fired.record.causation_id) == (at, "policy:tally@7", "")
    assert (follower.next_due(), follower.position(), follower.step()) == (None, 2, False)


def test_several_due_moments_fire_in_their_order(house: House, follower: PolicyFollower, machine: Machine) -> None:
    given(house.log, labelled("a", 1, "due 50"), labelled("b", 1, "due 40"), labelled("c", 1, "due 90"))
    drain(follower)

    machine.time = NOW + timedelta(seconds=60)
    drain(follower)

    assert [event.occurred_at for event in events(house.log)[3:]] == [
        micros(NOW + timedelta(seconds=seconds)) for seconds in (40, 50)
    ]
    assert follower.next_due() == micros(NOW + timedelta(seconds=90))


def test_a_due_moment_is_refused_unless_the_follower_stands_at_the_head(
    house: House, follower: PolicyFollower, machine: Machine
) -> None:
    """What came meanwhile puts the moment off: it is read first."""
    given(house.log, labelled("a", 1, "due 60"))
    drain(follower)
    machine.time = NOW + timedelta(seconds=90)
    machine.meanwhile = lambda: given(house.log, labelled("a", 2, "due 3600"))

    assert follower.step() is True

    assert (told(house.log, "a"), follower.position()) == ([], 1)
    drain(follower)
    assert told(house.log, "a") == [2]
    assert follower.next_due() == micros(NOW + timedelta(seconds=3600))


def test_events_are_read_before_a_due_moment_fires(house: House, follower: PolicyFollower, machine: Machine) -> None:
    given(house.log, labelled("a", 1, "due 60"))
    drain(follower)
    given(house.log, labelled("a", 2, "due 3600"))
    machine.time = NOW + timedelta(seconds=90)

    drain(follower)

    assert told(house.log, "a") == [2]


def test_a_due_moment_that_a_stale_holder_fires_is_fenced(
    house: House, follower: PolicyFollower, cell: Cell, trouble: Trouble, machine: Machine
) -> None:
    stale_house = cell.house()
    stale = make(stale_house, trouble, machine)
    given(house.log, labelled("a", 1, "due 60"))
    drain(stale)
    machine.time = NOW + timedelta(seconds=90)
    with follower.database.write() as session:
        session.execute("UPDATE follower SET position = 0")

    with pytest.raises(Fenced):
        stale.step()

    assert told(house.log, "a") == []
    stale_house.close()


def test_in_history_mode_the_machines_clock_fires_nothing(
    house: House, follower: PolicyFollower, machine: Machine
) -> None:
    given(house.log, labelled("a", 1, "due 60"))
    drain(follower)
    with house.log.database.write() as session:
        session.execute("UPDATE cell SET history_now = ?", (micros(NOW),))
    machine.time = NOW + timedelta(days=1)

    assert (follower.next_due(), follower.step(), told(house.log, "a")) == (None, False, [])


# The same however they were batched


@dataclass(frozen=True)
class Step:
    """Some labels that came together, and how many events the follower took at a time until it was done."""

    labels: tuple[tuple[str, str], ...]
    batch: int


names = st.sampled_from(["plums", "pears", "due 5", "bad"])
steps = st.lists(
    st.builds(
        Step,
        st.lists(st.tuples(st.sampled_from("abc"), names), min_size=1, max_size=8).map(tuple),
        st.integers(1, 9),
    ),
    max_size=5,
)


@bounded(max_examples=30, deadline=None)
@each(steps)
def test_decisions_are_the_same_whatever_the_batch_size(given_steps: list[Step]) -> None:
    assert decided(given_steps) == decided([Step(step.labels, 1) for step in given_steps])


@bounded(max_examples=15, deadline=None)
@each(steps)
@example([Step(tuple((jar, "plums") for jar in "aabbaa"), 9)])
def test_decisions_are_the_same_whatever_is_kept_in_memory(given_steps: list[Step]) -> None:
    assert decided(given_steps, aggregates_kept=1) == decided(given_steps)


def decided(given_steps: list[Step], aggregates_kept: int = 20_000) -> dict[str, list[tuple[object, ...]]]:
    """What was decided of each jar, in order, and what the follower kept."""
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:
        database = SQLite(Path(folder) / "log.db", durable=False)
        log = EventLog(database, SilentBell(), FixedClock(NOW))
        log.migrate("toys")
        trouble = Trouble()
        trouble.always["bad"] = BAD
        follower = PolicyFollower(Tally(trouble), log, CellClock(log, Machine()))
        follower._aggregates._most = aggregates_kept
        follower.migrate()
        for step in given_steps:
            follower._limit = step.batch
            for jar, label in step.labels:
                given(log, labelled(jar, log.version(jar_id(jar)) + 1, label))
            drain(follower)
        found: dict[str, list[tuple[object, ...]]] = {}
        for event in events(log):
            record = event.record
            if record.actor.startswith("policy:"):
                told_of = found.setdefault(record.stream, [])
                told_of.append((record.version, record.occurred_at.seconds, record.causation_id, record.data))
        with database.read() as session:
            found["tally"] = session.execute("SELECT * FROM tally ORDER BY jar").fetchall()
            found["due"] = session.execute("SELECT * FROM tally_due ORDER BY jar").fetchall()
            found["parked"] = session.execute("SELECT key, reason FROM parked ORDER BY key, position").fetchall()
        database.close()
    return found
