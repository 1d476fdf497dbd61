"""What only a copy can get wrong: it lags, has holes and duplicates, is away, comes back, or is of another log."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest

from services.kernel.cell import start_history
from services.kernel.copy import consumer as consumer_module
from services.kernel.copy.messages import stream_name
from services.kernel.copy.relay import Relay
from services.kernel.copy.source import CopySource
from services.kernel.house import House
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Recorded
from tests.broker import Copy, eventually
from tests.kernel.copying import BATCH, Watched, publish_all, read_all, served_by_copy, through, told
from tests.proxy import Proxy


@pytest.fixture
def address() -> str:
    """On SQLite alone: what the copy does is not the database's business."""
    return ""


def test_a_copy_that_is_there_is_read_and_the_log_is_not(
    house: House, log: Watched, relay: Relay, copied: CopySource
) -> None:
    told(house, 1, 2500)
    publish_all(relay)
    eventually(lambda: served_by_copy(log, copied, 0))
    log.read_here = 0

    found: list[Recorded] = []
    while len(found) < 2500:
        position = len(found)
        eventually(lambda position=position: served_by_copy(log, copied, position))  # type: ignore[misc]  # mypy cannot see into a default
        found += copied.read(position, BATCH)

    assert found[:2500] == house.log.read(0, 3000)


