"""The shared reader gives what its origin would give, and asks it as seldom as it can."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given as each
from hypothesis import strategies as st
from kept.cell.v1.events_pb2 import PolicyDeployed

from services.kernel.errors import Unavailable
from services.kernel.house import House
from services.kernel.log.bell import LONGEST_WAIT_S
from services.kernel.log.port import Recorded, Source
from services.kernel.log.reader import SharedReader, opened
from tests.databases import Cell
from tests.kernel.toys import given, labelled


class Watched(Source):
    """Another source; remembers what it was asked for."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.asked: list[tuple[int, int]] = []

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        self.asked.append((after, limit))
        return self._source.read(after, limit)


class Listed(Source):
    """Events in memory."""

    def __init__(self, sizes: Sequence[int] = ()) -> None:
        self.events: list[Recorded] = []
        self.add(*sizes)

    def add(self, *sizes: int) -> None:
        for size in sizes:
            at = len(self.events) + 1
            self.events.append(Recorded(at, "a type", at, bytes(size)))

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        return [event for event in self.events if event.position > after][:limit]


@pytest.fixture
def origin(house: House) -> Watched:
    return Watched(house.log)


def fill(house: House, count: int, *, jar: str = "a", first: int = 1) -> None:
    given(house.log, *(labelled(jar, version, f"{version}") for version in range(first, first + count)))


def places(events: Sequence[Recorded]) -> list[int]:
    return [event.position for event in events]


# One reads, all have it


def test_the_second_reader_takes_what_the_first_has_read(house: House, origin: Watched) -> None:
    fill(house, 10)
    reader = SharedReader(origin)

    first, second = reader.read(0, 10), reader.read(0, 10)

    assert first == second == house.log.read(0, 10)
    assert all(one is other for one, other in zip(first, second, strict=True))
    assert origin.asked == [(0, 10)]


def test_at_the_end_only_what_is_not_known_is_asked_for(house: House, origin: Watched) -> None:
    fill(house, 10)
    reader = SharedReader(origin)
    reader.read(0, 6)

    assert places(reader.read(2, 500)) == [3, 4, 5, 6, 7, 8, 9, 10]
    assert origin.asked == [(0, 6), (6, 496)]


def test_what_comes_later_is_found_at_once(house: House, origin: Watched) -> None:
    reader = SharedReader(origin)
    assert reader.read(0, 10) == []
    fill(house, 2)
    assert places(reader.read(0, 10)) == [1, 2]
    fill(house, 1, jar="b")

    assert places(reader.read(2, 10)) == [3]
    assert places(reader.read(0, 10)) == [1, 2, 3]


def test_an_event_is_parsed_once_for_all(house: House, origin: Watched) -> None:
    fill(house, 2)
    reader = SharedReader(origin)

    one, another = opened(reader.read(0, 2)[1]), opened(reader.read(1, 1)[0])

    assert one is another
    assert isinstance(one.body, PolicyDeployed)
    assert (one.position, one.body.name) == (2, "2")
    assert opened(house.log.read(1, 1)[0]) == one, "as one that is not shared"


def test_a_process_has_one_reader(house: House) -> None:
    assert isinstance(house.source, SharedReader)
    assert house.source is house.source
    fill(house, 3)

    assert house.source.read(0, 3)[0] is house.source.read(0, 3)[0]


# Those at the head and those behind


def test_who_starts_far_ahead_takes_the_window_with_him(house: House, origin: Watched) -> None:
    fill(house, 30)
    reader = SharedReader(origin)
    reader.read(0, 5)
    reader.read(20, 5)
    origin.asked.clear()

    assert places(reader.read(20, 5)) == [21, 22, 23, 24, 25]
    assert origin.asked == []
    assert places(reader.read(0, 5)) == [1, 2, 3, 4, 5]
    assert origin.asked == [(0, 5)]


