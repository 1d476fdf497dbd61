"""A process's house on simulated disks, with a simulated machine clock, and a recorder that commits where the caller is."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from eventsourcing.persistence import StoredEvent

from services.kernel.cell import CellClock
from services.kernel.clock import FixedClock, MachineClock
from services.kernel.config import Settings
from services.kernel.database import Database
from services.kernel.errors import KeptError
from services.kernel.house import House
from services.kernel.log.bell import SilentBell
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Entry, Request, Save
from services.kernel.log.recorder import LogRecorder
from services.kernel.privacy import KeyStore
from tests.simulation.scheduler import Scheduler

NOWHERE = Path("/nowhere")
SETTINGS = Settings(NOWHERE, "simulated", "", development=True, otlp_endpoint=None, master_key=NOWHERE)
MASTER_KEY = bytes(32)


class SimulatedClock(FixedClock):
    """The machines' clock: it goes on a little with every step, and jumps when somebody sets it."""

    def passes(self, time: timedelta) -> None:
        self.set(self.now() + time)


class SimulatedHouse(House):
    """`database` opens a namespace as this process may; `log_class` is another one where a bug is planted."""

    def __init__(
        self,
        database: Callable[[str], Database],
        machine: FixedClock,
        scheduler: Scheduler | None = None,
        log_class: type[EventLog] = EventLog,
    ) -> None:
        super().__init__(SETTINGS)
        self._open_namespace = database
        self._machine = machine
        self._scheduler = scheduler
        self._log_class = log_class

    def make_folders(self) -> None:
        """The disks are there."""

    def make(self) -> None:
        self.keys.migrate()
        self.log.migrate(self.settings.cell)

    def _open(self, namespace: str) -> Database:
        return self._open_namespace(namespace)

    @cached_property
    def log(self) -> EventLog:
        return self._log_class(self.database("log"), SilentBell(), self._machine)

    @cached_property
    def recorder(self) -> LogRecorder:
        return LogRecorder(self.log) if self._scheduler is None else GatheringRecorder(self.log, self._scheduler)

    @cached_property
    def clock(self) -> CellClock:
        return CellClock(self.log, cast(MachineClock, self._machine))

    @cached_property
    def keys(self) -> KeyStore:
        return KeyStore(self.database("keys"), MASTER_KEY)

    @cached_property
    def view_bell(self) -> SilentBell:
        return SilentBell()


class GatheringRecorder(LogRecorder):
    """Group commit without a thread of its own: whoever gets to it commits for all who wait in this process."""

    def __init__(self, log: EventLog, scheduler: Scheduler) -> None:
        self.log = log
        self._scheduler = scheduler
        self._gathered: list[_Gathered] = []
        self._committing = False

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        request: Request | None = None,
        answer: tuple[UUID, int] | None = None,
        **_library: Any,
    ) -> Sequence[int]:
        entries = tuple(cast(Sequence[Entry], stored_events))
        mine = _Gathered(Save(entries, request, *(answer or (None, 0))))
        self._gathered.append(mine)
        self._scheduler.wait(lambda: mine.outcome is not None or not self._committing)
        if mine.outcome is None:
            self._commit_all()
        if isinstance(mine.outcome, KeptError):
            raise mine.outcome
        assert mine.outcome is not None
        return range(mine.outcome - len(entries) + 1, mine.outcome + 1)

    def _commit_all(self) -> None:
        batch, self._gathered = self._gathered, []
        self._committing = True
        outcomes: Sequence[int | KeptError]
        try:
            outcomes = self.log.append([one.save for one in batch])
        except KeptError as error:
            outcomes = [error] * len(batch)
        finally:
            self._committing = False
        self._scheduler.note(f"commits for {len(batch)}: {', '.join(map(_shown, outcomes))}")
        for one, outcome in zip(batch, outcomes, strict=True):
            one.outcome = outcome


class _Gathered:
    def __init__(self, save: Save) -> None:
        self.save = save
        self.outcome: int | KeptError | None = None


def _shown(outcome: int | KeptError) -> str:
    return outcome.slug if isinstance(outcome, KeptError) else str(outcome)

