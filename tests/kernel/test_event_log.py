"""The contract of the event log, on each database."""

import threading
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest
from kept.common.v1.record_pb2 import Record

from services.kernel.clock import FixedClock, micros
from services.kernel.database import Session, as_uuid
from services.kernel.errors import Misconfigured, VersionConflict
from services.kernel.house import House
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Answer, Move, NotAtHead, RequestRepeated, Save
from services.kernel.log.positions import Fenced, Positions
from tests.databases import Cell
from tests.kernel.toys import NOW, events, given, jar_id, labelled, labels, request, save

FOLLOWER = "jars-views"


@pytest.fixture
def machine() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def log(house: House, machine: FixedClock) -> EventLog:
    return EventLog(house.database("log"), house.log.bell, machine)


# Positions and times


def test_positions_are_dense_from_one(log: EventLog) -> None:
    first = log.append([save(labelled("a", 1), labelled("a", 2))])
    second = log.append([save(labelled("b", 1)), save(labelled("a", 3))])

    assert (first, second) == ([2], [3, 4])
    assert [event.position for event in events(log)] == [1, 2, 3, 4]
    assert log.head().position == log.position() == 4


def test_recorded_at_never_decreases_when_the_machines_clock_goes_back(log: EventLog, machine: FixedClock) -> None:
    given(log, labelled("a", 1))

    machine.set(NOW - timedelta(days=400))
    given(log, labelled("a", 2))
    machine.set(NOW + timedelta(seconds=1))
    given(log, labelled("a", 3))

    now = micros(NOW)
    assert [event.recorded_at for event in events(log)] == [now, now, now + 1_000_000]
    assert log.head().recorded_at == now + 1_000_000


def test_an_empty_log_has_position_zero_and_the_root_of_nothing(log: EventLog) -> None:
    head = log.head()

    assert (head.position, head.root.hex()[:8], log.read(0, 10)) == (0, "e3b0c442", [])


# Versions


def test_each_save_gets_its_own_conflict_and_the_others_commit(log: EventLog) -> None:
    given(log, labelled("a", 1))

    stale, gap, fresh = log.append(
        [save(labelled("a", 1, "stale")), save(labelled("b", 2, "gap")), save(labelled("c", 1, "fresh"))]
    )

    assert isinstance(stale, VersionConflict)
    assert isinstance(gap, VersionConflict)
    assert fresh == 2
    assert labels(events(log)) == ["plums", "fresh"]
    assert (log.version(jar_id("a")), log.version(jar_id("b")), log.version(jar_id("c"))) == (1, 0, 1)


def test_two_saves_of_one_stream_follow_each_other_in_one_batch(log: EventLog) -> None:
    first, second, late = log.append(
        [save(labelled("a", 1)), save(labelled("a", 2)), save(labelled("a", 2, "too late"))]
    )

    assert (first, second) == (1, 2)
    assert isinstance(late, VersionConflict)
    assert log.version(jar_id("a")) == 2


def test_a_save_of_two_streams_is_left_out_whole(log: EventLog) -> None:
    given(log, labelled("b", 1))

    both, after = log.append([save(labelled("a", 1), labelled("b", 1)), save(labelled("a", 1, "after"))])

    assert isinstance(both, VersionConflict)
    assert after == 2
    assert labels(events(log)) == ["plums", "after"]


# Requests


def test_a_request_repeated_in_one_batch_has_one_effect(log: EventLog) -> None:
    once, again = log.append(
        [save(labelled("a", 1), request=request("r")), save(labelled("b", 1), request=request("r"))]
    )

    assert once == 1
    assert isinstance(again, RequestRepeated)
    assert log.position() == 1
    assert log.answer(request("r").key) == Answer(b"body", jar_id("a"), 1, 1)


def test_a_request_repeated_later_has_no_effect(log: EventLog) -> None:
    log.append([save(labelled("a", 1), request=request("r"))])

    (again,) = log.append([save(labelled("a", 2), request=request("r", b"other"))])

    assert isinstance(again, RequestRepeated)
    assert log.position() == 1
    assert log.answer(request("r").key) == Answer(b"body", jar_id("a"), 1, 1)


def test_a_conflict_leaves_its_request_open(log: EventLog) -> None:
    log.append([save(labelled("a", 2), request=request("r"))])

    assert log.answer(request("r").key) is None


