"""The newest events that came from the stream, without a gap, for the readers of one process."""

from collections import deque
from collections.abc import Sequence
from itertools import islice

from services.kernel.log.port import Recorded

# Kept behind the foremost reader, for those that follow closely; taken in ahead of it; and together at most, in bytes.
KEEP, AHEAD, MOST_BYTES = 500, 1000, 8 * 1024 * 1024


class Window:
    """Positions dedupe: what is there already, or is older, is dropped; after a gap it begins anew."""

    def __init__(self) -> None:
        self._events: deque[Recorded] = deque()
        self._bytes = 0
        self._foremost = 0
        self.last = 0

    @property
    def is_full(self) -> bool:
        return self._bytes >= MOST_BYTES or self.last - self._foremost >= AHEAD

    def clear(self) -> None:
        self._events.clear()
        self._bytes = self.last = 0

    def add(self, event: Recorded) -> None:
        if event.position <= self.last:
            return
        if event.position != self.last + 1:
            self.clear()
        self.last = event.position
        self._events.append(event)
        self._bytes += len(event.record)
        self._drop_old()

    def run(self, after: int, limit: int) -> Sequence[Recorded]:
        """The events after a position, at most `limit`; none where the first of them is not here."""
        self._foremost = max(self._foremost, after)
        first = self.last - len(self._events)
        if not first <= after < self.last:
            return ()
        return tuple(islice(self._events, after - first, after - first + limit))

    def _drop_old(self) -> None:
        while self._events and self._events[0].position <= self._foremost - KEEP:
            self._bytes -= len(self._events.popleft().record)
