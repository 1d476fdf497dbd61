"""The cell: its name, its business clock, and history mode, in which the clock stands until it is advanced.

Advancing is lockstep: it appends TimeAdvanced and returns when every deciding follower has drained the log, so that two
runs of the same history give the same streams.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from kept.cell.v1.events_pb2 import HistoryStarted, PolicyDeployed, TimeAdvanced
from kept.common.v1.record_pb2 import Receipt

from services.kernel.application import Application, Command
from services.kernel.clock import EPOCH, MachineClock, micros, moment, timestamp
from services.kernel.database import Session
from services.kernel.errors import Refused, RequestIdReused, Unavailable, VersionConflict
from services.kernel.events import DomainEvent, ProtobufMapper, Stamp
from services.kernel.log.bell import Bell
from services.kernel.log.event_log import EventLog, RequestRepeated
from services.kernel.log.port import Save
from services.kernel.log.positions import Positions

TIME_STREAM = uuid5(NAMESPACE_URL, "kept:cell:time")
CODE_STREAM = uuid5(NAMESPACE_URL, "kept:cell:code")
DRAIN_WITHIN = timedelta(seconds=20)
SYSTEM_TENANT = "cell"


class CellClock:
    """The business clock: the machine's in a live cell, the last TimeAdvanced in history mode."""

    def __init__(self, log: EventLog, machine: MachineClock | None = None) -> None:
        self._log = log
        self._machine = machine or MachineClock()

    def now(self) -> datetime:
        history = self.history_now()
        return self._machine.now() if history is None else history

    def history_now(self) -> datetime | None:
        """None in a live cell."""
        with self._log.database.read() as session:
            row = session.execute("SELECT history_now FROM cell").fetchone()
        assert row is not None
        return None if row[0] is None else moment(row[0])


class CellApplication(Application):
    """Commands on the cell itself."""

    clock: CellClock

    @property
    def event_log(self) -> EventLog:
        return self._log_recorder.log

    def start_history(self, command: Command) -> Receipt:
        """Raises cell-not-empty. A cell already in history mode stays as it is."""
        if self.clock.history_now() is None:
            if self.event_log.position() > 0:
                raise Refused("cell-not-empty", "history mode is for an empty cell; start a new one")
            return self._append(command, HistoryStarted(), EPOCH)
        return self._nothing()

    def advance(self, command: Command, to: datetime) -> Receipt:
        """Raises cell-not-in-history-mode, and followers-behind when they do not drain in time."""
        now = self.clock.history_now()
        if now is None:
            raise Refused("cell-not-in-history-mode", "a live cell's clock cannot be advanced")
        receipt = self._append(command, TimeAdvanced(now=timestamp(to)), to) if to > now else self._nothing()
        self._drained(DRAIN_WITHIN)
        return receipt

    def _append(self, command: Command, event: HistoryStarted | TimeAdvanced, to: datetime) -> Receipt:
        known = self.event_log.answer(command.request.key)
        if known is not None:
            if known.fingerprint != command.request.fingerprint:
                raise RequestIdReused(command.request_id)
            return Receipt(id=str(known.id), version=known.version, position=known.position)

        def set_clock(session: Session) -> Sequence[Save]:
            session.execute("UPDATE cell SET history_now = ?", (micros(to),))
            return ()

        version = self.event_log.version(TIME_STREAM) + 1
        stamp = Stamp(
            SYSTEM_TENANT, command.stamp.actor, micros(to), str(command.request.key), str(command.request.key)
        )
        entry = ProtobufMapper().to_stored_event(DomainEvent(TIME_STREAM, version, event, stamp))
        save = Save((entry,), command.request, TIME_STREAM, version)
        (outcome,) = self.event_log.append([save], alongside=set_clock)
        if isinstance(outcome, (VersionConflict, RequestRepeated)):
            raise VersionConflict(TIME_STREAM)
        if isinstance(outcome, Exception):
            raise outcome
        return Receipt(id=str(TIME_STREAM), version=version, position=outcome)

    def _nothing(self) -> Receipt:
        version = self.event_log.version(TIME_STREAM)
        return Receipt(id=str(TIME_STREAM), version=version, position=self.event_log.position())

    def _drained(self, within: timedelta) -> None:
        wait_until(self.event_log.bell, self._all_at_head, within, "followers-behind")

    def _all_at_head(self) -> bool:
        with self.event_log.database.read() as session:
            head = session.execute("SELECT position FROM head").fetchone()
            assert head is not None
            return all(position >= head[0] for position in Positions(session).all().values())


def wait_until(bell: Bell, reached: Callable[[], bool], within: timedelta, slug: str) -> None:
    """Returns when it is so, woken by the bell. Raises Unavailable with the slug after the time."""
    if reached():
        return
    ear = bell.listen()
    try:
        deadline = time.monotonic() + within.total_seconds()
        while not reached():
            left = deadline - time.monotonic()
            if left <= 0:
                raise Unavailable(slug, "what was asked for is not there yet; try again")
            ear.wait(min(left, 1.0))
    finally:
        ear.close()


def deploy(log: EventLog, name: str, version: str) -> bool:
    """Records PolicyDeployed where another version, or none, was deployed last. Returns whether it was recorded."""
    stream = uuid5(CODE_STREAM, name)
    events = log.stream(stream)
    mapper = ProtobufMapper()
    if events:
        from eventsourcing.persistence import StoredEvent

        number, topic, record = events[-1]
        last: Any = mapper.to_domain_event(StoredEvent(stream, number, topic, record)).body
        if last.version == version:
            return False
    stamp = Stamp(SYSTEM_TENANT, f"policy:{name}@{version}", micros(datetime.now(UTC)), str(stream))
    event = DomainEvent(stream, len(events) + 1, PolicyDeployed(name=name, version=version), stamp)
    (outcome,) = log.append([Save((mapper.to_stored_event(event),))])
    return isinstance(outcome, int)
