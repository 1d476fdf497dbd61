"""A restored cell goes on where the back-up ends, as a new epoch: no published position is given away, nobody comes back."""

import json
import shutil
import sqlite3
from base64 import b64encode
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from google.protobuf.json_format import MessageToDict
from kept.cell.v1.events_pb2 import EpochStarted, KeysDestroyed
from psycopg.sql import SQL, Identifier

from services.cli.addresses import without_password
from services.cli.backup_folder import described
from services.kernel.clock import micros
from services.kernel.config import Settings
from services.kernel.erasure import erase
from services.kernel.house import House
from tests.cli.keeping import (
    NOW,
    beside,
    differences,
    files,
    live_keys,
    records,
    register,
    run,
    run_json,
    subjects,
    types_after,
)
from tests.databases import Cell

SURE = ("--nothing-published", "--epoch", 2)


def backed_up(settings: Settings, *request_ids: str, name: str = "copy") -> Path:
    """A cell with these customers, and a back-up of it."""
    register(settings, *request_ids)
    folder = settings.data / name
    run_json("backup", folder, settings=settings)
    return folder


def restored(folder: Path, to: Settings, *options: object) -> Any:
    return run_json("restore", folder, *options, settings=to)


def head(settings: Settings) -> int:
    house = House(settings)
    found = house.log.position()
    house.close()
    return found


# From each database onto each


@pytest.mark.parametrize("onto", ["sqlite", "postgres"])
def test_the_restored_streams_are_the_backed_up_ones(cell: Cell, onto: str, postgres: str) -> None:
    folder = backed_up(cell.settings, "a", "b")
    before = records(cell.settings)
    if cell.on_postgres:
        lose(cell)
    to = beside(cell.settings, "new", postgres if onto == "postgres" else "")

    told = restored(folder, to, *SURE)

    assert (told["epoch"], told["restored_to"], told["published_to"]) == (2, len(before), len(before))
    assert records(to)[: len(before)] == before
    assert types_after(to, len(before)) == ["EpochStarted"]
    assert differences(to) == {}


def lose(cell: Cell) -> None:
    """The database is gone."""
    with psycopg.connect(cell.settings.database, autocommit=True) as admin:
        rows = admin.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE %s", (f"{cell.settings.cell}%",))
        for (schema,) in rows.fetchall():
            admin.execute(SQL("DROP SCHEMA {} CASCADE").format(Identifier(schema)))


def test_a_restored_cell_goes_on(sqlite_cell: Cell) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    to = beside(sqlite_cell.settings, "new")
    restored(folder, to, *SURE)

    (again, new) = register(to, "a", "b")

    assert again.position < new.position
    assert head(to) >= new.position
    assert differences(to) == {}


# Positions


def test_published_positions_are_filled_and_never_given_away(sqlite_cell: Cell) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    position = head(sqlite_cell.settings)
    (lost,) = register(sqlite_cell.settings, "lost")
    to = beside(sqlite_cell.settings, "new")

    told = restored(folder, to, "--published", lost.position, "--epoch", 2)

    assert told["positions_filled"] == lost.position - position
    assert types_after(to, position) == ["PositionLost"] * (lost.position - position) + ["EpochStarted"]
    started = EpochStarted.FromString(records(to)[-1].data)
    assert (started.epoch, started.restored_to, started.published_to) == (2, position, lost.position)
    assert differences(to) == {}


def test_the_old_log_says_how_far_it_was(sqlite_cell: Cell) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    register(sqlite_cell.settings, "lost")
    to = beside(sqlite_cell.settings, "new")

    told = restored(folder, to, "--old", sqlite_cell.settings.data)

    assert told["published_to"] == head(sqlite_cell.settings)


def test_an_old_folder_whose_cell_has_moved_is_not_taken_for_the_cell(sqlite_cell: Cell, postgres: str) -> None:
    """Its files end where it moved: what was published since is elsewhere."""
    folder = backed_up(sqlite_cell.settings, "a")
    run_json("move", settings=sqlite_cell.settings, KEPT_MOVE_TO=postgres)
    register(replace(sqlite_cell.settings, database=postgres), "lost")
    to = beside(sqlite_cell.settings, "new")

    done = run("restore", folder, "--old", sqlite_cell.settings.data, settings=to)

    assert (done.exit_code, f"has moved: give --old {without_password(postgres)}" in done.stderr) == (78, True)
    told = run_json("restore", folder, settings=to, KEPT_RESTORE_OLD=postgres)
    assert told["published_to"] == head(replace(sqlite_cell.settings, database=postgres))


