"""Where followers stand, seen from outside: how far behind the log, since when, and what they have parked."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.kernel.clock import MachineClock, micros
from services.kernel.database import Database, Session
from services.kernel.log.event_log import EventLog
from services.kernel.log.positions import ParkedKey, Positions


@dataclass(frozen=True, slots=True)
class Standing:
    """One follower. `lag` in events; `lag_s` is the age of the oldest event that it has not read, in seconds since it was
    recorded, and 0 when it has read everything."""

    name: str
    position: int
    head: int
    lag_s: float
    parked: Sequence[ParkedKey]

    @property
    def lag(self) -> int:
        return self.head - self.position


def standing_of(name: str, log: EventLog, database: Database) -> Standing:
    """Of one follower, whose position is in that database."""
    with database.read() as session:
        position = Positions(session).get(name)
        parked = Positions(session).parked_by_key(name)
    return _against_head(log, {name: (position, parked)})[0]


def standings_in(log: EventLog, database: Database) -> list[Standing]:
    """Of everybody whose position is in that database, by name; nobody where it was never made."""
    if not database.exists():
        return []
    with database.read() as session:
        if not database.has_table(session, "follower"):
            return []
        positions = Positions(session)
        found = {name: (position, positions.parked_by_key(name)) for name, position in sorted(positions.all().items())}
    return _against_head(log, found)


def _against_head(log: EventLog, found: dict[str, tuple[int, list[ParkedKey]]]) -> list[Standing]:
    # The head is read after the positions: it is not before any of them.
    with log.database.read() as session:
        row = session.execute("SELECT position FROM head").fetchone()
        assert row is not None
        return [
            Standing(name, position, row[0], _age_s(session, position + 1) if position < row[0] else 0.0, parked)
            for name, (position, parked) in found.items()
        ]


def _age_s(session: Session, position: int) -> float:
    row = session.execute("SELECT recorded_at FROM log WHERE position = ?", (position,)).fetchone()
    assert row is not None
    recorded_at: int = row[0]
    return max(0.0, (micros(MachineClock().now()) - recorded_at) / 1_000_000)
