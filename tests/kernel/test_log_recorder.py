"""The library's recorder over the log, from many threads and processes; nobody hangs."""

import multiprocessing
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from services.kernel.config import Settings
from services.kernel.errors import KeptError, Unavailable, VersionConflict
from services.kernel.house import House
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import RequestRepeated, Save
from services.kernel.log.recorder import LogRecorder
from tests.databases import Cell
from tests.kernel.toys import events, jar_id, labelled, labels, request

Receipt = tuple[int, str, int]  # position, jar, version


def test_a_saver_gets_its_positions(house: House) -> None:
    positions = house.recorder.insert_events([labelled("a", 1), labelled("a", 2)])

    assert list(positions) == [1, 2]
    assert house.recorder.max_notification_id() == 2


def test_a_saver_gets_its_own_conflict(house: House) -> None:
    house.recorder.insert_events([labelled("a", 1)], request=request("r"), answer=(jar_id("a"), 1))

    with pytest.raises(VersionConflict):
        house.recorder.insert_events([labelled("a", 1)])
    with pytest.raises(RequestRepeated):
        house.recorder.insert_events([labelled("b", 1)], request=request("r"), answer=(jar_id("b"), 1))


def test_the_library_reads_what_it_saved(house: House) -> None:
    house.recorder.insert_events([labelled("a", 1), labelled("b", 1), labelled("a", 2)])

    forward = house.recorder.select_events(jar_id("a"))
    newest = house.recorder.select_events(jar_id("a"), desc=True, limit=1)
    between = house.recorder.select_events(jar_id("a"), gt=1, lte=2)
    notified = house.recorder.select_notifications(start=2, limit=10)

    assert [event.originator_version for event in forward] == [1, 2]
    assert [event.originator_version for event in newest] == [2]
    assert [event.originator_version for event in between] == [2]
    assert [notification.id for notification in notified] == [2, 3]


# Many at once


def test_many_threads_leave_a_dense_log_with_every_receipt_once(house: House) -> None:
    receipts = append_from_threads(house, "thread", threads=8, each=20)

    assert_every_receipt_once(house.log, receipts, streams=3)
    assert len(receipts) == 160


def test_many_recorders_leave_a_dense_log_with_every_receipt_once(house: House, cell: Cell) -> None:
    """Each has databases of its own, as a process has."""
    houses = [cell.house() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda one: append_from_threads(one, str(id(one)), threads=2, each=10), houses))
    receipts = [receipt for receipts in found for receipt in receipts]

    assert_every_receipt_once(house.log, receipts, streams=3)
    assert len(receipts) == 80
    for one in houses:
        one.close()


def test_two_processes_leave_a_dense_log_with_every_receipt_once(cell: Cell) -> None:
    house = cell.house()
    house.make()
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    together = context.Barrier(2)
    arguments = [(cell.settings, number, together, results) for number in (1, 2)]
    processes = [context.Process(target=append_in_process, args=each) for each in arguments]
    for process in processes:
        process.start()
    receipts = results.get() + results.get()
    for process in processes:
        process.join()

    assert [process.exitcode for process in processes] == [0, 0]
    assert_every_receipt_once(house.log, receipts, streams=3)
    assert len(receipts) == 2 * 4 * 15
    house.close()


# A connection that is lost


def test_a_lost_connection_fails_those_in_flight_and_the_next_append_works(postgres_cell: Cell) -> None:
    house = postgres_cell.house()
    house.make()
    with savers(house.recorder) as start:
        with head_locked(postgres_cell) as writer:
            in_flight = start("in flight", 1)
            pid = writer()
            waiting = start("waiting", 1)
            terminate(postgres_cell, pid)
            with pytest.raises(Unavailable):
                in_flight.result()

        assert waiting.result() == 1
    assert list(house.recorder.insert_events([labelled("next", 1)])) == [2]
    assert len(events(house.log)) == 2
    house.close()


def test_when_the_server_drops_every_connection_one_caller_finds_out(postgres_cell: Cell) -> None:
    house = postgres_cell.house()
    house.make()
    append_from_threads(house, "before", threads=4, each=2)
    before = house.log.position()

    for pid in connections(postgres_cell):
        terminate(postgres_cell, pid)

    with pytest.raises(Unavailable):
        house.recorder.insert_events([labelled("lost", 1)])
    assert list(house.recorder.insert_events([labelled("next", 1)])) == [before + 1]
    assert house.log.position() == before + 1
    house.close()


