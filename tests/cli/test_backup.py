"""A back-up is whole or not there; it has the key of everything that is sealed in it, whoever writes meanwhile."""

import json
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from services.cli.backup import _copy_file, back_up
from services.cli.backup_folder import ReadOnly
from services.cli.shown import Shown
from services.kernel.database import SQLite
from services.kernel.house import House
from services.kernel.log.transfer import Reader
from tests.cli.keeping import beside, digest, files, register, run, run_json
from tests.databases import Cell
from tests.kernel.toys import labelled, save


def test_a_backup_is_the_cells_log_and_keys_and_says_what_it_is(cell: Cell) -> None:
    register(cell.settings, "a", "b")
    to = cell.settings.data / "copy"

    told = run_json("backup", to, settings=cell.settings)

    head = cell.house().log.head()
    manifest = json.loads((to / "manifest.json").read_text())
    assert files(to) == {"log.db", "keys.db", "manifest.json"}
    assert manifest.items() <= told.items()
    assert (manifest["cell"], manifest["epoch"]) == (cell.settings.cell, 1)
    assert (manifest["position"], manifest["root"]) == (head.position, head.root.hex())
    assert manifest["files"]["log.db"]["bytes"] == (to / "log.db").stat().st_size
    assert [stat.S_IMODE(path.stat().st_mode) for path in (to, to / "log.db", to / "keys.db")] == [0o700, 0o600, 0o600]
    assert digest(beside(cell.settings, "copy")) == digest(cell.settings)


def test_the_master_key_stays_outside_and_is_named(sqlite_cell: Cell) -> None:
    register(sqlite_cell.settings, "a")

    done = run("backup", sqlite_cell.settings.data / "copy", settings=sqlite_cell.settings)

    assert f"the master key is not in it: it is {sqlite_cell.settings.master_key}" in done.stdout


def test_the_master_key_goes_in_when_it_is_asked_for(sqlite_cell: Cell) -> None:
    register(sqlite_cell.settings, "a")
    to = sqlite_cell.settings.data / "copy"

    done = run("backup", to, "--with-master-key", settings=sqlite_cell.settings)

    assert (to / "master.key").read_bytes() == sqlite_cell.settings.master_key.read_bytes()
    assert stat.S_IMODE((to / "master.key").stat().st_mode) == 0o600
    assert "whoever has this folder" in done.stdout


def test_a_lost_master_key_does_not_stop_a_backup(sqlite_cell: Cell) -> None:
    register(sqlite_cell.settings, "a")
    sqlite_cell.settings.master_key.unlink()

    assert run_json("backup", sqlite_cell.settings.data / "copy", settings=sqlite_cell.settings)["position"] > 0


def test_it_never_writes_over_anything(sqlite_cell: Cell) -> None:
    register(sqlite_cell.settings, "a")
    to = sqlite_cell.settings.data / "copy"
    to.mkdir()

    done = run("backup", to, settings=sqlite_cell.settings)

    assert (done.exit_code, files(to)) == (78, set())
    assert "is there already" in done.stderr


