"""The cell's clock: the machine's while it lives, and in history mode its own, which moves in lockstep with followers."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from kept.cell.v1.events_pb2 import HistoryStarted, ParkedKeyReleased, PolicyDeployed, TimeAdvanced
from kept.cell.v1.service_pb2 import AdvanceTimeRequest, ReleaseParkedRequest, StartHistoryRequest
from kept.common.v1.record_pb2 import Receipt

from services.kernel import cell as cell_module
from services.kernel.cell import CellApplication, CellClock, deploy, start_history
from services.kernel.clock import EPOCH, MachineClock, micros, timestamp
from services.kernel.errors import NotFound, Refused, RequestIdReused, Unavailable, VersionConflict
from services.kernel.house import House
from services.kernel.log.event_log import EventLog
from services.kernel.log.recorder import LogRecorder
from services.kernel.policy import PolicyFollower
from services.kernel.releases import first_parked
from services.kernel.replay.verify import verify
from tests.databases import Cell
from tests.kernel.toys import (
    CALLER,
    NOW,
    Tally,
    Trouble,
    WatchedBell,
    drain,
    entry,
    events,
    given,
    jar_id,
    labelled,
    parked,
    told,
)

LATER = NOW + timedelta(hours=1)
MUCH_LATER = NOW + timedelta(days=1)


class Machine(MachineClock):
    def now(self) -> datetime:
        return NOW


@pytest.fixture
def clock(house: House) -> CellClock:
    return CellClock(house.log, Machine())


@pytest.fixture
def application(house: House, clock: CellClock) -> CellApplication:
    return CellApplication(house.recorder, house.keys, clock)


def start(application: CellApplication, request_id: str = "start") -> Receipt:
    return application.start_history(application.command(CALLER, StartHistoryRequest(request_id=request_id)))


def advance(application: CellApplication, to: datetime, request_id: str = "advance") -> Receipt:
    request = AdvanceTimeRequest(request_id=request_id, to=timestamp(to))
    return application.advance(application.command(CALLER, request), to)


def release(
    application: CellApplication,
    key: str,
    request_id: str = "release",
    *,
    skip_first: bool = False,
    position: int = 0,
) -> Receipt:
    request = ReleaseParkedRequest(
        request_id=request_id, follower="tally", key=key, skip_first=skip_first, position=position
    )
    return application.release_parked(
        application.command(CALLER, request),
        follower="tally",
        key=key,
        skip_first=skip_first,
        reason="by hand",
        position=position,
    )


# A live cell


def test_a_live_cell_has_the_machines_time(clock: CellClock) -> None:
    assert (clock.now(), clock.history_now()) == (NOW, None)


def test_a_live_cells_clock_cannot_be_advanced(application: CellApplication, clock: CellClock) -> None:
    with pytest.raises(Refused) as caught:
        advance(application, LATER)

    assert caught.value.slug == "cell-not-in-history-mode"
    assert (clock.now(), application.event_log.position()) == (NOW, 0)


# History mode


def test_an_empty_cell_is_put_into_history_mode(application: CellApplication, clock: CellClock, cell: Cell) -> None:
    receipt = start(application)

    assert (receipt.version, receipt.position) == (1, 1)
    (event,) = events(application.event_log)
    assert (event.body, event.occurred_at, event.record.tenant) == (HistoryStarted(), 0, "cell")
    other = cell.house()
    assert clock.now() == clock.history_now() == other.clock.now() == EPOCH
    other.close()


def test_a_cell_in_which_something_happened_is_refused(application: CellApplication, clock: CellClock) -> None:
    given(application.event_log, labelled("a", 1), entry("a", 2, HistoryStarted()))

    for attempt in (lambda: start(application), lambda: start_history(application.event_log)):
        with pytest.raises(Refused) as caught:
            attempt()
        assert caught.value.slug == "cell-not-empty"
    assert (clock.history_now(), application.event_log.position()) == (None, 2)


def test_a_cell_with_nothing_but_deployed_policies_is_empty(application: CellApplication, clock: CellClock) -> None:
    deploy(application.event_log, clock, "tally", "7")

    start(application)

    assert clock.history_now() == EPOCH


def test_a_cell_in_which_something_happens_while_it_is_put_into_history_mode_stays_live(
    application: CellApplication, clock: CellClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = cell_module.refuse_unless_empty
    names = iter("ab")

    def look_too_early(log: EventLog) -> None:
        look(log) if log.position() == 0 else None
        given(log, entry(next(names), 1, HistoryStarted()))
        assert clock.history_now() is None

    monkeypatch.setattr(cell_module, "refuse_unless_empty", look_too_early)

    for attempt in (lambda: start(application), lambda: start_history(application.event_log)):
        with pytest.raises(Refused) as caught:
            attempt()
        assert caught.value.slug == "cell-not-empty"
    assert (CellClock(application.event_log).history_now(), application.event_log.position()) == (None, 2)


def test_a_clock_that_was_read_in_an_empty_cell_notices_history_mode(house: House, clock: CellClock) -> None:
    deploy(house.log, clock, "tally", "7")
    assert clock.now() == NOW

    start_history(house.log)

    assert clock.now() == EPOCH


def test_a_clock_that_saw_something_recorded_need_not_ask_again(
    house: House, clock: CellClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(house.log, entry("a", 1, HistoryStarted()))
    assert clock.now() == NOW

    monkeypatch.setattr(clock, "_log", None)

    assert clock.now() == NOW


def test_starting_again_answers_as_it_is(application: CellApplication, clock: CellClock) -> None:
    first = start(application)
    advance(application, LATER)

    assert start(application) == first
    assert start(application, "another request") == Receipt(id=first.id, version=2, position=2)
    start_history(application.event_log)
    assert (clock.now(), application.event_log.position()) == (LATER, 2)


def test_a_cell_is_put_into_history_mode_before_its_processes_start(house: House, clock: CellClock) -> None:
    start_history(house.log)

    assert clock.now() == EPOCH
    assert [event.body for event in events(house.log)] == [HistoryStarted()]


# Advancing


def test_advancing_records_the_time_and_moves_the_clock(application: CellApplication, clock: CellClock) -> None:
    start(application)

    receipt = advance(application, LATER)

    assert (receipt.version, receipt.position, clock.now()) == (2, 2, LATER)
    event = events(application.event_log)[-1]
    assert (event.body, event.occurred_at) == (TimeAdvanced(now=timestamp(LATER)), micros(LATER))


@pytest.mark.parametrize("to", [LATER, LATER - timedelta(microseconds=1), EPOCH])
def test_a_time_that_is_past_moves_nothing(application: CellApplication, clock: CellClock, to: datetime) -> None:
    start(application)
    first = advance(application, LATER)

    again = advance(application, to, "another request")

    assert again == Receipt(id=first.id, version=2, position=2)
    assert (clock.now(), application.event_log.position()) == (LATER, 2)
    advance(application, MUCH_LATER, "onward")
    assert advance(application, to, "another request") == again, "remembered, though nothing had to be recorded"


def test_the_same_request_gets_the_same_receipt(application: CellApplication, clock: CellClock) -> None:
    start(application)
    first = advance(application, LATER)
    advance(application, MUCH_LATER, "another request")

    assert advance(application, LATER) == first
    assert (clock.now(), application.event_log.position()) == (MUCH_LATER, 3)


@pytest.mark.parametrize("to", [MUCH_LATER, EPOCH])
def test_another_time_under_the_same_request_is_refused(
    application: CellApplication, clock: CellClock, to: datetime
) -> None:
    start(application)
    advance(application, LATER)

    with pytest.raises(RequestIdReused):
        advance(application, to)

    assert (clock.now(), application.event_log.position()) == (LATER, 2)


def test_the_clock_never_goes_back_whoever_else_advances_it(house: House) -> None:
    class Overtaken(CellClock):
        meanwhile: Callable[[], object] | None = None

        def history_now(self) -> datetime | None:
            now = super().history_now()
            if self.meanwhile is not None:
                happen, self.meanwhile = self.meanwhile, None
                happen()
            return now

    clock = Overtaken(house.log, Machine())
    application = CellApplication(house.recorder, house.keys, clock)
    start(application)
    command = application.command(CALLER, AdvanceTimeRequest(request_id="late", to=timestamp(LATER)))
    clock.meanwhile = lambda: advance(application, MUCH_LATER)

    with pytest.raises(VersionConflict):
        application.advance(command, LATER)

    assert (clock.now(), house.log.position()) == (MUCH_LATER, 2)


def test_many_who_advance_at_once_leave_one_line_of_time(application: CellApplication, clock: CellClock) -> None:
    start(application)
    moments = [NOW + timedelta(minutes=minute) for minute in range(16)]

    def work(number: int) -> None:
        while True:
            try:
                advance(application, moments[number], str(number))
            except VersionConflict:
                continue
            break

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(16)))

    bodies: list[Any] = [event.body for event in events(application.event_log)[1:]]
    times = [body.now.ToDatetime(NOW.tzinfo) for body in bodies]
    assert times == sorted(set(times))
    assert times[-1] == clock.now() == moments[-1]


# Lockstep


@pytest.fixture
def lockstep(house: House) -> tuple[CellApplication, PolicyFollower, WatchedBell]:
    """A cell in history mode whose waiters can be seen, and a follower that has read everything."""
    bell = WatchedBell(house.log.bell)
    log = EventLog(house.database("log"), bell)
    application = CellApplication(LogRecorder(log), house.keys, CellClock(log))
    start(application)
    follower = PolicyFollower(Tally(Trouble()), log, CellClock(log))
    follower.migrate()
    drain(follower)
    return application, follower, bell


def test_advancing_returns_when_the_followers_have_read_everything_and_not_before(
    lockstep: tuple[CellApplication, PolicyFollower, WatchedBell],
) -> None:
    application, follower, bell = lockstep
    given(application.event_log, labelled("a", 1), labelled("a", 2))
    happened: list[str] = []

    def advancing() -> None:
        advance(application, LATER)
        happened.append("advanced")

    thread = threading.Thread(target=advancing)
    thread.start()
    assert bell.listening.acquire(timeout=60), "it did not wait for the follower"
    happened.append("follower begins")
    drain(follower)
    thread.join()

    assert happened == ["follower begins", "advanced"]
    assert told(application.event_log, "a") == [2]
    assert follower.position() == application.event_log.position()
    assert True in bell.rung


def test_a_time_that_is_past_waits_for_the_followers_too(
    lockstep: tuple[CellApplication, PolicyFollower, WatchedBell],
) -> None:
    application, follower, bell = lockstep
    given(application.event_log, labelled("a", 1), labelled("a", 2))
    happened: list[str] = []

    def advancing() -> None:
        advance(application, EPOCH)
        happened.append("advanced")

    thread = threading.Thread(target=advancing)
    thread.start()
    assert bell.listening.acquire(timeout=60), "it did not wait for the follower"
    happened.append("follower begins")
    drain(follower)
    thread.join()

    assert happened == ["follower begins", "advanced"]
    assert told(application.event_log, "a") == [2]


def test_followers_that_do_not_come_are_told_as_behind(
    lockstep: tuple[CellApplication, PolicyFollower, WatchedBell], monkeypatch: pytest.MonkeyPatch
) -> None:
    application, follower, _ = lockstep
    given(application.event_log, labelled("a", 1))
    monkeypatch.setattr(cell_module, "DRAIN_WITHIN", timedelta(0))

    with pytest.raises(Unavailable) as caught:
        advance(application, LATER)

    assert caught.value.slug == "followers-behind"
    drain(follower)
    assert advance(application, LATER).position == 3, "sent again, it is done"


# Deploying


def test_a_policy_is_deployed_once_for_each_version(house: House, clock: CellClock) -> None:
    for version in ("7", "7", "8", "8", "7"):
        deploy(house.log, clock, "tally", version)
    deploy(house.log, clock, "another", "7")

    assert [event.body for event in events(house.log)] == [
        PolicyDeployed(name="tally", version="7"),
        PolicyDeployed(name="tally", version="8"),
        PolicyDeployed(name="tally", version="7"),
        PolicyDeployed(name="another", version="7"),
    ]
    assert {event.occurred_at for event in events(house.log)} == {micros(NOW)}


def test_in_history_mode_a_policy_is_deployed_at_the_cells_own_time(house: House, clock: CellClock) -> None:
    start_history(house.log)

    deploy(house.log, clock, "tally", "7")

    assert events(house.log)[-1].occurred_at == 0


# Releasing what was parked


@pytest.fixture
def stuck(house: House, clock: CellClock) -> PolicyFollower:
    """A follower that has parked jar a, whose trouble is over."""
    trouble = Trouble()
    trouble.always["bad"] = ValueError("bad")
    follower = PolicyFollower(Tally(trouble), house.log, clock)
    follower.migrate()
    given(house.log, labelled("a", 1, "bad"), labelled("a", 2))
    drain(follower)
    assert len(parked(follower)) == 2
    trouble.always.clear()
    return follower


def test_a_release_is_recorded_and_carried_out(application: CellApplication, stuck: PolicyFollower) -> None:
    key = str(jar_id("a"))

    receipt = release(application, key, skip_first=True)
    drain(stuck)

    assert (receipt.version, receipt.position) == (1, 3)
    event = events(application.event_log)[2]
    assert event.body == ParkedKeyReleased(follower="tally", key=key, skip_first=True, reason="by hand", position=1)
    assert (event.record.actor, event.record.tenant) == ("user:ana", "cell")
    assert parked(stuck) == []


def test_a_replay_leaves_out_what_was_skipped(
    house: House, application: CellApplication, stuck: PolicyFollower
) -> None:
    """The policy would have decided on the second label, had it seen the first one."""
    release(application, str(jar_id("a")), skip_first=True, position=1)
    drain(stuck)

    assert verify(house, [], [Tally()]).findings.first == {}


def test_what_is_skipped_is_what_was_seen(application: CellApplication, stuck: PolicyFollower) -> None:
    before = application.event_log.position()

    with pytest.raises(Refused) as caught:
        release(application, str(jar_id("a")), skip_first=True, position=2)

    assert caught.value.slug == "parked-otherwise"
    assert application.event_log.position() == before


def test_one_release_is_carried_out_before_the_next_is_recorded(
    application: CellApplication, stuck: PolicyFollower
) -> None:
    """Else two operators who skip the same event would leave out two."""
    release(application, str(jar_id("a")), "one", skip_first=True)

    with pytest.raises(Refused) as caught:
        release(application, str(jar_id("a")), "two", skip_first=True)
    assert caught.value.slug == "release-pending"

    drain(stuck)
    with pytest.raises(NotFound):
        release(application, str(jar_id("a")), "two", skip_first=True)


def test_who_releases_at_the_same_time_is_in_conflict(
    application: CellApplication, stuck: PolicyFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have looked, and both may; the slower one is to look again."""

    def overtaken(*_: Any) -> int:
        monkeypatch.setattr(cell_module, "first_parked", first_parked)
        release(application, str(jar_id("a")), "quicker")
        return 1

    monkeypatch.setattr(cell_module, "first_parked", overtaken)

    with pytest.raises(VersionConflict):
        release(application, str(jar_id("a")), "slower", skip_first=True)


