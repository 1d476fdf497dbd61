"""The relay publishes the log to the broker's stream: in order, at least once, from where the stream itself ends.

Its position is what the broker has confirmed. A broker confirms before its disk has it, and may be emptied by anybody: so
whenever the relay connects it looks at the stream's end, and steps back where that does not reach its position.
"""

import logging
import time
from typing import Any

from services.kernel.copy.broker import ANSWERED_WITHIN_S, BrokerAway, CopyGone, Link
from services.kernel.copy.messages import publish, received, stream_name
from services.kernel.database import Database, Session
from services.kernel.events import LogEvent
from services.kernel.follower import Batch, Follower
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Recorded
from services.kernel.log.positions import Fenced, Positions
from services.kernel.telemetry import relay_published

NAME = "relay"
# Events read, published and confirmed before the position moves; and those of them that are confirmed at a time.
BATCH, CONFIRMED_AT_A_TIME = 2000, 200
FIRST_BACKOFF_S, MOST_BACKOFF_S = 0.1, 5.0
_log = logging.getLogger(__name__)


class Relay(Follower):
    """A follower whose effect is in the broker. It reads the log itself, whatever others read, and parks nothing."""

    def __init__(self, log: EventLog, address: str) -> None:
        super().__init__(NAME, log, frozenset(), BATCH)
        self._address = address
        self._link: Link | None = None
        self._stream = ""
        self._backoff_s = 0.0
        self._not_before = 0.0

    @property
    def database(self) -> Database:
        return self.log.database

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None
        self._forget()

    def _step(self) -> bool:
        """A broker that is away is no failure of the relay: it has nothing to do until it is back."""
        if time.monotonic() < self._not_before:
            return False
        try:
            if self._link is None and not self._attach():
                return False
            return super()._step()
        except Fenced:
            self.close()  # somebody moved it, or took its name out of the table: look again where the stream ends
            raise
        except BrokerAway as away:
            self._lose(away)
            return False

    def _read(self, after: int) -> list[Recorded]:
        return self.log.read(after, self._limit)

    def _commit(self, batch: Batch) -> int:
        link = self._linked()
        for index, event in enumerate(batch.events, 1):
            publish(link, self._stream, event)
            if index % CONFIRMED_AT_A_TIME == 0:
                link.confirm(but=CONFIRMED_AT_A_TIME)  # while these go out, the ones before are confirmed
        link.confirm()
        self._move(batch.start, batch.end)
        relay_published.add(len(batch.events))
        self._backoff_s = 0.0
        return batch.end

    def _idle(self, _position: int) -> bool:
        link = self._linked()
        link.beat()
        if not link.has(self._stream):
            raise CopyGone
        self._backoff_s = 0.0
        return False

    def handle(self, session: Session, event: LogEvent) -> None:
        raise NotImplementedError("the relay publishes batches")

    def _linked(self) -> Link:
        assert self._link is not None
        return self._link

    # Where to go on

    def _attach(self) -> bool:
        """Connects, and finds out where the stream ends. Returns False while there is nothing to copy."""
        name = stream_name(self.log)
        if name is None:
            return False
        self._stream = name
        link = Link(self._address, f"kept relay {name}")
        try:
            self._step_back(link)
        except BaseException:
            link.close()
            raise
        self._link, self._not_before = link, 0.0
        return True

    def _step_back(self, link: Link) -> None:
        self.register()
        position = self.position()
        end = self._end(link, position)
        if not link.has(self._stream):  # one that somebody made with other arguments is as good
            link.make(self._stream)
        if end < position:
            _log.warning("the copy %s surely reaches position %s: publishing it again from there", self._stream, end)
            self._move(position, end)
        elif self._not_before:
            _log.warning("the broker is back: the copy goes on from position %s", position)

    def _end(self, link: Link, position: int) -> int:
        """A position up to which the stream surely has what the log has; not beyond the relay's own."""
        if position == 0 or not link.has(self._stream):
            return 0
        message = _in_last_chunk(link, self._stream)
        if message is None:
            return 0
        match received(message):
            case _, Recorded() as event if self.log.at([event.position]).get(event.position) == event:
                return min(position, event.position)
        _log.error("the copy %s holds what this log does not: dropped, to be made again", self._stream)
        link.delete(self._stream)
        return 0

    def _move(self, expected: int, to: int) -> None:
        with self.database.write() as session:
            Positions(session).move(NAME, expected, to)

    def _lose(self, away: BrokerAway) -> None:
        if not self._backoff_s:
            _log.warning("the copy stands still: %s; the log goes on", away)
        self.close()
        self._backoff_s = min(max(self._backoff_s * 2, FIRST_BACKOFF_S), MOST_BACKOFF_S)
        self._not_before = time.monotonic() + self._backoff_s


def _in_last_chunk(link: Link, stream: str) -> Any:
    """The first message of the last chunk, at most a few hundred before the end; None where the stream is empty.

    What comes after it may be published twice, which readers do not mind.
    """
    messages: list[Any] = []
    consumer = link.consume(stream, "last", 1, messages.append)
    until = time.monotonic() + ANSWERED_WITHIN_S
    while not messages and (left := until - time.monotonic()) > 0:
        link.drain(left)
    link.cancel(consumer)
    return messages[0] if messages else None
