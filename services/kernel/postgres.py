"""PostgreSQL behind the same sessions: a schema for each namespace."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

import psycopg
from psycopg import errors as pg
from psycopg.sql import SQL, Identifier

from services.kernel.database import Cursor, Database, Dialect, Row, Session
from services.kernel.errors import Misconfigured, Unavailable

# What libpq says of a refused connection; it gives no SQLSTATE there.
_REFUSED = re.compile("does not exist|authentication failed|pg_hba.conf|not permitted to log in")


class Postgres(Database):
    """A schema of one PostgreSQL database. Commits follow the server's own synchronous_commit."""

    dialect = Dialect(uuid="UUID", bytes="BYTEA", for_update=" FOR UPDATE", byte_order=' COLLATE "C"')

    def __init__(self, address: str, schema: str) -> None:
        super().__init__()
        self.address = address
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
        """Whether nobody else, on any machine, is in a block with the same name; without waiting it may be False."""
        with self._connection() as connection, self._translated():
            function = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
            row = connection.execute(f"SELECT {function}(hashtextextended(%s, 0))", (what,)).fetchone()
            mine = bool(wait or row[0])
            try:
                yield mine
            finally:
                if mine and not connection.closed:
                    connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (what,))

    def insert_rows(self, session: Session, table: str, types: Mapping[str, str], rows: Sequence[Row]) -> None:
        assert isinstance(session, _Session)
        session.copy(f"COPY {table} ({', '.join(types)}) FROM STDIN (FORMAT BINARY)", list(types.values()), rows)

    def _connect(self) -> psycopg.Connection[Any]:
        try:
            connection = psycopg.connect(self.address, autocommit=True, application_name=f"kept:{self.schema}")
        except psycopg.ProgrammingError as error:  # not told: it may repeat a password
            raise Misconfigured("KEPT_DATABASE is no address that PostgreSQL understands") from error
        connection.execute(SQL("SET search_path TO {}").format(Identifier(self.schema)))
        return connection

    def _session(self, connection: psycopg.Connection[Any]) -> Session:
        return _Session(connection)

    def _begin(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute("BEGIN")

    def _begin_snapshot(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute("SELECT 1")  # the state is taken at the first statement

    def _commit(self, connection: psycopg.Connection[Any]) -> None:
        if connection.execute("COMMIT").statusmessage != "COMMIT":
            raise RuntimeError("PostgreSQL rolled back: a statement's error was swallowed inside the transaction")

    def _rollback(self, connection: psycopg.Connection[Any]) -> None:
        if not connection.closed:
            connection.execute("ROLLBACK")

    def _reusable(self, connection: psycopg.Connection[Any]) -> bool:
        return not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE

    def translate(self, error: Exception) -> Exception:
        match error:
            case pg.DiskFull() | pg.ConfigurationLimitExceeded():
                return Unavailable("storage-full", "the database server's disk is full")
            case pg.ReadOnlySqlTransaction():
                return Unavailable("storage-read-only", "the database server only reads at the moment")
            case psycopg.OperationalError() if error.sqlstate is None and _REFUSED.search(str(error)):
                return Misconfigured(f"PostgreSQL refuses the address in KEPT_DATABASE: {error}")
            case psycopg.OperationalError():
                return Unavailable("storage-lost", "the connection to PostgreSQL was lost or refused; try again")
        return error


class _Session:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> Cursor:
        return cast(Cursor, self._connection.execute(_percent(sql), parameters))

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
