"""A thread that keeps a window of the stream, as near as it can to where the readers are; away and back as the broker is.

From position to offset: every position needs a message of its own, so position p is never before offset p - 1, and is later
by as many messages as were published twice before it. From a message with position q at offset o, position p is never
before offset o + (p - q). So it begins at p - 1, and leaps ahead while what it finds there is far behind: each leap is
as long as the distance left, and never goes too far. Where several relays have mixed their messages it might, which
only is a hole. A hole is filled from the log.
"""

import logging
import threading
from collections.abc import Sequence
from functools import partial
from time import monotonic, sleep
from typing import Any

from services.kernel.copy.broker import BrokerAway, Link
from services.kernel.copy.messages import received, stream_name
from services.kernel.copy.window import Window
from services.kernel.errors import KeptError
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Recorded

PREFETCH = 200
# Further back than this, reading on costs more than another consumer.
NEAR = 2000
LISTENED_S, LISTENED_WHEN_FULL_S = 1.0, 0.02
CLOSED_WITHIN_S = 2.0
FIRST_BACKOFF_S, MOST_BACKOFF_S = 0.2, 5.0
_log = logging.getLogger(__name__)


class Consumer:
    """One for each process. Readers ask `take`, which never waits for the broker longer than it is told to."""

    def __init__(self, log: EventLog, address: str) -> None:
        self._event_log = log
        self._address = address
        self._window = Window()
        self._changed = threading.Condition()
        self._wanted = 0
        self._thread: threading.Thread | None = None
        self._closed = False
        self._doubted = False
        self._told_away = False
        self._backoff_s = FIRST_BACKOFF_S

    def take(self, after: int, limit: int, within_s: float) -> Sequence[Recorded]:
        """The events after a position that have come from the stream, at most `limit`.

        For those that are missing it waits, as long as is said, where the very next message should be the first of them.
        """
        until = monotonic() + within_s
        with self._changed:
            self._wanted = max(self._wanted, after)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="copy", daemon=True)
                self._thread.start()
            while len(found := self._window.run(after, limit)) < limit:
                here, left = after + len(found), until - monotonic()
                if self._window.last != here or left <= 0:
                    break
                self._changed.wait_for(partial(self._is_elsewhere, here, after + limit), left)
            return found

    def _is_elsewhere(self, start: int, end: int) -> bool:
        """The window has got to the end, or has begun anew."""
        return not start <= self._window.last < end

    def doubt(self) -> None:
        """What came is not what the log has: forget it, and look again later."""
        with self._changed:
            self._window.clear()
            self._doubted = True

    def close(self) -> None:
        """Its thread ends when it has listened for once more. One that is just waiting for a broker that does not answer ends
        with the process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(CLOSED_WITHIN_S)

    # In the thread

    def _run(self) -> None:
        while not self._closed:
            try:
                self._read_on()
            except KeptError as error:
                self._lose(error)
            except Exception as error:  # the log answers meanwhile, so its readers go on
                self._lose(BrokerAway(f"an error of ours ({type(error).__name__})"))

    def _read_on(self) -> None:
        stream = stream_name(self._event_log)
        if stream is None:
            raise BrokerAway("the log is empty")
        link = Link(self._address, f"kept reader {stream}")
        try:
            reading = _Reading(link, stream, self._wanted)
            while not self._closed:
                if self._doubted:
                    self._doubted = False
                    raise BrokerAway("the copy holds what the log does not")
                self._take_in(reading, link)
        finally:
            link.close()

    def _take_in(self, reading: "_Reading", link: Link) -> None:
        is_full = self._window.is_full
        if not is_full:
            reading.acknowledge()
        link.drain(LISTENED_WHEN_FULL_S if is_full else LISTENED_S)
        link.beat()
        came = reading.came()
        if came and reading.leaps_to(self._wanted, came[-1]):
            return
        with self._changed:
            for _, event in came:
                self._window.add(event)
            if came:
                self._changed.notify_all()
        if came:
            self._be_back()

    def _be_back(self) -> None:
        if self._told_away:
            _log.warning("followers read the copy again")
        self._told_away = False
        self._backoff_s = FIRST_BACKOFF_S

    def _lose(self, error: KeptError) -> None:
        if not self._told_away:
            _log.warning("followers read the log instead of its copy: %s", error)
        self._told_away = True
        with self._changed:
            self._window.clear()
            self._changed.notify_all()
            if not self._closed:
                self._changed.wait_for(lambda: self._closed, self._backoff_s)
        self._backoff_s = min(self._backoff_s * 2, MOST_BACKOFF_S)


class _Reading:
    """One consumer of the stream after the other on one link."""

    def __init__(self, link: Link, stream: str, wanted: int) -> None:
        self._link = link
        self._stream = stream
        self._heard: list[Any]
        self._unacknowledged: int
        self._last_tag = 0
        self._consumer = self._begin(wanted)

    def _begin(self, offset: int) -> str:
        # Its own list: what an earlier consumer still gets is of no interest.
        heard: list[Any] = []
        self._heard = heard
        self._unacknowledged = 0
        return self._link.consume(self._stream, offset, PREFETCH, heard.append)

    def came(self) -> list[tuple[int, Recorded]]:
        """(offset, event) of what came since the last time."""
        messages, self._heard[:] = self._heard[:], []
        if messages:
            self._last_tag = messages[-1].delivery_tag
            self._unacknowledged += len(messages)
        return [event for message in messages if (event := received(message)) is not None]

    def acknowledge(self) -> None:
        if self._unacknowledged >= PREFETCH // 2:
            self._link.acknowledge(self._last_tag)
            self._unacknowledged = 0
            sleep(0)  # with so much to read, the socket alone would not let other green threads in

    def leaps_to(self, wanted: int, last: tuple[int, Recorded]) -> bool:
        offset, event = last
        distance = wanted - event.position
        if distance <= NEAR:
            return False
        self._link.cancel(self._consumer)
        self._consumer = self._begin(offset + distance)
        return True
