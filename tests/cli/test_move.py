"""A SQLite cell becomes a PostgreSQL cell, event for event; interrupted anywhere, there is one live log and never two."""

import json
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from kept.common.v1.record_pb2 import Record

from services.cli.addresses import without_password
from services.cli.backup_folder import write_synced
from services.cli.move import Mover
from services.cli.shown import Shown
from services.cli.staging import Staging
from services.kernel.config import Settings
from services.kernel.errors import InDoubt, Misconfigured, Unavailable
from services.kernel.house import House
from services.kernel.postgres import Postgres
from tests.cli.keeping import differences, digest, records, register, run, run_json, types_after
from tests.databases import Cell, new_cell
from tests.kernel.toys import labelled, save

PASSWORD = "hunter2"


class Crashed(BaseException):
    """As kill -9: nothing of ours is done after it."""


@pytest.fixture
def there(sqlite_cell: Cell, postgres: str) -> Settings:
    """The settings of the cell once it has moved."""
    register(sqlite_cell.settings, "a", "b")
    return replace(sqlite_cell.settings, database=postgres)


@pytest.fixture
def here(there: Settings) -> Settings:
    return replace(there, database="")


def moved(here: Settings, there: Settings) -> Any:
    return run_json("move", settings=here, KEPT_MOVE_TO=there.database)


def with_option(address: str, option: str) -> str:
    return f"{address}{'&' if '?' in address else '?'}{option}"


@dataclass
class Done:
    """A cell that has moved, what it was before, and a process that still has its old files open."""

    here: Settings
    there: Settings
    told: Any
    receipts: list[Any]
    records: list[Record]
    digest: str
    root: str
    old: House


@pytest.fixture(scope="module")
def done(postgres: str) -> Iterator[Done]:
    """Not to be changed, but by what is refused."""
    for cell in new_cell():
        here, there = cell.settings, replace(cell.settings, database=postgres)
        receipts = register(here, "a", "b")
        old = House(here)
        old.require()
        old.log.append([save(labelled("jar", 1))])  # its connections and statements are warm
        before, whole, root = records(here), digest(here), old.log.head().root.hex()
        told = run("move", "--json", settings=here, KEPT_MOVE_TO=with_option(postgres, f"password={PASSWORD}"))
        assert told.exit_code == 0, told.stderr
        yield Done(here, there, told, receipts, before, whole, root, old)
        old.close()


def test_every_stream_is_the_same_and_the_root(done: Done) -> None:
    told = json.loads(done.told.stdout)

    assert (told["events"], told["root"]) == (len(done.records), done.root)
    assert records(done.there)[: len(done.records)] == done.records
    assert digest(done.there) == done.digest


def test_views_go_on_from_where_they_were(done: Done) -> None:
    house = House(done.there)
    with house.views_database("customer").read() as session:
        position = session.execute("SELECT position FROM follower").fetchone()
    house.close()

    assert position is not None
    assert 0 < position[0] <= len(done.records)
    assert differences(done.there) == {}


def test_a_request_that_was_done_before_gets_the_same_answer_after(done: Done) -> None:
    end = len(records(done.there))

    assert register(done.there, "a", "b") == done.receipts
    assert len(records(done.there)) == end


def test_the_folder_says_where_the_cell_lives_now(done: Done) -> None:
    told = run("digest", "--json", settings=done.here)

    assert json.loads(told.stdout)["digest"] == digest(done.there)
    assert stat.S_IMODE((done.here.data / "moved.json").stat().st_mode) == 0o600


def test_a_process_that_still_has_the_old_files_open_can_never_acknowledge_again(done: Done) -> None:
    with pytest.raises(Unavailable, match="moving to another database"):
        done.old.log.append([save(labelled("jar", 2))])
    with pytest.raises(Unavailable, match="moving to another database"):
        done.old.keys.key_for_sealing(UUID(int=7), "contact")
    assert done.old.log.position() == len(done.records)


def test_the_old_files_refuse_in_one_line_that_names_the_new_place(done: Done, tmp_path: Path) -> None:
    alone = replace(done.here, data=tmp_path / "alone")
    shutil.copytree(done.here.data, alone.data, ignore=shutil.ignore_patterns("run", "moved.json"))

    for command in (("up", "--no-console"), ("migrate",), ("digest",), ("backup", tmp_path / "copy")):
        told = run(*command, settings=alone)
        assert (told.exit_code, told.stderr.count("\n")) == (78, 1), told.stderr
        assert f"this cell has moved to {without_password(done.there.database)}: set KEPT_DATABASE to it" in told.stderr
    assert not (tmp_path / "copy").exists()


