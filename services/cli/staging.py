"""A cell on its way to PostgreSQL: under another name until all of it is there, then, in one commit, under its own.

So a half-copied cell can never be started, and of two that come at once one is refused.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Self

from psycopg import errors as pg

from services.cli.table import SERVICES, make_tables
from services.kernel.config import Settings
from services.kernel.database import Row, Session
from services.kernel.errors import InDoubt, KeptError, Misconfigured, Refused, Unavailable
from services.kernel.house import House
from services.kernel.log.transfer import (
    AT_ONCE,
    LOG,
    Reader,
    Shape,
    Side,
    Told,
    copy_tables,
    count,
    fill,
    pages,
    require_same_schema,
    shapes_of,
)
from services.kernel.merkle import Edge
from services.kernel.postgres import Postgres

REQUEST = "request"
# These grow with the log, and are copied with it; all other tables in the end, whole.
GROWING = (LOG, REQUEST, "stream")
NAMESPACES = ("log", "keys", *(f"views_{service.name}" for service in SERVICES))
IN_DOUBT = "move-in-doubt"


def is_in_doubt(error: KeptError) -> bool:
    """Whether the connection was lost while the cell got its name: it may have it."""
    return error.slug == IN_DOUBT


class Staging:
    """`settings` are those of the cell to be made, on PostgreSQL; `source` is where its tables are, on SQLite."""

    def __init__(self, settings: Settings, source: House) -> None:
        self._settings = settings
        self._source = source
        # Short: with the namespace it must fit a schema's name.
        staged = f"moving-{hashlib.sha256(settings.cell.encode()).hexdigest()[:12]}"
        self._staged = House(replace(settings, cell=staged))
        self._named = House(settings)
        self._open = ExitStack()
        self.reader = Reader("the copy of the log")
        self._counted = 0  # up to where versions of streams are counted

    def __enter__(self) -> Self:
        self._open.callback(self._staged.close)
        self._open.callback(self._named.close)
        log = self._named.database("log")
        assert isinstance(log, Postgres)
        self._postgres = log
        if not self._open.enter_context(log.alone(f"kept:{self._settings.cell}:move", wait=False)):
            self._open.close()
            raise Misconfigured(
                f"somebody else is moving or restoring the cell {self._settings.cell!r} there at this moment"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    # Before

    def holder(self) -> str | None:
        """Which move has made the cell that is there under the name; empty for a cell that none has made; None: no cell."""
        return self._comment(self._named)

    def refuse_taken(self) -> None:
        """Raises Misconfigured where any part of a cell has the name already."""
        if any(self._named.database(namespace).exists() for namespace in NAMESPACES):
            raise Misconfigured(f"that database has a cell {self._settings.cell!r} already; choose another database")

    def begin_anew(self, move: str) -> None:
        """Empty tables; what an earlier try has left is thrown away. Raises Misconfigured where the name is taken."""
        self.refuse_taken()
        self.discard()
        self.reader, self._counted = Reader("the copy of the log"), 0
        make_tables(self._staged, self._source.log.cell(), views=True)
        with self._staged.database("log").write() as session:
            session.execute(f"COMMENT ON SCHEMA {_schema(self._staged, 'log')} IS '{move}'")

    def go_on(self, move: str) -> bool:
        """Whether an earlier try of this very move has left a sound beginning of this very log; then it is used."""
        if self._comment(self._staged) != move:
            return False
        try:
            with self._staged.database("log").read() as session:
                self.reader.read_on(session)
        except KeptError:  # whatever is wrong with it: it is made again
            return False
        return self._root_at(self.reader.position) == self.reader.root

    def discard(self) -> None:
        with self._staged.database("log").write() as session:
            for namespace in NAMESPACES:
                session.execute(f"DROP SCHEMA IF EXISTS {_schema(self._staged, namespace)} CASCADE")

    def require_same_schema(self) -> None:
        """Raises Misconfigured where the source's tables are not those of this Kept."""
        for namespace in NAMESPACES:
            with self._both(namespace) as (theirs, ours):
                require_same_schema(theirs, ours)

    # Copying

    def copy_log(self, told: Told) -> int:
        """What came after what is there already, of events and of what grows with them; each event is read back and hashed
        again. Returns how many they were."""
        before, head = self.reader.position, self._source.log.position()
        with self._both(LOG) as (theirs, ours):
            shape, mine = shapes_of(theirs)[LOG], shapes_of(ours)[LOG]
            for rows in pages(theirs.session, shape, tuple(mine.types), (before,)):
                self._fill(mine, rows)
                self.reader.read_on(ours.session, upto=rows[-1][0])
                told(self.reader.position, max(head, self.reader.position))
                if len(rows) < AT_ONCE:
                    break
        self._copy_requests()
        self._count_versions()
        return self.reader.position - before

    def _copy_requests(self) -> None:
        """Those since the newest that is there: their times never decrease. Several may have the same time."""
        with self._both(LOG) as (theirs, ours):
            mine = shapes_of(ours)[REQUEST]
            by_time = replace(shapes_of(theirs)[REQUEST], key=("recorded_at", "key"))
            (newest,) = _row(ours.session, "SELECT coalesce(max(recorded_at), 0) FROM request")
            with ours.database.write() as session:
                session.execute("DELETE FROM request WHERE recorded_at = ?", (newest,))
            for rows in pages(theirs.session, by_time, tuple(mine.types), (newest, b"")):
                self._fill(mine, rows)

    def _count_versions(self) -> None:
        """Of the streams of what was copied, from the copy itself."""
        with self._staged.database("log").write() as session:
            if not self._counted:
                session.execute("DELETE FROM stream")
            session.execute(
                """INSERT INTO stream SELECT stream, max(version) FROM log WHERE position > ? AND position <= ?
                   GROUP BY stream ON CONFLICT (id) DO UPDATE SET version = excluded.version""",
                (self._counted, self.reader.position),
            )
        self._counted = self.reader.position

    def _fill(self, shape: Shape, rows: list[Row]) -> None:
        target = self._staged.database("log")
        with target.write() as session:
            fill(Side(target, session), shape, rows, self._source.database("log").dialect)

    @contextmanager
    def _both(self, namespace: str) -> Iterator[tuple[Side, Side]]:
        source, target = self._source.database(namespace), self._staged.database(namespace)
        with source.read() as theirs, target.read() as ours:
            yield Side(source, theirs), Side(target, ours)

    def copy_views(self, told: Callable[[str], Told]) -> None:
        """As each view stands now, with its follower's position: it reads on from there."""
        for service in SERVICES:
            self._copy(f"views_{service.name}", told(f"copying the views of {service.name}"))

    def copy_rest(self, told: Told) -> None:
        """All that is left but views, from a source that nobody changes any more; then compares the whole.

        Raises log-damaged, transfer-incomplete.
        """
        self._copy("log", told, leave_out=GROWING)
        self._copy("keys", told)
        self._forget_old_requests()
        with self._staged.database("log").read() as session:
            self.reader.finish(session)
        head = self._source.log.head()
        if (head.position, head.root) != (self.reader.position, self.reader.root):
            raise Refused(
                "transfer-incomplete", f"the source ends at {head.position}, the copy at {self.reader.position}"
            )

    def _forget_old_requests(self) -> None:
        """Those that the source has forgotten meanwhile. Raises transfer-incomplete."""
        with self._both(LOG) as (theirs, ours):
            (oldest,) = _row(theirs.session, f"SELECT coalesce(min(recorded_at), {2**62}) FROM request")  # noqa: S608 - a number
            with ours.database.write() as session:
                session.execute("DELETE FROM request WHERE recorded_at < ?", (oldest,))
            if count(theirs.session, REQUEST) != count(ours.session, REQUEST):
                raise Refused("transfer-incomplete", "request: not every row arrived", table=REQUEST)

    def _copy(self, namespace: str, told: Told, leave_out: tuple[str, ...] = ()) -> None:
        source, target = self._source.database(namespace), self._staged.database(namespace)
        with source.snapshot() as theirs, target.write() as ours:
            copy_tables(Side(source, theirs), Side(target, ours), leave_out=leave_out, told=told)

    # After

    def give_name(self) -> None:
        """From this commit on the cell lives there.

        Raises Misconfigured where somebody has taken the name meanwhile; move-in-doubt; what else the storage refuses, and
        then it does not live there.
        """
        try:
            with self._postgres.write() as session:
                session.execute("SET LOCAL synchronous_commit = on")
                for namespace in NAMESPACES:
                    name = _schema(self._named, namespace)
                    session.execute(f"ALTER SCHEMA {_schema(self._staged, namespace)} RENAME TO {name}")
        except pg.DuplicateSchema as error:
            raise Misconfigured(
                f"somebody has just made a cell {self._settings.cell!r} there; choose another database"
            ) from error
        except InDoubt as error:
            raise Unavailable(
                IN_DOUBT, "it is not known whether the cell lives there now; run the same again"
            ) from error

    def _root_at(self, position: int) -> bytes:
        edge = Edge()
        for start in range(0, position, AT_ONCE):
            edge.extend(self._source.log.leaves(start, min(start + AT_ONCE, position)))
        return edge.root()

    def _comment(self, house: House) -> str | None:
        sql = """SELECT coalesce(obj_description(oid, 'pg_namespace'), '') FROM pg_namespace WHERE nspname = ?"""
        with self._postgres.read() as session:
            row = session.execute(sql, (_schema(house, "log"),)).fetchone()
        return None if row is None else str(row[0])


def _schema(house: House, namespace: str) -> str:
    database = house.database(namespace)
    assert isinstance(database, Postgres)
    return database.schema


def _row(session: Session, sql: str) -> Row:
    row = session.execute(sql).fetchone()
    assert row is not None
    return row
