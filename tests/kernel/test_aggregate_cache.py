"""Aggregates between two commands: handed over, bounded in bytes, the most recently used ones."""

import random
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.kernel import aggregate_cache
from services.kernel.aggregate_cache import EACH_BYTES, AggregateCache
from services.kernel.clock import micros
from services.kernel.events import Stamp
from tests.kernel.toys import NOW, Jar, Tag, jar_id


def jar(name: str, *, version: int = 1, record_bytes: int = 100) -> Jar:
    made = Jar(jar_id(name))
    made.version, made.record_bytes = version, record_bytes
    return made


def test_what_was_put_in_is_handed_over_once() -> None:
    cache, plums = AggregateCache(), jar("plums")

    cache.put(plums)

    assert cache.take(Jar, plums.id) is plums
    assert cache.take(Jar, plums.id) is None
    assert (len(cache), cache.bytes) == (0, 0)


def test_what_comes_out_has_no_stamp_of_an_earlier_command() -> None:
    cache, plums = AggregateCache(), jar("plums")
    plums.stamp = Stamp("main", "user:ana", micros(NOW), "c")

    cache.put(plums)

    found = cache.take(Jar, plums.id)
    assert found is not None
    assert found.stamp is None


def test_another_kind_under_the_same_id_is_another_aggregate() -> None:
    cache, plums = AggregateCache(), jar("plums")

    cache.put(plums)

    assert cache.take(Tag, plums.id) is None
    assert cache.take(Jar, plums.id) is plums


def test_what_is_not_in_the_log_is_not_kept() -> None:
    cache, plums = AggregateCache(), jar("plums")
    plums.stamp = Stamp("main", "user:ana", micros(NOW), "c")
    plums.label_as("pears")

    with pytest.raises(AssertionError, match="not in the log"):
        cache.put(plums)

    assert cache.take(Jar, plums.id) is None


@pytest.mark.parametrize("order", [(2, 3), (3, 2)])
def test_of_two_that_come_back_the_later_version_stays(order: tuple[int, int]) -> None:
    cache = AggregateCache()

    for version in order:
        cache.put(jar("plums", version=version, record_bytes=version * 100))

    assert cache.bytes == EACH_BYTES + 300
    found = cache.take(Jar, jar_id("plums"))
    assert found is not None
    assert found.version == 3


def test_the_least_recently_used_go_when_there_are_too_many_bytes() -> None:
    cache = AggregateCache(most_bytes=3 * (EACH_BYTES + 100))
    for name in ("a", "b", "c"):
        cache.put(jar(name))
    again = cache.take(Jar, jar_id("a"))
    assert again is not None
    cache.put(again)

    cache.put(jar("d"))

    assert [cache.take(Jar, jar_id(name)) is not None for name in ("a", "b", "c", "d")] == [True, False, True, True]


def test_a_large_one_takes_the_room_of_many() -> None:
    cache = AggregateCache(most_bytes=10 * (EACH_BYTES + 100))
    for name in "abcdefghij":
        cache.put(jar(name))

    cache.put(jar("large", record_bytes=5 * (EACH_BYTES + 100)))

    assert cache.bytes <= 10 * (EACH_BYTES + 100)
    assert [cache.take(Jar, jar_id(name)) is not None for name in "aej"] == [False, False, True]
    assert cache.take(Jar, jar_id("large")) is not None


def test_one_that_is_larger_than_all_may_be_is_not_kept() -> None:
    cache = AggregateCache(most_bytes=EACH_BYTES)

    cache.put(jar("large"))

    assert (len(cache), cache.bytes) == (0, 0)


# Turns


class WatchedTurns(threading.Condition):
    """Tells when somebody asks for a turn that another one has."""

    def __init__(self) -> None:
        super().__init__()
        self.somebody_waits = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        self.somebody_waits.set()
        return super().wait(timeout)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> AggregateCache:
    monkeypatch.setattr(aggregate_cache, "TURN_WITHIN_S", 60)
    return AggregateCache()


def gets_a_turn(cache: AggregateCache, name: str) -> bool:
    """Whether another thread gets it without waiting."""
    cache._turns = turns = WatchedTurns()
    got = threading.Event()

    def take() -> None:
        with cache.turn(Jar, jar_id(name)):
            got.set()

    thread = threading.Thread(target=take)
    thread.start()
    thread.join(10)
    return got.is_set() and not turns.somebody_waits.is_set()


def test_commands_on_one_aggregate_wait_for_one_another(cache: AggregateCache) -> None:
    cache._turns = turns = WatchedTurns()
    order = []

    def second() -> None:
        with cache.turn(Jar, jar_id("plums")):
            order.append("second")

    thread = threading.Thread(target=second)
    with cache.turn(Jar, jar_id("plums")):
        thread.start()
        assert turns.somebody_waits.wait(10)
        order.append("first")
    thread.join(10)

    assert order == ["first", "second"]


def test_commands_on_other_aggregates_do_not_wait(cache: AggregateCache) -> None:
    with cache.turn(Jar, jar_id("plums")):
        assert gets_a_turn(cache, "pears")


def test_a_turn_ends_with_a_command_that_fails(cache: AggregateCache) -> None:
    with pytest.raises(ZeroDivisionError), cache.turn(Jar, jar_id("plums")):
        raise ZeroDivisionError

    assert gets_a_turn(cache, "plums")


def test_who_waited_too_long_goes_ahead_and_leaves_the_turn_to_its_holder(
    cache: AggregateCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cache.turn(Jar, jar_id("plums")):
        monkeypatch.setattr(aggregate_cache, "TURN_WITHIN_S", 0)
        with cache.turn(Jar, jar_id("plums")):
            pass
        assert cache._busy == {(Jar, jar_id("plums"))}

    assert cache._busy == set()


# Stale ones


def test_where_it_is_often_stale_and_for_as_long_it_says_so() -> None:
    cache = AggregateCache()
    for number in range(100):
        cache.found(stale=number % 20 == 0)
    assert not cache.often_stale

    for number in range(100):
        cache.found(stale=number % 2 == 0)
    assert cache.often_stale

    for _ in range(300):
        cache.found(stale=False)
    assert not cache.often_stale


# Threads


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads take turns as often as they can, so that they meet in the middle of things."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("hurried")
def test_threads_get_each_aggregate_one_at_a_time_and_the_bytes_add_up() -> None:
    cache = AggregateCache(most_bytes=20 * EACH_BYTES)
    held: dict[int, int] = {}

    def work(seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - which one comes next is no secret
        for _ in range(500):
            name = f"{chance.randrange(30)}"
            mine = cache.take(Jar, jar_id(name)) or jar(name)
            assert held.setdefault(id(mine), seed) == seed
            mine.version += 1
            mine.record_bytes += chance.randrange(200)
            del held[id(mine)]
            cache.put(mine)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert cache.bytes <= 20 * EACH_BYTES
    for number in range(30):
        cache.take(Jar, jar_id(f"{number}"))
    assert (len(cache), cache.bytes) == (0, 0)
