"""What the readers of a process share of the stream: no gap, nothing twice, and not too much of it."""

from collections.abc import Iterable

from services.kernel.copy.window import AHEAD, KEEP, MOST_BYTES, Window
from services.kernel.log.port import Recorded


def window(positions: Iterable[int], size: int = 1) -> Window:
    made = Window()
    for position in positions:
        made.add(event(position, size))
    return made


def event(position: int, size: int = 1) -> Recorded:
    return Recorded(position, "type", position, b"x" * size)


def run(found: Window, after: int, limit: int = 1000) -> list[int]:
    return [one.position for one in found.run(after, limit)]


def test_a_run_is_what_comes_next() -> None:
    found = window(range(11, 21))

    assert run(found, 10) == list(range(11, 21))
    assert run(found, 14, limit=3) == [15, 16, 17]


def test_nothing_is_given_where_the_next_one_is_not_there() -> None:
    found = window(range(11, 21))

    assert run(found, 9) == run(found, 20) == run(found, 30) == run(Window(), 0) == []


def test_what_comes_again_is_dropped() -> None:
    assert run(window([1, 2, 3, 2, 3, 1, 4, 4, 5]), 0) == [1, 2, 3, 4, 5]


def test_after_a_gap_it_begins_anew() -> None:
    found = window([1, 2, 3, 7, 8])

    assert run(found, 0) == run(found, 3) == []
    assert run(found, 6) == [7, 8]


def test_what_lies_far_behind_the_foremost_reader_is_let_go() -> None:
    found = window(range(1, 1001))
    found.run(900, 1)
    found.add(event(1001))

    assert run(found, 900 - KEEP - 1) == []
    assert run(found, 900 - KEEP, limit=1) == [900 - KEEP + 1]


def test_it_is_full_when_it_is_far_ahead_of_the_foremost_reader_until_that_goes_on() -> None:
    found = window(range(1, AHEAD + 1))
    assert found.is_full

    found.run(1, 1)
    assert not found.is_full


def test_it_is_full_when_it_holds_many_bytes_until_they_are_let_go() -> None:
    found = window(range(1, KEEP + 2), size=MOST_BYTES // (KEEP + 1) + 1)
    assert found.is_full

    found.run(KEEP + 1, 1)
    found.add(event(KEEP + 2))
    assert not found.is_full
