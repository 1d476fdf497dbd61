"""Group commit: savers that wait together commit together, each with its own outcome; nobody hangs."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from services.kernel.errors import KeptError, Overloaded, Unavailable, VersionConflict
from services.kernel.log import group_commit
from services.kernel.log.group_commit import GroupCommit
from services.kernel.log.port import Save
from tests.kernel.toys import jar_id, labelled, request, save

FOR_EVER = 60.0
Start = Callable[..., "Future[int]"]


def test_savers_that_wait_commit_together_and_one_conflict_fails_no_other() -> None:
    with gated() as (log, start):
        first = start("first")
        log.entered.acquire()
        others = [start(name) for name in ("a", "b", "conflict", "c")]
        log.wait_for(4)
        log.gate.set()

        assert first.result() == 1
        assert sorted(other.result() for other in (others[0], others[1], others[3])) == [2, 3, 4]
        with pytest.raises(VersionConflict):
            others[2].result()
    assert log.batches == [1, 4]


def test_one_transaction_takes_so_many_events_and_the_next_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MOST_TOGETHER", 3)
    with gated() as (log, start):
        start("first")
        log.entered.acquire()
        others = [start(name) for name in "abcde"]
        log.wait_for(5)
        log.gate.set()

        assert sorted(other.result() for other in others) == [2, 3, 4, 5, 6]
    assert log.batches == [1, 3, 2]


def test_who_has_nothing_to_record_but_a_request_waits_and_leads_like_any_other() -> None:
    with gated() as (log, start):
        first = start("first")
        log.entered.acquire()
        others = [start("nothing"), start("a"), start("nothing"), start("b")]
        log.wait_for(4)
        log.gate.set()

        assert first.result() == 1
        assert [other.result(timeout=30) for other in others] == [1, 2, 2, 3]
    assert log.batches == [1, 4]


# Back-pressure


def test_too_many_waiting_are_turned_away_and_told_when_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MOST_WAITING", 1)
    with gated() as (log, start):
        first = start("first")
        log.entered.acquire()
        second = start("second")
        log.wait_for(1)

        with pytest.raises(Overloaded) as caught:
            start("third").result()
        log.gate.set()

        assert (caught.value.slug, caught.value.retry_after_s) == ("log-overloaded", 1.0)
        assert (first.result(), second.result(), start("third").result()) == (1, 2, 3)


def test_too_many_bytes_waiting_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(labelled("second", 1).state)
    monkeypatch.setattr(group_commit, "MOST_WAITING_BYTES", size + 1)
    with gated() as (log, start):
        first = start("first")
        log.entered.acquire()
        second = start("second")
        log.wait_for(1)

        with pytest.raises(Overloaded):
            start("third").result()
        log.gate.set()

        assert (first.result(), second.result()) == (1, 2)
    assert log.group._bytes == 0  # what was taken no longer counts


# When it goes wrong


def test_an_error_nobody_foresaw_leaves_all_in_doubt_and_the_next_goes_on() -> None:
    with gated(error=ZeroDivisionError("in doubt")) as (log, start):
        first = start("first")
        log.entered.acquire()
        second = start("second")
        log.wait_for(1)
        log.gate.set()

        for one in (first, second):
            with pytest.raises(Unavailable) as caught:
                one.result()
            assert caught.value.slug == "log-in-doubt"

        log.error = None
        assert start("next").result() == 1


def test_a_refusal_of_the_storage_is_passed_on_to_all_as_it_is() -> None:
    with gated(error=Unavailable("storage-full")) as (log, start):
        log.gate.set()

        with pytest.raises(Unavailable) as caught:
            start("a").result()
    assert caught.value.slug == "storage-full"


def test_who_waits_too_long_is_told_that_nothing_was_recorded_and_its_place_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_commit, "MOST_WAITING_BYTES", len(labelled("second", 1).state) + 1)
    with gated() as (log, start):
        first = start("first")
        log.entered.acquire()
        second = start("second", patience_s=0.05)

        with pytest.raises(Unavailable) as caught:
            second.result()
        third = start("third")
        log.wait_for(2)
        log.gate.set()

        assert caught.value.slug == "log-stalled"
        assert (first.result(), third.result()) == (1, 2)
    assert log.batches == [1, 1]


def test_who_waits_too_long_for_its_own_commit_is_in_doubt_and_keeps_nobody_from_hearing() -> None:
    with gated() as (log, start):
        first = start("first")
        log.entered.acquire()
        second = start("second")
        log.wait_for(1)
        impatient = start("impatient", patience_s=0.05)
        log.wait_for(1)
        patient = start("patient")
        log.wait_for(1)
        log.gates.append(threading.Event())  # for the batch of the three; the second leads it
        log.gate.set()
        log.entered.acquire()

        with pytest.raises(Unavailable) as caught:
            impatient.result()
        log.gates[-1].set()

        assert caught.value.slug == "log-in-doubt"
        assert (first.result(), second.result(), patient.result(timeout=30)) == (1, 2, 4)
    assert log.batches == [1, 3]


# Helpers


class GatedLog:
    """An append that waits at a gate, the first and, where there is another gate, the second; `conflict` conflicts."""

    def __init__(self, error: Exception | None) -> None:
        self.entered = threading.Semaphore(0)
        self.gates = [threading.Event()]
        self.batches: list[int] = []
        self.error = error
        self.group = GroupCommit(self.append)
        self._queued = threading.Semaphore(0)
        self._position = 0
        queued = self._queued

        class Counting(deque[Any]):
            def append(self, item: Any) -> None:
                super().append(item)
                queued.release()

        self.group._waiting = Counting()

    @property
    def gate(self) -> threading.Event:
        return self.gates[0]

    def wait_for(self, count: int) -> None:
        """Until so many more have queued."""
        for _ in range(count):
            assert self._queued.acquire(timeout=30)

    def append(self, saves: Sequence[Save]) -> list[int | KeptError]:
        gate = self.gates[min(len(self.batches), len(self.gates) - 1)]
        self.batches.append(len(saves))
        self.entered.release()
        assert gate.wait(30)
        if self.error is not None:
            raise self.error
        return [self._outcome(one) for one in saves]

    def _outcome(self, one: Save) -> int | KeptError:
        if one.entries and one.entries[0].originator_id == jar_id("conflict"):
            return VersionConflict("conflict")
        self._position += len(one.entries)
        return self._position


@contextmanager
def gated(error: Exception | None = None) -> Iterator[tuple[GatedLog, Start]]:
    log = GatedLog(error)
    with ThreadPoolExecutor(8) as pool:

        def start(jar: str, patience_s: float = FOR_EVER) -> "Future[int]":
            asked = Save((), request(jar)) if jar == "nothing" else save(labelled(jar, 1))
            return pool.submit(log.group.commit, asked, patience_s)

        yield log, start
        log.gate.set()