@pytest.mark.parametrize("old", ["nowhere", "garbage", "another"])
def test_an_old_log_that_cannot_be_read_is_told(sqlite_cell: Cell, tmp_path: Path, old: str) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "log.db").write_bytes(b"garbage" * 999)
    register(replace(sqlite_cell.settings, cell="another", data=tmp_path / "another"), "b")

    done = run("restore", folder, "--old", tmp_path / old, settings=beside(sqlite_cell.settings, "new"))

    assert (done.exit_code, done.stderr.count("\n"), str(tmp_path / old) in done.stderr) == (78, 1, True), done.stderr


def test_the_greatest_of_what_is_known_counts(sqlite_cell: Cell) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    end = head(sqlite_cell.settings)
    to, other = beside(sqlite_cell.settings, "new"), beside(sqlite_cell.settings, "other")

    assert restored(folder, to, "--old", sqlite_cell.settings.data, "--published", end + 7)["published_to"] == end + 7
    assert restored(folder, other, "--published", 1, "--epoch", 2)["published_to"] == end


def test_who_does_not_say_how_far_it_was_read_is_told_how_to_find_out(sqlite_cell: Cell) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    to = beside(sqlite_cell.settings, "new")

    done = run("restore", folder, settings=to)

    assert done.exit_code == 2
    assert all(option in done.stderr for option in ("--old", "--published", "--nothing-published", "checkpoint"))
    assert not to.data.exists()


def test_more_positions_than_can_be_meant_are_refused(sqlite_cell: Cell) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    to = beside(sqlite_cell.settings, "new")

    done = run("restore", folder, "--published", 10**12, "--epoch", 2, settings=to)

    assert (done.exit_code, "too-many-lost" in done.stderr) == (1, True)
    assert not (to.data / "log.db").exists()


def test_a_second_restore_is_a_third_epoch(sqlite_cell: Cell) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    second, third, fourth = (beside(sqlite_cell.settings, name) for name in ("second", "third", "fourth"))
    restored(folder, second, *SURE)
    run_json("backup", second.data / "copy", settings=second)

    assert restored(second.data / "copy", third, "--nothing-published", "--epoch", 3)["epoch"] == 3
    assert restored(folder, fourth, "--old", second.data)["epoch"] == 3  # the same back-up again: not epoch 2 twice
    assert types_after(fourth, 0).count("EpochStarted") == 1


# What cannot be restored


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def other_root(path: Path) -> None:
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "root": "00" * 32}))


def no_manifest(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("file", "harm", "code", "says"),
    [
        ("log.db", cut, 1, "log.db: has "),
        ("log.db", flipped, 1, "log.db: its SHA-256 is not the one in the manifest"),
        ("keys.db", flipped, 1, "keys.db: its SHA-256"),
        ("keys.db", Path.unlink, 1, "keys.db: is missing"),
        ("manifest.json", other_root, 1, "the log's Merkle root is"),
        ("manifest.json", cut, 78, "is no whole back-up"),
        ("manifest.json", no_manifest, 78, "is no whole back-up"),
    ],
)
def test_a_damaged_backup_is_refused_by_name(
    sqlite_cell: Cell, file: str, harm: Callable[[Path], object], code: int, says: str
) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    to = beside(sqlite_cell.settings, "new")
    harm(folder / file)
    if file == "manifest.json" and harm is cut:
        cut(folder / file)  # the first byte is only a line break

    done = run("restore", folder, *SURE, settings=to)

    assert (done.exit_code, says in done.stderr) == (code, True), done.stderr
    assert not (to.data / "log.db").exists()


def test_a_log_that_was_changed_before_it_was_backed_up_is_refused(sqlite_cell: Cell) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    with closing(sqlite3.connect(folder / "log.db")) as log, log:
        log.execute("UPDATE log SET recorded_at = recorded_at + 1 WHERE position = 2")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["log.db"] = described(folder / "log.db")
    (folder / "manifest.json").write_text(json.dumps(manifest))

    done = run("restore", folder, *SURE, settings=beside(sqlite_cell.settings, "new"))

    assert (done.exit_code, "record-changed at position 2" in done.stderr) == (1, True)


def test_only_an_empty_place_takes_a_restore(cell: Cell) -> None:
    folder = backed_up(cell.settings, "a")
    before = records(cell.settings)

    done = run("restore", folder, *SURE, settings=cell.settings)

    assert (done.exit_code, "already; restore into an empty place" in done.stderr) == (78, True)
    assert records(cell.settings) == before


def test_another_cells_backup_is_refused(sqlite_cell: Cell) -> None:
    folder = backed_up(sqlite_cell.settings, "a")

    done = run("restore", folder, *SURE, settings=replace(beside(sqlite_cell.settings, "new"), cell="other"))

    assert (done.exit_code, f"of the cell {sqlite_cell.settings.cell!r}" in done.stderr) == (78, True)