def test_a_repeated_release_gets_the_same_receipt_and_is_carried_out_once(
    application: CellApplication, stuck: PolicyFollower
) -> None:
    key = str(jar_id("a"))
    first = release(application, key)
    drain(stuck)

    assert release(application, key) == first
    with pytest.raises(RequestIdReused):
        release(application, key, skip_first=True)
    assert sum(isinstance(event.body, ParkedKeyReleased) for event in events(application.event_log)) == 1


def test_a_views_parked_key_is_released_by_its_follower_itself(
    application: CellApplication, stuck: PolicyFollower
) -> None:
    """What a view has parked lies beside it, where the cell does not look."""
    request = ReleaseParkedRequest(request_id="view", follower="jars-views", key="k", reason="by hand")
    command = application.command(CALLER, request)

    application.release_parked(command, follower="jars-views", key="k", skip_first=False, reason="by hand")

    assert events(application.event_log)[-1].body == ParkedKeyReleased(follower="jars-views", key="k", reason="by hand")


def test_a_key_that_is_not_parked_is_not_found(application: CellApplication, stuck: PolicyFollower) -> None:
    before = application.event_log.position()

    with pytest.raises(NotFound) as caught:
        release(application, str(jar_id("b")))

    assert caught.value.slug == "key-not-parked"
    assert application.event_log.position() == before


def test_somebody_else_of_another_name_has_a_request_of_his_own(
    application: CellApplication, stuck: PolicyFollower
) -> None:
    release(application, str(jar_id("a")))
    request = ReleaseParkedRequest(request_id="release", follower="tally", key=str(jar_id("a")))
    mine, theirs = (
        application.command(caller, request).request.key for caller in (CALLER, replace(CALLER, principal="user:bo"))
    )

    assert mine != theirs
