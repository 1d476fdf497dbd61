"""Migrations: several at once do it once; what is newer is refused, unless it says that it may be used."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing

import pytest

from services.cli.table import migrate as migrate_all
from services.kernel.database import Database
from services.kernel.errors import Misconfigured
from services.kernel.house import House
from services.kernel.log.schema import Additive, migrate, require
from tests.databases import Cell
from tests.kept import KEPT, ROOT

NAME = "the jars"
FIRST = ["CREATE TABLE jar (name TEXT PRIMARY KEY)"]
BREAKING = ["ALTER TABLE jar ADD COLUMN lid TEXT"]
ADDITIVE = Additive(["CREATE TABLE label (jar TEXT PRIMARY KEY)"])
TOGETHER = 4
WAITS_S = 60


@pytest.fixture
def jars(cell: Cell) -> Database:
    cell.house().make_folders()
    return cell.database("jars")


def versions(database: Database) -> dict[str, int]:
    with database.read() as session:
        return dict(session.execute("SELECT name, version FROM schema_version").fetchall())


def test_each_step_is_done_once(jars: Database) -> None:
    assert migrate(jars, NAME, [FIRST])
    assert migrate(jars, NAME, [FIRST, BREAKING])
    assert not migrate(jars, NAME, [FIRST, BREAKING])

    require(jars, NAME, 2)
    assert versions(jars) == {NAME: 2}


def test_a_step_that_fails_leaves_no_trace(jars: Database) -> None:
    with pytest.raises(Exception, match="nonsense"):
        migrate(jars, NAME, [FIRST, ["nonsense"]])

    assert migrate(jars, NAME, [FIRST])


@pytest.mark.parametrize(
    ("newer", "may"),
    [
        ([FIRST, BREAKING], False),
        ([FIRST, ADDITIVE], True),
        ([FIRST, ADDITIVE, ADDITIVE_TOO := Additive(["CREATE TABLE shelf (name TEXT PRIMARY KEY)"])], True),
        ([FIRST, ADDITIVE, BREAKING], False),
        ([FIRST, BREAKING, ADDITIVE], False),
    ],
)
def test_an_older_kept_may_use_only_what_was_added_to(
    jars: Database, newer: Sequence[Sequence[str]], may: bool
) -> None:
    migrate(jars, NAME, newer)

    for older in (lambda: require(jars, NAME, 1), lambda: migrate(jars, NAME, [FIRST])):
        if may:
            older()
        else:
            with pytest.raises(Misconfigured, match=f"has schema version {len(newer)}, newer than this Kept's 1"):
                older()
    assert versions(jars) == {NAME: len(newer)}


def test_an_older_kept_between_two_steps_may_use_what_was_added_after_it(jars: Database) -> None:
    migrate(jars, NAME, [FIRST, BREAKING, ADDITIVE])

    require(jars, NAME, 2)


def test_a_newer_kept_refuses_what_is_older_until_it_is_migrated(jars: Database) -> None:
    migrate(jars, NAME, [FIRST])

    with pytest.raises(Misconfigured, match="run `kept migrate`"):
        require(jars, NAME, 2)


def test_what_some_older_kept_has_made_is_known_to_be_its_own(jars: Database) -> None:
    """Before additive steps there was no table that says so."""
    migrate(jars, NAME, [FIRST, BREAKING])
    with jars.write() as session:
        session.execute("DROP TABLE schema_readable")

    require(jars, NAME, 2)
    with pytest.raises(Misconfigured, match="newer than this Kept's 1"):
        require(jars, NAME, 1)
    assert migrate(jars, NAME, [FIRST, BREAKING, ADDITIVE])


# Several at once


def at_once(work: Callable[[], object]) -> list[BaseException]:
    """What went wrong in any of several threads that begin together."""
    gate, wrong = threading.Barrier(TOGETHER), []

    def worked() -> None:
        gate.wait(WAITS_S)
        try:
            work()
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=worked) for _ in range(TOGETHER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAITS_S)
    return wrong


def test_several_at_once_migrate_one_namespace(cell: Cell) -> None:
    cell.house().make_folders()

    def work() -> None:
        with closing(cell.database("jars")) as own:
            migrate(own, NAME, [FIRST, BREAKING, ADDITIVE])

    assert at_once(work) == []
    assert versions(cell.database("jars")) == {NAME: 3}


def test_only_one_at_a_time_makes_a_cell(cell: Cell) -> None:
    first, second = cell.house(), cell.house()
    first.make_folders()
    entered: list[str] = []

    def enter() -> None:
        with second.migrating():
            entered.append("second")

    thread = threading.Thread(target=enter)
    with first.migrating():
        thread.start()
        thread.join(0.5)  # it would be in by now, if nothing kept it out
        entered.append("first")
    thread.join(WAITS_S)

    assert entered == ["first", "second"]
    first.close()
    second.close()


def test_only_one_at_a_time_makes_a_schema(postgres_cell: Cell) -> None:
    """PostgreSQL's own IF NOT EXISTS lets two find it missing, and fails one of them."""
    first, second = postgres_cell.database("jars"), postgres_cell.database("jars")
    thread = threading.Thread(target=second.create)
    with first.write() as session:
        first.lock_schema(session)
        thread.start()
        thread.join(0.5)  # as above
        assert thread.is_alive()
    thread.join(WAITS_S)

    assert first.exists()
    first.close()
    second.close()


def test_several_at_once_make_one_cell(cell: Cell) -> None:
    def work() -> None:
        with closing(House(cell.settings)) as own:
            migrate_all(own)

    assert at_once(work) == []
    house = cell.house()
    house.require()
    assert house.log.cell() == cell.settings.cell
    house.close()


def test_two_processes_at_once_make_one_cell(cell: Cell) -> None:
    environment = {**cell.settings.environment(), "PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"}
    both = [
        subprocess.Popen(
            [*KEPT, "migrate"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    told = [process.communicate(timeout=WAITS_S) for process in both]

    assert [process.returncode for process in both] == [0, 0], json.dumps(told)
    house = cell.house()
    house.require()
    with house.log.database.read() as session:
        assert session.execute("SELECT count(*) FROM cell").fetchone() == (1,)
    house.close()
