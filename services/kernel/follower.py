"""Followers read the log in order, in batches; the effect of a batch and the new position are one commit (I4).

An event that cannot be handled parks its key in that same commit: later events of the key queue behind it, the rest
goes on. An operator's recorded ParkedKeyReleased lets the key go on.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Container, Sequence
from dataclasses import dataclass

from kept.cell.v1.events_pb2 import ParkedKeyReleased

from services.kernel.database import Database, Session
from services.kernel.errors import Misconfigured, Unavailable, VersionConflict
from services.kernel.events import LogEvent, log_event
from services.kernel.lockstep import RELEASED
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import NotAtHead, Recorded, Source
from services.kernel.log.positions import Fenced, Parked, Positions
from services.kernel.log.reader import opened

BATCH = 500
# Not the event's fault: the same batch is tried again.
TRANSIENT = (Unavailable, Misconfigured, Fenced, NotAtHead, VersionConflict)
_log = logging.getLogger(__name__)


class Poisoned(Exception):
    """The event at this index of the batch cannot be handled; or it is a release, and the one at `again` still cannot."""

    def __init__(self, index: int, reason: str, again: int | None = None) -> None:
        super().__init__(reason)
        self.index = index
        self.reason = reason
        self.again = again


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive events after `start`. With `park_first` the first one is parked instead of handled; with `stop_at` it
    is a release that tries only what was parked before that position, where `stop_reason` came up."""

    start: int
    events: Sequence[Recorded]
    park_first: str | None = None
    stop_at: int | None = None
    stop_reason: str = ""

    @property
    def end(self) -> int:
        return self.events[-1].position if self.events else self.start


class Follower(ABC):
    """One named reader of the log. Exactly one holder works at a time; a stale one's commit fails (Fenced)."""

    def __init__(self, name: str, log: EventLog, reads: Container[str], batch: int = BATCH) -> None:
        self.name = name
        self.log = log
        self.source: Source = log
        self.reads = reads
        self._limit = batch
        # As of its last commit, which only it can have followed since: else the next one is fenced.
        self._position: int | None = None
        self._parked_keys: set[str] | None = None

    @property
    @abstractmethod
    def database(self) -> Database:
        """Where its position is, beside its effects."""

    def close(self) -> None:  # noqa: B027 - most have nothing but their databases, which are the house's
        """Lets go of what it has open, for as long as somebody else works, or for good."""

    @abstractmethod
    def _commit(self, batch: Batch) -> int:
        """Handles the batch in one transaction. Returns where the follower stands then. Raises Poisoned."""

    def key(self, event: LogEvent) -> str:
        """Events of one key are handled in order, or not at all. The customer, where there is one."""
        return event.record.customer_id or event.record.stream

    def register(self) -> None:
        with self.database.write() as session:
            Positions(session).register(self.name)

    def position(self) -> int:
        with self.database.read() as session:
            return Positions(session).get(self.name)

    def step(self) -> bool:
        """One batch. Returns False when there was nothing to do. Whatever it raises left no trace."""
        try:
            return self._step()
        except BaseException:
            self._forget()
            raise

    def _step(self) -> bool:
        if self._position is None:
            self._position = self.position()
        start = self._position
        events = self._read(start)
        if not events:
            return self._idle(start)
        self._position = self._commit_around_poison(Batch(start, events))
        return True

    def _read(self, after: int) -> Sequence[Recorded]:
        return self.source.read(after, self._limit)

    def _commit_around_poison(self, batch: Batch) -> int:
        try:
            return self._commit(batch)
        except Poisoned as poison:
            self._forget()
            event = batch.events[poison.index]
            position = batch.start
            if poison.index:
                position = self._commit(Batch(position, batch.events[: poison.index]))
            if poison.again is None:
                _log.error("%s parks position %s: %s", self.name, event.position, poison.reason)
                return self._commit(Batch(position, (event,), park_first=poison.reason))
            _log.error("%s still cannot handle position %s: %s", self.name, poison.again, poison.reason)
            return self._commit(Batch(position, (event,), stop_at=poison.again, stop_reason=poison.reason))

    def _idle(self, _position: int) -> bool:
        return False

    def _forget(self) -> None:
        """Drops what was kept in memory; the database knows."""
        self._position = None
        self._parked_keys = None

    # For subclasses, inside their transaction

    def _handle_all(self, session: Session, batch: Batch) -> None:
        if self._parked_keys is None:
            self._parked_keys = Positions(session).parked_keys(self.name)
        for index, recorded in enumerate(batch.events):
            if recorded.type == RELEASED:
                self._release(session, opened(recorded), index, batch, self._parked_keys)
            elif recorded.type in self.reads:
                park = batch.park_first if index == 0 else None
                try:
                    self._handle_or_queue(session, recorded, park, self._parked_keys)
                except TRANSIENT:
                    raise
                except Exception as error:
                    raise self._blame(error, Poisoned(index, type(error).__name__)) from error

    def _handle_or_queue(self, session: Session, recorded: Recorded, park: str | None, parked_keys: set[str]) -> None:
        if park is not None:
            self._park(session, recorded.position, self._key_or_place(recorded), park, parked_keys)
            return
        event = opened(recorded)
        if parked_keys and self.key(event) in parked_keys:
            self._park(session, event.position, self.key(event), "queues behind a parked event", parked_keys)
            return
        self.handle(session, event)

    def _park(self, session: Session, position: int, key: str, reason: str, parked_keys: set[str]) -> None:
        Positions(session).park(Parked(self.name, position, key, reason))
        parked_keys.add(key)

    def _key_or_place(self, recorded: Recorded) -> str:
        """Of an event that cannot even be opened nobody knows the key: it is parked by itself."""
        try:
            return self.key(opened(recorded))
        except Exception:
            return f"position {recorded.position}"

    def _blame(self, error: Exception, poisoned: Poisoned) -> Exception:
        """The event, unless the database failed: a full disk or a lost connection parks nothing."""
        refusal = self.database.translate(error)
        return refusal if isinstance(refusal, TRANSIENT) else poisoned

    def _release(self, session: Session, event: LogEvent, index: int, batch: Batch, parked_keys: set[str]) -> None:
        release = event.body
        assert isinstance(release, ParkedKeyReleased)
        if release.follower != self.name or release.key not in parked_keys:
            return
        positions = Positions(session)
        waiting = [parked for parked in positions.parked(self.name) if parked.key == release.key]
        if release.skip_first:
            if release.position not in (0, waiting[0].position):
                return  # that one is no longer the first: somebody was quicker
            positions.unpark(self.name, waiting.pop(0).position)
        recorded = self.log.at([parked.position for parked in waiting])
        for parked in waiting:
            if parked.position == batch.stop_at:
                positions.blame(self.name, parked.position, batch.stop_reason)
                return
            try:
                self.handle(session, log_event(recorded[parked.position]))
            except TRANSIENT:
                raise
            except Exception as error:
                # What it half did goes back with the whole transaction.
                raise self._blame(error, Poisoned(index, type(error).__name__, parked.position)) from error
            positions.unpark(self.name, parked.position)
        parked_keys.discard(release.key)

    @abstractmethod
    def handle(self, session: Session, event: LogEvent) -> None:
        """One event's effect, within the batch's transaction."""
