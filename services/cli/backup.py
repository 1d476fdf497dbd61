"""`kept backup`: the log and the keys of a cell, live or stopped, in a folder of their own."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import click

from services.cli.backup_folder import (
    FORMAT,
    KEYS,
    LOG,
    MASTER_KEY,
    Manifest,
    ReadOnly,
    described,
    new_folder,
    settle,
    write_manifest,
)
from services.cli.shown import Shown, Told
from services.cli.table import make_tables
from services.kernel.clock import MachineClock
from services.kernel.config import Settings, read_settings
from services.kernel.database import Database, SQLite
from services.kernel.house import House
from services.kernel.log.epoch import epoch_of
from services.kernel.log.transfer import Reader, Side, copy_tables
from services.kernel.privacy import read_master_key, require_keys

PAGES_AT_ONCE = 4096


@click.command()
@click.argument("to", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the cell.")
@click.option("--with-master-key", is_flag=True, help="Put the master key in as well: who has the folder has it all.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def backup(to: Path, data: Path | None, *, with_master_key: bool, as_json: bool, quiet: bool) -> None:
    """Copy the log and the keys of a cell, which may run meanwhile, into the new folder TO.

    The folder is there when it is whole, and not before. Views are left out: they are made from the log.
    """
    settings = read_settings(os.environ, data)
    manifest = back_up(settings, to, with_master_key=with_master_key, shown=Shown(quiet=quiet))
    if as_json:
        click.echo(json.dumps({"folder": str(to), "master_key_file": str(settings.master_key), **asdict(manifest)}))
        return
    click.echo(f"{to}: cell {manifest.cell}, epoch {manifest.epoch}, {manifest.position:,} events")
    click.echo(f"Merkle root {manifest.root}")
    if with_master_key:
        click.echo(f"{to / MASTER_KEY} is in it: whoever has this folder can open everybody's personal data")
    else:
        click.echo(
            f"the master key is not in it: it is {settings.master_key}. Keep a copy of it apart from this folder;"
        )
        click.echo("without it no name, phone or text in the back-up can be opened again")


def back_up(settings: Settings, to: Path, *, with_master_key: bool, shown: Shown) -> Manifest:
    """Raises Misconfigured, log-damaged, and what the storage refuses."""
    house = House(settings)
    house.log.require()
    require_keys(house.database("keys"))
    with closing(house), new_folder(to) as folder:
        if settings.database:
            _copy_from_postgres(house, folder, shown)
        else:
            # The keys after the log: each key is made before the first event that needs it, and its row never goes.
            _copy_file(house.database("log"), folder / LOG, shown.stage("copying the log", "pages"))
            _copy_file(house.database("keys"), folder / KEYS, shown.stage("copying the keys", "pages"))
        log = ReadOnly(folder / LOG)
        reader = Reader("the copy of the log")
        with closing(log), log.read() as session:
            reader.read_on(session, shown.stage("checking the copy"))
            reader.finish(session)
        if with_master_key:
            read_master_key(settings.master_key, make=False)
            shutil.copyfile(settings.master_key, folder / MASTER_KEY)
            (folder / MASTER_KEY).chmod(0o600)
        names = (LOG, KEYS, MASTER_KEY) if with_master_key else (LOG, KEYS)
        manifest = Manifest(
            FORMAT,
            house.log.cell(),
            epoch_of(log),
            reader.position,
            reader.root.hex(),
            MachineClock().now().isoformat(timespec="seconds"),
            version("kept"),
            "postgresql" if settings.database else "sqlite",
            with_master_key,
            {name: described(folder / name) for name in names},
        )
        log.close()
        write_manifest(folder, manifest)
    return manifest


def _copy_file(source: Database, to: Path, told: Told) -> None:
    """SQLite's own online copy, of one unchanging state: whoever writes goes on, and the copy never starts over."""
    assert isinstance(source, SQLite)
    from_, into = sqlite3.connect(source.path, isolation_level=None), sqlite3.connect(to)
    try:
        from_.execute("BEGIN")
        from_.execute("SELECT 1 FROM sqlite_master").fetchone()
        into.execute("pragma synchronous=off")  # the whole folder is synced in the end
        from_.backup(into, pages=PAGES_AT_ONCE, progress=_progress(told))
        from_.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise source.translate(error) from error
    finally:
        from_.close()
        into.close()
    settle(to)


def _progress(told: Told) -> Callable[[int, int, int], None]:
    return lambda _status, remaining, total: told(total - remaining, total)


def _copy_from_postgres(house: House, folder: Path, shown: Shown) -> None:
    copy = House(replace(house.settings, data=folder, database=""))
    make_tables(copy, house.log.cell(), views=False)
    for namespace, what in (("log", "copying the log"), ("keys", "copying the keys")):
        source, target = house.database(namespace), copy.database(namespace)
        # SQLite syncs all of it when it commits; PostgreSQL would end a transaction that stands still for so long.
        with target.write() as ours, source.snapshot() as theirs:
            copy_tables(Side(source, theirs), Side(target, ours), told=shown.stage(what, "rows"))
    copy.close()
    for name in (LOG, KEYS):
        settle(folder / name)
