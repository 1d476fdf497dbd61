"""Events a second into the broker's stream, confirmed: the relay, from the log to its position's commit, beside raw kombu.

The yardstick publishes the same bodies with the same headers, mandatory, in batches of the same size, and waits for the same
confirms, from memory. py-amqp looks before each message whether the broker is blocked; the quick one leaves that out, as
the relay does. Needs a broker: KEPT_TEST_BROKER, or RabbitMQ on this machine. Bounded by --events.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from kept.case.v1.events_pb2 import CaseOpened
from kombu.connection import Connection

from loadtests.measure import NotInstalled, Ratio, command, measure, tell
from services.kernel.clock import micros
from services.kernel.config import Settings
from services.kernel.copy.broker import BrokerAway, Link
from services.kernel.copy.messages import stream_name
from services.kernel.copy.relay import CONFIRMED_AT_A_TIME, NAME
from services.kernel.events import DomainEvent, ProtobufMapper, Stamp
from services.kernel.house import House
from services.kernel.log.port import Recorded, Save
from services.kernel.log.positions import Positions

LOCAL = "amqp://guest:guest@127.0.0.1:5672//"
AIM = 0.7
EVENTS = 30_000
SAVED_AT_ONCE = 1000


def main() -> int:
    parser = command(__doc__)
    parser.add_argument("--events", type=int, default=EVENTS, help="how many events each side publishes each time")
    parser.add_argument("--database", default="", help="a postgresql:// address; SQLite when not given")
    arguments = parser.parse_args()
    address = os.environ.get("KEPT_TEST_BROKER") or LOCAL
    with _house(address, arguments.database) as house:
        _fill(house, arguments.events)
        events = list(_all(house))
        result = measure(
            {
                "raw kombu": lambda: _raw(address, events, looks=True),
                "raw kombu, quick": lambda: _raw(address, events, looks=False),
                "relay": lambda: _relayed(house, address, len(events)),
            },
            [
                Ratio("relay by raw kombu", "relay", "raw kombu", AIM),
                Ratio("relay by quick raw kombu", "relay", "raw kombu, quick", AIM),
            ],
            unit="events/s",
            repetitions=arguments.repetitions,
        )
    tell(result, as_json=arguments.json)
    return 0


def _raw(address: str, events: list[Recorded], *, looks: bool) -> float:
    """kombu as it comes: its channel, its own confirms, a batch in flight while the next is sent."""
    name = f"kept.loadtest.{uuid4().hex}"
    try:
        Link(address, "kept loadtest").close()
    except BrokerAway as away:
        raise NotInstalled(f"no broker ({away}); set KEPT_TEST_BROKER to an amqp:// address") from away
    with Connection(address) as connection:  # type: ignore[no-untyped-call]  # kombu has no types
        channel: Any = connection.channel()
        if not looks:
            channel.connection.client_properties["capabilities"].pop("connection.blocked")
        channel.queue_declare(name, durable=True, auto_delete=False, arguments={"x-queue-type": "stream"})
        channel.confirm_select()
        confirmed = 0

        def hear(tag: int, _multiple: bool) -> None:
            nonlocal confirmed
            confirmed = max(confirmed, tag)

        channel.events["basic_ack"].add(hear)
        started = time.perf_counter()
        for number, event in enumerate(events, 1):
            headers = {"position": event.position, "recorded_at": event.recorded_at, "type": event.type}
            properties = {"message_id": str(event.position)}
            message = channel.prepare_message(event.record, headers=headers, properties=properties)
            channel.basic_publish(message, exchange="", routing_key=name, mandatory=True)
            while number % CONFIRMED_AT_A_TIME == 0 and confirmed < number - CONFIRMED_AT_A_TIME:
                connection.drain_events(timeout=10)
        while confirmed < len(events):
            connection.drain_events(timeout=10)
        seconds = time.perf_counter() - started
        channel.queue_delete(name)
    return len(events) / seconds


def _relayed(house: House, address: str, count: int) -> float:
    """From an empty stream to the head, the position committed; in a process set up as the relay's is."""
    _drop(house, address)
    worker = [sys.executable, "-m", "loadtests.relay_worker"]
    environment = {**os.environ, **house.settings.environment()}
    told = subprocess.run(worker, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    _drop(house, address)
    return count / float(told)


def _drop(house: House, address: str) -> None:
    name = stream_name(house.log)
    assert name is not None
    link = Link(address, "kept loadtest")
    if link.has(name):
        link.delete(name)
    link.close()
    with house.log.database.write() as session:
        Positions(session).forget(NAME)


@contextmanager
def _house(broker: str, database: str) -> Iterator[House]:
    with tempfile.TemporaryDirectory(prefix="kept-relay-") as folder:
        data = Path(folder)
        name = f"relay-{uuid4().hex[:8]}"
        house = House(Settings(data, name, database, True, None, data / "master.key", broker))
        house.make()
        yield house
        house.close()


def _fill(house: House, count: int) -> None:
    mapper, now = ProtobufMapper(), micros(house.clock.now())
    for first in range(0, count, SAVED_AT_ONCE):
        saves = []
        for _ in range(min(SAVED_AT_ONCE, count - first)):
            stream = uuid4()
            stamp = Stamp("main", "user:ana", now, correlation_id=str(stream))
            event = DomainEvent(stream, 1, _case(str(uuid4())), stamp, str(uuid4()))
            saves.append(Save((mapper.to_stored_event(event),)))
        house.log.append(saves)


def _case(customer: str) -> CaseOpened:
    opened = CaseOpened(customer_id=customer, region="north", item_id=str(uuid4()), external_reference="INC0000045")
    opened.need.ciphertext, opened.urgency.ciphertext = os.urandom(80), os.urandom(40)
    return opened


def _all(house: House) -> Iterator[Recorded]:
    position = 0
    while events := house.log.read(position, SAVED_AT_ONCE):
        yield from events
        position = events[-1].position


if __name__ == "__main__":
    sys.exit(main())
