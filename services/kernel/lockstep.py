"""History mode is lockstep: followers that decide take turns, in a fixed order, and only while the clock ticks.

So the log has one order, whatever the processes' timing, and two runs of the same history give the same streams. A turn
goes to the first follower that has something to do: an unread event that it reads, or a moment that fell due while
the clock moved. One that has nothing to do commits nothing, so a tick costs what it brings about.
"""

import json
from dataclasses import dataclass
from functools import lru_cache

from kept.cell.v1.events_pb2 import ParkedKeyReleased, TimeAdvanced

from services.kernel.database import Dialect, Session
from services.kernel.events import full_name

TIME, RELEASED = full_name(TimeAdvanced), full_name(ParkedKeyReleased)
# Unread events that are of no interest are skipped in one go, but not more of them, or looking for others takes long.
FAR = 200
NO_LIMIT = 2**62


def lockstep_tables(_dialect: Dialect) -> list[str]:
    return [
        # `next_due`: the earliest moment that waits, microseconds UTC; `reads`: names of event types, as JSON; `eager`: 1
        # where what is due is work of its own, not something that the next TimeAdvanced brings.
        """CREATE TABLE decider (name TEXT PRIMARY KEY, rank INTEGER NOT NULL, reads TEXT NOT NULL, eager INTEGER NOT NULL,
           next_due BIGINT)""",
        # In history mode, the first command after the last tick: it and what comes after it wait for the next one.
        "ALTER TABLE cell ADD COLUMN barrier BIGINT",
    ]


@dataclass(frozen=True, slots=True)
class _Decider:
    name: str
    reads: frozenset[str]
    eager: int
    next_due: int | None
    position: int

    def wants(self, type_name: str, now: int) -> bool:
        """The time only where something fell due while it moved; an operator's release always."""
        if type_name == TIME:
            return self.next_due is not None and self.next_due < now
        return type_name in self.reads or type_name == RELEASED


class Lockstep:
    """Within one transaction on the log's database."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def register(self, name: str, rank: int, reads: frozenset[str], *, eager: bool = False) -> None:
        """Makes a decider known. The lowest rank goes first. An eager one has work as long as something is due."""
        self._session.execute(
            """INSERT INTO decider VALUES (?, ?, ?, ?, NULL) ON CONFLICT (name)
               DO UPDATE SET rank = excluded.rank, reads = excluded.reads, eager = excluded.eager""",
            (name, rank, json.dumps(sorted(reads)), int(eager)),
        )

    def keep_only(self, names: frozenset[str]) -> None:
        """Nobody waits for a decider that no longer exists."""
        known = [name for (name,) in self._session.execute("SELECT name FROM decider").fetchall()]
        for name in set(known) - names:
            self._session.execute("DELETE FROM decider WHERE name = ?", (name,))

    def plan(self, name: str, next_due: int | None) -> None:
        self._session.execute("UPDATE decider SET next_due = ? WHERE name = ?", (next_due, name))

    def begin_tick(self) -> None:
        """All that was told may be read."""
        self._session.execute("UPDATE cell SET barrier = NULL")

    def told(self, position: int) -> None:
        """A command was recorded there: it waits for the next tick."""
        self._session.execute("UPDATE cell SET barrier = ? WHERE barrier IS NULL", (position,))

    def turn_of(self, name: str) -> int:
        """Up to which position the decider may read now; 0 when it is not its turn. In a live cell, without bound."""
        now, limit = self._cell()
        if now is None:
            return NO_LIMIT
        return limit if self._first_busy(now, limit) == name else 0

    def is_drained(self) -> bool:
        """Whether nobody has anything to do in this tick."""
        now, limit = self._cell()
        return now is None or self._first_busy(now, limit) is None

    def _cell(self) -> tuple[int | None, int]:
        """The business time in history mode, and the last position that may be read."""
        row = self._session.execute("SELECT history_now, coalesce(barrier - 1, position) FROM cell, head").fetchone()
        assert row is not None
        return row[0], row[1]

    def _first_busy(self, now: int, limit: int) -> str | None:
        rows = self._session.execute(
            """SELECT d.name, d.reads, d.eager, d.next_due, f.position FROM decider d JOIN follower f ON f.name = d.name
               ORDER BY d.rank, d.name"""
        ).fetchall()
        deciders = [_Decider(name, _names(reads), *rest) for name, reads, *rest in rows]
        first = min((one.position for one in deciders if one.position >= limit - FAR), default=limit)
        types: list[str] | None = None  # of the positions after `first`, read once for all, when the first asks
        for decider in deciders:
            if decider.eager and decider.next_due is not None and decider.next_due <= now:
                return decider.name
            if limit <= decider.position:
                continue
            if decider.position < first:
                return decider.name  # so far behind that it reads on whatever comes
            types = self._types(first, limit) if types is None else types
            if any(decider.wants(type_name, now) for type_name in types[decider.position - first :]):
                return decider.name
        return None

    def _types(self, after: int, upto: int) -> list[str]:
        rows = self._session.execute(
            "SELECT type FROM log WHERE position > ? AND position <= ? ORDER BY position", (after, upto)
        )
        return [type_name for (type_name,) in rows.fetchall()]


@lru_cache(maxsize=256)
def _names(reads: str) -> frozenset[str]:
    return frozenset(json.loads(reads))
