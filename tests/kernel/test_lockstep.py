"""In history mode those that decide take turns: in a fixed order, within a tick, and only when there is something to do."""

from collections.abc import Sequence

import pytest
from kept.cell.v1.events_pb2 import ParkedKeyReleased, TimeAdvanced

from services.kernel.clock import micros
from services.kernel.database import Session
from services.kernel.decider import Decider
from services.kernel.events import LogEvent, full_name
from services.kernel.follower import Batch
from services.kernel.house import House
from services.kernel.lockstep import FAR, Lockstep
from services.kernel.log.port import Move
from services.kernel.log.positions import Positions
from tests.kernel.toys import LABELLED, NOW, entry, given, labelled, save

TIME = full_name(TimeAdvanced)


class Listed(Decider):
    """Writes down which positions it handled; `due` is when it next wants to be woken."""

    due: int | None = None

    def __init__(self, name: str, house: House, reads: Sequence[str], done: list[tuple[str, int]]) -> None:
        super().__init__(name, house.log, house.clock, frozenset(reads))
        self._done = done

    def earliest_due(self, session: Session) -> int | None:
        return self.due

    def handle(self, session: Session, event: LogEvent) -> None:
        self._done.append((self.name, event.position))

    def _commit(self, batch: Batch) -> int:
        def handled(session: Session) -> tuple[()]:
            self._handle_all(session, batch)
            self.plan(session)
            return ()

        self.log.append((), move=Move(self.name, batch.start, batch.end), alongside=handled)
        return batch.end


@pytest.fixture
def done() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def deciders(house: House, done: list[tuple[str, int]]) -> list[Listed]:
    """The first reads labels, the second labels and the time, in a cell in history mode."""
    history(house)
    made = [Listed("second-by-name", house, [LABELLED], done), Listed("first-by-name", house, [LABELLED, TIME], done)]
    for rank, decider in enumerate(made):
        decider.register(rank)
    return made


def history(house: House) -> None:
    with house.log.database.write() as session:
        session.execute("UPDATE cell SET history_now = ?", (micros(NOW),))


def begin(house: House) -> None:
    with house.log.database.write() as session:
        Lockstep(session).begin_tick()


def drained(house: House) -> bool:
    with house.log.database.read() as session:
        return Lockstep(session).is_drained()


def test_nobody_works_between_two_ticks(house: House, deciders: list[Listed], done: list[tuple[str, int]]) -> None:
    given(house.log, labelled("a", 1))

    assert [decider.step() for decider in deciders] == [False, False]
    assert done == []


def test_the_lowest_rank_goes_first_whoever_is_woken_first(
    house: House, deciders: list[Listed], done: list[tuple[str, int]]
) -> None:
    given(house.log, labelled("a", 1))
    begin(house)

    assert [decider.step() for decider in reversed(deciders)] == [False, True], "the second waits for the first"
    assert deciders[1].step()
    assert done == [("second-by-name", 1), ("first-by-name", 1)]


def test_a_tick_is_drained_when_nobody_has_anything_to_do(house: House, deciders: list[Listed]) -> None:
    given(house.log, labelled("a", 1))
    begin(house)

    assert not drained(house)
    assert deciders[0].step()
    assert not drained(house)
    assert deciders[1].step()
    assert drained(house)


def test_who_has_nothing_to_do_commits_nothing(house: House, deciders: list[Listed]) -> None:
    given(house.log, entry("time", 1, TimeAdvanced()))
    begin(house)

    assert drained(house)
    assert [decider.step() for decider in deciders] == [False, False]
    assert [decider.position() for decider in deciders] == [0, 0]


def test_time_is_of_interest_once_something_fell_due(house: House, deciders: list[Listed]) -> None:
    given(house.log, entry("time", 1, TimeAdvanced()))
    deciders[1].due = micros(NOW)
    deciders[1].register(1)
    begin(house)

    assert drained(house), "due now, not before now"
    deciders[1].due = micros(NOW) - 1
    deciders[1].register(1)
    assert not drained(house)
    assert deciders[1].step()
    assert drained(house), "the time that was read brings nothing more"


