"""`kept restore`: a cell from a back-up, as a new epoch of its log, on either database."""

import getpass
import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from services.cli.backup_folder import KEYS, LOG, Manifest, copy_checked, read_manifest, remove_part, settle, synced
from services.cli.lost_cell import Lost, read_erasures, read_old
from services.cli.shown import Shown
from services.cli.staging import Staging
from services.cli.table import SERVICES, make_tables
from services.kernel import erasure
from services.kernel.cell import CellClock
from services.kernel.clock import micros
from services.kernel.config import Settings, read_settings
from services.kernel.errors import Misconfigured, Refused
from services.kernel.house import House
from services.kernel.log.epoch import Restored, epoch_of, start_epoch
from services.kernel.log.transfer import Reader

PART = "restore.part"
HOW_TO_KNOW = """how far had the lost log been read? Positions that anybody has seen are never given to other events.
  --old DIR or --old postgresql://...  where the old log can still be read, that is all it takes
  --published N                        the last position that anybody may know: the size in an auditor's newest checkpoint, the
                                       position in a partner's or client's newest answer; more than needed does no harm
  --nothing-published                  you are sure that nobody saw anything after position {position:,}"""


@dataclass(frozen=True)
class Outcome:
    """What was made. `destroyed` counts keys that the back-up still had and that were erased since."""

    manifest: Manifest
    epoch: int
    published_to: int
    destroyed: int
    erased: int