def test_who_is_far_behind_takes_nothing_from_those_at_the_head(house: House, origin: Watched) -> None:
    fill(house, 60)
    reader = SharedReader(origin, most_events=10)
    reader.read(55, 5)
    for after in range(0, 50, 5):
        assert places(reader.read(after, 5)) == list(range(after + 1, after + 6))
    origin.asked.clear()

    assert places(reader.read(55, 5)) == [56, 57, 58, 59, 60]
    assert origin.asked == []


def test_who_has_caught_up_shares_again(house: House, origin: Watched) -> None:
    fill(house, 20)
    reader = SharedReader(origin)
    reader.read(10, 5)
    position = 0
    while events := reader.read(position, 4):
        position = events[-1].position
    origin.asked.clear()

    assert (position, places(reader.read(13, 4))) == (20, [14, 15, 16, 17])
    assert origin.asked == []


@pytest.mark.parametrize(("most_events", "most_bytes"), [(10, 10**9), (10**9, 1000), (10, 1000), (0, 0)])
def test_what_is_kept_is_bounded_in_events_and_in_bytes(most_events: int, most_bytes: int) -> None:
    listed = Listed([70, 130] * 50)
    reader = SharedReader(listed, most_events=most_events, most_bytes=most_bytes)
    for after in range(0, 100, 3):
        reader.read(after, 3)

        kept = reader._window.events
        assert len(kept) <= most_events
        assert sum(len(event.record) for event in kept) == reader._window.size <= most_bytes
        assert list(kept) == (listed.events[: after + 3][-len(kept) :] if kept else []), "the newest"
    assert bool(kept) == bool(most_events)


# As the origin, whatever happens


@each(st.integers(0, 6), st.integers(0, 300), st.data())
def test_any_reads_at_any_positions_give_what_the_origin_gives(
    most_events: int, most_bytes: int, data: st.DataObject
) -> None:
    listed = Listed()
    reader = SharedReader(listed, most_events=most_events, most_bytes=most_bytes)
    for _ in range(data.draw(st.integers(1, 40), label="steps")):
        if data.draw(st.booleans(), label="append"):
            listed.add(*data.draw(st.lists(st.integers(0, 100), max_size=5), label="sizes"))
        after = data.draw(st.integers(0, len(listed.events)), label="after")
        limit = data.draw(st.integers(1, 8), label="limit")
        assert reader.read(after, limit) == listed.read(after, limit)


def test_any_places_in_the_log_read_as_the_log(house: House) -> None:
    fill(house, 40)
    reader = SharedReader(house.log, most_events=12)
    for step in range(200):
        after, limit = step * 17 % 41, step * 7 % 9 + 1
        assert reader.read(after, limit) == house.log.read(after, limit)


def test_a_log_with_a_gap_is_read_as_it_is() -> None:
    listed = Listed([10] * 12)
    del listed.events[4:6]
    reader = SharedReader(listed)

    for _ in range(2):
        for after in range(13):
            for limit in (1, 3, 20):
                assert reader.read(after, limit) == listed.read(after, limit)


def test_a_failed_read_harms_nobody(house: House) -> None:
    class Failing(Watched):
        def read(self, after: int, limit: int) -> Sequence[Recorded]:
            events = super().read(after, limit)
            if len(self.asked) == 2:
                raise Unavailable("storage-lost", "gone")
            return events

    fill(house, 4)
    reader = SharedReader(Failing(house.log))
    reader.read(0, 2)

    with pytest.raises(Unavailable):
        reader.read(0, 4)

    assert places(reader.read(0, 4)) == [1, 2, 3, 4]


# Threads


class Door:
    """A lock that tells who comes to it, and lets them in in that order."""

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._last = self._inside = 0
        self.came = threading.Semaphore(0)

    def __enter__(self) -> None:
        with self._turn:
            self._last += 1
            mine = self._last
            self.came.release()
            self._turn.wait_for(lambda: self._inside == mine - 1)

    def __exit__(self, *_: object) -> None:
        with self._turn:
            self._inside += 1
            self._turn.notify_all()


