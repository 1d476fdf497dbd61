"""PostgreSQL behind the same sessions: a schema for each namespace."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

import psycopg
from psycopg import errors as pg
from psycopg.sql import SQL, Identifier

from services.kernel.database import Cursor, Database, Dialect, Session
from services.kernel.errors import Misconfigured, Unavailable


class Postgres(Database):
    """A schema of one PostgreSQL database. Commits follow the server's own synchronous_commit."""

    dialect = Dialect(uuid="UUID", bytes="BYTEA", for_update=" FOR UPDATE")

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
        connection = psycopg.connect(self.address, autocommit=True, application_name=f"kept:{self.schema}")
        connection.execute(SQL("SET search_path TO {}").format(Identifier(self.schema)))
        return connection

    def _session(self, connection: psycopg.Connection[Any]) -> Session:
        return _Session(connection)

    def _begin(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute("BEGIN")

    def _commit(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute("COMMIT")

    def _rollback(self, connection: psycopg.Connection[Any]) -> None:
        if not connection.closed:
            connection.execute("ROLLBACK")

    def _reusable(self, connection: psycopg.Connection[Any]) -> bool:
        return not connection.closed and connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (pg.DiskFull, pg.ConfigurationLimitExceeded) as error:
            raise Unavailable("storage-full", "the database server's disk is full") from error
        except pg.ReadOnlySqlTransaction as error:
            raise Unavailable("storage-read-only", "the database server only reads at the moment") from error
        except (pg.InvalidPassword, pg.InvalidAuthorizationSpecification, pg.InvalidCatalogName) as error:
            raise Misconfigured(
                f"PostgreSQL refuses the address in KEPT_DATABASE: {error.diag.message_primary}"
            ) from error
        except psycopg.OperationalError as error:
            raise Unavailable("storage-lost", "the connection to PostgreSQL was lost or refused; try again") from error


class _Session:
    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[object] = ()) -> Cursor:
        return cast(Cursor, self._connection.execute(_percent(sql), parameters))

    def executemany(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        with self._connection.cursor() as cursor:
            cursor.executemany(_percent(sql), rows)


@lru_cache(maxsize=1024)
def _percent(sql: str) -> bytes:
    return sql.replace("%", "%%").replace("?", "%s").encode()