@click.command()
@click.argument("folder", metavar="FROM", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the cell to make.")
@click.option("--database", help="A postgresql:// address; KEPT_DATABASE, or SQLite in the folder, when not given.")
@click.option(
    "--published", type=click.IntRange(min=0), help="The last position of the lost log that anybody may know."
)
@click.option("--old", help="What is left of the lost cell: its folder, or its postgresql:// address.")
@click.option("--nothing-published", is_flag=True, help="Nobody has seen anything after the back-up's last position.")
@click.option(
    "--erasures",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="Who was erased since: another back-up, or events from `kept audit stream --json`; may be repeated.",
)
@click.option(
    "--epoch", type=click.IntRange(min=2), help="For a cell that was restored since the back-up: the next epoch."
)
@click.option("--reason", default="restored from a back-up", show_default=True, help="Why; it is recorded.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def restore(
    folder: Path,
    data: Path | None,
    *,
    database: str | None,
    published: int | None,
    old: str | None,
    nothing_published: bool,
    erasures: tuple[Path, ...],
    epoch: int | None,
    reason: str,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make the cell of the back-up FROM in a place where there is none.

    Its log begins with the back-up's events and then says that a new epoch starts. Positions that were published after
    the back-up are filled, never given away again. Keys that are known to be destroyed stay destroyed.
    """
    environment = {**os.environ, "KEPT_DATABASE": database} if database else os.environ
    settings = read_settings(environment, data)
    manifest = read_manifest(folder)
    if manifest.cell != settings.cell:
        raise Misconfigured(f"{folder} is of the cell {manifest.cell!r}: set KEPT_CELL to it")
    lost = Lost()
    if old is not None:
        read_old(old, manifest.cell, lost)
    for source in erasures:
        read_erasures(source, lost)
    if lost.position is None and published is None and not nothing_published:
        raise click.UsageError(HOW_TO_KNOW.format(position=manifest.position))
    published_to = max(manifest.position, published or 0, lost.position or 0)
    epoch = max(epoch or 0, manifest.epoch + 1, lost.epoch + 1)
    outcome = restore_cell(folder, settings, lost, published_to, epoch, reason, Shown(quiet=quiet))
    key = _master_key(settings)
    if as_json:
        click.echo(json.dumps(_as_json(outcome, settings, old)))
    else:
        click.echo("\n".join(_as_text(outcome, settings, key, old, told=bool(erasures))))


def restore_cell(
    folder: Path, settings: Settings, lost: Lost, published_to: int, epoch: int, reason: str, shown: Shown
) -> Outcome:
    """Raises Misconfigured where something is already, backup-damaged, log-damaged, too-many-lost."""
    manifest = read_manifest(folder)
    house = House(settings)
    _refuse_unless_empty(house)
    house.make_folders()
    with closing(house), _part(settings.data) as part:
        for name in (LOG, KEYS):
            copy_checked(folder, name, manifest, part / name)
        made = House(replace(settings, data=part, database=""))
        with closing(made):
            _verify(made, folder, manifest, shown)
            make_tables(made, manifest.cell, views=False)
            at = Restored(epoch, published_to, manifest.moment, f"user:{getpass.getuser().lower()}", reason)
            start_epoch(made.log, at, shown.stage("filling positions that were published"))
            destroyed = _erase_again(made, lost, at.actor)
            erased = len(erasure.recorded(made.database("log")))
            if settings.database:
                _to_postgres(made, settings, shown)
        if not settings.database:
            for name in (KEYS, LOG):  # the log last: where it is, the cell is
                settle(part / name)
                synced(part / name)
                (part / name).rename(settings.data / name)
            synced(settings.data)
    return Outcome(manifest, epoch, published_to, destroyed, erased)


def _refuse_unless_empty(house: House) -> None:
    settings = house.settings
    there = [
        name
        for name in ("log", *(f"views_{service.name}" for service in SERVICES), "keys")
        if house.database(name).exists()
    ]
    # Keys without a log are what a restore leaves that was ended between the two.
    if there and (settings.database or there != ["keys"] or not (settings.data / PART).exists()):
        where = "that database" if settings.database else str(settings.data)
        raise Misconfigured(
            f"there is something of a cell {settings.cell!r} in {where} already; restore into an empty place"
        )


@contextmanager
def _part(data: Path) -> Iterator[Path]:
    """Where the cell is made before it is one. Left behind only by a crash; the next restore starts over."""
    part = data / PART
    if part.exists():
        remove_part(part)
    part.mkdir(mode=0o700)
    yield part
    remove_part(part)


def _verify(made: House, folder: Path, manifest: Manifest, shown: Shown) -> None:
    """Hashes every event again, and compares with what the manifest promised."""
    reader = Reader(f"the log in {folder}")
    with made.database("log").read() as session:
        reader.read_on(session, shown.stage("checking the back-up"))
        reader.finish(session)
    found = (made.log.cell(), epoch_of(made.database("log")), reader.position, reader.root.hex())
    promised = (manifest.cell, manifest.epoch, manifest.position, manifest.root)
    for what, is_, should in zip(("cell", "epoch", "position", "Merkle root"), found, promised, strict=True):
        if is_ != should:
            raise Refused(
                "backup-damaged", f"{folder}: the log's {what} is {is_}, the manifest says {should}", what=what
            )


def _erase_again(made: House, lost: Lost, actor: str) -> int:
    """What is known of elsewhere is recorded here as well, so that the next back-up knows it too."""
    log, keys = made.database("log"), made.database("keys")
    at = micros(CellClock(made.log).now())
    for subject, purposes in erasure.missing(lost.erasures, erasure.recorded(log)):
        erasure.record(made.log, subject, purposes, actor=actor, at=at)
    return erasure.carry_out(log, keys)


def _to_postgres(made: House, settings: Settings, shown: Shown) -> None:
    with Staging(settings, made) as staging:
        staging.begin_anew("restore")
        staging.copy_log(shown.stage("copying the log"))
        staging.copy_rest(shown.stage("copying all else", "rows"))
        staging.give_name()


def _master_key(settings: Settings) -> str:
    """What is to be said of it. Raises Misconfigured for a wrong one."""
    if not settings.master_key.exists():
        return f"put the cell's master key at {settings.master_key} before you start it: nothing opens without it"
    house = House(settings)
    with closing(house):
        house.keys.require()
    return f"the master key {settings.master_key} opens the keys"


def _as_json(outcome: Outcome, settings: Settings, old: str | None) -> dict[str, Any]:
    return {
        "cell": outcome.manifest.cell,
        "epoch": outcome.epoch,
        "restored_to": outcome.manifest.position,
        "root": outcome.manifest.root,
        "published_to": outcome.published_to,
        "positions_filled": outcome.published_to - outcome.manifest.position,
        "persons_erased": outcome.erased,
        "keys_destroyed_again": outcome.destroyed,
        "old_log_read": old is not None,
        "master_key_file": str(settings.master_key),
        "master_key_there": settings.master_key.exists(),
    }


def _as_text(outcome: Outcome, settings: Settings, key: str, old: str | None, *, told: bool) -> list[str]:
    manifest = outcome.manifest
    lines = [
        f"cell {manifest.cell} is restored to position {manifest.position:,}, as of {manifest.made_at}",
        f"Merkle root {manifest.root}, computed again from every event",
        f"epoch {outcome.epoch} starts after position {outcome.published_to:,};"
        f" {outcome.published_to - manifest.position:,} positions hold what is lost",
        f"{outcome.erased:,} persons are known to be erased; {outcome.destroyed:,} keys came back and are destroyed again",
    ]
    if old is None:
        since = "what else was erased after the back-up" if told else "who was erased after the back-up"
        lines.append(
            f"{since} cannot be known from here: erase them again, or restore with --erasures and an auditor's events"
        )
        lines.append("commands after it are lost; a client that sends one again has it done as a new one")
    lines.append("notices that went out after it may go out once more, under the same ids")
    lines.append(key)
    lines.append(f"start it: kept up --data {settings.data}; its views are made from the log")
    return lines
