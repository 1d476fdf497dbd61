"""Where followers stand, and what they have parked; always within the transaction that carries their effect."""

from dataclasses import dataclass

from services.kernel.database import Session
from services.kernel.errors import KeptError


class Fenced(KeptError):
    """Somebody else moved this follower: this holder is stale, and nothing of its batch was committed."""


@dataclass(frozen=True, slots=True)
class Parked:
    follower: str
    position: int
    key: str
    reason: str


@dataclass(frozen=True, slots=True)
class ParkedKey:
    """A key that waits for an operator: its first event, why that one could not be handled, and how many of the key queue
    behind it."""

    follower: str
    key: str
    position: int
    reason: str
    queued: int


class Positions:
    def __init__(self, session: Session) -> None:
        self._session = session

    def get(self, follower: str) -> int:
        row = self._session.execute("SELECT position FROM follower WHERE name = ?", (follower,)).fetchone()
        return 0 if row is None else int(row[0])

    def all(self) -> dict[str, int]:
        return dict(self._session.execute("SELECT name, position FROM follower").fetchall())

    def register(self, follower: str) -> None:
        """Makes the follower known, so that others can wait for it."""
        self._session.execute("INSERT INTO follower VALUES (?, 0) ON CONFLICT (name) DO NOTHING", (follower,))

    def forget(self, follower: str) -> None:
        """Nobody waits for it any more."""
        self._session.execute("DELETE FROM follower WHERE name = ?", (follower,))

    def move(self, follower: str, expected: int, to: int) -> None:
        """Raises Fenced unless the follower stands at `expected`."""
        moved = self._session.execute(
            "UPDATE follower SET position = ? WHERE name = ? AND position = ?", (to, follower, expected)
        ).rowcount
        if moved != 1:
            raise Fenced("follower-fenced", follower=follower, expected=expected)

    def park(self, parked: Parked) -> None:
        self._session.execute(
            "INSERT INTO parked (follower, position, key, reason) VALUES (?, ?, ?, ?)",
            (parked.follower, parked.position, parked.key, parked.reason),
        )

    def parked_keys(self, follower: str) -> set[str]:
        rows = self._session.execute("SELECT DISTINCT key FROM parked WHERE follower = ?", (follower,))
        return {row[0] for row in rows}

    def parked(self, follower: str | None = None) -> list[Parked]:
        """Oldest first."""
        sql = "SELECT follower, position, key, reason FROM parked"
        if follower is None:
            rows = self._session.execute(sql + " ORDER BY position, follower")
        else:
            rows = self._session.execute(sql + " WHERE follower = ? ORDER BY position", (follower,))
        return [Parked(*row) for row in rows]

    def parked_by_key(self, follower: str) -> list[ParkedKey]:
        """Oldest first."""
        rows = self._session.execute(
            """SELECT p.follower, p.key, p.position, p.reason, k.events - 1 FROM parked p JOIN
               (SELECT min(position) AS first, count(*) AS events FROM parked WHERE follower = ? GROUP BY key) k
               ON p.position = k.first WHERE p.follower = ? ORDER BY p.position""",
            (follower, follower),
        )
        return [ParkedKey(*row) for row in rows]

    def blame(self, follower: str, position: int, reason: str) -> None:
        """That one cannot be handled either, and why."""
        self._session.execute(
            "UPDATE parked SET reason = ? WHERE follower = ? AND position = ?", (reason, follower, position)
        )

    def unpark(self, follower: str, position: int) -> None:
        self._session.execute("DELETE FROM parked WHERE follower = ? AND position = ?", (follower, position))
