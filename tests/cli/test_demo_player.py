"""The player: everything at its time, in one order, once; interrupted anywhere, it ends as if it had not been."""

from datetime import datetime
from threading import Barrier
from typing import Any

import pytest
from kept.case.v1 import service_pb2 as case
from kept.sla.v1 import service_pb2 as sla

from services.cli.client import Interrupted
from services.cli.demo.player import Player
from services.cli.demo.script import FIRST_DAY, Part, Script, Step, day
from tests.cli.telling import Agreeable, told

MORNING, NOON, EVENING = day(0, 9), day(0, 12), day(0, 18)


def acknowledging(*times: datetime, case_id: str = "") -> Script:
    """Steps at these times, each of which names what the one before was answered."""
    for at in times:
        case_id = (yield Step(at, "east", "user:ana", "case", case.AcknowledgeRequest(case_id=case_id))).id


def played(*parts: Part, until: datetime = EVENING, **options: Any) -> Agreeable:
    listener = Agreeable()
    Player(listener, seed=7, **options).play(parts, until)
    return listener


def ids(listener: Agreeable) -> list[str]:
    return [one.request.request_id for one in listener.told]


def test_steps_of_all_scripts_are_told_in_the_order_of_their_time() -> None:
    listener = played(
        Part("late", NOON, acknowledging(NOON, EVENING)), Part("early", MORNING, acknowledging(MORNING, EVENING))
    )

    assert ids(listener) == ["demo:7:early:0", "demo:7:late:0", "demo:7:late:1", "demo:7:early:1"]
    assert [one.now for one in listener.told] == [at.timestamp() for at in (MORNING, NOON, EVENING, EVENING)]


def test_a_script_learns_what_became_of_its_steps() -> None:
    first, second = played(Part("one", MORNING, acknowledging(MORNING, NOON))).told

    assert (first.request.case_id, bool(second.request.case_id)) == ("", True)


def test_what_comes_after_the_end_is_left_out_and_the_clock_stands_at_the_end() -> None:
    listener = played(Part("one", MORNING, acknowledging(MORNING, EVENING)), until=NOON)

    assert ids(listener) == ["demo:7:one:0"]
    assert listener.now == NOON.timestamp()


def test_a_script_that_goes_back_in_time_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="one goes back in time"):
        played(Part("one", NOON, acknowledging(NOON, MORNING)))


def test_a_script_begins_no_earlier_than_it_is_due() -> None:
    seen: list[int] = []

    def looking() -> Script:
        seen.append(listener.now)
        yield from acknowledging(NOON)

    listener = Agreeable()
    Player(listener, seed=7).play([Part("one", NOON, looking())], EVENING)

    assert seen == [NOON.timestamp()]


def test_lanes_of_one_moment_are_told_beside_one_another() -> None:
    together = Barrier(2, timeout=20)

    class Waiting(Agreeable):
        def __call__(self, step: Step) -> Any:
            if step.method == "Acknowledge":
                together.wait()
            return super().__call__(step)

    parts = [Part(f"lane-{lane}", NOON, acknowledging(NOON), lane) for lane in (1, 2)]
    listener = Waiting()
    Player(listener, seed=7).play(parts, EVENING)

    assert sorted(ids(listener)) == ["demo:7:lane-1:0", "demo:7:lane-2:0"]


def test_one_lane_is_told_in_order_and_what_has_none_is_told_first() -> None:
    named = [("b", 1), ("a", 1), ("alone", None)]
    listener = played(*(Part(name, NOON, acknowledging(NOON, NOON), lane) for name, lane in named))

    assert ids(listener) == [f"demo:7:{name}:{place}" for name in ("alone", "b", "a") for place in (0, 1)]


def test_a_read_waits_for_all_that_was_recorded() -> None:
    asked: list[int] = []

    def looking() -> Script:
        yield from acknowledging(NOON)
        request = sla.ListClocksRequest()
        yield Step(NOON, "east", "user:ana", "sla", request)
        asked.append(request.after_position)

    played(Part("one", NOON, looking()))

    assert asked == [1]


def test_what_was_true_before_is_told_before_the_first_day_with_its_own_time() -> None:
    listener = Agreeable()
    Player(listener, seed=7).prepare([Part("one", FIRST_DAY, acknowledging(day(-30), day(-20)))], FIRST_DAY)

    assert {one.now for one in listener.told} == {FIRST_DAY.timestamp()}
    assert [one.request.occurred_at.seconds for one in listener.told] == [day(-30).timestamp(), day(-20).timestamp()]


def test_it_stops_between_two_moments_when_it_is_asked_to() -> None:
    listener, answers = Agreeable(), iter([False, True])
    parts = [Part("one", MORNING, acknowledging(MORNING, NOON, EVENING))]

    with pytest.raises(Interrupted):
        Player(listener, seed=7, stopping=lambda: next(answers)).play(parts, EVENING)

    assert ids(listener) == ["demo:7:one:0"]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_play_that_broke_off_tells_the_same_again(share: float) -> None:
    whole = _requests(told()[1])
    broken = Agreeable(fail_at=int(len(whole) * share))

    with pytest.raises(ConnectionError):
        told(listener=broken)

    begun = _requests(broken)
    assert len(begun) >= int(len(whole) * share)
    assert begun.items() <= whole.items()


def _requests(listener: Agreeable) -> dict[str, bytes]:
    return {one.request.request_id: one.request.SerializeToString(deterministic=True) for one in listener.told}
