"""Aggregates between two commands of this process, so that the next one need not read and fold their streams again.

A command takes the aggregate out, decides on it, and puts it back once what it decided is in the log. So nobody ever sees
one that is being decided on, nothing has to be copied, and whatever fails simply never comes back. What another process
appended meanwhile is not known here: an append finds out, and whoever wants to answer without one has to ask the log.

Two commands on one aggregate at the same time would end in a conflict for one of them, which costs more than to wait for a
turn, and not only the one: whatever is committed together with it is sorted out again. So within a process they take
turns. Between processes the log decides; where it often finds stale what is kept here, that is caught up first.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar
from uuid import UUID

from services.kernel.aggregate import Aggregate

MOST_BYTES = 64 * 1024 * 1024  # in each process; some 25,000 young cases
# An aggregate counts as this and the bytes of its records. Measured, it takes 2 KiB and what it keeps of its records, mostly
# less than all of them; lists of many short texts take up to three times their bytes.
EACH_BYTES = 2048
# A turn is as long as a command. Whoever waited longer goes ahead: the log sorts it out.
TURN_WITHIN_S = 0.5
# Deciding on what is stale costs an append and a second reading, catching up first costs one reading; of the latest commands
# so many may have been stale before catching up is cheaper.
STALE_SHARE = 0.1
LATEST = 64

A = TypeVar("A", bound=Aggregate)


class AggregateCache:
    """The most recently used aggregates, by kind and id, within a bound of bytes. For all threads and all Applications."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[type[Aggregate], UUID], Aggregate] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = threading.Condition()
        self._busy: set[tuple[type[Aggregate], UUID]] = set()
        self._stale = 0.0  # share of the latest

    @contextmanager
    def turn(self, kind: type[Aggregate], id: UUID) -> Iterator[None]:
        """One command after the other on an aggregate; not to be asked for again by who has it."""
        key = kind, id
        with self._turns:
            mine = self._turns.wait_for(lambda: key not in self._busy, TURN_WITHIN_S)
            self._busy.add(key)
        try:
            yield
        finally:
            if mine:
                with self._turns:
                    self._busy.discard(key)
                    self._turns.notify_all()

    def take(self, kind: type[A], id: UUID) -> A | None:
        """Hands it over; it is no longer here. None where it is not, or another thread has it."""
        with self._lock:
            found = self._kept.pop((kind, id), None)
            if found is None:
                return None
            self._bytes -= _size(found)
        assert isinstance(found, kind)
        return found

    def put(self, aggregate: Aggregate) -> None:
        """Takes over an aggregate at a version that is in the log. Of two that come back, the later version stays."""
        assert not aggregate.pending, "what is not in the log must not be kept"
        aggregate.stamp = None
        key = type(aggregate), aggregate.id
        with self._lock:
            other = self._kept.pop(key, None)
            if other is not None:
                self._bytes -= _size(other)
                if other.version > aggregate.version:
                    aggregate = other
            self._kept[key] = aggregate
            self._bytes += _size(aggregate)
            while self._bytes > self._most_bytes:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= _size(oldest)

    def found(self, *, stale: bool) -> None:
        """What the log said of an aggregate that was kept here."""
        self._stale += (stale - self._stale) / LATEST

    @property
    def often_stale(self) -> bool:
        """Whether what is kept here had better be caught up before a decision: other processes change the same ones."""
        return self._stale > STALE_SHARE

    @property
    def bytes(self) -> int:
        """What the kept ones count as."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)


def _size(aggregate: Aggregate) -> int:
    return EACH_BYTES + aggregate.record_bytes