def test_for_an_eager_one_what_is_due_is_work_of_its_own(house: House, deciders: list[Listed]) -> None:
    with house.log.database.write() as session:
        Lockstep(session).register("first-by-name", 1, deciders[1].reads, eager=True)
        Lockstep(session).plan("first-by-name", micros(NOW))
    begin(house)

    assert not drained(house)
    with house.log.database.write() as session:
        Lockstep(session).plan("first-by-name", micros(NOW) + 1)
    assert drained(house)


def test_an_operators_release_is_read_by_all(house: House, deciders: list[Listed]) -> None:
    given(house.log, entry("operator", 1, ParkedKeyReleased(follower="x", key="y")))
    begin(house)

    assert [decider.step() for decider in deciders] == [True, True]


def test_who_is_far_behind_reads_on_though_nothing_is_for_him(house: House, deciders: list[Listed]) -> None:
    given(house.log, *(entry("time", version, TimeAdvanced()) for version in range(1, FAR + 2)))
    begin(house)

    assert deciders[0].step()
    assert deciders[0].position() == 200, "one batch"
    assert not deciders[0].step()


def test_what_is_told_during_a_tick_waits_for_the_next_one(
    house: House, deciders: list[Listed], done: list[tuple[str, int]]
) -> None:
    given(house.log, labelled("a", 1))
    begin(house)
    assert deciders[0].step()
    given(house.log, labelled("a", 2))

    assert not deciders[0].step()
    assert deciders[1].step()
    assert drained(house)
    begin(house)
    assert deciders[0].step()
    assert done == [("second-by-name", 1), ("first-by-name", 1), ("second-by-name", 2)]


def test_however_much_is_told_during_a_tick_all_of_it_waits(house: House, deciders: list[Listed]) -> None:
    given(house.log, entry("time", 1, TimeAdvanced()))
    begin(house)
    given(house.log, labelled("a", 1))
    given(house.log, labelled("a", 2))

    assert drained(house), "what may be read is of no interest, and what is of interest may not be read yet"
    assert [decider.step() for decider in deciders] == [False, False]


def test_what_one_has_read_before_the_others_is_nothing_to_do_for_him(
    house: House, deciders: list[Listed], done: list[tuple[str, int]]
) -> None:
    given(house.log, labelled("a", 1))
    begin(house)
    assert deciders[0].step()
    decided = save(entry("time", 1, TimeAdvanced()))
    house.log.append((), alongside=lambda _session: [decided])  # by somebody who follows: it waits for no tick

    assert not deciders[0].step()
    assert deciders[1].step()
    assert done == [("second-by-name", 1), ("first-by-name", 1), ("first-by-name", 2)]


def test_who_stands_beyond_what_may_be_read_reads_nothing(
    house: House, deciders: list[Listed], done: list[tuple[str, int]]
) -> None:
    given(house.log, labelled("a", 1))
    begin(house)
    given(house.log, labelled("a", 2), labelled("a", 3))
    with house.log.database.write() as session:
        Positions(session).move("first-by-name", 0, 2)
        Lockstep(session).register("first-by-name", 0, frozenset(), eager=True)
        Lockstep(session).plan("first-by-name", micros(NOW))

    assert deciders[1].step() is False, "though it has the turn, since something is due"
    assert done == []


def test_nobody_waits_for_a_decider_that_no_longer_exists(house: House, deciders: list[Listed]) -> None:
    given(house.log, labelled("a", 1))
    begin(house)
    with house.log.database.write() as session:
        Lockstep(session).keep_only(frozenset({"first-by-name"}))

    assert deciders[1].step()
    assert drained(house)


def test_in_a_live_cell_everybody_works_at_once(house: House, done: list[tuple[str, int]]) -> None:
    deciders = [Listed(name, house, [LABELLED], done) for name in ("a", "b")]
    for decider in deciders:
        decider.register()
    given(house.log, labelled("a", 1))

    assert [decider.step() for decider in reversed(deciders)] == [True, True]
