"""Read models: tables, and which events change which rows. Rebuilt rows equal live ones; sealed columns stay sealed."""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

from services.kernel.cell import wait_until
from services.kernel.database import Database, Dialect, Session
from services.kernel.errors import Unavailable
from services.kernel.events import LogEvent
from services.kernel.follower import Batch, Follower
from services.kernel.house import House
from services.kernel.log.bell import Bell
from services.kernel.log.event_log import EventLog
from services.kernel.log.positions import Fenced, Positions
from services.kernel.log.schema import follower_tables, migrate, require, version_of
from services.kernel.tables import Table

WAIT_WITHIN = timedelta(seconds=5)
MOST_WAITING = 2


@dataclass(frozen=True)
class ViewSet:
    """All views of one service. A new `version` means other tables or other rows: they are rebuilt from the log."""

    name: str
    version: int
    tables: tuple[Table, ...]
    reads: Collection[str]
    apply: Callable[[Session, LogEvent], None]

    def migrate(self, database: Database) -> None:
        migrate(database, self.title, [self._statements(database.dialect)] * self.version)

    def require(self, database: Database) -> None:
        require(database, self.title, self.version)

    @property
    def follower(self) -> str:
        """The name of the follower that keeps them."""
        return f"{self.name}-views"

    @property
    def title(self) -> str:
        return f"the {self.name} views"

    def _statements(self, dialect: Dialect) -> list[str]:
        # Each version starts afresh, at position 0.
        made = [
            f"DROP TABLE IF EXISTS {name}" for name in ("follower", "parked", *(table.name for table in self.tables))
        ]
        made.extend(follower_tables(dialect))
        for table in self.tables:
            made.extend(table.statements(dialect))
        return made


class ViewFollower(Follower):
    """Keeps one service's views."""

    def __init__(self, views: ViewSet, log: EventLog, database: Database, bell: Bell) -> None:
        super().__init__(views.follower, log, views.reads)
        self._views = views
        self._database = database
        self._bell = bell

    @classmethod
    def of(cls, views: ViewSet, house: House) -> Self:
        """The follower of a service's views in this house."""
        return cls(views, house.log, house.views_database(views.name), house.view_bell)

    @property
    def database(self) -> Database:
        return self._database

    def handle(self, session: Session, event: LogEvent) -> None:
        self._views.apply(session, event)

    def _commit(self, batch: Batch) -> int:
        with self._database.write() as session:
            self._require_same_version(session)
            Positions(session).move(self.name, batch.start, batch.end)
            self._handle_all(session, batch)
        self._bell.ring()
        return batch.end

    def _require_same_version(self, session: Session) -> None:
        """During an update another version may have begun these views anew, for other rows than this one's."""
        found = version_of(session, self._views.title)
        if found != self._views.version:
            raise Fenced("views-of-another-version", follower=self.name, found=found, known=self._views.version)


@dataclass
class ViewReader:
    """For servicers: a view that is at least as new as a caller asks for."""

    views: ViewSet
    database: Database
    log: EventLog
    bell: Bell
    _places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(MOST_WAITING))

    @classmethod
    def of(cls, views: ViewSet, house: House) -> Self:
        """The reader of a service's views in this house."""
        return cls(views, house.views_database(views.name), house.log, house.view_bell)

    @contextmanager
    def read(self, after_position: int = 0) -> Iterator[Session]:
        """Raises view-behind when the view does not get there in time, or too many wait already."""
        if after_position > 0 and not self._reached(after_position):
            self._wait(after_position)
        with self.database.read() as session:
            yield session

    def _wait(self, position: int) -> None:
        # Threads that wait serve nobody: a few may, the others' callers ask again.
        if not self._places.acquire(blocking=False):
            raise Unavailable("view-behind", "the view has not read that position yet; try again")
        try:
            wait_until(self.bell, lambda: self._reached(position), WAIT_WITHIN, "view-behind")
        finally:
            self._places.release()

    def _reached(self, position: int) -> bool:
        with self.database.read() as session:
            return Positions(session).get(self.views.follower) >= position
