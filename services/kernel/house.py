"""What every process of a cell is built from: the log, the keys, the clock and the databases, from one set of settings."""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from services.kernel.aggregate_cache import AggregateCache
from services.kernel.cell import CellClock
from services.kernel.config import Settings
from services.kernel.database import Database, SQLite
from services.kernel.errors import Misconfigured
from services.kernel.lease import FileLeases, Leases, PostgresLeases
from services.kernel.log.bell import Bell, PostgresBell, SocketBell
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Copy, Source
from services.kernel.log.reader import SharedReader
from services.kernel.log.recorder import LogRecorder
from services.kernel.privacy import KeyStore, Sealer, read_master_key


class House:
    """Opens what is asked for, when it is asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._databases: dict[str, Database] = {}
        self._closing = ExitStack()

    def make(self) -> None:
        """Makes the folders, the master key and the tables of the kernel; the services' are migrated by their own."""
        self.make_folders()
        new = not self.database("log").exists()
        if not new and not self.database("keys").exists():
            raise Misconfigured("the key store is missing while the log is there: restore it from a copy")
        read_master_key(self.settings.master_key, make=new)
        # The log last: where it is there, the key store is not made again (see above), even after a crash in between.
        self.keys.migrate()
        self.log.migrate(self.settings.cell)
        self._require_same_cell()

    def make_folders(self) -> None:
        """Makes the cell's folder and where its sockets are. Raises Misconfigured."""
        settings = self.settings
        try:
            settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
            for folder in (settings.run, settings.run / "log", settings.run / "views"):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=settings.data):
                pass  # a folder that is there and cannot be written is found out now, not by the first customer
        except OSError as error:
            raise Misconfigured(f"{settings.data}: cannot be made or written ({error.strerror})") from error

    @contextmanager
    def migrating(self) -> Iterator[None]:
        """However many processes start at once, in here is one at a time. The folders are there."""
        if self.settings.database:
            from services.kernel.postgres import Postgres

            log = self.database("log")
            assert isinstance(log, Postgres)
            with log.alone(f"kept:{self.settings.cell}:migrate"):
                yield
            return
        with open(self.settings.run / "migrate.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def require(self) -> None:
        """Raises Misconfigured unless everything is there and at this Kept's versions."""
        self.log.require()
        self.keys.require()
        self._require_same_cell()

    def _require_same_cell(self) -> None:
        """Sealed values name their cell: under another name they would not open, and new ones not under the right one."""
        name = self.log.cell()
        if name != self.settings.cell:
            raise Misconfigured(
                f"KEPT_CELL={self.settings.cell!r}, but this is the log of {name!r}; set KEPT_CELL to it"
            )

    def database(self, namespace: str) -> Database:
        """The log, the keys, or one service's views."""
        if namespace not in self._databases:
            self._databases[namespace] = self._open(namespace)
        return self._databases[namespace]

    def views_database(self, service: str) -> Database:
        return self.database(f"views_{service}")

    @cached_property
    def log(self) -> EventLog:
        return EventLog(self.database("log"), self._bell("log"))

    @cached_property
    def origin(self) -> Source:
        """What this process's followers are served from: the log, unless the process reads from a copy of it."""
        return self.log

    def read_from(self, copy: Copy) -> None:
        """This process's followers are served from it, from their start on. It is closed with the house."""
        self.origin = copy
        self._closing.callback(copy.close)

    @cached_property
    def source(self) -> Source:
        """Where this process's followers read: one reader for them all."""
        return SharedReader(self.origin)

    @cached_property
    def leases(self) -> Leases:
        """Which followers this process works for."""
        if self.settings.database:
            return PostgresLeases(self.settings.database, self.settings.cell)
        return FileLeases(self.settings.run / "leases")

    @cached_property
    def view_bell(self) -> Bell:
        return self._bell("views")

    @cached_property
    def recorder(self) -> LogRecorder:
        return LogRecorder(self.log)

    @cached_property
    def aggregates(self) -> AggregateCache:
        """What this process's Applications keep between two commands; one bound for all of them."""
        return AggregateCache()

    @cached_property
    def clock(self) -> CellClock:
        return CellClock(self.log)

    @cached_property
    def keys(self) -> KeyStore:
        return KeyStore(self.database("keys"), read_master_key(self.settings.master_key, make=False))

    @cached_property
    def sealer(self) -> Sealer:
        return Sealer(self.keys, self.settings.cell)

    def close(self) -> None:
        self._closing.close()  # it may still be reading the databases
        if "leases" in self.__dict__:  # they are not opened only to be closed
            self.leases.close()
        for database in self._databases.values():
            database.close()

    def _open(self, namespace: str) -> Database:
        if self.settings.database:
            from services.kernel.postgres import Postgres

            return Postgres(self.settings.database, f"{self.settings.cell.replace('-', '_')}_{namespace}")
        # Views can be rebuilt from the log, so they need not sync at every commit; they stay whole all the same.
        durable = not namespace.startswith("views_")
        return SQLite(Path(self.settings.data) / f"{namespace.replace('_', '-')}.db", durable=durable)

    def _bell(self, name: str) -> Bell:
        if self.settings.database:
            return PostgresBell(self.settings.database, f"kept_{self.settings.cell}_{name}")
        return SocketBell(self.settings.run / name)
