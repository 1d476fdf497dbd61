"""A restore never writes over anything, leaves nothing half-made, and says only what is so."""

import json
import shutil
import stat
from base64 import b64decode, b64encode
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from services.cli import restoring
from services.cli.addresses import without_password
from services.cli.backup_folder import Manifest
from services.cli.shown import Shown
from services.cli.staging import IN_DOUBT, Staging
from services.cli.table import SERVICES
from services.cli.up import only_cell_in
from services.kernel.errors import Unavailable
from services.kernel.house import House
from tests.cli.keeping import beside, differences, digest, files, records, register, run, run_json, subjects
from tests.cli.test_restore import SURE, backed_up, flipped, restored
from tests.databases import Cell
from tests.kernel.toys import labelled, save

# What is there already


@pytest.mark.parametrize("left", ["log.db-wal", "keys.db-shm", "views-case.db-journal"])
def test_what_is_left_of_lost_files_is_not_written_into_the_restored_ones(sqlite_cell: Cell, left: str) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    to = beside(sqlite_cell.settings, "new")
    to.data.mkdir()
    (to.data / left).write_bytes(b"of the lost file")

    done = run("restore", folder, *SURE, settings=to)

    assert (done.exit_code, str(to.data / left) in done.stderr, "move it away" in done.stderr) == (78, True, True)
    assert files(to.data) == {left}


