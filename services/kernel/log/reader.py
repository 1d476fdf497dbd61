"""One reader for all followers of a process: what one of them has read, the others take from memory, parsed at most once."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.kernel.events import LogEvent, log_event
from services.kernel.log.port import Recorded, Source

# Of a window; the bytes are those of the stored records. One of 330 bytes takes 3 kB with all that is parsed of it, so a
# full window takes 30 MB at most.
MOST_EVENTS = 10_000
MOST_BYTES = 8 * 1024 * 1024


class Shared(Recorded):
    """An event that several followers are given. Its messages are theirs to read, and nobody's to change."""

    _opened: LogEvent | None = None

    def opened(self) -> LogEvent:
        """Parsed by the first that asks."""
        if self._opened is None:
            self._opened = log_event(self)
        return self._opened


def opened(recorded: Recorded) -> LogEvent:
    """The event, parsed once for all that share it."""
    return recorded.opened() if isinstance(recorded, Shared) else log_event(recorded)


class SharedReader:
    """A window of the newest events that were read. Safe for threads and for greenlets; not to be used in a transaction.

    Whoever stands within the window, or at its end, shares. Whoever is further behind reads from the origin by himself,
    and takes nothing away from those who are ahead.
    """

    def __init__(self, origin: Source, *, most_events: int = MOST_EVENTS, most_bytes: int = MOST_BYTES) -> None:
        self._origin = origin
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._window = _Window(0)
        self._reading_on = threading.Lock()
        self._reads = 0  # of the origin under the lock, begun
        self._found_end = (0, 0)  # which of them last found the log's end, and at which position

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        """As the origin reads: dense and in order, fewer than `limit` only where the log ends."""
        reads_before, window = self._reads, self._window
        if after >= window.start:
            known = window.cut(after, limit)
            if len(known) == limit:
                return known
            with self._reading_on:
                found = self._read_on(after, limit, reads_before)
            if found is not None:
                return found
        return self._origin.read(after, limit)

    def _read_on(self, after: int, limit: int, reads_before: int) -> Sequence[Recorded] | None:
        """None for whom the window has left behind meanwhile."""
        window = self._window
        if after < window.start:
            return None
        known = window.cut(after, limit)
        start, wanted = after + len(known), limit - len(known)
        # Who had to wait while others read need not look again where a read that began after he came found the end.
        number, end = self._found_end
        if not wanted or (number > reads_before and start == end):
            return known
        self._reads += 1
        number = self._reads
        more = list(map(Shared._make, self._origin.read(start, wanted)))
        # A log that was tampered with may have gaps: that is for the auditor to find, and for followers to read as it is.
        if more and more[0].position == start + 1 and more[-1].position == start + len(more):
            self._keep(more)
        if len(more) < wanted:
            self._found_end = (number, more[-1].position if more else start)
        return known + more

    def _keep(self, more: list[Shared]) -> None:
        before = more[0].position - 1
        window = self._window if self._window.end == before else _Window(before)
        window.add(more)
        if len(window.events) > self._most_events or window.size > self._most_bytes:
            window = window.newest(self._most_events // 2, self._most_bytes // 2)
        self._window = window


@dataclass(slots=True)
class _Window:
    """Dense events after position `start`; `size` is that of their records. It grows at its end alone, so that cutting
    needs no lock."""

    start: int
    events: list[Shared] = field(default_factory=list)
    size: int = 0

    @property
    def end(self) -> int:
        return self.start + len(self.events)

    def cut(self, after: int, limit: int) -> list[Shared]:
        return self.events[after - self.start : after - self.start + limit]

    def add(self, more: list[Shared]) -> None:
        self.events.extend(more)
        self.size += sum(len(one.record) for one in more)

    def newest(self, most_events: int, most_bytes: int) -> "_Window":
        """As much of its end as is within both."""
        first, size = len(self.events), 0
        for event in reversed(self.events[-most_events:] if most_events else ()):
            if size + len(event.record) > most_bytes:
                break
            first, size = first - 1, size + len(event.record)
        return _Window(self.start + first, self.events[first:], size)