class Slow(Watched):
    """Keeps its first answer until it may go."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.begun, self.go = threading.Event(), threading.Event()

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        events = super().read(after, limit)
        if len(self.asked) == 1:
            self.begun.set()
            assert self.go.wait(60)
        return events


def queued(
    origin: Slow,
    first: tuple[int, int],
    others: Sequence[tuple[int, int]],
    meanwhile: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """Positions that each gets who reads (after, limit): the others came, in order, while the first was reading."""
    reader: Any = SharedReader(origin)
    reader._reading_on = door = Door()
    with ThreadPoolExecutor(1 + len(others)) as threads:
        reading = [threads.submit(reader.read, *first)]
        assert door.came.acquire(timeout=60)
        assert origin.begun.wait(60)
        meanwhile()
        for other in others:
            reading.append(threads.submit(reader.read, *other))
            assert door.came.acquire(timeout=60)
        origin.go.set()
    return [places(one.result()) for one in reading]


def test_those_who_wait_for_the_same_news_ask_for_it_once(house: House) -> None:
    """What is recorded while the first reads, it need not see; those who come then must."""
    fill(house, 3)
    origin = Slow(house.log)

    found = queued(origin, (0, 10), [(0, 10)] * 5, meanwhile=lambda: fill(house, 1, jar="b"))

    assert found == [[1, 2, 3], *[[1, 2, 3, 4]] * 5]
    assert origin.asked == [(0, 10), (3, 7)]


def test_who_wants_more_than_the_one_before_him_reads_on(house: House) -> None:
    fill(house, 20)

    found = queued(Slow(house.log), (0, 1), [(1, 5), (1, 9)])

    assert found == [[1], [2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 7, 8, 9, 10]]


@pytest.mark.parametrize("ahead", [20, 60])
def test_who_waited_while_another_went_far_ahead_reads_where_he_stands(house: House, ahead: int) -> None:
    """At 20 the other takes the window with him; at 60 he finds the end of the log, of which the window is far."""
    fill(house, 60)

    found = queued(Slow(house.log), (0, 10), [(ahead, 40), (5, 10)])

    assert found == [list(range(1, 11)), list(range(ahead + 1, 61)), list(range(6, 16))]


def test_readers_that_share_miss_nothing_while_32_writers_write(house: House, cell: Cell) -> None:
    writers, each_writes, readers = 32, 10, 4
    total = writers * each_writes
    processes = [cell.house() for _ in range(4)]
    shared = SharedReader(house.log, most_events=40)

    def write(number: int) -> None:
        for version in range(1, each_writes + 1):
            processes[number % 4].recorder.insert_events([labelled(f"jar {number}", version)])

    def tail(number: int) -> list[Recorded]:
        seen: list[Recorded] = []
        ear = house.log.bell.listen()
        try:
            while len(seen) < total:
                events = shared.read(len(seen), 1 + 3 * number)
                seen.extend(events)
                if not events:
                    ear.wait(LONGEST_WAIT_S)
        finally:
            ear.close()
        return seen

    with ThreadPoolExecutor(writers + readers) as threads:
        tails = [threads.submit(tail, number) for number in range(readers)]
        for writing in [threads.submit(write, number) for number in range(writers)]:
            writing.result()
        found = [tailing.result() for tailing in tails]
    for process in processes:
        process.close()

    recorded = house.log.read(0, total + 1)
    assert places(recorded) == list(range(1, total + 1))
    assert found == [recorded] * readers


def test_many_threads_anywhere_read_as_the_log(house: House) -> None:
    fill(house, 120)
    shared = SharedReader(house.log, most_events=30)
    everything = house.log.read(0, 120)

    def scan(step: int) -> list[Recorded]:
        seen: list[Recorded] = []
        while events := shared.read(len(seen), step):
            seen.extend(events)
        return seen

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(scan, range(3, 11)))

    assert found == [everything] * 8
