"""The relay: the log in the broker's stream, in order, at least once, and again whenever the stream has lost it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from kombu.connection import Connection

from services.kernel.copy.broker import Confirms
from services.kernel.copy.messages import stream_name
from services.kernel.copy.relay import Relay
from services.kernel.copy.source import CopySource
from services.kernel.house import House
from services.kernel.log.port import Recorded
from services.kernel.log.positions import Fenced, Positions
from tests.broker import Copy, eventually, first_ones, relayed
from tests.databases import Cell
from tests.kernel.copying import publish_all, through, told
from tests.proxy import Proxy

# Where the database makes no difference.
ON_SQLITE = pytest.mark.parametrize("address", [""])


@contextmanager
def relay_of(house: House, address: str) -> Iterator[Relay]:
    relay = Relay(house.log, address)
    relay.register()
    yield relay
    relay.close()


def test_the_stream_has_every_event_as_the_log_has_it_in_order(house: House, copy: Copy, relay: Relay) -> None:
    told(house, 1, 450)

    publish_all(relay)

    assert copy.events(upto=450) == house.log.read(0, 1000)
    assert relayed(house) == 450


def test_an_empty_log_has_no_stream(house: House, relay: Relay) -> None:
    assert not relay.step()
    assert stream_name(house.log) is None


def test_it_reads_the_log_whatever_followers_read(house: House, copy: Copy, relay: Relay) -> None:
    told(house, 1, 10)
    relay.source = CopySource(house.log, "amqp://127.0.0.1:1")

    publish_all(relay)

    assert copy.positions(upto=10) == list(range(1, 11))
    assert relay.source._consumer._thread is None  # it was never asked


def test_another_relay_goes_on_where_the_first_one_stood(house: House, copy: Copy, relay: Relay) -> None:
    told(house, 1, 300)
    publish_all(relay)
    relay.close()
    told(house, 301, 500)

    with relay_of(house, copy.address) as another:
        publish_all(another)

    positions = copy.positions(upto=500)
    assert first_ones(positions) == list(range(1, 501))
    assert positions[-200:] == list(range(301, 501))


@ON_SQLITE
def test_what_was_not_confirmed_is_published_again(
    house: House, copy: Copy, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker has it all, but its confirms are lost."""
    monkeypatch.setattr("services.kernel.copy.broker.ANSWERED_WITHIN_S", 0.5)
    told(house, 1, 100)
    with relay_of(house, through(proxy, copy.address)) as relay:
        publish_all(relay)
        told(house, 101, 200)
        proxy.stall(answers_only=True)

        assert not relay.step()
        assert copy.positions(upto=200) == list(range(1, 201))
        assert relayed(house) == 100

        proxy.open()
        eventually(lambda: relay.step() and relayed(house) == 200)
        eventually(lambda: copy.positions(upto=200, times=2)[-100:] == list(range(101, 201)))


def test_a_relay_that_another_has_overtaken_moves_nothing(house: House, copy: Copy, relay: Relay) -> None:
    told(house, 1, 10)
    publish_all(relay)
    told(house, 11, 20)
    with house.log.database.write() as session:
        Positions(session).move("relay", 10, 15)

    with pytest.raises(Fenced):
        relay.step()
    assert relayed(house) == 15
    publish_all(relay)

    assert first_ones(copy.positions(upto=20)) == list(range(1, 21))


def test_a_relay_whose_name_was_forgotten_makes_itself_known_again(house: House, copy: Copy, relay: Relay) -> None:
    """As by `kept migrate` without a broker, while it runs."""
    told(house, 1, 10)
    publish_all(relay)
    with house.log.database.write() as session:
        Positions(session).forget("relay")
    told(house, 11, 20)

    with pytest.raises(Fenced):
        relay.step()
    publish_all(relay)

    assert relayed(house) == 20
    assert first_ones(copy.positions(upto=20)) == list(range(1, 21))


