"""The log itself, one code for both databases.

Append takes the head's lock; under it positions are dense, `recorded_at` never decreases, each stream's version is
checked, and a follower's position moves only from where it is expected (I1, I4).
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from services.kernel.clock import Clock, MachineClock, micros
from services.kernel.database import Clash, Database, Session, as_uuid, marks
from services.kernel.errors import KeptError
from services.kernel.lockstep import Lockstep, lockstep_tables
from services.kernel.log.batch import Batch, Guard, where_in
from services.kernel.log.bell import Bell
from services.kernel.log.one_call import ONE_CALL, Columns
from services.kernel.log.port import Answer, Head, Move, NotAtHead, Recorded, Save, Selection
from services.kernel.log.positions import Positions
from services.kernel.log.schema import EPOCH, SHARED_INDEX, Additive, log_tables, migrate, require
from services.kernel.merkle import Edge
from services.kernel.telemetry import appended

NAME = "the event log"
_HEAD_AND_MODE = "SELECT h.position, h.recorded_at, h.peaks, c.history_now IS NOT NULL FROM head h, cell c"
# How often a batch is tried without what conflicts in it, before it goes row by row.
ATTEMPTS = 3
REQUESTS_KEPT = timedelta(days=30)
FORGOTTEN_AT_ONCE = 2000


class EventLog:
    """Reads and appends. `machine` gives the time of recording, never the business time."""

    def __init__(self, database: Database, bell: Bell, machine: Clock | None = None) -> None:
        self.database = database
        self.bell = bell
        self._machine = machine or MachineClock()

    def migrate(self, cell: str) -> None:
        """Makes or updates the log's tables. Raises Misconfigured when they belong to a newer Kept."""
        dialect = self.database.dialect
        steps = (
            log_tables(dialect),
            [SHARED_INDEX, *lockstep_tables(dialect)],
            Additive([EPOCH]),
            Additive(ONE_CALL if dialect.one_call else ()),
        )
        migrate(self.database, NAME, steps)
        with self.database.write() as session:
            if session.execute("SELECT 1 FROM head").fetchone() is None:
                session.execute("INSERT INTO head VALUES (1, 0, 0, ?)", (b"",))
                session.execute("INSERT INTO cell (one, name) VALUES (1, ?)", (cell,))

    def require(self) -> None:
        require(self.database, NAME, 4)

    def cell(self) -> str:
        """The name of the cell whose log this is."""
        with self.database.read() as session:
            row = session.execute("SELECT name FROM cell").fetchone()
        assert row is not None
        return str(row[0])

    # Appending

    def append(
        self,
        saves: Sequence[Save],
        *,
        move: Move | None = None,
        alongside: Callable[[Session], Sequence[Save]] | None = None,
    ) -> list[int | KeptError]:
        """Commits what can be committed: for each save its last position, or why it alone was left out.

        With a move, or with `alongside`, everything commits or nothing: raises Fenced, NotAtHead or the first conflict.
        `alongside` reads and writes its own tables in the same transaction, before the head is locked, and may return
        more saves.
        """
        if move is None and alongside is None and self.database.dialect.one_call:
            outcomes = self._append_in_one_call(saves)
            if outcomes is not None:
                return outcomes
        return self._append_row_by_row(saves, move, alongside)

    def _append_in_one_call(self, saves: Sequence[Save]) -> list[int | KeptError] | None:
        """Leaves out what conflicts, and calls again with the rest. None, and nothing done, in history mode and where others
        are always quicker."""
        outcomes: dict[int, int | KeptError] = {}
        for _ in range(ATTEMPTS):
            left = [number for number in range(len(saves)) if number not in outcomes]
            columns = Columns([saves[number] for number in left])
            try:
                columns.require_sequence()
                with self.database.write_once() as session:
                    before = columns.append(session, micros(self._machine.now()), self.bell.channel)
            except Clash:
                with self.database.read() as session:
                    guard = Guard(session, [saves[number] for number in left])
                refusals = {number: guard.add(saves[number]) for number in left}
                if guard.has_twins:
                    return None  # which of the two is recorded, only the row by row append can tell
                outcomes |= {number: refusal for number, refusal in refusals.items() if refusal is not None}
                if len(outcomes) == len(saves):
                    break
                continue
            if before is None:
                return None
            appended.add(columns.count)
            outcomes |= {number: before + end for number, end in zip(left, columns.ends, strict=True)}
            break
        return [outcomes[number] for number in range(len(saves))] if len(outcomes) == len(saves) else None

    def _append_row_by_row(
        self, saves: Sequence[Save], move: Move | None, alongside: Callable[[Session], Sequence[Save]] | None
    ) -> list[int | KeptError]:
        with self.database.write() as session:
            if alongside is not None:
                saves = [*saves, *alongside(session)]
            # In history mode followers wait for the clock, not for each command: lockstep.
            row = session.execute(_HEAD_AND_MODE + self.database.dialect.for_update).fetchone()
            assert row is not None
            position, recorded_at, peaks, lockstep = row
            if move is not None and move.at_head and position != move.expected:
                raise NotAtHead("follower-behind", follower=move.follower, position=move.expected, head=position)
            now = max(recorded_at, micros(self._machine.now()))
            batch = Batch(session, position, now, saves)
            outcomes = [batch.add(save) for save in saves]
            if move is not None or alongside is not None:
                for outcome in outcomes:
                    if isinstance(outcome, KeptError):
                        raise outcome
            if move is not None:
                # A follower that stood at the head has nothing to learn from its own events.
                to = batch.position if move.to == position else move.to
                Positions(session).move(move.follower, move.expected, to)
            batch.write(Edge(position, peaks))
            told = move is None and alongside is None
            if lockstep and told and batch.position > position:
                Lockstep(session).told(position + 1)
        appended.add(batch.position - position)
        if not (lockstep and told):
            self.bell.ring()
        return outcomes

    def lock(self, session: Session) -> None:
        """The head's, within a transaction: until its end nobody else appends."""
        session.execute("SELECT h.position FROM head h" + self.database.dialect.for_update)  # noqa: S608 - its own words

    def forget_old_requests(self) -> int:
        """Drops requests older than 30 days, by the machine's clock, some at a time, so that nobody waits long for it.
        Returns how many."""
        before = micros(self._machine.now() - REQUESTS_KEPT)
        sql = "DELETE FROM request WHERE key IN (SELECT key FROM request WHERE recorded_at < ? LIMIT ?)"
        forgotten, more = 0, True
        while more:
            with self.database.write() as session:
                count = session.execute(sql, (before, FORGOTTEN_AT_ONCE)).rowcount
            forgotten += count
            more = count == FORGOTTEN_AT_ONCE
        return forgotten

    # Reading

    def head(self) -> Head:
        with self.database.read() as session:
            row = session.execute("SELECT position, recorded_at, peaks FROM head").fetchone()
        assert row is not None
        return Head(row[0], row[1], Edge(row[0], row[2]).root())

    def position(self) -> int:
        with self.database.read() as session:
            row = session.execute("SELECT position FROM head").fetchone()
        assert row is not None
        return int(row[0])

    def read(self, after: int, limit: int) -> list[Recorded]:
        """Events after a position, in order, at most `limit`."""
        with self.database.read() as session:
            rows = session.execute(
                "SELECT position, type, recorded_at, record FROM log WHERE position > ? ORDER BY position LIMIT ?",
                (after, limit),
            )
            return list(map(Recorded._make, rows.fetchall()))

    def select(self, which: Selection, after: int, upto: int, limit: int) -> list[Recorded]:
        """Events after a position and up to another that are selected, in order, at most `limit`."""
        # Streams and customers are few events among many: with the plus, no planner walks the positions instead.
        place = "+position" if which.streams or which.customers else "position"
        sql = f"{place} > ? AND {place} <= ?"
        values: list[object] = [after, upto]
        for column, wanted in which.columns().items():
            sql += f" AND {column} IN ({marks(len(wanted))})" if wanted else ""
            values.extend(wanted)
        with self.database.read() as session:
            rows = session.execute(
                f"SELECT position, type, recorded_at, record FROM log WHERE {sql} ORDER BY {place} LIMIT ?",  # noqa: S608 - columns and marks alone
                (*values, limit),
            )
            return [Recorded(*row) for row in rows]

    def leaves(self, start: int, end: int) -> list[bytes]:
        """The Merkle leaves [start, end), counted from 0: of positions start + 1 to end, as far as they are there."""
        with self.database.read() as session:
            rows = session.execute(
                "SELECT leaf FROM log WHERE position > ? AND position <= ? ORDER BY position", (start, end)
            )
            return [bytes(row[0]) for row in rows]

    def at(self, positions: Sequence[int]) -> dict[int, Recorded]:
        """The events at these positions."""
        sql = "SELECT position, type, recorded_at, record FROM log WHERE position"
        with self.database.read() as session:
            return {row[0]: Recorded(*row) for row in where_in(session, sql, positions)}

    def stream(self, stream: UUID, after: int = 0, upto: int | None = None) -> list[tuple[int, str, bytes]]:
        """(version, type, record) of one stream after a version, in order."""
        sql = "SELECT version, type, record FROM log WHERE stream = ? AND version > ?"
        with self.database.read() as session:
            if upto is None:
                return list(session.execute(sql + " ORDER BY version", (stream, after)))
            return list(session.execute(sql + " AND version <= ? ORDER BY version", (stream, after, upto)))

    def version(self, stream: UUID) -> int:
        """The stream's last version; 0 when it has none."""
        with self.database.read() as session:
            row = session.execute("SELECT version FROM stream WHERE id = ?", (stream,)).fetchone()
        return 0 if row is None else int(row[0])

    def answer(self, key: UUID) -> Answer | None:
        """What a request got; None when it was never recorded, or longer ago than 30 days."""
        with self.database.read() as session:
            row = session.execute(
                "SELECT fingerprint, id, version, position FROM request WHERE key = ?", (key,)
            ).fetchone()
        if row is None:
            return None
        self.database.settle()  # its first commit may have been in doubt
        return Answer(bytes(row[0]), as_uuid(row[1]), row[2], row[3])
