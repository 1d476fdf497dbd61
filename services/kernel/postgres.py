"""PostgreSQL behind the same sessions: a schema for each namespace."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, cast

import psycopg
from psycopg import errors as pg
from psycopg.adapt import Dumper
from psycopg.sql import SQL, Identifier

from services.kernel.database import PATIENCE_S, Clash, Cursor, Database, Dialect, Row, Session
from services.kernel.errors import Misconfigured, Unavailable
from services.kernel.log.arrays import Array
from services.kernel.postgres_connection import committing, connect

# A process that stands still inside a transaction, suspended or lost, would hold the log's head: the server ends it.
STANDS_STILL_S = 30
# What libpq says of a refused connection; it gives no SQLSTATE there.
_REFUSED = re.compile("does not exist|authentication failed|pg_hba.conf|not permitted to log in")


class Postgres(Database):
    """A schema of one PostgreSQL database. Commits follow the server's own synchronous_commit."""

    dialect = Dialect(
        uuid="UUID", bytes="BYTEA", for_update=" FOR UPDATE OF h", byte_order=' COLLATE "C"', one_call=True
    )

    def __init__(self, address: str, schema: str, *, given_as: str = "KEPT_DATABASE") -> None:
        """`given_as` is what names the address to whoever gave it."""
        super().__init__()
        self.address = address
        self._given_as = given_as
        self.schema = schema

    def exists(self) -> bool:
        with self._connection() as connection, self._translated():
            found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (self.schema,)).fetchone()
        return found is not None

    def has_table(self, session: Session, name: str) -> bool:
        sql = "SELECT 1 FROM information_schema.tables WHERE table_schema = ? AND table_name = ?"
        return session.execute(sql, (self.schema, name)).fetchone() is not None

    def create(self) -> None:
        # Two that do so at once would both find it missing.
        with self.write() as session:
            self.lock_schema(session)
            session.execute(f'CREATE SCHEMA IF NOT EXISTS "{self.schema}"')

    def lock_schema(self, session: Session) -> None:
        session.execute("SELECT pg_advisory_xact_lock(hashtextextended(?, 0))", (self.schema,))

    @contextmanager
    def alone(self, what: str, *, wait: bool = True) -> Iterator[bool]:
        """Whether nobody else, on any machine, is in a block with the same name; without waiting it may be False.

        Raises Unavailable (storage-lost) at the end where the connection was lost: somebody else may have been in it too.
        """
        with self._connection() as connection, self._translated():
            # Whoever is before us may make tables for longer than any change takes.
            connection.execute("SET lock_timeout = 0")
            function = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
            row = connection.execute(f"SELECT {function}(hashtextextended(%s, 0))", (what,)).fetchone()
            mine = bool(wait or row[0])
            connection.execute(SQL("SET lock_timeout = {}").format(f"{PATIENCE_S}s"))
            unlock = "SELECT pg_advisory_unlock(hashtextextended(%s, 0))"
            try:
                yield mine
            except BaseException:
                if mine:
                    with suppress(psycopg.Error):  # a lost connection has released it; what failed in it is told
                        connection.execute(unlock, (what,))
                raise
            row = connection.execute(unlock, (what,)).fetchone() if mine else (True,)
            if not (row and row[0]):
                raise Unavailable("storage-lost", "the lock was lost: somebody else may have worked at the same time")

    def insert_rows(self, session: Session, table: str, types: Mapping[str, str], rows: Sequence[Row]) -> None:
        assert isinstance(session, _Session)
        session.copy(f"COPY {table} ({', '.join(types)}) FROM STDIN (FORMAT BINARY)", list(types.values()), rows)

    @contextmanager
    def write_once(self) -> Iterator[Session]:
        with self._connection() as connection, self._translated(), committing(connection):
            yield self._session(connection)

    def settle(self) -> None:
        # A commit that no standby confirmed can be read all the same once its wait was cancelled, or the server was
        # started again. Commits are confirmed in order: an empty one of ours comes after it.
        with self.write_once() as session:
            session.execute("SELECT pg_logical_emit_message(true, 'kept', '')")

    def _connect(self) -> psycopg.Connection[Any]:
        connection = connect(self.address, f"kept:{self.schema}", given_as=self._given_as)
        connection.execute(
            SQL("SET search_path TO {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}").format(
                Identifier(self.schema), *(f"{seconds}s" for seconds in (PATIENCE_S, STANDS_STILL_S))
            )
        )
        return connection

    def _session(self, connection: psycopg.Connection[Any]) -> Session:
        return _Session(connection)

    def _begin(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute("BEGIN")

    def _begin_snapshot(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        # Whoever only reads holds no lock that others wait for. The state is taken at the first statement.
        connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        connection.execute("SELECT 1")

    def _commit(self, connection: psycopg.Connection[Any]) -> None:
        with committing(connection):
            status = connection.execute("COMMIT").statusmessage
        if status != "COMMIT":
            raise RuntimeError("PostgreSQL rolled back: a statement's error was swallowed inside the transaction")

    def _rollback(self, connection: psycopg.Connection[Any]) -> None:
        with suppress(psycopg.OperationalError):  # the connection is lost, and the server rolls back by itself
            connection.execute("ROLLBACK")

    def _reusable(self, connection: psycopg.Connection[Any]) -> bool:
        return not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE

    def translate(self, error: Exception) -> Exception:
        match error:
            case pg.UniqueViolation():
                return Clash("a unique constraint refuses it")
            case pg.DiskFull() | pg.ConfigurationLimitExceeded():
                return Unavailable("storage-full", "the database server's disk is full")
            case pg.ReadOnlySqlTransaction():
                return Unavailable("storage-read-only", "the database server only reads at the moment")
            case pg.QueryCanceled() | pg.LockNotAvailable() | pg.DeadlockDetected() | pg.SerializationFailure():
                return Unavailable("storage-busy", "PostgreSQL ended a statement that had waited; try again")
            case pg.IdleInTransactionSessionTimeout() | pg.TransactionTimeout():  # no OperationalError of psycopg's
                return Unavailable("storage-lost", "PostgreSQL ended a transaction that had stood still; try again")
            case psycopg.OperationalError() if error.sqlstate is None and _REFUSED.search(str(error)):
                return Misconfigured(f"PostgreSQL refuses the address in {self._given_as}: {error}")
            case psycopg.OperationalError():
                return Unavailable("storage-lost", "the connection to PostgreSQL was lost or refused; try again")
        return error


class _ArrayDumper(Dumper):
    format = psycopg.pq.Format.BINARY

    def dump(self, obj: Array) -> bytes:
        return obj


psycopg.adapters.register_dumper(Array, _ArrayDumper)


class _Session:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> Cursor:
        # Binary results: bytes come as they are, not as twice as many hexadecimal digits.
        return cast(Cursor, self._connection.execute(_percent(sql), parameters, binary=True))

    def executemany(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_percent(sql), rows)

    def copy(self, sql: str, types: Sequence[str], rows: Sequence[Row]) -> None:
        with self._connection.cursor() as cursor, cursor.copy(sql.encode()) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)


@lru_cache(maxsize=1024)
def _percent(sql: str) -> bytes:
    return sql.replace("%", "%%").replace("?", "%s").encode()