def test_a_log_that_is_not_the_one_that_was_made_is_not_called_restored(
    sqlite_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a journal of the lost log comes to lie beside it at the last moment."""
    folder = backed_up(sqlite_cell.settings, "a")
    to = beside(sqlite_cell.settings, "new")
    to.data.mkdir()
    house = sqlite_cell.house()
    house.require()
    house.log.append([save(labelled("jar", 1))])
    shutil.copy(sqlite_cell.settings.data / "log.db-wal", to.data / "log.db-wal")
    house.close()
    monkeypatch.setattr(restoring, "refuse_unless_empty", lambda _: None)

    done = run("restore", folder, *SURE, settings=to)

    assert (done.exit_code, "restore-damaged" in done.stderr) == (1, True), done.stderr


def test_no_cell_starts_in_the_folder_meanwhile(sqlite_cell: Cell) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    to = beside(sqlite_cell.settings, "new")
    House(to).make_folders()

    with only_cell_in(to):
        done = run("restore", folder, *SURE, settings=to)

    assert (done.exit_code, "a cell already runs on" in done.stderr) == (78, True)
    assert "log.db" not in files(to.data)


def test_a_log_that_comes_to_be_there_meanwhile_is_not_replaced(
    sqlite_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    to = beside(sqlite_cell.settings, "new")
    verify = restoring._verify

    def another_is_made(made: House, folder: Path, manifest: Manifest, shown: Shown) -> None:
        verify(made, folder, manifest, shown)
        (to.data / "log.db").write_bytes(b"another's")

    monkeypatch.setattr(restoring, "_verify", another_is_made)

    done = run("restore", folder, *SURE, settings=to)

    assert (done.exit_code, (to.data / "log.db").read_bytes()) == (78, b"another's")
    assert "keys.db" not in files(to.data)


def test_a_refusal_leaves_no_keys_behind(sqlite_cell: Cell) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    flipped(folder / "keys.db")
    to = beside(sqlite_cell.settings, "new")

    assert run("restore", folder, *SURE, settings=to).exit_code == 1

    assert files(to.data) == {"run"}


def test_a_refusal_after_an_interruption_leaves_an_empty_place(sqlite_cell: Cell) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    to = beside(sqlite_cell.settings, "new")
    restored(folder, to, *SURE)
    (to.data / "restore.part").mkdir()
    (to.data / "log.db").rename(to.data / "restore.part" / "log.db")
    shutil.copytree(folder, folder.with_name("sound"))
    flipped(folder / "keys.db")

    assert run("restore", folder, *SURE, settings=to).exit_code == 1
    restored(folder.with_name("sound"), to, *SURE)

    assert differences(to) == {}


# Onto PostgreSQL


def test_the_folder_says_that_the_cell_is_on_postgres(sqlite_cell: Cell, postgres: str) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    before = records(sqlite_cell.settings)
    to = beside(sqlite_cell.settings, "new")
    address = f"{postgres}{'&' if '?' in postgres else '?'}password=hunter2"

    done = run("restore", folder, *SURE, settings=to, KEPT_DATABASE=address)

    assert done.exit_code == 0, done.stderr
    assert json.loads((to.data / "moved.json").read_text())["database"] == without_password(address)
    assert stat.S_IMODE((to.data / "moved.json").stat().st_mode) == 0o600
    assert "hunter2" not in done.output
    assert records(replace(to, database=postgres))[: len(before)] == before
    assert json.loads(run("digest", "--json", settings=to).stdout)["digest"] == digest(replace(to, database=postgres))
    assert "log.db" not in files(to.data)


def test_a_folder_with_another_log_is_not_told_to_be_elsewhere(sqlite_cell: Cell, postgres: str) -> None:
    folder = backed_up(sqlite_cell.settings, "a")

    done = run("restore", folder, *SURE, settings=replace(sqlite_cell.settings, database=postgres))

    assert (done.exit_code, "another folder with --data" in done.stderr) == (78, True)
    assert not (sqlite_cell.settings.data / "moved.json").exists()
    assert register(sqlite_cell.settings, "b")


def test_a_folder_whose_cell_lives_elsewhere_goes_on_saying_so(sqlite_cell: Cell, postgres: str) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    to = beside(sqlite_cell.settings, "new", postgres)
    to.data.mkdir()
    (to.data / "moved.json").write_text(json.dumps({"database": "postgresql://kept@elsewhere/kept"}))

    done = run("restore", folder, *SURE, settings=to)

    assert (done.exit_code, "lives at postgresql://kept@elsewhere/kept" in done.stderr) == (78, True), done.stderr
    assert "elsewhere" in (to.data / "moved.json").read_text()


@pytest.mark.parametrize(("slug", "told"), [("storage-full", False), (IN_DOUBT, True)])
def test_what_fails_on_postgres_is_not_said_to_be_there(
    sqlite_cell: Cell, postgres: str, monkeypatch: pytest.MonkeyPatch, slug: str, *, told: bool
) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    to = beside(sqlite_cell.settings, "new", postgres)

    def fails(_: Staging) -> None:
        raise Unavailable(slug)

    monkeypatch.setattr(Staging, "give_name", fails)

    assert run("restore", folder, *SURE, settings=to).exit_code == 1
    assert ("moved.json" in files(to.data)) == told
    monkeypatch.undo()
    restored(folder, to, *SURE)


# What it has to be told


def test_without_the_old_log_the_epoch_has_to_be_said(sqlite_cell: Cell) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    to = beside(sqlite_cell.settings, "new")

    done = run("restore", folder, "--nothing-published", settings=to)

    assert (done.exit_code, "--epoch 2" in done.stderr, "checkpoint" in done.stderr) == (2, True, True)
    assert not to.data.exists()


def test_an_epoch_that_was_there_before_is_refused(sqlite_cell: Cell) -> None:
    settings = sqlite_cell.settings
    folder = backed_up(settings, "a")
    second = beside(settings, "second")
    restored(folder, second, *SURE)

    done = run("restore", folder, "--old", second.data, "--epoch", 2, settings=beside(settings, "new"))

    assert (done.exit_code, "epoch 2" in done.stderr) == (2, True)


# The old log


def test_an_old_cell_that_still_runs_is_refused(sqlite_cell: Cell) -> None:
    settings = sqlite_cell.settings
    folder = backed_up(settings, "a")
    House(settings).make_folders()

    with only_cell_in(settings):
        done = run("restore", folder, "--old", settings.data, settings=beside(settings, "new"))

    assert (done.exit_code, "still runs" in done.stderr) == (78, True), done.stderr


@pytest.mark.parametrize("by", ["worker", "api"])
def test_an_old_cell_on_postgres_that_somebody_works_on_is_refused(postgres_cell: Cell, by: str) -> None:
    settings = postgres_cell.settings
    folder = backed_up(settings, "a")
    at_work = postgres_cell.house()
    with closing(at_work):
        if by == "worker":
            assert at_work.leases.take(SERVICES[0].views.follower)
        else:
            at_work.log.position()
        done = run("restore", folder, settings=beside(settings, "new"), KEPT_RESTORE_OLD=settings.database)
    assert (done.exit_code, "still runs" in done.stderr) == (78, True), done.stderr

    run_json("restore", folder, settings=beside(settings, "new"), KEPT_RESTORE_OLD=settings.database)


def test_a_damaged_event_of_an_erasure_is_told_in_one_line(sqlite_cell: Cell, tmp_path: Path) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    events = tmp_path / "events.jsonl"
    data = b64encode(b"\xff\xff\xff").decode()
    events.write_text(json.dumps({"record": {"type": "kept.cell.v1.KeysDestroyed", "data": data}}))

    done = run("restore", folder, *SURE, "--erasures", events, settings=beside(sqlite_cell.settings, "new"))

    assert (done.exit_code, done.stderr.count("\n"), "kept audit stream --json" in done.stderr) == (78, 1, True)


# Secrets


def test_a_master_key_in_the_backup_is_restored(sqlite_cell: Cell) -> None:
    settings = sqlite_cell.settings
    register(settings, "a")
    run_json("backup", settings.data / "copy", "--with-master-key", settings=settings)
    to = replace(beside(settings, "new"), master_key=settings.data / "put" / "back.key")

    done = run("restore", settings.data / "copy", *SURE, "--quiet", settings=to)

    assert (done.exit_code, f"{to.master_key} is restored" in done.stdout) == (0, True), done.output
    assert to.master_key.read_bytes() == settings.master_key.read_bytes()
    assert stat.S_IMODE(to.master_key.stat().st_mode) == 0o600
    assert subjects(to)


def test_a_master_key_that_is_there_is_not_replaced(sqlite_cell: Cell) -> None:
    settings = sqlite_cell.settings
    register(settings, "a")
    run_json("backup", settings.data / "copy", "--with-master-key", settings=settings)
    there = settings.data / "another.key"
    there.write_bytes(b64encode(b"k" * 32))

    done = run("restore", settings.data / "copy", *SURE, settings=replace(beside(settings, "new"), master_key=there))

    assert (done.exit_code, b64decode(there.read_bytes())) == (78, b"k" * 32)
    assert "log.db" not in files(settings.data / "new")  # so that the same can be done with the right one


def test_a_damaged_master_key_is_refused_by_name(sqlite_cell: Cell) -> None:
    settings = sqlite_cell.settings
    register(settings, "a")
    run_json("backup", settings.data / "copy", "--with-master-key", settings=settings)
    flipped(settings.data / "copy" / "master.key")
    to = replace(beside(settings, "new"), master_key=settings.data / "new.key")

    done = run("restore", settings.data / "copy", *SURE, settings=to)

    assert (done.exit_code, "master.key: its SHA-256" in done.stderr) == (1, True)
    assert not to.master_key.exists()
    assert "log.db" not in files(to.data)


@pytest.mark.parametrize("option", ["--old", "--database"])
def test_a_password_as_an_argument_is_refused(sqlite_cell: Cell, option: str) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    address = "postgresql://ana:hunter2@127.0.0.1:1/kept"

    done = run("restore", folder, *SURE, option, address, settings=beside(sqlite_cell.settings, "new"))

    named = {"--old": "KEPT_RESTORE_OLD", "--database": "KEPT_DATABASE"}[option]
    assert (done.exit_code, named in done.stderr, "~/.pgpass" in done.stderr) == (2, True, True), done.stderr
    assert "hunter2" not in done.output


def test_a_wrong_database_is_named_by_its_option(sqlite_cell: Cell, postgres: str) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    wrong = without_password(postgres).replace("kept_test", "no_kept_test")

    for option in ("--old", "--database"):
        done = run("restore", folder, *SURE, option, wrong, settings=beside(sqlite_cell.settings, "new"))

        assert (done.exit_code, option in done.stderr, "KEPT_DATABASE" in done.stderr) == (78, True, False), done.stderr
    assert records(sqlite_cell.settings)
