"""Followers that append: what they record, their own tables and their position are one commit in the log's database."""

from abc import abstractmethod
from collections.abc import Sequence

from services.kernel.cell import CellClock
from services.kernel.database import Database, Session
from services.kernel.follower import Follower
from services.kernel.lockstep import Lockstep
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Recorded


class Decider(Follower):
    """In a live cell it works when events come or a moment falls due; in history mode when it has the turn."""

    reads: frozenset[str]

    def __init__(self, name: str, log: EventLog, clock: CellClock, reads: frozenset[str], batch: int = 200) -> None:
        super().__init__(name, log, reads, batch)
        self._clock = clock
        self._upto = 0

    @property
    def database(self) -> Database:
        return self.log.database

    @abstractmethod
    def earliest_due(self, session: Session) -> int | None:
        """The earliest moment that waits, microseconds UTC; None where none does."""

    def register(self, rank: int = 0) -> None:
        """Makes it known to those who wait for it. In history mode the lowest rank goes first."""
        super().register()
        with self.database.write() as session:
            Lockstep(session).register(self.name, rank, self.reads)
            self.plan(session)

    def plan(self, session: Session) -> None:
        """To be called in every transaction that may have changed what falls due next."""
        Lockstep(session).plan(self.name, self.earliest_due(session))

    def next_due(self) -> int | None:
        """When to wake although nothing rings; None in history mode, where time is an event."""
        if self._clock.history_now() is not None:
            return None
        with self.database.read() as session:
            return self.earliest_due(session)

    def step(self) -> bool:
        with self.database.read() as session:
            self._upto = Lockstep(session).turn_of(self.name)
        return self._upto > 0 and super().step()

    def _read(self, after: int) -> Sequence[Recorded]:
        # Positions are dense, so this many lie up to the bound.
        limit = min(self._limit, self._upto - after)
        return self.source.read(after, limit) if limit > 0 else ()