def test_a_password_is_told_nowhere(done: Done) -> None:
    assert PASSWORD not in done.told.output
    assert not any(PASSWORD.encode() in path.read_bytes() for path in done.here.data.iterdir() if path.is_file())


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://ana:pw@db:5433/kept", "postgresql://ana@db:5433/kept"),
        ("postgresql://ana@db/kept?password=pw&sslmode=require", "postgresql://ana@db/kept?sslmode=require"),
        ("postgresql://ana:pw@/kept?host=/run/pg", "postgresql://ana@/kept?host=%2Frun%2Fpg"),
        ("postgresql://db/kept", "postgresql://db/kept"),
        ("postgresql://u:pw@h1:5432,h2:5433/db", "postgresql://u@/db?host=h1%2Ch2&port=5432%2C5433"),
        ("postgresql://u:pw@[::1]:5432/db", "postgresql://u@/db?host=%3A%3A1&port=5432"),
        (
            "postgresql://u@db/kept?sslpassword=pw&passfile=%2Fhome%2Fu%2Fp",
            "postgresql://u@db/kept?passfile=%2Fhome%2Fu%2Fp",
        ),
    ],
)
def test_an_address_without_its_password(address: str, shown: str) -> None:
    assert without_password(address) == shown
    parts = psycopg.conninfo.conninfo_to_dict(address)
    public = {name: value for name, value in parts.items() if value != "pw"}
    assert psycopg.conninfo.conninfo_to_dict(shown) == public


# Refusals


def test_a_database_that_has_such_a_cell_is_refused_and_the_cell_goes_on(here: Settings, there: Settings) -> None:
    register(there, "of another cell with this name")
    theirs = records(there)

    done = run("move", settings=here, KEPT_MOVE_TO=there.database)

    assert (done.exit_code, "has a cell" in done.stderr) == (78, True)
    assert records(there) == theirs
    assert register(here, "c")


def test_an_address_that_does_not_work_changes_nothing(here: Settings) -> None:
    done = run("move", "--to", "postgresql://nobody@127.0.0.1:1/none", settings=here)

    assert done.exit_code in (1, 78)
    assert register(here, "c")


def test_a_wrong_address_is_told_as_the_option_that_has_it(here: Settings, there: Settings) -> None:
    wrong = without_password(there.database).replace("kept_test", "no_kept_test")

    done = run("move", "--to", wrong, settings=here)

    assert (done.exit_code, "the address in --to" in done.stderr) == (78, True), done.stderr


def test_a_password_as_an_argument_is_refused(here: Settings) -> None:
    done = run("move", "--to", "postgresql://kept@127.0.0.1:1/kept?password=hunter2", settings=here)

    assert (done.exit_code, "KEPT_MOVE_TO" in done.stderr, "hunter2" in done.output) == (2, True, False), done.stderr


def test_a_folder_without_a_cell_is_told(tmp_path: Path, there: Settings) -> None:
    done = run("move", settings=replace(there, data=tmp_path, database=""), KEPT_MOVE_TO=there.database)

    assert (done.exit_code, "there is no SQLite cell" in done.stderr) == (78, True)


def test_a_cell_that_has_moved_and_whose_database_is_gone_is_not_moved_again(here: Settings, there: Settings) -> None:
    moved(here, there)
    with psycopg.connect(there.database, autocommit=True) as admin:
        admin.execute(f'ALTER SCHEMA "{there.cell}_log" RENAME TO "{there.cell}_gone"')

    done = run("move", settings=here, KEPT_MOVE_TO=there.database)

    assert (done.exit_code, "restore it from a back-up" in done.stderr) == (78, True)


# Interrupted


POINTS = ("copy_rest", "named", "finished")


def crash_at(point: str, patch: pytest.MonkeyPatch) -> None:
    """From there on nothing of this process happens, not even what it does when something fails."""

    def crashed(*_: object, **__: object) -> None:
        raise Crashed

    patch.setattr(Mover, "_stay", crashed)
    if point == "named":
        named = Staging.give_name

        def give_name(staging: Staging) -> None:
            named(staging)
            raise Crashed

        patch.setattr(Staging, "give_name", give_name)
    elif point == "finished":
        patch.setattr("services.cli.move.write_synced", _crash_writing("moved.json"))
    else:
        patch.setattr(Staging, point, crashed)


def _crash_writing(name: str) -> Callable[[Path, str], None]:
    really = write_synced

    def write(path: Path, text: str) -> None:
        if path.name == name:
            raise Crashed
        really(path, text)

    return write


