"""The log's copy beside the log: what tests of both sides share."""

from collections.abc import Iterator
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from services.kernel.copy.relay import Relay
from services.kernel.copy.source import CopySource
from services.kernel.house import House
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Recorded, Source
from tests.broker import Copy
from tests.kernel.toys import given, labelled
from tests.proxy import Proxy, proxy_to

BATCH = 500


class Watched:
    """The log of a cell; counts the events that were read from it in batches."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.read_here = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(self, after: int, limit: int) -> list[Recorded]:
        found = self._log.read(after, limit)
        self.read_here += len(found)
        return found


@pytest.fixture
def log(house: House) -> Watched:
    return Watched(house.log)


@pytest.fixture
def relay(house: House, copy: Copy) -> Iterator[Relay]:
    made = Relay(house.log, copy.address)
    made.register()
    yield made
    made.close()


@pytest.fixture
def copied(log: Watched, copy: Copy, monkeypatch: pytest.MonkeyPatch) -> Iterator[CopySource]:
    monkeypatch.setattr("services.kernel.copy.consumer.LISTENED_S", 0.05)  # its thread ends as soon
    made = CopySource(cast(EventLog, log), copy.address)
    yield made
    made.close()


@pytest.fixture
def proxy(broker: str) -> Iterator[Proxy]:
    """Between us and the broker."""
    with proxy_to(broker) as made:
        yield made


def through(proxy: Proxy, address: str) -> str:
    """The broker's address, by way of the proxy."""
    credentials, _, _ = urlsplit(address).netloc.rpartition("@")
    return urlsplit(address)._replace(netloc=f"{credentials}@127.0.0.1:{proxy.port}").geturl()


def told(house: House, first: int, last: int) -> None:
    """The log now holds these positions, a jar's labels."""
    given(house.log, *(labelled("a", version, f"label {version}") for version in range(first, last + 1)))


def publish_all(relay: Relay) -> None:
    """Steps until it stands at the head."""
    while relay.position() < relay.log.position():
        relay.step()


def read_all(source: Source, after: int = 0, batch: int = BATCH) -> list[Recorded]:
    found: list[Recorded] = []
    while events := source.read(found[-1].position if found else after, batch):
        assert len(events) <= batch
        found += events
    return found


def served_by_copy(log: Watched, copied: CopySource, after: int, limit: int = BATCH) -> bool:
    """Whether that place is now read from the stream."""
    before = log.read_here
    return bool(copied.read(after, limit)) and log.read_here == before
