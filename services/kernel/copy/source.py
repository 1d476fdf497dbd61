"""Followers' source where they are set to read the copy: the stream as far as it goes, else the log, in the same call."""

import logging
from collections.abc import Sequence
from time import monotonic

from services.kernel.copy.consumer import Consumer
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Recorded

# The bell rings for the relay and for the followers at once: so long they wait for what it publishes.
PATIENCE_S = 0.1
# A copy that lagged is not waited for again before so long.
FIRST_IMPATIENCE_S, MOST_IMPATIENCE_S = 0.2, 5.0
_log = logging.getLogger(__name__)


class CopySource:
    """Events as the log would give them, fewer than asked for only where the log ends.

    What the copy gives is believed where its last event is the log's own.
    In history mode the log itself is read: there followers take turns by exact positions, and nothing is to be late.
    Safe to use from several threads.
    """

    def __init__(self, log: EventLog, address: str) -> None:
        self._event_log = log
        self._consumer = Consumer(log, address)
        self._patient_from = 0.0
        self._impatience_s = FIRST_IMPATIENCE_S

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        head, in_history = self._state()
        if head <= after:
            return ()
        wanted = min(limit, head - after)
        found = () if in_history else self._from_copy(after, wanted)
        if len(found) == wanted:
            return found
        return [*found, *self._event_log.read(after + len(found), limit - len(found))]

    def close(self) -> None:
        self._consumer.close()

    def _state(self) -> tuple[int, bool]:
        """The log's head, and whether the cell is in history mode."""
        with self._event_log.database.read() as session:
            row = session.execute("SELECT position, history_now IS NOT NULL FROM head, cell").fetchone()
        assert row is not None
        return row[0], bool(row[1])

    def _from_copy(self, after: int, limit: int) -> Sequence[Recorded]:
        began = monotonic()
        patience_s = PATIENCE_S if began >= self._patient_from else 0.0
        found = self._consumer.take(after, limit, patience_s)
        if len(found) == limit:
            self._impatience_s = FIRST_IMPATIENCE_S
        elif 0 < patience_s <= monotonic() - began:
            self._patient_from = monotonic() + self._impatience_s
            self._impatience_s = min(self._impatience_s * 2, MOST_IMPATIENCE_S)
        if not found:
            return ()
        last = found[-1]
        if self._event_log.at([last.position]).get(last.position) != last:
            _log.error("the copy holds at position %s what the log does not: reading the log", last.position)
            self._consumer.doubt()
            return ()
        return found