def test_requests_are_forgotten_after_thirty_days(log: EventLog, machine: FixedClock) -> None:
    log.append([save(labelled("a", 1), request=request("old"))])
    machine.set(NOW + timedelta(days=1))
    log.append([save(labelled("b", 1), request=request("young"))])

    machine.set(NOW + timedelta(days=30, seconds=1))
    forgotten = log.forget_old_requests()

    assert forgotten == 1
    assert log.answer(request("old").key) is None
    assert log.answer(request("young").key) is not None
    assert log.position() == 2


# Followers


def test_a_move_commits_with_its_events(log: EventLog) -> None:
    given(log, labelled("a", 1), labelled("a", 2))
    register(log)

    log.append([save(labelled("b", 1))], move=Move(FOLLOWER, 0, 1))

    assert (stands(log), log.position()) == (1, 3)


def test_a_move_from_an_unexpected_position_leaves_nothing(log: EventLog) -> None:
    given(log, labelled("a", 1), labelled("a", 2))
    register(log)
    log.append([], move=Move(FOLLOWER, 0, 2))
    before = everything(log)

    with pytest.raises(Fenced):
        log.append([save(labelled("b", 1), request=request("r"))], move=Move(FOLLOWER, 0, 1), alongside=note("stale"))

    assert everything(log) == before


def test_an_unknown_follower_is_fenced(log: EventLog) -> None:
    with pytest.raises(Fenced):
        log.append([save(labelled("a", 1))], move=Move("nobody", 0, 0))

    assert log.position() == 0


def test_at_head_is_refused_behind_the_head(log: EventLog) -> None:
    given(log, labelled("a", 1), labelled("a", 2))
    register(log)
    log.append([], move=Move(FOLLOWER, 0, 1))
    before = everything(log)

    with pytest.raises(NotAtHead):
        log.append([save(labelled("b", 1))], move=Move(FOLLOWER, 1, 1, at_head=True), alongside=note("too early"))

    assert everything(log) == before


def test_a_follower_at_the_head_skips_its_own_events(log: EventLog) -> None:
    given(log, labelled("a", 1))
    register(log)

    log.append([save(labelled("b", 1), labelled("b", 2))], move=Move(FOLLOWER, 0, 1))
    log.append([save(labelled("b", 3))], move=Move(FOLLOWER, 3, 3, at_head=True))

    assert stands(log) == log.position() == 4


def test_a_follower_behind_the_head_does_not_skip_what_others_recorded(log: EventLog) -> None:
    given(log, labelled("a", 1), labelled("a", 2))
    register(log)

    log.append([save(labelled("b", 1))], move=Move(FOLLOWER, 0, 1))

    assert stands(log) == 1


def test_a_conflict_fails_the_whole_move(log: EventLog) -> None:
    given(log, labelled("a", 1))
    register(log)
    before = everything(log)

    with pytest.raises(VersionConflict):
        log.append([save(labelled("b", 1)), save(labelled("a", 1))], move=Move(FOLLOWER, 0, 1))

    assert everything(log) == before


# Alongside


def test_what_is_written_alongside_commits_with_the_events_it_returns(log: EventLog) -> None:
    register(log)

    outcomes = log.append([save(labelled("a", 1))], alongside=note("told", save(labelled("b", 1))))

    assert outcomes == [1, 2]
    assert parked_reasons(log) == ["told"]


def test_a_failure_alongside_leaves_no_trace(log: EventLog) -> None:
    given(log, labelled("a", 1))
    before = everything(log)

    def fail(session: Session) -> Sequence[Save]:
        note("half done")(session)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        log.append([save(labelled("b", 1), request=request("r"))], alongside=fail)

    assert everything(log) == before
    given(log, labelled("b", 1))


def test_a_conflict_leaves_no_trace_of_what_was_written_alongside(log: EventLog) -> None:
    given(log, labelled("a", 1))
    before = everything(log)

    with pytest.raises(VersionConflict):
        log.append([save(labelled("a", 1))], alongside=note("in vain"))

    assert everything(log) == before


# Reading


def test_a_stream_is_read_between_versions(log: EventLog) -> None:
    given(log, labelled("a", 1), labelled("b", 1), labelled("a", 2), labelled("a", 3))

    assert [version for version, _, _ in log.stream(jar_id("a"))] == [1, 2, 3]
    assert [version for version, _, _ in log.stream(jar_id("a"), after=1, upto=2)] == [2]
    assert log.stream(jar_id("nobody")) == []


