"""The broker that tests share, and their own streams on it, which go with the test."""

import os
from collections.abc import Callable, Iterator, Sequence
from threading import Event
from time import monotonic

import pytest

from services.kernel.copy.broker import BrokerAway, Link
from services.kernel.copy.messages import publish, received, stream_name
from services.kernel.copy.relay import NAME
from services.kernel.house import House
from services.kernel.log.port import Recorded
from services.kernel.log.positions import Positions
from tests.needed import missing

LOCAL = "amqp://guest:guest@127.0.0.1:5672//"
ANSWERS_WITHIN_S = 20.0


@pytest.fixture(scope="session")
def broker() -> str:
    """The address of a broker on which a test may have streams of its own."""
    address = os.environ.get("KEPT_TEST_BROKER") or LOCAL
    try:
        Link(address, "kept tests").close()
    except BrokerAway as away:
        reason = f"no RabbitMQ: set KEPT_TEST_BROKER to an amqp:// address ({away})"
        missing(reason)
    return address


class Copy:
    """A cell's stream, as somebody with an AMQP client sees it."""

    def __init__(self, address: str, house: House) -> None:
        self.address = address
        self._house = house

    @property
    def stream(self) -> str:
        name = stream_name(self._house.log)
        assert name is not None, "the log is empty"
        return name

    def link(self) -> Link:
        return Link(self.address, "kept tests")

    def delete(self) -> None:
        link = self.link()
        link.delete(self.stream)
        link.close()

    def drop(self) -> None:
        """What is left after a test."""
        if stream_name(self._house.log) is not None:
            self.delete()

    def exists(self) -> bool:
        link = self.link()
        try:
            return link.has(self.stream)
        finally:
            link.close()

    def put(self, events: Sequence[Recorded]) -> None:
        """Published by hand, as a relay would."""
        link = self.link()
        link.make(self.stream)
        for event in events:
            publish(link, self.stream, event)
        link.confirm()
        link.close()

    def positions(self, upto: int, times: int = 1) -> list[int]:
        """Of all messages in the stream, up to and including the one that has that position for so many times."""
        return [event.position for event in self.events(upto, times)]

    def events(self, upto: int, times: int = 1) -> list[Recorded]:
        link, found = self.link(), list[Recorded]()
        heard: list[object] = []
        link.consume(self.stream, "first", 1000, heard.append)
        until = monotonic() + ANSWERS_WITHIN_S
        while [event.position for event in found].count(upto) < times:
            assert monotonic() < until, [event.position for event in found][-10:]
            link.drain(1.0)
            for message in heard:
                seen = received(message)
                assert seen is not None
                found.append(seen[1])
                link.acknowledge(message.delivery_tag)  # type: ignore[attr-defined]  # kombu's message has no types
            heard.clear()
        link.close()
        return found


@pytest.fixture
def copy(broker: str, house: House) -> Iterator[Copy]:
    """The stream of the test's cell; deleted afterwards."""
    found = Copy(broker, house)
    yield found
    found.drop()


def eventually(so: Callable[[], bool], within_s: float = ANSWERS_WITHIN_S) -> None:
    """Looks again and again until it is so."""
    until, pause = monotonic() + within_s, Event()
    while not so():
        assert monotonic() < until, "it never came to be so"
        pause.wait(0.01)


def first_ones(positions: Sequence[int]) -> list[int]:
    """In the order in which each came first."""
    return list(dict.fromkeys(positions))


def relayed(house: House) -> int:
    """Where the relay stands."""
    with house.log.database.read() as session:
        return Positions(session).get(NAME)
