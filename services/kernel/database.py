"""One way to a database, SQLite or PostgreSQL, behind the same settings: a folder, or a postgresql:// address.

SQL is written once, with `?` for parameters and types from `Dialect`; UUIDs go in as `uuid.UUID`. A namespace (log, keys,
views_case, ...) is a file on SQLite and a schema on PostgreSQL.
"""

import sqlite3
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast
from uuid import UUID

from services.kernel.errors import InDoubt, Misconfigured, Unavailable

Row = tuple[Any, ...]
PATIENCE_S = 10
# Of one namespace in one process. More threads than these take turns; a server counts its connections, and each of SQLite's
# has a cache of pages.
MOST_CONNECTIONS = 8
BUSY_MS = 20  # a longer wait inside SQLite would stall an eventlet hub; we retry outside the transaction instead


class Clash(Exception):
    """A row is there already that must be the only one of its kind; the transaction left no trace."""


class Cursor(Protocol):
    rowcount: int

    def fetchone(self) -> Row | None: ...
    def fetchall(self) -> list[Row]: ...
    def __iter__(self) -> Iterator[Row]: ...


class Session(Protocol):
    """One connection, inside a transaction or reading; not to be kept beyond its `with`."""

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> Cursor: ...
    def executemany(self, sql: str, rows: Sequence[Sequence[object]]) -> None: ...


@dataclass(frozen=True)
class Dialect:
    """Column types where the two differ, the clause that locks the rows of `h`, the one that sorts texts by bytes, and
    whether the server runs functions of ours."""

    uuid: str
    bytes: str
    for_update: str
    byte_order: str
    one_call: bool = False


