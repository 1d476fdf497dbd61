"""A cell on its way to PostgreSQL: under another name until all of it is there, then, in one commit, under its own.

So a half-copied cell can never be started, and of two that come at once one is refused.
"""

import hashlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

import psycopg
from psycopg import errors as pg

from services.cli.table import SERVICES, make_tables
from services.kernel.config import Settings
from services.kernel.database import Session
from services.kernel.errors import KeptError, Misconfigured, Refused, Unavailable
from services.kernel.house import House
from services.kernel.log.transfer import (
    AT_ONCE,
    LOG,
    Reader,
    Side,
    Told,
    copy_tables,
    fill,
    pages,
    require_same_schema,
    shapes_of,
)
from services.kernel.merkle import Edge
from services.kernel.postgres import Postgres

NAMESPACES = ("log", "keys", *(f"views_{service.name}" for service in SERVICES))


class InDoubt(Unavailable):
    """The connection was lost while the cell got its name; it may have it."""


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
        self.reader = Reader("the copy of the log")
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
            source, target = self._source.database(namespace), self._staged.database(namespace)
            with source.read() as theirs, target.read() as ours:
                require_same_schema(Side(source, theirs), Side(target, ours))

    # Copying

    def copy_log(self, told: Told) -> int:
        """What came after what is there already; each event is read back and hashed again. Returns how many they were."""
        source, target = self._source.database("log"), self._staged.database("log")
        before, head = self.reader.position, self._source.log.position()
        with source.read() as theirs, target.read() as ours:
            shape, mine = (shapes_of(Side(*side))[LOG] for side in ((source, theirs), (target, ours)))
            for rows in pages(theirs, shape, tuple(mine.types), (before,)):
                with target.write() as session:
                    fill(Side(target, session), mine, rows, source.dialect)
                self.reader.read_on(ours, upto=rows[-1][0])
                told(self.reader.position, max(head, self.reader.position))
                if len(rows) < AT_ONCE:
                    break
        return self.reader.position - before

    def copy_views(self, told: Callable[[str], Told]) -> None:
        """As each view stands now, with its follower's position: it reads on from there."""
        for service in SERVICES:
            self._copy(f"views_{service.name}", told(f"copying the views of {service.name}"))

    def copy_rest(self, told: Told) -> None:
        """Everything but events and views, from a source that nobody changes any more; then compares the whole.

        Raises log-damaged, transfer-incomplete.
        """
        self._copy("log", told, leave_out=(LOG,))
        self._copy("keys", told)
        with self._staged.database("log").read() as session:
            self.reader.finish(session)
        head = self._source.log.head()
        if (head.position, head.root) != (self.reader.position, self.reader.root):
            raise Refused(
                "transfer-incomplete", f"the source ends at {head.position}, the copy at {self.reader.position}"
            )

    def _copy(self, namespace: str, told: Told, leave_out: tuple[str, ...] = ()) -> None:
        source, target = self._source.database(namespace), self._staged.database(namespace)
        with source.snapshot() as theirs, target.write() as ours:
            copy_tables(Side(source, theirs), Side(target, ours), leave_out=leave_out, told=told)

    # After

    def give_name(self) -> None:
        """From this commit on the cell lives there. Raises Misconfigured where somebody has taken the name meanwhile."""
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
        except Unavailable as error:
            raise InDoubt(
                "move-in-doubt", "it is not known whether the cell lives there now; run the same again"
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


def reachable(address: str) -> None:
    """Raises Misconfigured for an address that does not work, Unavailable where the server does not answer."""
    database = Postgres(address, "public")
    try:
        with database.read() as session:
            _one(session)
    finally:
        database.close()


def without_password(address: str) -> str:
    """The same address as others may see it. Raises Misconfigured."""
    try:
        parts = psycopg.conninfo.conninfo_to_dict(address)
    except psycopg.ProgrammingError as error:  # not told: it may repeat a password
        raise Misconfigured("--to is no address that PostgreSQL understands") from error
    if "password" not in parts:
        return address
    return _url({name: str(value) for name, value in parts.items() if name != "password"})


def _url(parts: dict[str, str]) -> str:
    from urllib.parse import quote, urlencode

    host, port, user = parts.pop("host", ""), parts.pop("port", ""), parts.pop("user", "")
    name = parts.pop("dbname", "")
    # A socket's folder is no host name of an address: it stands among the options.
    options = {**({"host": host} if "/" in host or "," in host else {}), **parts}
    where = (f"{quote(user)}@" if user else "") + ("" if "host" in options else host) + (f":{port}" if port else "")
    return f"postgresql://{where}/{quote(name)}" + (f"?{urlencode(options)}" if options else "")


def _one(session: Session) -> None:
    session.execute("SELECT 1").fetchone()
