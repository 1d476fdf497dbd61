"""What a database's failures are told as, and that a write commits or leaves no trace."""

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from services.kernel import database as database_module
from services.kernel.database import Database, SQLite, as_uuid
from services.kernel.errors import Misconfigured, Unavailable
from services.kernel.postgres import Postgres
from tests.databases import Cell
from tests.kernel.toys import jar_id


@pytest.fixture
def database(cell: Cell) -> Iterator[Database]:
    made = cell.database("log")
    made.create()
    with made.write() as session:
        session.execute(f"CREATE TABLE jar (id {made.dialect.uuid} PRIMARY KEY, label TEXT NOT NULL)")
    yield made
    made.close()


def put(database: Database, name: str, label: str = "plums") -> None:
    with database.write() as session:
        session.execute("INSERT INTO jar VALUES (?, ?)", (jar_id(name), label))


def all_labels(database: Database) -> list[str]:
    with database.read() as session:
        return [row[0] for row in session.execute("SELECT label FROM jar ORDER BY label")]


def set_on_connection(database: Database, setting: str) -> None:
    """On the pooled connection, which the next write takes."""
    with database.read() as session:
        session.execute(setting)


def test_a_write_commits_whole(database: Database) -> None:
    with database.write() as session:
        session.executemany("INSERT INTO jar VALUES (?, ?)", [(jar_id("a"), "50%"), (jar_id("b"), "why")])

    assert all_labels(database) == ["50%", "why"]
    with database.read() as session:
        found = session.execute("SELECT id FROM jar WHERE label = ? AND label LIKE '5%'", ("50%",)).fetchone()
    assert found is not None
    assert as_uuid(found[0]) == jar_id("a")


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_a_write_that_fails_leaves_no_trace_and_the_next_one_works(
    database: Database, error: type[BaseException]
) -> None:
    def fail() -> None:
        with database.write() as session:
            session.execute("INSERT INTO jar VALUES (?, ?)", (jar_id("a"), "half"))
            raise error

    with pytest.raises(error):
        fail()

    put(database, "b")
    assert all_labels(database) == ["plums"]


def test_a_mistake_of_ours_is_no_refusal(database: Database) -> None:
    put(database, "a")

    with pytest.raises(Exception, match=r"(?i)unique|syntax") as caught:
        put(database, "a")

    assert not isinstance(caught.value, (Unavailable, Misconfigured))
    assert all_labels(database) == ["plums"]


def test_a_connection_is_used_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    connect = database._connect

    def counted() -> Any:
        nonlocal made
        made += 1
        return connect()

    monkeypatch.setattr(database, "_connect", counted)
    for name in "abc":
        put(database, name)
        all_labels(database)

    assert made <= 1


def test_many_threads_read_and_write_over_one_pool(database: Database) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for count in range(10):
                put(database, f"{number}.{count}")
                all_labels(database)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert len(all_labels(database)) == 80


def test_storage_that_only_reads_is_told_as_such(database: Database) -> None:
    on_postgres = isinstance(database, Postgres)
    set_on_connection(database, "SET default_transaction_read_only = on" if on_postgres else "pragma query_only = on")

    with pytest.raises(Unavailable) as caught:
        put(database, "a")

    assert caught.value.slug == "storage-read-only"
    assert all_labels(database) == []


# SQLite alone


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SQLite]:
    made = SQLite(tmp_path / "jars.db", patience_s=0)
    with made.write() as session:
        session.execute("CREATE TABLE jar (id BLOB PRIMARY KEY, label TEXT NOT NULL)")
    yield made
    made.close()


def test_a_full_disk_is_told_as_such_and_leaves_no_trace(file: SQLite) -> None:
    set_on_connection(file, "pragma max_page_count = 4")

    with pytest.raises(Unavailable) as caught:
        put(file, "a", "x" * 100_000)

    assert caught.value.slug == "storage-full"
    put(file, "b", "small")
    assert all_labels(file) == ["small"]


def test_a_foreign_writer_is_waited_for_with_patience_alone(file: SQLite, tmp_path: Path) -> None:
    foreign = sqlite3.connect(tmp_path / "jars.db", isolation_level=None)
    foreign.execute("BEGIN IMMEDIATE")

    with pytest.raises(Unavailable) as caught:
        put(file, "a")
    foreign.execute("ROLLBACK")

    assert caught.value.slug == "storage-busy"
    put(file, "a")
    assert all_labels(file) == ["plums"]
    foreign.close()


def test_the_log_syncs_every_commit_and_views_need_not(tmp_path: Path) -> None:
    for durable, wanted in ((True, 2), (False, 1)):
        made = SQLite(tmp_path / f"{durable}.db", durable=durable)
        with made.read() as session:
            assert session.execute("pragma synchronous").fetchone() == (wanted,)
            assert session.execute("pragma journal_mode").fetchone() == ("wal",)
        made.close()


