"""PostgreSQL behind the same sessions: a schema for each namespace."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

import psycopg
from psycopg import errors as pg
from psycopg.sql import SQL, Identifier

from services.kernel.database import Cursor, Database, Dialect, Session
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
        with self._connection() as connection, self._translated():
            connection.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(self.schema)))

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
        # Binary results: bytes come as they are, not as twice as many hexadecimal digits.
        return cast(Cursor, self._connection.execute(_percent(sql), parameters, binary=True))

    def executemany(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_percent(sql), rows)


@lru_cache(maxsize=1024)
def _percent(sql: str) -> bytes:
    return sql.replace("%", "%%").replace("?", "%s").encode()
