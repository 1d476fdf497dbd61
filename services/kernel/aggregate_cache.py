"""Aggregates between two commands of this process, so that the next one need not read and fold their streams again.

A command takes the aggregate out, decides on it, and puts it back once what it decided is in the log. So nobody ever sees
one that is being decided on, nothing has to be copied, and whatever fails simply never comes back. What another process
appended meanwhile is not known here: an append finds out, and whoever wants to answer without one has to ask the log.
"""

import threading
from collections import OrderedDict
from typing import TypeVar
from uuid import UUID

from services.kernel.aggregate import Aggregate

MOST_BYTES = 64 * 1024 * 1024  # in each process; some 25,000 young cases
# An aggregate counts as this and the bytes of its records. Measured, it takes 2 KiB and what it keeps of its records, mostly
# less than all of them; lists of many short texts take up to three times their bytes.
EACH_BYTES = 2048

A = TypeVar("A", bound=Aggregate)


class AggregateCache:
    """The most recently used aggregates, by kind and id, within a bound of bytes. For all threads and all Applications."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[type[Aggregate], UUID], Aggregate] = OrderedDict()
        self._lock = threading.Lock()

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

    @property
    def bytes(self) -> int:
        """What the kept ones count as."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)


def _size(aggregate: Aggregate) -> int:
    return EACH_BYTES + aggregate.record_bytes