def test_a_sqlite_that_does_not_sync_as_asked_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            return super().execute("pragma synchronous=1" if sql == "pragma synchronous=2" else sql, *parameters)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **kwargs: connect(*args, factory=Forgetful, **kwargs))

    with pytest.raises(Misconfigured, match="does not sync"), SQLite(tmp_path / "jars.db").read():
        pass


def test_a_folder_that_is_missing_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="check that the folder exists"), SQLite(tmp_path / "no" / "jars.db").read():
        pass


def test_a_file_that_is_no_database_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "jars.db"
    path.write_bytes(b"not a database, whatever its name says" * 100)

    with pytest.raises(Misconfigured, match="not a sound SQLite database"), SQLite(path).read():
        pass


# PostgreSQL alone


def test_a_server_that_does_not_answer_may_answer_later(tmp_path: Path) -> None:
    database = Postgres("postgresql://postgres@127.0.0.1:1/postgres", "jars")

    with pytest.raises(Unavailable) as caught, database.read():
        pass

    assert caught.value.slug == "storage-lost"


@pytest.mark.parametrize("wrong", ["database", "parameter"])
def test_an_address_that_can_never_work_is_told_as_such(postgres: str, wrong: str) -> None:
    parts = urlsplit(postgres)
    changed = parts._replace(path="/no_such_database") if wrong == "database" else parts._replace(query="foo=bar")

    with pytest.raises(Misconfigured, match="KEPT_DATABASE"), Postgres(changed.geturl(), "jars").read():
        pass


def test_a_commit_that_postgres_turned_into_a_rollback_is_no_success(postgres_cell: Cell) -> None:
    database = postgres_cell.database("log")
    database.create()

    with pytest.raises(RuntimeError, match="rolled back"), database.write() as session, suppress(psycopg.Error):
        session.execute("SELECT no_such_column")
    database.close()


def test_who_only_reads_may_take_its_time(postgres_cell: Cell) -> None:
    database = postgres_cell.database("log")
    database.create()

    with database.snapshot() as session:
        assert session.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("0",)
    with database.read() as session:
        assert session.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("30s",)
    database.close()


# Connections


def test_no_more_connections_than_allowed_are_made_and_who_comes_later_waits(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "MOST_CONNECTIONS", 2)
    database = cell.database("log")
    database.create()
    both, done = threading.Barrier(3), threading.Event()

    def hold() -> None:
        with database.read() as session:
            session.execute("SELECT 1")
            both.wait()
            done.wait()

    with ThreadPoolExecutor(3) as pool:
        holding = [pool.submit(hold) for _ in range(2)]
        both.wait()
        third = pool.submit(one, database)
        done.set()
        assert third.result(timeout=30) == 1
        for held in holding:
            held.result()
    assert len(database._idle) == 2
    database.close()


def test_who_waits_too_long_for_a_connection_is_told(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "MOST_CONNECTIONS", 1)
    database = cell.database("log")
    database.create()
    monkeypatch.setattr(database_module, "PATIENCE_S", 0.01)

    with database.read(), pytest.raises(Unavailable) as caught:
        one(database)

    assert caught.value.slug == "storage-busy"
    assert one(database) == 1
    database.close()


def one(database: Database) -> int:
    with database.read() as session:
        row = session.execute("SELECT 1").fetchone()
    assert row is not None
    return int(row[0])


def test_who_loses_the_lock_of_a_block_is_told_at_its_end(postgres: str) -> None:
    database = Postgres(postgres, "public")

    with pytest.raises(Unavailable) as refused, closing(database), database.alone("toys"):
        end_sessions(postgres, "kept:public")

    assert refused.value.slug == "storage-lost"


def test_a_lock_that_somebody_took_away_is_told_as_well(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a pooler, that gives every statement another session."""
    database = Postgres(postgres, "public")
    asked = psycopg.Connection.execute

    def elsewhere(connection: Any, sql: Any, *given: Any, **named: Any) -> Any:
        return (
            asked(connection, sql, *given, **named) if "unlock" not in str(sql) else asked(connection, "SELECT false")
        )

    with pytest.raises(Unavailable, match="lock was lost"), closing(database), database.alone("toys"):
        monkeypatch.setattr(psycopg.Connection, "execute", elsewhere)


def test_what_fails_in_a_block_is_told_though_its_lock_is_lost(postgres: str) -> None:
    database = Postgres(postgres, "public")

    def work() -> None:
        end_sessions(postgres, "kept:public")
        raise KeyError("what failed")

    with pytest.raises(KeyError, match="what failed"), closing(database), database.alone("toys"):
        work()


def end_sessions(address: str, name: str) -> None:
    """Returns when they are gone."""
    with psycopg.connect(address, autocommit=True) as admin:
        sql = """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                 WHERE application_name = %s AND datname = current_database()"""
        assert all(ended for (ended,) in admin.execute(sql, (name,)).fetchall())