def test_it_closes_with_the_house(house: House, copy: Copy, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.kernel.copy.consumer.LISTENED_S", 0.05)
    told(house, 1, 10)
    publish_all(relay)
    worker = House(house.settings)
    source = CopySource(worker.log, copy.address)
    worker.read_from(source)
    assert worker.source.read(0, 10) == house.log.read(0, 10)
    thread = source._consumer._thread
    assert thread is not None
    assert thread.is_alive()

    worker.close()

    assert not thread.is_alive()


def test_at_the_head_it_waits_for_the_relay_rather_than_read_the_log(
    house: House, log: Watched, relay: Relay, copied: CopySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.kernel.copy.source.PATIENCE_S", 20.0)
    told(house, 1, 10)
    publish_all(relay)
    eventually(lambda: served_by_copy(log, copied, 9))
    log.read_here = 0
    told(house, 11, 11)
    late = threading.Thread(target=relay.step)
    late.start()

    assert list(copied.read(10, 10)) == house.log.read(10, 10)
    assert log.read_here == 0
    late.join()


def test_a_copy_that_lags_is_waited_for_once_and_then_left_alone(
    house: House, log: Watched, relay: Relay, copied: CopySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.kernel.copy.source.FIRST_IMPATIENCE_S", 3600.0)
    copied._impatience_s = 3600.0
    told(house, 1, 10)
    publish_all(relay)
    eventually(lambda: served_by_copy(log, copied, 9))
    told(house, 11, 20)
    waited: list[float] = []
    take = copied._consumer.take

    def noting(after: int, limit: int, within_s: float) -> Sequence[Recorded]:
        waited.append(within_s)
        return take(after, limit, within_s)

    monkeypatch.setattr(copied._consumer, "take", noting)

    for _ in range(5):
        assert list(copied.read(10, 10)) == house.log.read(10, 10)

    assert waited == [0.1, 0.0, 0.0, 0.0, 0.0]


def test_what_was_published_twice_is_read_once(house: House, log: Watched, copy: Copy, copied: CopySource) -> None:
    told(house, 1, 300)
    all_of_it = house.log.read(0, 300)
    copy.put([*all_of_it[:200], *all_of_it[150:200], all_of_it[0], *all_of_it[100:], *all_of_it])
    eventually(lambda: served_by_copy(log, copied, 0, limit=300))

    assert read_all(copied) == all_of_it
    eventually(lambda: served_by_copy(log, copied, 150))
    eventually(lambda: served_by_copy(log, copied, 299))


def test_a_hole_is_filled_from_the_log(house: House, log: Watched, copy: Copy, copied: CopySource) -> None:
    """As where the broker keeps only the newest, or has lost some."""
    told(house, 1, 300)
    all_of_it = house.log.read(0, 300)
    copy.put([*all_of_it[100:150], *all_of_it[200:]])

    assert read_all(copied) == all_of_it
    eventually(lambda: served_by_copy(log, copied, 200))
    assert read_all(copied) == all_of_it


def test_a_place_far_behind_many_duplicates_is_found_by_leaps(
    house: House, log: Watched, copy: Copy, copied: CopySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "NEAR", 20)
    monkeypatch.setattr(consumer_module, "PREFETCH", 10)
    told(house, 1, 400)
    all_of_it = house.log.read(0, 400)
    copy.put([*all_of_it[:300], *all_of_it[:300], *all_of_it[:300], *all_of_it])
    offsets: list[object] = []
    begin = consumer_module._Reading._begin

    def noting(reading: Any, offset: int) -> str:
        offsets.append(offset)
        return begin(reading, offset)

    monkeypatch.setattr(consumer_module._Reading, "_begin", noting)

    eventually(lambda: served_by_copy(log, copied, 350))

    assert read_all(copied, 350) == all_of_it[350:]
    assert offsets == [350, 649, 949, 1249]  # each time by what was still to go, down to the place itself


def test_what_is_no_event_is_passed_over(house: House, log: Watched, copy: Copy, copied: CopySource) -> None:
    told(house, 1, 20)
    copy.put(house.log.read(0, 10))
    link = copy.link()
    link.publish(copy.stream, b"hello", {"position": "11"}, "")
    link.confirm()
    link.close()
    copy.put(house.log.read(10, 10))

    def read_across() -> bool:
        before = log.read_here
        return len(copied.read(0, 20)) == 20 and log.read_here == before

    eventually(read_across)


def test_a_copy_that_has_what_the_log_has_not_is_not_believed(
    house: House, log: Watched, copy: Copy, copied: CopySource, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a log was put back to an earlier state by hand."""
    told(house, 1, 20)
    first = house.log.read(0, 10)
    copy.put([*first, *(Recorded(position, "x", 1, b"of another time") for position in range(11, 31))])

    for _ in range(50):
        assert read_all(copied) == house.log.read(0, 100)
    eventually(lambda: list(copied.read(0, BATCH)) == house.log.read(0, 100) and "what the log does not" in caplog.text)


def test_in_history_mode_the_log_is_read(house: House, log: Watched, copy: Copy, copied: CopySource) -> None:
    start_history(house.log)
    told(house, 1, 20)
    copy.put(house.log.read(0, 100))

    for after in range(20):
        assert list(copied.read(after, 100)) == house.log.read(after, 100)

    assert log.read_here == sum(21 - after for after in range(20))
    assert copied._consumer._thread is None


# Away and back


@pytest.fixture
def distant(log: Watched, copy: Copy, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[CopySource]:
    """Behind the proxy."""
    monkeypatch.setattr("services.kernel.copy.consumer.LISTENED_S", 0.05)  # its thread ends as soon
    made = CopySource(cast(EventLog, log), through(proxy, copy.address))
    yield made
    made.close()


@pytest.mark.parametrize("fault", [Proxy.cut, Proxy.stall], ids=["cut", "stalled"])
def test_away_the_log_is_read_and_back_the_copy(
    house: House, log: Watched, relay: Relay, distant: CopySource, proxy: Proxy, fault: Callable[[Proxy], None]
) -> None:
    told(house, 1, 100)
    publish_all(relay)
    eventually(lambda: served_by_copy(log, distant, 50))

    fault(proxy)
    told(house, 101, 200)
    assert read_all(distant, 50) == house.log.read(50, 500)

    proxy.open()
    publish_all(relay)
    told(house, 201, 300)
    publish_all(relay)
    eventually(lambda: served_by_copy(log, distant, 250))
    assert read_all(distant, 250) == house.log.read(250, 500)


def test_a_broker_that_is_away_is_told_once_and_asked_seldom(
    house: House, distant: CopySource, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    told(house, 1, 1)
    proxy.cut()

    eventually(lambda: bool(distant.read(0, 10)) and proxy.accepted == 3)

    messages = [record.getMessage() for record in caplog.records if record.name.startswith("services")]
    assert len(messages) == 1
    assert messages[0].startswith("followers read the log instead of its copy: ")
    assert "guest" not in caplog.text


def test_a_stream_that_is_deleted_and_made_again_is_read_again(
    house: House, log: Watched, copy: Copy, relay: Relay, copied: CopySource
) -> None:
    told(house, 1, 50)
    publish_all(relay)
    eventually(lambda: served_by_copy(log, copied, 40))

    copy.delete()
    told(house, 51, 100)
    assert read_all(copied) == house.log.read(0, 500)

    eventually(lambda: relay.step() and relay.position() == 100)
    eventually(lambda: served_by_copy(log, copied, 99))
    assert stream_name(house.log) == copy.stream
