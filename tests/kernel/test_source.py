"""One contract for whatever followers read: the log, and its copy."""

import threading
from typing import cast

import pytest

from services.kernel.copy.relay import Relay
from services.kernel.house import House
from services.kernel.log.port import Recorded, Source
from tests.kernel.copying import publish_all, read_all, told


@pytest.fixture(params=["log", "copy"])
def source(request: pytest.FixtureRequest, house: House) -> Source:
    return house.log if request.param == "log" else cast(Source, request.getfixturevalue("copied"))


def test_all_is_read_in_order(house: House, relay: Relay, source: Source) -> None:
    told(house, 1, 1200)
    publish_all(relay)

    assert read_all(source) == house.log.read(0, 2000)


def test_it_is_read_from_any_place_in_batches_of_any_size(house: House, relay: Relay, source: Source) -> None:
    told(house, 1, 300)
    publish_all(relay)

    for after in (0, 299, 1, 150, 149, 298):
        for batch in (1, 7, 500):
            assert read_all(source, after, batch) == house.log.read(after, 500)


def test_at_the_head_and_beyond_there_is_nothing(house: House, relay: Relay, source: Source) -> None:
    assert list(source.read(0, 10)) == []
    told(house, 1, 10)
    publish_all(relay)

    assert list(source.read(10, 10)) == list(source.read(11, 10)) == []


def test_what_is_committed_is_there_at_once_relayed_or_not(house: House, relay: Relay, source: Source) -> None:
    position = 0
    for last in range(20, 201, 20):
        told(house, position + 1, last)
        if last % 40:
            publish_all(relay)
        # In one go: who gets fewer than he asked for takes it that the log ends there.
        assert [event.position for event in source.read(position, 100)] == list(range(position + 1, last + 1))
        position = last


def test_readers_miss_nothing_while_it_is_written(house: House, relay: Relay, source: Source) -> None:
    found: list[list[Recorded]] = [[], [], []]
    errors: list[BaseException] = []

    def read(mine: list[Recorded]) -> None:
        try:
            while not mine or mine[-1].position < 600:
                mine += source.read(mine[-1].position if mine else 0, 50)
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=read, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for first in range(1, 601, 50):
        told(house, first, first + 49)
        relay.step()
    publish_all(relay)
    for thread in threads:
        thread.join()

    assert errors == []
    assert found == [house.log.read(0, 1000)] * 3