def test_a_stream_that_was_deleted_is_made_again_from_the_log(
    house: House, copy: Copy, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    """Noticed by what is published next."""
    told(house, 1, 250)
    publish_all(relay)
    copy.delete()
    told(house, 251, 260)

    eventually(lambda: relay.step() and relayed(house) == 260)

    assert copy.positions(upto=260) == list(range(1, 261))
    assert "surely reaches position 0: publishing it again from there" in caplog.text


@ON_SQLITE
def test_a_stream_that_was_deleted_is_made_again_although_nothing_happens(
    house: House, copy: Copy, relay: Relay
) -> None:
    told(house, 1, 250)
    publish_all(relay)
    copy.delete()

    eventually(lambda: relay.step() and relayed(house) == 250)

    assert copy.positions(upto=250) == list(range(1, 251))


def test_a_stream_whose_end_the_broker_has_lost_is_mended(house: House, copy: Copy, relay: Relay) -> None:
    """It confirms before its disk has it."""
    told(house, 1, 500)
    publish_all(relay)
    relay.close()
    copy.delete()
    copy.put(house.log.read(0, 300))

    publish_all_again(relay)

    assert relayed(house) == 500
    assert first_ones(copy.positions(upto=500)) == list(range(1, 501))


@pytest.mark.parametrize("strange", ["another log's event", "no event"])
def test_a_stream_that_holds_something_else_is_made_again(
    house: House, copy: Copy, relay: Relay, strange: str, caplog: pytest.LogCaptureFixture
) -> None:
    told(house, 1, 20)
    publish_all(relay)
    relay.close()
    copy.delete()
    if strange == "no event":
        link = copy.link()
        link.make(copy.stream)
        link.publish(copy.stream, b"hello", {}, "")
        link.confirm()
        link.close()
    else:
        copy.put([Recorded(20, "kept.cell.v1.PolicyDeployed", 0, b"of another time")])

    publish_all_again(relay)

    assert copy.events(upto=20) == house.log.read(0, 100)
    assert "holds what this log does not" in caplog.text


def test_a_stream_that_an_operator_made_in_another_way_is_used(house: House, copy: Copy, relay: Relay) -> None:
    told(house, 1, 10)
    with Connection(copy.address) as connection:  # type: ignore[no-untyped-call]  # kombu has no types
        arguments = {"x-queue-type": "stream", "x-max-age": "1D"}
        connection.channel().queue_declare(copy.stream, durable=True, auto_delete=False, arguments=arguments)

    eventually(lambda: relay.step() and relayed(house) == 10)

    assert copy.positions(upto=10) == list(range(1, 11))


def test_two_cells_of_one_name_have_a_stream_each(cell: Cell, house: House, copy: Copy) -> None:
    told(house, 1, 1)
    mine = copy.stream
    settings = replace(cell.settings, database="", data=cell.settings.data / "other")
    other = House(replace(settings, master_key=settings.data / "master.key"))
    other.make()
    told(other, 1, 1)

    theirs = stream_name(other.log)
    other.close()

    assert theirs is not None
    assert mine != theirs
    assert mine.rpartition(".")[0] == theirs.rpartition(".")[0] == f"kept.{cell.settings.cell}.1"


@ON_SQLITE
def test_a_broker_that_is_away_is_told_once_and_asked_seldom(
    house: House, copy: Copy, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    told(house, 1, 10)
    proxy.cut()
    with relay_of(house, through(proxy, copy.address)) as relay:
        for _ in range(1000):
            assert not relay.step()

        assert proxy.accepted <= 3
        proxy.open()
        eventually(lambda: relay.step() and relayed(house) == 10)

    messages = [record.getMessage() for record in caplog.records if record.name.startswith("services")]
    assert len(messages) == 2
    assert messages[0].startswith("the copy stands still: ")
    assert messages[1] == "the broker is back: the copy goes on from position 0"
    assert "guest" not in caplog.text


def test_confirms_count_from_the_first_message_on_in_whatever_order_they_come() -> None:
    confirms = Confirms()
    seen = []
    for tag, multiple in ((2, False), (1, False), (5, False), (3, True), (4, False), (9, False), (8, True)):
        confirms.hear(tag, multiple)
        seen.append(confirms.confirmed)

    assert seen == [0, 2, 2, 3, 5, 5, 9]


def publish_all_again(relay: Relay) -> None:
    """It has to find out first that it is not at the head."""
    relay.step()
    publish_all(relay)