def test_who_stands_still_under_the_heads_lock_is_ended_and_the_others_go_on(
    postgres_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.kernel.postgres.STANDS_STILL_S", 1)
    house = postgres_cell.house()
    house.make()
    stopped = postgres_cell.database("log")

    def stand_still() -> None:
        with stopped.write() as session:
            session.execute("SELECT position FROM head FOR UPDATE")
            assert list(house.recorder.insert_events([labelled("a", 1)])) == [1]
            session.execute("UPDATE head SET position = 7")

    with pytest.raises(Unavailable) as caught:
        stand_still()

    assert caught.value.slug == "storage-lost"
    assert house.log.position() == 1
    house.close()


def test_a_commit_that_was_not_acknowledged_is_found_by_its_request(house: House) -> None:
    """After the commit, before the caller hears of it: the same request again is known."""
    recorder = LogRecorder(ForgetfulLog(house.database("log"), house.log.bell))

    with pytest.raises(Unavailable) as caught:
        recorder.insert_events([labelled("a", 1)], request=request("r"), answer=(jar_id("a"), 1))

    assert caught.value.slug == "log-in-doubt"
    answer = house.log.answer(request("r").key)
    assert answer is not None
    assert (answer.id, answer.version, answer.position) == (jar_id("a"), 1, 1)


# Helpers


class ForgetfulLog(EventLog):
    """Commits, and dies before it can say so."""

    def append(self, saves: Sequence[Save], **how: Any) -> list[int | KeptError]:
        super().append(saves, **how)
        raise MemoryError


@contextmanager
def savers(recorder: LogRecorder) -> Iterator[Callable[[str, int], "Future[int]"]]:
    with ThreadPoolExecutor(8) as pool:

        def start(jar: str, version: int) -> "Future[int]":
            return pool.submit(lambda: recorder.insert_events([labelled(jar, version)])[-1])

        yield start


def append_from_threads(house: House, name: str, *, threads: int, each: int) -> list[Receipt]:
    """Each thread adds to the same few jars; who comes too late looks again."""
    receipts: list[Receipt] = []

    def work(number: int) -> None:
        for count in range(each):
            jar = f"{(number + count) % 3}"
            while True:
                version = house.log.version(jar_id(jar)) + 1
                try:
                    positions = house.recorder.insert_events([labelled(jar, version, f"{name} {number}.{count}")])
                except VersionConflict:
                    continue
                receipts.append((positions[-1], str(jar_id(jar)), version))
                break

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    return receipts


def append_in_process(settings: Settings, number: int, together: Any, results: Any) -> None:
    house = House(settings)
    together.wait()
    results.put(append_from_threads(house, f"process {number}", threads=4, each=15))
    house.close()


def assert_every_receipt_once(log: EventLog, receipts: list[Receipt], streams: int) -> None:
    found = events(log)
    assert [event.position for event in found] == list(range(1, len(found) + 1))
    recorded = [(event.position, event.record.stream, event.record.version) for event in found]
    assert Counter(recorded) == Counter(receipts)
    assert len(set(labels(found))) == len(found)
    versions: dict[str, list[int]] = {}
    for event in found:
        versions.setdefault(event.record.stream, []).append(event.record.version)
    assert len(versions) == streams
    for stream, seen in versions.items():
        assert seen == list(range(1, len(seen) + 1))
        assert log.version(UUID(stream)) == len(seen)
    times = [event.recorded_at for event in found]
    assert times == sorted(times)


@contextmanager
def head_locked(cell: Cell) -> Iterator[Callable[[], int]]:
    """Holds the head's lock; gives a function that returns the process id of the connection that waits for it."""
    name = f"kept:{cell.settings.cell}_log"
    with (
        psycopg.connect(cell.settings.database) as holder,
        psycopg.connect(cell.settings.database, autocommit=True) as admin,
    ):
        holder.execute(SQL("SELECT * FROM {} FOR UPDATE").format(Identifier(f"{cell.settings.cell}_log", "head")))

        def writer() -> int:
            while True:
                row = admin.execute(
                    "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'", (name,)
                ).fetchone()
                if row is not None:
                    return int(row[0])

        yield writer


def connections(cell: Cell) -> list[int]:
    with psycopg.connect(cell.settings.database, autocommit=True) as admin:
        rows = admin.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE %s", (f"kept:{cell.settings.cell}%",)
        )
        return [row[0] for row in rows]


def terminate(cell: Cell, pid: int) -> None:
    with psycopg.connect(cell.settings.database, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
