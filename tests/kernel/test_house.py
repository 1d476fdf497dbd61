"""What a cell's processes are built from."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from services.kernel.errors import Misconfigured
from services.kernel.house import House
from tests.databases import Cell
from tests.kernel.toys import given, labelled


def test_a_cell_is_made_once_and_then_kept(cell: Cell) -> None:
    house = cell.house()
    house.make()
    given(house.log, labelled("a", 1))
    sealing = house.keys.fingerprint(b"x")
    house.close()

    again = cell.house()
    again.make()
    again.require()

    assert again.log.position() == 1
    assert again.keys.fingerprint(b"x") == sealing
    again.close()


def test_a_cell_that_was_never_made_is_refused(cell: Cell) -> None:
    with pytest.raises(Misconfigured, match="kept migrate"):
        cell.house().require()


def test_only_the_owner_opens_the_folders(sqlite_cell: Cell) -> None:
    settings = replace(sqlite_cell.settings, data=sqlite_cell.settings.data / "new", master_key=Path("unused"))
    settings = replace(settings, master_key=settings.data / "master.key")
    house = House(settings)
    house.make()

    for folder in (settings.data, settings.run, settings.run / "log", settings.run / "views"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    house.close()


def test_a_folder_that_cannot_be_made_is_told_as_such(sqlite_cell: Cell) -> None:
    blocked = sqlite_cell.settings.data / "file"
    blocked.write_text("in the way")

    with pytest.raises(Misconfigured, match="cannot be made or written"):
        House(replace(sqlite_cell.settings, data=blocked / "data")).make()


def test_a_cell_whose_making_was_cut_short_is_made_by_trying_again(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was the last thing that got done."""
    for step in ("services.kernel.log.event_log.EventLog.migrate", "services.kernel.privacy.KeyStore.migrate"):
        with monkeypatch.context() as patch:
            patch.setattr(step, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            cut_short = cell.house()
            with pytest.raises(KeyboardInterrupt):
                cut_short.make()
            cut_short.close()

    house = cell.house()
    house.make()
    house.require()
    house.close()


def test_each_namespace_is_opened_once(sqlite_house: House) -> None:
    assert sqlite_house.database("log") is sqlite_house.log.database
    assert sqlite_house.views_database("jars") is sqlite_house.views_database("jars")
    assert sqlite_house.views_database("jars") is not sqlite_house.views_database("lids")


def test_the_log_of_another_cell_is_refused(sqlite_house: House) -> None:
    renamed = House(replace(sqlite_house.settings, cell="renamed"))

    for step in (renamed.require, renamed.make):
        with pytest.raises(Misconfigured, match="KEPT_CELL='renamed', but this is the log of"):
            step()
    renamed.close()