@pytest.mark.parametrize("point", POINTS)
def test_after_a_crash_there_is_one_log_and_the_same_command_goes_on(
    here: Settings, there: Settings, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = records(here)
    with monkeypatch.context() as patch:
        crash_at(point, patch)
        with pytest.raises(Crashed):
            Mover(here, there.database, Shown(quiet=True)).run()

    assert (accepts(here), accepts(there)) == (False, point != "copy_rest")
    told = moved(here, there)

    assert told["events"] == len(before)
    assert records(there)[: len(before)] == before
    assert (accepts(here), accepts(there)) == (False, True)
    assert types_after(there, len(before)).count("CustomerRegistered") == 1


def accepts(settings: Settings) -> bool:
    """Whether a cell there can be started and takes a command."""
    house = House(settings)
    try:
        if not house.database("log").exists():
            return False  # another one would be made, empty: `kept move` then refuses the place
        house.require()
    except Misconfigured:
        return False
    finally:
        house.close()
    register(settings, "after the crash")
    return True


def test_a_try_goes_on_where_the_last_one_was_cut(
    here: Settings, there: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        crash_at("copy_views", patch)
        with pytest.raises(Crashed):
            Mover(here, there.database, Shown(quiet=True)).run()
    copied: list[int] = []
    copy_log = Staging.copy_log

    def counted(staging: Staging, told: Any) -> int:
        copied.append(copy_log(staging, told))
        return copied[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "copy_log", counted)
        Mover(here, there.database, Shown(quiet=True)).run()

    assert copied == [0, 0]


def test_a_beginning_that_is_not_of_this_very_log_is_not_used(
    here: Settings, there: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        crash_at("copy_views", patch)
        with pytest.raises(Crashed):
            Mover(here, there.database, Shown(quiet=True)).run()
    house = House(here)  # another log than the one that was begun with
    with house.log.database.write() as session:
        session.execute("UPDATE log SET leaf = zeroblob(32) WHERE position = 1")
    house.close()

    done = run("move", "--quiet", settings=here, KEPT_MOVE_TO=there.database)

    assert (done.exit_code, "record-changed at position 1" in done.stderr) == (1, True)


def test_what_fails_while_it_is_stopped_leaves_the_cell_where_it_was(
    here: Settings, there: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise Unavailable("storage-full", "the database server's disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "copy_rest", full)
        done = run("move", settings=here, KEPT_MOVE_TO=there.database)

    assert (done.exit_code, "nothing was moved" in done.stderr) == (1, True)
    assert register(here, "c")
    assert moved(here, there)["events"] == len(records(here))


@pytest.mark.parametrize("in_doubt", [True, False])
def test_only_a_commit_whose_end_was_not_heard_leaves_the_cell_frozen(
    here: Settings, there: Settings, monkeypatch: pytest.MonkeyPatch, *, in_doubt: bool
) -> None:
    def refused(_: Postgres, __: object) -> None:
        raise InDoubt if in_doubt else Unavailable("storage-full", "the database server's disk is full")

    def give_name(staging: Staging) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Postgres, "_commit", refused)
            named(staging)

    named = Staging.give_name
    with monkeypatch.context() as patch:
        patch.setattr(Staging, "give_name", give_name)
        done = run("move", settings=here, KEPT_MOVE_TO=there.database)

    says = "move-in-doubt" if in_doubt else "nothing was moved"
    assert (done.exit_code, says in done.stderr, accepts(here)) == (1, True, not in_doubt), done.stderr


def test_a_move_that_was_interrupted_can_be_abandoned(
    here: Settings, there: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        crash_at("give_name", patch)
        with pytest.raises(Crashed):
            Mover(here, there.database, Shown(quiet=True)).run()
    refused = run("digest", settings=here)
    assert (refused.exit_code, "--abandon to stay here" in refused.stderr) == (78, True)

    done = run("move", "--abandon", settings=here, KEPT_MOVE_TO=there.database)

    assert done.exit_code == 0, done.stderr
    assert register(here, "c")
    assert not House(there).database("log").exists()


def test_a_move_that_is_done_cannot_be_abandoned_nor_go_elsewhere(
    here: Settings, there: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        crash_at("named", patch)
        with pytest.raises(Crashed):
            Mover(here, there.database, Shown(quiet=True)).run()
    elsewhere = with_option(there.database, "application_name=kept")

    for address, options in ((there.database, ["--abandon"]), (elsewhere, []), (elsewhere, ["--abandon"])):
        done = run("move", *options, settings=here, KEPT_MOVE_TO=address)

        says = "lives at" if address == there.database else f"moving, to {without_password(there.database)}"
        assert (done.exit_code, says in done.stderr) == (78, True), done.stderr
        assert not accepts(here)