def test_a_wrong_master_key_is_told_at_once(sqlite_cell: Cell) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    wrong = sqlite_cell.settings.data / "wrong.key"
    wrong.write_bytes(b64encode(b"k" * 32))

    done = run("restore", folder, *SURE, settings=replace(beside(sqlite_cell.settings, "new"), master_key=wrong))

    assert (done.exit_code, "does not open the key store" in done.stderr) == (78, True)


def test_a_restore_that_was_interrupted_starts_over(sqlite_cell: Cell) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    to = beside(sqlite_cell.settings, "new")
    restored(folder, to, *SURE)
    # As a crash between the two files leaves it.
    (to.data / "restore.part").mkdir()
    (to.data / "log.db").rename(to.data / "restore.part" / "log.db")

    restored(folder, to, *SURE)

    assert {"log.db", "keys.db"} <= files(to.data)
    assert "restore.part" not in files(to.data)
    assert differences(to) == {}


# Erasures


@pytest.fixture
def erased(sqlite_cell: Cell) -> tuple[Settings, Path, UUID]:
    """A cell, a back-up from before an erasure, and who was erased."""
    settings = sqlite_cell.settings
    folder = backed_up(settings, "a", "b")
    subject = subjects(settings)[0]
    house = House(settings)
    assert erase(house.log, house.database("keys"), subject, actor="user:ana", at=micros(NOW)) > 0
    house.close()
    return settings, folder, subject


def test_a_key_that_is_destroyed_is_on_the_log_before(erased: tuple[Settings, Path, UUID]) -> None:
    settings, _, subject = erased

    last = records(settings)[-1]

    assert last.type == "kept.cell.v1.KeysDestroyed"
    assert KeysDestroyed.FromString(last.data).subject == str(subject)
    assert live_keys(settings, subject) == 0


def test_a_backup_from_before_brings_nobody_back_when_the_old_log_is_known(
    erased: tuple[Settings, Path, UUID],
) -> None:
    settings, folder, subject = erased
    to = beside(settings, "new")

    told = restored(folder, to, "--old", settings.data)

    assert (told["persons_erased"], told["keys_destroyed_again"] > 0) == (1, True)
    assert live_keys(to, subject) == 0
    assert live_keys(to, subjects(settings)[1]) > 0
    assert types_after(to, told["published_to"]) == ["EpochStarted", "KeysDestroyed"]  # the next back-up knows it
    assert differences(to) == {}


def test_nor_when_only_another_backup_or_an_auditor_tells_of_it(erased: tuple[Settings, Path, UUID]) -> None:
    settings, folder, subject = erased
    run_json("backup", settings.data / "later", settings=settings)
    events = settings.data / "events.jsonl"
    told = [
        {"position": at, "record": MessageToDict(record, preserving_proto_field_name=True)}
        for at, record in enumerate(records(settings), 1)
    ]
    events.write_text("\n".join(json.dumps(line) for line in told) + "\n")

    for name, source in (("one", settings.data / "later"), ("two", events)):
        to = beside(settings, name)
        restored(folder, to, *SURE, "--erasures", source)
        assert live_keys(to, subject) == 0


def test_a_backup_that_has_the_event_but_still_the_key_destroys_it(erased: tuple[Settings, Path, UUID]) -> None:
    """As a crash leaves it, between the record and the deed."""
    settings, folder, subject = erased
    run_json("backup", settings.data / "later", settings=settings)
    later = settings.data / "later"
    shutil.copy(folder / "keys.db", later / "keys.db")
    manifest = json.loads((later / "manifest.json").read_text())
    manifest["files"]["keys.db"] = described(later / "keys.db")
    (later / "manifest.json").write_text(json.dumps(manifest))
    to = beside(settings, "new")

    restored(later, to, *SURE)

    assert live_keys(to, subject) == 0


def test_what_cannot_be_known_is_said(erased: tuple[Settings, Path, UUID]) -> None:
    settings, folder, subject = erased
    to = beside(settings, "new")

    done = run("restore", folder, *SURE, "--quiet", settings=to)

    assert done.exit_code == 0, done.stderr
    assert "who was erased after the back-up cannot be known from here" in done.stdout
    assert live_keys(to, subject) > 0


def test_what_is_no_source_of_erasures_is_refused(sqlite_cell: Cell, tmp_path: Path) -> None:
    folder = backed_up(sqlite_cell.settings, "a")
    source = tmp_path / "notes.txt"
    source.write_text("Ana asked to be forgotten\n")

    done = run("restore", folder, *SURE, "--erasures", source, settings=beside(sqlite_cell.settings, "new"))

    assert (done.exit_code, "kept audit stream --json" in done.stderr) == (78, True)
