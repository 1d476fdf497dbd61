"""A process's house on simulated disks, with a simulated machine clock."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import cast

from services.kernel.cell import CellClock
from services.kernel.clock import Clock, FixedClock, MachineClock
from services.kernel.config import Settings
from services.kernel.database import Database
from services.kernel.house import House
from services.kernel.log.bell import Bell, SilentBell
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Source
from services.kernel.privacy import KeyStore

NOWHERE = Path("/nowhere")
SETTINGS = Settings(NOWHERE, "simulated", "", development=True, otlp_endpoint=None, master_key=NOWHERE)
MASTER_KEY = bytes(32)


class SimulatedClock(FixedClock):
    """The machines' clock: it goes on a little with every step, and jumps when somebody sets it."""

    def passes(self, time: timedelta) -> None:
        self.set(self.now() + time)


class SimulatedHouse(House):
    """`database` opens a namespace as this process may; `log` makes its event log, with a bug where one is planted."""

    def __init__(
        self,
        database: Callable[[str], Database],
        machine: FixedClock,
        log: Callable[[Database, Bell, Clock], EventLog] = EventLog,
    ) -> None:
        super().__init__(SETTINGS)
        self._open_namespace = database
        self._machine = machine
        self._make_log = log

    def make_folders(self) -> None:
        """The disks are there."""

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """Nobody else does."""
        yield

    def make(self) -> None:
        self.keys.migrate()
        self.log.migrate(self.settings.cell)

    def _open(self, namespace: str) -> Database:
        return self._open_namespace(namespace)

    @cached_property
    def log(self) -> EventLog:
        return self._make_log(self.database("log"), SilentBell(), self._machine)

    @cached_property
    def origin(self) -> Source:
        """Set to a copy of the log where followers are to read one."""
        return self.log

    @cached_property
    def clock(self) -> CellClock:
        return CellClock(self.log, cast(MachineClock, self._machine))

    @cached_property
    def keys(self) -> KeyStore:
        return KeyStore(self.database("keys"), MASTER_KEY)

    @cached_property
    def view_bell(self) -> SilentBell:
        return SilentBell()