def test_events_are_found_by_position(log: EventLog) -> None:
    given(log, labelled("a", 1, "x"), labelled("a", 2, "y"), labelled("a", 3, "z"))

    assert sorted(log.at([3, 1, 99])) == [1, 3]
    assert log.at([]) == {}
    assert [recorded.position for recorded in log.read(1, 1)] == [2]


def test_columns_are_copies_of_what_the_record_says(log: EventLog) -> None:
    customer = UUID("00000000-0000-4000-8000-00000000c0de")
    given(log, labelled("a", 1), labelled("b", 1, customer=customer))

    with log.database.read() as session:
        rows = session.execute(
            "SELECT stream, version, type, tenant, customer_id, record FROM log ORDER BY position"
        ).fetchall()
    for stream, version, type_name, tenant, customer_id, stored in rows:
        record = Record.FromString(stored)
        assert (str(as_uuid(stream)), version) == (record.stream, record.version)
        assert (type_name, tenant) == (record.type, record.tenant)
        assert ("" if customer_id is None else str(as_uuid(customer_id))) == record.customer_id
    assert [row[4] is None for row in rows] == [True, False]


# Set-up


def test_migrating_again_changes_nothing(log: EventLog) -> None:
    given(log, labelled("a", 1))
    before = everything(log)

    log.migrate("another-name")

    log.require()
    assert everything(log) == before


def test_a_log_that_was_never_made_is_refused(cell: Cell) -> None:
    with pytest.raises(Misconfigured, match="the event log is missing"):
        cell.house().log.require()


def test_a_log_without_tables_is_refused(cell: Cell) -> None:
    house = cell.house()
    house.database("log").create()
    with house.database("log").read():
        pass  # SQLite makes the file at the first connection

    with pytest.raises(Misconfigured, match=r"has schema version 0, .* run `kept migrate`"):
        house.log.require()


def test_a_log_of_a_newer_kept_is_refused(own_house: House) -> None:
    log = own_house.log
    with log.database.write() as session:
        session.execute("UPDATE schema_version SET version = 99 WHERE name = 'the event log'")

    with pytest.raises(Misconfigured, match="schema version 99, newer than"):
        log.require()
    with pytest.raises(Misconfigured, match="schema version 99, newer than"):
        log.migrate("local")


def test_two_readers_see_each_append_whole(log: EventLog, cell: Cell) -> None:
    """What one process commits, another reads at once, and never a part of it."""
    other = cell.house().log
    stop = threading.Event()
    torn: list[object] = []

    def watch() -> None:
        while not stop.is_set():
            found = [recorded.position for recorded in other.read(0, 1000)]
            if found != list(range(1, len(found) + 1)) or len(found) % 3:
                torn.append(found)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(20):
        log.append([save(*(labelled(f"jar {number}", version) for version in (1, 2, 3)))])
    stop.set()
    watcher.join()

    assert torn == []
    assert len(other.read(0, 1000)) == 60


# Helpers


def register(log: EventLog) -> None:
    with log.database.write() as session:
        Positions(session).register(FOLLOWER)


def stands(log: EventLog) -> int:
    with log.database.read() as session:
        return Positions(session).get(FOLLOWER)


def note(text: str, *saves: Save):  # type: ignore[no-untyped-def]
    """Something written alongside: a row of the parked table, which the log itself never reads."""

    def alongside(session: Session) -> Sequence[Save]:
        session.execute("INSERT INTO parked VALUES (?, ?, ?, ?)", (FOLLOWER, 1, "key", text))
        return saves

    return alongside


def parked_reasons(log: EventLog) -> list[str]:
    with log.database.read() as session:
        return [parked.reason for parked in Positions(session).parked()]


def everything(log: EventLog) -> dict[str, list[tuple[object, ...]]]:
    """Every row of the log's tables."""
    found = defaultdict(list)
    with log.database.read() as session:
        for table in ("log", "head", "stream", "request", "follower", "parked"):
            for row in session.execute(f"SELECT * FROM {table}").fetchall():  # noqa: S608
                found[table].append(tuple(bytes(value) if isinstance(value, memoryview) else value for value in row))
            found[table].sort(key=repr)
    return found
