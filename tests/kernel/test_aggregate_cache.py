"""Aggregates between two commands: handed over, bounded in bytes, the most recently used ones."""

import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

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