def test_what_fails_half_way_has_no_name(sqlite_cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    register(sqlite_cell.settings, "a")
    to = sqlite_cell.settings.data / "copy"
    with monkeypatch.context() as broken:
        broken.setattr("services.cli.backup._copy_file", _failing)
        with pytest.raises(OSError, match="unplugged"):
            back_up(sqlite_cell.settings, to, with_master_key=False, shown=Shown(quiet=True))
    assert not to.exists()

    run_json("backup", to, settings=sqlite_cell.settings)

    assert files(to) == {"log.db", "keys.db", "manifest.json"}
    assert not to.with_name("copy.part").exists()


def _failing(_source: object, to: Path, _told: object) -> None:
    to.write_bytes(b"half")
    if to.name == "keys.db":
        raise OSError("unplugged")


def test_a_half_made_folder_with_others_things_is_left_alone(sqlite_cell: Cell) -> None:
    register(sqlite_cell.settings, "a")
    part = sqlite_cell.settings.data / "copy.part"
    part.mkdir()
    (part / "thesis.tex").write_text("ten years")

    done = run("backup", sqlite_cell.settings.data / "copy", settings=sqlite_cell.settings)

    assert (done.exit_code, (part / "thesis.tex").read_text()) == (78, "ten years")
    assert "thesis.tex, which is none of ours" in done.stderr


def test_a_log_that_was_changed_is_not_backed_up_as_if_it_were_sound(sqlite_cell: Cell) -> None:
    register(sqlite_cell.settings, "a")
    with closing(sqlite3.connect(sqlite_cell.settings.data / "log.db")) as log, log:
        log.execute("UPDATE log SET recorded_at = recorded_at + 1 WHERE position = 2")

    done = run("backup", sqlite_cell.settings.data / "copy", settings=sqlite_cell.settings)

    assert done.exit_code == 1
    assert "record-changed at position 2" in done.stderr
    assert not (sqlite_cell.settings.data / "copy").exists()


def test_a_folder_without_a_cell_is_told(tmp_path: Path, sqlite_cell: Cell) -> None:
    done = run("backup", tmp_path / "copy", settings=sqlite_cell.settings)

    assert (done.exit_code, list(tmp_path.iterdir())) == (78, [])
    assert "the event log is missing" in done.stderr


def test_while_others_write_the_copy_is_a_prefix_and_has_every_key(cell: Cell) -> None:
    register(cell.settings, "a")
    house, writer = cell.house(), Writing(cell.house())
    house.require()
    writer.start()
    try:
        writer.wrote_another(20)
        before = house.log.position()
        manifest = back_up(cell.settings, cell.settings.data / "copy", with_master_key=False, shown=Shown(quiet=True))
    finally:
        writer.stop()

    assert before <= manifest.position < house.log.position()
    log = ReadOnly(cell.settings.data / "copy" / "log.db")
    with closing(log), log.read() as session:
        reader = Reader("the copy")
        reader.read_on(session)
        reader.finish(session)
        rows = session.execute("SELECT count(*) FROM log WHERE type = 'kept.cell.v1.PolicyDeployed'").fetchone()
    copied = rows[0] if rows else 0
    keys = ReadOnly(cell.settings.data / "copy" / "keys.db")
    with closing(keys), keys.read() as session:
        sealed_for = {row[0] for row in session.execute("SELECT subject FROM data_key WHERE purpose = 'jar'")}
    assert {jar.bytes for jar in writer.jars[: copied - writer.others]} <= sealed_for


def test_what_is_written_meanwhile_neither_gets_in_nor_makes_it_start_over(
    sqlite_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(sqlite_cell.settings, "a")
    house = sqlite_cell.house()
    house.require()
    before, told = house.log.position(), []

    def written_to(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) < 100:  # one that starts over each time comes to its end as well
            house.log.append([save(labelled(f"jar {len(told)}", 1))])

    monkeypatch.setattr("services.cli.backup.PAGES_AT_ONCE", 8)
    to = sqlite_cell.settings.data / "copy.db"
    _copy_file(house.database("log"), to, written_to)

    assert len(told) > 3
    assert told == sorted(told)
    assert len({total for _, total in told}) == 1
    with closing(ReadOnly(to)) as copy, copy.read() as session:
        assert session.execute("SELECT max(position) FROM log").fetchone() == (before,)
    house.close()


def test_postgres_is_not_kept_waiting_while_the_copy_is_synced(
    postgres_cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends a transaction that stands still for long."""
    settings = postgres_cell.settings
    register(settings, "a")
    waiting: list[tuple[str, str]] = []

    def committed(database: SQLite, connection: sqlite3.Connection) -> None:
        with psycopg.connect(settings.database) as admin:
            sql = """SELECT application_name, state FROM pg_stat_activity
                     WHERE application_name LIKE %s AND xact_start IS NOT NULL"""
            waiting.extend(admin.execute(sql, (f"kept:{settings.cell}%",)).fetchall())
        commit(database, connection)

    commit = SQLite._commit
    monkeypatch.setattr(SQLite, "_commit", committed)

    run_json("backup", settings.data / "copy", settings=settings)

    assert waiting == []


class Writing(threading.Thread):
    """Makes a key and then an event of it, one after another, until it is told to stop."""

    def __init__(self, house: House) -> None:
        super().__init__()
        self._house = house
        self._house.require()
        self._ended, self._wrote = threading.Event(), threading.Semaphore(0)
        self.jars: list[UUID] = []
        self.others = self._deployed()

    def run(self) -> None:
        while not self._ended.is_set():
            entry = labelled(f"jar {len(self.jars)}", 1)
            assert isinstance(entry.originator_id, UUID)
            self._house.keys.key_for_sealing(entry.originator_id, "jar")
            self.jars.append(entry.originator_id)
            (outcome,) = self._house.log.append([save(entry)])
            assert isinstance(outcome, int), outcome
            self._wrote.release()

    def wrote_another(self, count: int) -> None:
        for _ in range(count):
            assert self._wrote.acquire(timeout=30)

    def stop(self) -> None:
        self.wrote_another(1)
        self._ended.set()
        self.join()
        self._house.close()

    def _deployed(self) -> int:
        with self._house.log.database.read() as session:
            sql = "SELECT count(*) FROM log WHERE type = 'kept.cell.v1.PolicyDeployed'"
            row = session.execute(sql).fetchone()
        assert row is not None
        return int(row[0])
