"""Figures of a log: exact where the log is short or everything is asked for, else near, and said to be so."""

from datetime import UTC, datetime, timedelta

import pytest
from kept.cell.v1.events_pb2 import HistoryStarted

from services.kernel.clock import FixedClock, micros
from services.kernel.house import House
from services.kernel.log import stats as stats_module
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Entry
from services.kernel.log.stats import LargeStream, Stats, read_stats
from tests.kernel.toys import CLOSED, LABELLED, entry, jar_id, labelled, request, save

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ESTIMATED = frozenset({"record_bytes", "types", "tenants", "largest", "streams", "requests"})


def recorded(house: House, *entries: Entry, at: datetime) -> None:
    """Each by a request of its own, recorded at that time by the machine's clock."""
    log = EventLog(house.log.database, house.log.bell, FixedClock(at))
    saves = [save(one, request=request(f"{one.originator_id} {one.originator_version}")) for one in entries]
    assert all(isinstance(outcome, int) for outcome in log.append(saves))


def figures(house: House, *, full: bool = False) -> Stats:
    return read_stats(house.log, FixedClock(NOW), full=full)


def labels(jar: str, count: int) -> list[Entry]:
    return [labelled(jar, version, "plums") for version in range(1, count + 1)]


def test_an_empty_log_has_figures_too(house: House) -> None:
    found = figures(house)

    assert (found.events, found.streams, found.requests, found.record_bytes, found.epoch) == (0, 0, 0, 0, 1)
    assert (found.first_recorded_at, found.last_recorded_at, found.largest) == (None, None, [])
    assert found.recent == {"minute": 0, "hour": 0, "day": 0}
    assert found.root == house.log.head().root.hex()
    assert found.database_bytes > 0


def test_a_short_log_is_counted(house: House) -> None:
    recorded(house, *labels("a", 3), *labels("b", 1), at=NOW - timedelta(hours=2))
    recorded(house, entry("a", 4, HistoryStarted()), at=NOW)

    found = figures(house)

    assert (found.events, found.streams, found.requests) == (5, 2, 5)
    assert found.types == {LABELLED: 4, CLOSED: 1}
    assert found.tenants == {"main": 5}
    assert found.largest == [LargeStream(jar_id("a"), LABELLED, 4), LargeStream(jar_id("b"), LABELLED, 1)]
    assert found.record_bytes == sum(len(one.record) for one in house.log.read(0, 10))
    assert (found.first_recorded_at, found.last_recorded_at) == (micros(NOW - timedelta(hours=2)), micros(NOW))
    assert found.root == house.log.head().root.hex()
    assert found.estimated == frozenset()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_what_was_recorded_lately_is_counted_to_the_event(house: House, count: int) -> None:
    """Exactly a minute ago is no longer within the last minute."""
    day, hour, minute = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
    tick = timedelta(microseconds=1)
    for number, ago in enumerate((day, day - tick, hour, hour - tick, minute, minute - tick, timedelta())):
        recorded(house, *labels(f"jar {number}", count), at=NOW - ago)

    assert figures(house).recent == {"minute": 2 * count, "hour": 4 * count, "day": 6 * count}


@pytest.fixture
def long(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """A log that is taken for a long one: of ten events one closes a jar, and one stream is a lot larger than any other."""
    monkeypatch.setattr(stats_module, "SHORT", 100)
    monkeypatch.setattr(stats_module, "BLOCKS", 20)
    monkeypatch.setattr(stats_module, "BLOCK", 10)
    monkeypatch.setattr(stats_module, "LARGEST", 3)
    entries, large = [], 0
    for number in range(1000):
        if number % 10 == 0:
            entries.append(entry(f"jar {number}", 1, HistoryStarted()))
        elif number % 2:
            large += 1
            entries.append(labelled("large", large, "plums"))
        else:
            entries.append(labelled(f"jar {number}", 1, "plums"))
    recorded(house, *entries, at=NOW)
    return house


def test_a_long_log_is_sampled_and_the_figures_say_so(long: House) -> None:
    found, exact = figures(long), figures(long, full=True)

    assert (found.estimated, exact.estimated) == (ESTIMATED, frozenset())
    assert (found.events, found.recent, found.root) == (exact.events, exact.recent, exact.root)
    assert exact.types == {LABELLED: 900, CLOSED: 100}
    assert found.types == {LABELLED: 900, CLOSED: 100}, "blocks of ten see one of ten"
    assert found.tenants == exact.tenants == {"main": 1000}
    assert found.record_bytes == pytest.approx(exact.record_bytes, rel=0.05)
    assert found.largest[0] == exact.largest[0] == LargeStream(jar_id("large"), LABELLED, 500)
    assert len(found.largest) == 3


def test_a_sample_reads_a_part_of_the_log_only(long: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with long.log.database.read() as session:
        seen = list(stats_module._sampled(session, 1000))

    assert len(seen) == 200


def test_what_the_database_believes_is_near_once_it_has_looked(long: House) -> None:
    if long.settings.database:
        with long.log.database.read() as session:
            session.execute("ANALYZE stream")
            session.execute("ANALYZE request")

    found = figures(long)

    assert (found.streams, found.requests) == (501, 1000)


def test_forgotten_requests_are_not_counted(long: House) -> None:
    """On PostgreSQL as soon as it looks again, which it does by itself."""
    later = NOW + timedelta(days=31)
    recorded(long, labelled("new", 1), at=later)
    assert EventLog(long.log.database, long.log.bell, FixedClock(later)).forget_old_requests() == 1000
    if long.settings.database:
        with long.log.database.read() as session:
            session.execute("VACUUM ANALYZE request")

    assert figures(long).requests == figures(long, full=True).requests == 1