class Database(ABC):
    """One namespace. Connections are pooled; `write` is one transaction that commits, or leaves no trace."""

    dialect: Dialect

    def __init__(self) -> None:
        self._idle: list[Any] = []
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A connection to read from; each statement sees what is committed when it starts."""
        with self._connection() as connection, self._translated():
            yield self._session(connection)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction. Raises Unavailable (storage-busy, storage-full, storage-read-only, storage-lost), and InDoubt
        where it may have been committed."""
        with self._connection() as connection, self._translated():
            self._begin(connection)
            try:
                yield self._session(connection)
                self._commit(connection)
            except BaseException:
                self._rollback(connection)
                raise

    @contextmanager
    def write_once(self) -> Iterator[Session]:
        """For a single statement, which is a transaction of its own. Raises as `write`."""
        with self.write() as session:
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """A connection that sees one unchanging state of this namespace, whatever others commit meanwhile."""
        with self._connection() as connection, self._translated():
            self._begin_snapshot(connection)
            try:
                yield self._session(connection)
            finally:
                connection.execute("ROLLBACK")

    def settle(self) -> None:  # noqa: B027 - what can be read of a SQLite file is on the disk
        """Returns when what was read before is as safe as what was just committed. Raises as `write`."""

    def close(self) -> None:
        while (connection := self._pooled()) is not None:
            connection.close()

    @contextmanager
    def _connection(self) -> Iterator[Any]:
        if not self._places.acquire(timeout=PATIENCE_S):
            raise Unavailable("storage-busy", "all connections to the database are in use; try again")
        try:
            with self._translated():
                connection = self._pooled() or self._connect()
            try:
                yield connection
            finally:
                if self._reusable(connection):
                    self._idle.append(connection)
                else:
                    connection.close()
                    self.close()  # the idle ones are as stale
        finally:
            self._places.release()

    def _pooled(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:  # asking first whether it is empty would let another thread in between
            return None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            refusal = self.translate(error)
            if refusal is error:
                raise
            raise refusal from error

    @abstractmethod
    def translate(self, error: Exception) -> Exception:
        """The refusal that a driver's error means; the error itself where it is no storage's fault."""

    @abstractmethod
    def exists(self) -> bool:
        """Whether this namespace was ever made."""

    def create(self) -> None:  # noqa: B027 - a SQLite file is made by its first connection
        """Makes the place for the namespace's tables, where it needs one."""

    def lock_schema(self, session: Session) -> None:  # noqa: B027 - SQLite has one writer at a time anyway
        """Within a transaction, until its end: nobody else changes this namespace's tables."""

    def insert_rows(self, session: Session, table: str, types: Mapping[str, str], rows: Sequence[Row]) -> None:
        """Many rows of one table. `types` maps the columns, in the rows' order, to this database's own types."""
        sql = f"INSERT INTO {table} ({', '.join(types)}) VALUES ({marks(len(types))})"  # noqa: S608 - our own names
        session.executemany(sql, rows)

    @abstractmethod
    def has_table(self, session: Session, name: str) -> bool: ...
    @abstractmethod
    def _connect(self) -> Any: ...
    @abstractmethod
    def _session(self, connection: Any) -> Session: ...
    @abstractmethod
    def _begin(self, connection: Any) -> None: ...
    @abstractmethod
    def _begin_snapshot(self, connection: Any) -> None: ...
    @abstractmethod
    def _commit(self, connection: Any) -> None: ...
    @abstractmethod
    def _rollback(self, connection: Any) -> None: ...
    @abstractmethod
    def _reusable(self, connection: Any) -> bool: ...


class SQLite(Database):
    """One file in WAL mode. `durable` files sync at every commit; others may lose the newest commits, whole, in a power cut."""

    dialect = Dialect(uuid="BLOB", bytes="BLOB", for_update="", byte_order="")

    def __init__(self, path: Path | str, *, durable: bool = True, patience_s: float = PATIENCE_S) -> None:
        super().__init__()
        self.path = path
        self._durable = durable
        self._patience_s = patience_s
        self._writing = threading.Lock()

    def exists(self) -> bool:
        return self.path == ":memory:" or Path(self.path).exists()

    def has_table(self, session: Session, name: str) -> bool:
        sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
        return session.execute(sql, (name,)).fetchone() is not None

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False, cached_statements=512
        )
        wanted = 2 if self._durable else 1
        self._patiently(connection, "pragma journal_mode=wal")  # somebody else may be making the file
        connection.execute(f"pragma synchronous={wanted}")
        connection.execute("pragma cache_size=-32768")
        if connection.execute("pragma synchronous").fetchone()[0] != wanted:
            raise Misconfigured(f"{self.path}: SQLite does not sync as asked; refusing to acknowledge what may be lost")
        return connection

    def _session(self, connection: sqlite3.Connection) -> Session:
        return cast(Session, connection)  # sqlite3 already speaks `?` and UUIDs through the adapter below

    def _begin(self, connection: sqlite3.Connection) -> None:
        self._writing.acquire()
        try:
            self._patiently(connection, "BEGIN IMMEDIATE")
        except BaseException:
            self._writing.release()
            raise

    def _patiently(self, connection: sqlite3.Connection, sql: str) -> None:
        """Again and again while another process writes."""
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                connection.execute(sql)
            except sqlite3.OperationalError as error:
                if _code(error) not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or time.monotonic() > deadline:
                    raise
                time.sleep(0.002)  # green in workers, and outside any transaction
            else:
                return

    def _begin_snapshot(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN")
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # the state is taken at the first read

    def _commit(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:
            if _code(error) == sqlite3.SQLITE_IOERR:
                # What was written may be found again when the file is next opened.
                raise InDoubt(str(_unavailable(error, str(self.path)))) from error
            raise
        self._writing.release()

    def _rollback(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        finally:
            self._writing.release()

    def _reusable(self, connection: sqlite3.Connection) -> bool:
        return not connection.in_transaction

    def translate(self, error: Exception) -> Exception:
        return _unavailable(error, str(self.path)) if isinstance(error, sqlite3.Error) else error


class ScratchSQLite(SQLite):
    """A file for one process that is thrown away afterwards: no journal, no sync. An error leaves it useless."""

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, cached_statements=512)
        connection.execute("pragma journal_mode=off")
        connection.execute("pragma synchronous=off")
        connection.execute("pragma cache_size=-131072")
        return connection


def _unavailable(error: sqlite3.Error, where: str) -> Exception:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_CONSTRAINT_TRIGGER:  # see log/moved.py
        return Unavailable("cell-moves", "this cell is moving to another database; try again", retry_after_s=1.0)
    match _code(error):
        case sqlite3.SQLITE_FULL:
            return Unavailable("storage-full", f"{where}: the disk is full; free some space and try again")
        case sqlite3.SQLITE_READONLY:
            return Unavailable("storage-read-only", f"{where}: the file or its folder cannot be written")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return Unavailable("storage-busy", f"{where}: another process writes; try again")
        case sqlite3.SQLITE_CANTOPEN:
            return Misconfigured(f"{where}: cannot be opened; check that the folder exists and is yours")
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return Misconfigured(f"{where}: is not a sound SQLite database; restore it from a copy")
        case sqlite3.SQLITE_IOERR:
            return Unavailable("storage-lost", f"{where}: cannot be read or written ({error})")
    return error


def _code(error: sqlite3.Error) -> int:
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


# Not `value.bytes`: that property would be a second call, for every id of every statement.
sqlite3.register_adapter(UUID, lambda value: value.int.to_bytes(16, "big"))


@lru_cache(maxsize=65_536)
def uuid_of(text: str) -> UUID:
    """The UUID of a text; the same ones come up again and again in a log. Raises ValueError."""
    return UUID(text)


def as_uuid(value: Any) -> UUID:
    """A UUID column's value, whichever database gave it."""
    return value if isinstance(value, UUID) else UUID(bytes=value)


def marks(count: int) -> str:
    """`?, ?, ?` for a list of parameters."""
    return ", ".join("?" * count)
