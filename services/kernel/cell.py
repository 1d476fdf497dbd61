"""The cell: its name, its business clock, and history mode, in which the clock stands until it is advanced.

Advancing is lockstep: it appends TimeAdvanced and returns when every deciding follower has drained the log, so that two
runs of the same history give the same streams.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.persistence import StoredEvent
from google.protobuf.message import Message
from kept.cell.v1.events_pb2 import HistoryStarted, ParkedKeyReleased, PolicyDeployed, TimeAdvanced
from kept.common.v1.record_pb2 import Receipt

from services.kernel.application import Application, Command
from services.kernel.clock import EPOCH, MachineClock, micros, moment, timestamp
from services.kernel.database import Session
from services.kernel.errors import KeptError, Refused, Unavailable, VersionConflict
from services.kernel.events import DomainEvent, ProtobufMapper, Stamp, full_name
from services.kernel.lockstep import Lockstep
from services.kernel.log.bell import LONGEST_WAIT_S, Bell
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Request, RequestRepeated, Save
from services.kernel.log.positions import Positions
from services.kernel.releases import CODE_STREAM, first_parked, releases_of

TIME_STREAM = uuid5(NAMESPACE_URL, "kept:cell:time")
DRAIN_WITHIN = timedelta(seconds=20)
SYSTEM_TENANT = "cell"
# Policies are deployed before anything is recorded.
_DEPLOYED = full_name(PolicyDeployed)
_NOT_EMPTY = "EXISTS (SELECT 1 FROM log WHERE type <> ?)"


class CellClock:
    """The business clock: the machine's in a live cell, the last TimeAdvanced in history mode.

    Only an empty cell can be put into history mode, so one that is live and not empty is live for good: from then on this
    need not ask.
    """

    def __init__(self, log: EventLog, machine: MachineClock | None = None) -> None:
        self._log = log
        self._machine = machine or MachineClock()
        self._live_for_good = False

    def now(self) -> datetime:
        history = self.history_now()
        return self._machine.now() if history is None else history

    def history_now(self) -> datetime | None:
        """None in a live cell."""
        if self._live_for_good:
            return None
        with self._log.database.read() as session:
            row = session.execute(f"SELECT history_now, {_NOT_EMPTY} FROM cell", (_DEPLOYED,)).fetchone()  # noqa: S608 - ours
        assert row is not None
        history_now, not_empty = row
        if history_now is not None:
            return moment(history_now)
        self._live_for_good = bool(not_empty)
        return None


class CellApplication(Application):
    """Commands on the cell itself."""

    clock: CellClock

    @property
    def event_log(self) -> EventLog:
        return self._log_recorder.log

    def start_history(self, command: Command) -> Receipt:
        """Records HistoryStarted. Raises cell-not-empty. A cell already in history mode stays as it is."""
        answered = self._answered(command)
        if answered is not None:
            return answered
        if self.clock.history_now() is not None:
            return self._nothing(command)
        refuse_unless_empty(self.event_log)
        start = partial(_start_clock, self.event_log)
        return self._append(command, TIME_STREAM, HistoryStarted(), micros(EPOCH), alongside=start)

    def advance(self, command: Command, to: datetime) -> Receipt:
        """Records TimeAdvanced. Raises cell-not-in-history-mode, and followers-behind when they do not drain in time."""
        now = self.clock.history_now()
        if now is None:
            raise Refused("cell-not-in-history-mode", "a live cell's clock cannot be advanced")
        receipt = self._answered(command)
        if receipt is None and to > now:
            receipt = self._set_time(command, TimeAdvanced(now=timestamp(to)), to)
        else:
            receipt = receipt or self._nothing(command)
            with self.event_log.database.write() as session:
                Lockstep(session).begin_tick()
        # In history mode an append rings nobody: the followers wait for the clock, and this is its tick.
        self.event_log.bell.ring()
        wait_until(self.event_log.bell, self._drained, DRAIN_WITHIN, "followers-behind")
        return receipt

    def release_parked(
        self, command: Command, *, follower: str, key: str, skip_first: bool, reason: str, position: int = 0
    ) -> Receipt:
        """Records ParkedKeyReleased, which the follower carries out.

        Raises key-not-parked; parked-otherwise where the event to skip is not the first one; release-pending.
        """
        answered = self._answered(command)
        if answered is not None:
            return answered
        stream = releases_of(follower)
        release = ParkedKeyReleased(follower=follower, key=key, skip_first=skip_first, reason=reason, position=position)
        version = self.event_log.version(stream)  # before looking: whoever else releases meanwhile is in conflict
        # A view's follower keeps its parked events beside its view; it finds out itself whether there are any.
        with self.event_log.database.read() as session:
            positions = Positions(session)
            if follower in positions.all():
                first = first_parked(session, follower, key)
                if skip_first and position not in (0, first):
                    raise Refused("parked-otherwise", f"the first one under {key} is at position {first} by now")
                release.position = first if skip_first else 0
        return self._append(command, stream, release, command.stamp.occurred_at, version=version)

    def _set_time(self, command: Command, event: TimeAdvanced, to: datetime) -> Receipt:
        return self._append(command, TIME_STREAM, event, micros(to), alongside=partial(_set_clock, self.event_log, to))

    def _append(
        self,
        command: Command,
        stream: UUID,
        event: Message,
        occurred_at: int,
        alongside: Callable[[Session], Sequence[Save]] | None = None,
        version: int | None = None,
    ) -> Receipt:
        """Raises version-conflict; with a `version`, also where the stream has left it."""
        key = str(command.request.key)
        stamp = Stamp(SYSTEM_TENANT, command.stamp.actor, occurred_at, correlation_id=key, request_key=key)
        save = _next(self.event_log, stream, event, stamp, command.request, version)
        try:
            (outcome,) = self.event_log.append([save], alongside=alongside)
        except RequestRepeated:
            raise VersionConflict(stream) from None  # the same request won a race; it answers when sent again
        if isinstance(outcome, KeptError):
            raise VersionConflict(stream)
        return Receipt(id=str(stream), version=save.answer_version, position=outcome)

    def _nothing(self, command: Command) -> Receipt:
        """Nothing had to be recorded but that this request was answered, so that it is answered the same again."""
        version = self.event_log.version(TIME_STREAM)
        (outcome,) = self.event_log.append([Save((), command.request, TIME_STREAM, version)])
        if isinstance(outcome, KeptError):
            raise VersionConflict(TIME_STREAM)
        return Receipt(id=str(TIME_STREAM), version=version, position=outcome)

    def _drained(self) -> bool:
        with self.event_log.database.read() as session:
            return Lockstep(session).is_drained()


def start_history(log: EventLog) -> None:
    """Puts an empty cell into history mode before its processes start; one that is in it stays as it is.

    Raises cell-not-empty.
    """
    if CellClock(log).history_now() is None:
        refuse_unless_empty(log)
        stamp = Stamp(SYSTEM_TENANT, "service:kept", micros(EPOCH), correlation_id=str(TIME_STREAM))
        start = partial(_start_clock, log)
        log.append([_next(log, TIME_STREAM, HistoryStarted(), stamp)], alongside=start)


def refuse_unless_empty(log: EventLog) -> None:
    """Raises cell-not-empty when anything but the deployment of policies was recorded."""
    with log.database.read() as session:
        _refuse_unless_empty(session)


def _refuse_unless_empty(session: Session) -> None:
    if (session.execute(f"SELECT {_NOT_EMPTY}", (_DEPLOYED,)).fetchone() or (0,))[0]:
        raise Refused("cell-not-empty", "history mode is for an empty cell; start a new one")


def deploy(log: EventLog, clock: CellClock, name: str, version: str) -> None:
    """Records PolicyDeployed where another version, or none, was deployed last (I11)."""
    stream = uuid5(CODE_STREAM, name)
    last = log.version(stream)
    if last:
        ((_, topic, record),) = log.stream(stream, after=last - 1)
        deployed = ProtobufMapper().to_domain_event(StoredEvent(stream, last, topic, record)).body
        if isinstance(deployed, PolicyDeployed) and deployed.version == version:
            return
    stamp = Stamp(SYSTEM_TENANT, f"policy:{name}@{version}", micros(clock.now()), correlation_id=str(stream))
    log.append([_next(log, stream, PolicyDeployed(name=name, version=version), stamp)])


def _next(
    log: EventLog,
    stream: UUID,
    event: Message,
    stamp: Stamp,
    request: Request | None = None,
    last: int | None = None,
) -> Save:
    """A save of the stream's next event. These streams are long and are never folded, so only the version is read, where it
    is not known."""
    version = (log.version(stream) if last is None else last) + 1
    entry = ProtobufMapper().to_stored_event(DomainEvent(stream, version, event, stamp))
    return Save((entry,), request, stream, version)


def _start_clock(log: EventLog, session: Session) -> Sequence[Save]:
    """Looks under the head's lock: nobody records anything between the look and the commit, and finds the clock live."""
    _set_clock(log, EPOCH, session)
    _refuse_unless_empty(session)
    return ()


def _set_clock(log: EventLog, to: datetime, session: Session) -> Sequence[Save]:
    """Only ever forward, whoever else sets it at the same time."""
    log.lock(session)  # before the cell, as commands do that set its barrier
    sql = "UPDATE cell SET history_now = ? WHERE history_now IS NULL OR history_now < ?"
    if session.execute(sql, (micros(to), micros(to))).rowcount != 1:
        raise VersionConflict(TIME_STREAM)
    Lockstep(session).begin_tick()
    return ()


def wait_until(bell: Bell, reached: Callable[[], bool], within: timedelta, slug: str) -> None:
    """Returns when it is so, woken by the bell. Raises Unavailable with the slug after the time."""
    if reached():
        return
    with bell.borrowed() as ear:
        deadline = time.monotonic() + within.total_seconds()
        while not reached():
            left = deadline - time.monotonic()
            if left <= 0:
                raise Unavailable(slug, "what was asked for is not there yet; try again")
            ear.wait(min(left, LONGEST_WAIT_S))
