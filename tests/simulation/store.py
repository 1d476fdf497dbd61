"""The cell's disks: SQLite files in memory, put back from an image before each run; and what can go wrong at a commit."""

import atexit
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any, Protocol, cast

from services.kernel.database import Session, SQLite
from services.kernel.errors import Unavailable
from tests.simulation.scheduler import Killed, Scheduler


class Disk:
    """One namespace's file, with the connections to it; processes come and go, and the file stays."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[Any] = []
        self.image = sqlite3.connect(":memory:", check_same_thread=False)

    def keep(self) -> None:
        """Remembers what is on it now."""
        with sqlite3.connect(self.path) as now:
            now.backup(self.image)

    def put_back(self) -> None:
        """What `keep` remembered, and nothing else."""
        if not self.connections:
            self.connections.append(Disk.opened(self)._connect())
        self.image.backup(self.connections[0])

    def opened(self) -> SQLite:
        """The file as it is, without any faults."""
        database = SQLite(self.path, durable=False)
        database._idle = self.connections  # else each run would open them all anew
        return database


class Disks:
    """All namespaces of a cell, in a folder that lives in memory where that can be had."""

    def __init__(self) -> None:
        quick = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._folder = Path(tempfile.mkdtemp(prefix="kept-simulation-", dir=quick))
        self._disks: dict[str, Disk] = {}
        atexit.register(self._remove)

    def of(self, namespace: str) -> Disk:
        if namespace not in self._disks:
            self._disks[namespace] = Disk(self._folder / f"{namespace}.db")
        return self._disks[namespace]

    def copy(self) -> "Disks":
        """Others, which will be put back to what these have kept."""
        made = Disks()
        for namespace, disk in self._disks.items():
            made.of(namespace).image = disk.image
        return made

    def keep(self) -> None:
        for disk in self._disks.values():
            disk.keep()

    def put_back(self) -> None:
        for disk in self._disks.values():
            disk.put_back()

    def _remove(self) -> None:
        for disk in self._disks.values():
            for connection in disk.connections:
                connection.close()
        rmtree(self._folder)


@dataclass
class Faults:
    """How often, of a thousand chances, something goes wrong. Each seed has its own mixture, so that rare ones meet."""

    crash_before_commit: float = 0
    crash_after_commit: float = 0
    refused_commit: float = 0
    doubtful_commit: float = 0
    kill: float = 0
    stop: float = 0
    lost_request: float = 0
    lost_reply: float = 0
    repeated_request: float = 0
    impatience: float = 0
    clock_jump: float = 0
    time_passes: float = 0
    refused_delivery: float = 0
    crash_at_delivery: float = 0
    relay_restarts: float = 0

    def end(self) -> None:
        for name in vars(self):
            setattr(self, name, 0)


class Ledger(Protocol):
    """Told of transactions, so that what was done in them can be counted."""

    def begin(self) -> None: ...
    def commit(self) -> None: ...


class _Reading:
    """A connection, lent. There are thousands in a run, and the real way is by four generators."""

    __slots__ = ("_connection", "_idle")

    def __init__(self, connection: Any, idle: list[Any]) -> None:
        self._connection = connection
        self._idle = idle

    def __enter__(self) -> Session:
        return cast(Session, self._connection)

    def __exit__(self, *_: object) -> None:
        self._idle.append(self._connection)


class SimulatedDatabase(SQLite):
    """One process's way to a disk. Before and after each commit the process may die, or lose its connection."""

    def __init__(
        self,
        disk: Disk,
        scheduler: Scheduler,
        faults: Faults,
        ledger: Ledger,
    ) -> None:
        super().__init__(disk.path, durable=False)
        self._idle = disk.connections
        self._scheduler = scheduler
        self._faults = faults
        self._ledger = ledger
        self._name = disk.path.stem

    def read(self) -> AbstractContextManager[Session]:  # type: ignore[override]  # callers see no more of it
        self._scheduler.pause()
        return _Reading(self._idle.pop() if self._idle else self._connect(), self._idle)

    @contextmanager
    def write(self) -> Iterator[Session]:
        scheduler = self._scheduler
        scheduler.pause()
        connection = self._idle.pop() if self._idle else self._connect()
        with scheduler.transaction():
            self._ledger.begin()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield cast(Session, connection)
                self._before_commit()
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            finally:
                self._idle.append(connection)
            self._ledger.commit()
            scheduler.note(f"commits to {self._name}")
        self._after_commit()
        scheduler.pause()

    def _before_commit(self) -> None:
        self._perhaps_die("before it commits", self._faults.crash_before_commit)
        if self._happens(self._faults.refused_commit):
            self._scheduler.note("the database refuses to commit", counts_as="commit refused")
            raise Unavailable("storage-lost", "the connection was lost; nothing was recorded")

    def _after_commit(self) -> None:
        self._perhaps_die("after it committed", self._faults.crash_after_commit)
        if self._happens(self._faults.doubtful_commit):
            self._scheduler.note("the connection is lost after a commit", counts_as="commit in doubt")
            raise Unavailable("log-in-doubt", "it is not known whether this was recorded; send the same again")

    def _perhaps_die(self, where: str, of_a_thousand: float) -> None:
        if self._happens(of_a_thousand):
            task = self._scheduler.current
            assert task is not None
            self._scheduler.note(f"{task.process} dies {where} to {self._name}", counts_as=f"died {where}")
            task.process.alive = False
            raise Killed

    def _happens(self, of_a_thousand: float) -> bool:
        return self._scheduler.current is not None and self._scheduler.chance(of_a_thousand / 1000)
