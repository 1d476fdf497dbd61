"""Commands on aggregates that were kept: what they ask of the log, what they may not believe, and what they leave behind.

A second Application in a house of its own is what another process is: it shares the log, and nothing else.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from kept.cell.v1.events_pb2 import HistoryStarted, PolicyDeployed
from kept.common.v1.record_pb2 import Receipt

from services.kernel.aggregate_cache import EACH_BYTES, AggregateCache
from services.kernel.clock import FixedClock
from services.kernel.errors import NotFound, Refused, RequestIdReused, Unavailable, VersionConflict
from services.kernel.house import House
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Answer
from services.kernel.log.recorder import LogRecorder
from tests.databases import Cell
from tests.kernel.commanding import CountingRecorder, asked, close, jars_of, label, made, replace_label
from tests.kernel.toys import CALLER, NOW, Jar, Jars, events, labels

NOBODY = replace(CALLER, tenant="other")


class AskedLog(EventLog):
    """Tells what was asked of it."""

    asked: list[str]

    @classmethod
    def of(cls, house: House) -> "AskedLog":
        log = cls(house.log.database, house.log.bell)
        log.asked = []
        return log

    def answer(self, key: UUID) -> Answer | None:
        self.asked.append("answer")
        return super().answer(key)

    def version(self, stream: UUID) -> int:
        self.asked.append("version")
        return super().version(stream)

    def stream(self, stream: UUID, after: int = 0, upto: int | None = None) -> list[tuple[int, str, bytes]]:
        self.asked.append("stream")
        return super().stream(stream, after, upto)


@pytest.fixture
def log(house: House) -> AskedLog:
    return AskedLog.of(house)


@pytest.fixture
def jars(house: House, log: AskedLog) -> Jars:
    return Jars(LogRecorder(log), house.keys, FixedClock(NOW))


@pytest.fixture
def others(cell: Cell, house: House) -> Iterator[Jars]:
    """Another process on the same log."""
    theirs = cell.house()
    theirs.require()
    yield jars_of(theirs)
    theirs.close()


# What is asked


def test_a_command_on_a_kept_aggregate_asks_nothing_but_to_append(jars: Jars, log: AskedLog) -> None:
    jar = made(jars)
    assert log.asked == []

    for number in range(3):
        assert label(jars, jar, f"figs {number}").version == 2 + number

    assert log.asked == []


def test_the_first_command_of_a_process_reads_the_stream_once(jars: Jars, others: Jars, log: AskedLog) -> None:
    jar = made(others)

    label(jars, jar, "figs")
    label(jars, jar, "pears")

    assert log.asked == ["stream"]


def test_nothing_to_do_is_answered_once_the_version_was_compared(jars: Jars, log: AskedLog) -> None:
    jar = made(jars)

    assert label(jars, jar, "plums") == Receipt(id=jar.id, version=1, position=1)

    assert log.asked == ["version"]


def test_a_refusal_is_told_once_the_version_was_compared_and_the_request_looked_up(jars: Jars, log: AskedLog) -> None:
    jar = made(jars)
    close(jars, jar)

    with pytest.raises(Refused):
        label(jars, jar, "figs")

    assert log.asked == ["version", "answer"]


def test_a_refusal_of_what_was_just_read_needs_no_second_look(jars: Jars, others: Jars, log: AskedLog) -> None:
    jar = made(others)
    close(others, jar)

    with pytest.raises(Refused):
        label(jars, jar, "figs")

    assert log.asked == ["stream", "answer"]


# What another process changed


def test_a_stale_aggregate_is_decided_again_on_what_is_there_now(jars: Jars, others: Jars, log: AskedLog) -> None:
    jar = made(jars)
    label(others, jar, "pears")

    assert label(jars, jar, "figs") == Receipt(id=jar.id, version=3, position=3)
    assert labels(events(log)) == ["plums", "pears", "figs"]
    assert log.asked == ["stream"]


def test_where_it_is_often_stale_it_is_caught_up_before_deciding(house: House, log: AskedLog, others: Jars) -> None:
    cache = AggregateCache()
    recorder = CountingRecorder(log)
    jars = Jars(recorder, house.keys, FixedClock(NOW), cache)
    jar = made(jars)
    for number in range(20):
        label(others, jar, f"theirs {number}")
        label(jars, jar, f"ours {number}")

    assert 0 < recorder.conflicts < 10
    assert label(jars, jar, "ours 19", "nothing").version == 41
    assert cache.bytes == EACH_BYTES + sum(len(recorded.record) for recorded in log.read(0, 100))

    for number in range(200):
        label(jars, jar, f"alone {number}")
    log.asked.clear()
    label(jars, jar, "asking nothing any more")
    assert log.asked == []


def test_where_it_is_stale_now_and_then_nothing_is_read_but_after_a_conflict(
    jars: Jars, others: Jars, log: AskedLog
) -> None:
    jar = made(jars)
    for round_ in range(9):
        label(others, jar, f"theirs {round_}")
        for number in range(16):
            label(jars, jar, f"ours {round_} {number}")

    assert log.asked == ["stream"] * 9


def test_nothing_to_do_by_a_stale_aggregate_is_not_believed(jars: Jars, others: Jars, log: AskedLog) -> None:
    jar = made(jars)
    label(others, jar, "pears")

    assert label(jars, jar, "plums").version == 3
    assert labels(events(log)) == ["plums", "pears", "plums"]


def test_a_refusal_by_a_stale_aggregate_is_not_believed(jars: Jars, others: Jars, log: AskedLog) -> None:
    jar = made(jars)
    label(others, jar, "pears")

    assert replace_label(jars, jar, unless="plums", by="figs").version == 3
    assert labels(events(log)) == ["plums", "pears", "figs"]


def test_what_a_stale_aggregate_would_allow_is_refused(jars: Jars, others: Jars, log: AskedLog) -> None:
    jar = made(jars)
    close(others, jar)

    with pytest.raises(Refused, match="jar closed"):
        label(jars, jar, "figs")

    assert log.position() == 2


def test_a_named_aggregate_that_another_process_published_is_not_published_twice(jars: Jars, others: Jars) -> None:
    named = UUID(int=7)

    def publish(by: Jars, request_id: str, text: str) -> Receipt:
        return by.publish(by.command(CALLER, asked(request_id)), Jar, named, lambda jar: jar.label_as(text))

    assert publish(jars, "one", "plums").version == 1
    assert publish(others, "two", "pears").version == 2
    assert publish(jars, "three", "plums").version == 3
    assert publish(others, "four", "plums") == Receipt(id=str(named), version=3, position=3)


# The same request again


def test_the_same_request_gets_its_first_answer_where_deciding_again_would_refuse(jars: Jars, others: Jars) -> None:
    jar = made(jars)
    first = label(jars, jar, "pears", "r")
    close(jars, jar)

    for by in (jars, others, jars):
        assert label(by, jar, "pears", "r") == first
        assert made(by) == jar


def test_the_same_request_gets_its_first_answer_where_deciding_again_would_record(
    jars: Jars, others: Jars, log: AskedLog
) -> None:
    jar = made(jars)
    first = label(jars, jar, "pears", "r")
    label(jars, jar, "figs")

    for by in (jars, others, jars):
        assert label(by, jar, "pears", "r") == first

    assert labels(events(log)) == ["plums", "pears", "figs"]


def test_what_a_repeated_request_decided_again_is_forgotten(jars: Jars, log: AskedLog) -> None:
    jar = made(jars)
    label(jars, jar, "pears", "r")
    label(jars, jar, "figs")
    label(jars, jar, "pears", "r")

    assert label(jars, jar, "pears", "s").version == 4
    assert labels(events(log)) == ["plums", "pears", "figs", "pears"]


def test_the_same_request_to_make_gets_its_first_answer_where_making_again_would_refuse(jars: Jars) -> None:
    jar = made(jars)

    def refuse() -> list[Jar]:
        raise Refused("no-more-jars")

    assert jars.create(jars.command(CALLER, asked("make", label="plums")), refuse) == jar


def test_another_body_under_the_same_request_is_refused_as_that_whatever_deciding_says(jars: Jars) -> None:
    jar = made(jars)
    label(jars, jar, "pears", "r")
    close(jars, jar)

    with pytest.raises(RequestIdReused):
        label(jars, jar, "figs", "r")
    with pytest.raises(RequestIdReused):
        jars.label(CALLER, asked("r", id=str(UUID(int=7)), label="pears"))


# What failed is dropped


class Doubtful(LogRecorder):
    """Leaves the next append in doubt, once it was done or before."""

    done: bool | None = None

    def insert_events(self, *args: Any, **kwargs: Any) -> Any:
        done, self.done = self.done, None
        if done is not False:
            positions = super().insert_events(*args, **kwargs)
        if done is not None:
            raise Unavailable("log-in-doubt")
        return positions


@pytest.mark.parametrize("done", [True, False])
def test_an_aggregate_in_doubt_is_read_again(house: House, *, done: bool) -> None:
    recorder = Doubtful(house.log)
    jars = Jars(recorder, house.keys, FixedClock(NOW))
    jar = made(jars)
    recorder.done = done

    with pytest.raises(Unavailable):
        label(jars, jar, "pears", "r")

    assert label(jars, jar, "figs").version == (3 if done else 2)
    assert label(jars, jar, "pears", "r").version == (2 if done else 3)
    assert labels(events(house.log)) == (["plums", "pears", "figs"] if done else ["plums", "figs", "pears"])


@pytest.mark.parametrize("error", [Refused("too-late"), ZeroDivisionError(), Unavailable("storage-lost")])
def test_what_was_recorded_before_deciding_failed_is_forgotten(jars: Jars, log: AskedLog, error: Exception) -> None:
    jar = made(jars)

    def decide(held: Jar) -> None:
        held.label_as("pears")
        raise error

    with pytest.raises(type(error)):
        jars.change(jars.command(CALLER, asked("r")), Jar, jar.id, decide)

    assert label(jars, jar, "pears").version == 2
    assert labels(events(log)) == ["plums", "pears"]


def test_after_three_conflicts_nothing_of_them_is_kept(jars: Jars, others: Jars, log: AskedLog) -> None:
    jar = made(jars)
    numbers = iter(range(9))

    def decide(held: Jar) -> None:
        label(others, jar, f"first {next(numbers)}")
        held.label_as("late")

    with pytest.raises(VersionConflict):
        jars.change(jars.command(CALLER, asked("r")), Jar, jar.id, decide)

    assert label(jars, jar, "late").version == 5
    assert labels(events(log)) == ["plums", "first 0", "first 1", "first 2", "late"]


# Whose it is, and who may look


def test_another_tenant_does_not_find_a_kept_aggregate_and_does_not_take_it_away(jars: Jars, log: AskedLog) -> None:
    jar = made(jars)

    with pytest.raises(NotFound):
        jars.label(NOBODY, asked("label", id=jar.id, label="pears"))
    log.asked.clear()

    label(jars, jar, "figs")
    assert log.asked == []


def test_a_kept_aggregate_is_not_found_as_another_noun(jars: Jars) -> None:
    class Lid(Jar):
        noun = "lid"
        born_by = (HistoryStarted,)

    jar = made(jars)

    with pytest.raises(NotFound, match="lid"):
        jars.change(jars.command(CALLER, asked("r")), Lid, jar.id, Lid.close)


def test_who_loads_sees_what_is_in_the_log_now_and_has_it_for_himself(jars: Jars, others: Jars) -> None:
    jar = made(jars)
    label(others, jar, "pears")

    loaded = jars.load(Jar, jar.id, tenant="main")
    assert (loaded.label, loaded.version) == ("pears", 2)

    loaded.evolve(PolicyDeployed(name="scribbled over"))
    assert jars.load(Jar, jar.id, tenant="main").label == "pears"
    assert label(jars, jar, "pears").version == 2


# How much is kept


def bounded(house: House, most_bytes: int) -> tuple[Jars, AggregateCache]:
    cache = AggregateCache(most_bytes)
    return Jars(house.recorder, house.keys, FixedClock(NOW), cache), cache


def test_an_aggregate_counts_the_bytes_of_its_records_read_or_appended(house: House) -> None:
    jars, cache = bounded(house, 10_000)
    jar = made(jars)
    label(jars, jar, "pears")

    records = sum(len(recorded.record) for recorded in house.log.read(0, 10))
    assert cache.bytes == EACH_BYTES + records
    assert jars.load(Jar, jar.id, tenant="main").record_bytes == records


def test_commands_are_the_same_where_next_to_nothing_is_kept(house: House) -> None:
    jars, cache = bounded(house, 2 * (EACH_BYTES + 2000))
    made_ones = [made(jars, "plums", f"make {number}") for number in range(6)]

    for round_ in range(3):
        for number, jar in enumerate(made_ones):
            assert label(jars, jar, f"{round_}", f"{round_} {number}").version == round_ + 2
            assert cache.bytes <= 2 * (EACH_BYTES + 2000)

    assert 0 < len(cache) < 6
    assert [jars.load(Jar, jar.id, tenant="main").label for jar in made_ones] == ["2"] * 6


def test_applications_of_one_house_share_one_cache_and_its_bound(house: House) -> None:
    one, other = (Jars(house.recorder, house.keys, FixedClock(NOW), house.aggregates) for _ in range(2))

    jar = made(one)
    label(other, jar, "figs")

    assert len(house.aggregates) == 1
