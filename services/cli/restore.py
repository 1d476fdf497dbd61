"""`kept restore`: a cell from a back-up, as a new epoch of its log, on either database."""

import json
import os
from pathlib import Path
from typing import Any

import click

from services.cli.addresses import POSTGRES, no_password, reachable
from services.cli.backup_folder import Manifest, read_manifest
from services.cli.lost_cell import Lost, read_erasures, read_old
from services.cli.restoring import Outcome, restore_cell
from services.cli.shown import Shown
from services.kernel.config import MOVED, Settings, read_settings
from services.kernel.errors import Misconfigured

HOW_TO_KNOW = """how far had the lost log been read? Positions that anybody has seen are never given to other events.
  --old DIR or --old postgresql://...  where the old log can still be read, that is all it takes
  --published N                        the last position that anybody may know: the size in an auditor's newest checkpoint, the
                                       position in a partner's or client's newest answer; more than needed does no harm
  --nothing-published                  you are sure that nobody saw anything after position {position:,}"""
WHICH_EPOCH = """which epoch is it to be? No two logs of a cell may have the same, and without --old that is not known here.
  --epoch {next}    the cell was never restored since this back-up, of epoch {epoch}, was made
  --epoch N    one more than the greatest that it ever had: each restore told its own, a later back-up's manifest.json and an
               auditor's newest checkpoint have it, and the events EpochStarted in whatever is left of its logs"""


@click.command()
@click.argument("folder", metavar="FROM", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the cell to make.")
@click.option(
    "--database",
    callback=no_password("KEPT_DATABASE"),
    help="A postgresql:// address; KEPT_DATABASE, or SQLite in the folder, when not given.",
)
@click.option(
    "--published", type=click.IntRange(min=0), help="The last position of the lost log that anybody may know."
)
@click.option(
    "--old",
    envvar="KEPT_RESTORE_OLD",
    callback=no_password("KEPT_RESTORE_OLD"),
    help="What is left of the lost cell: its folder, or its postgresql:// address; or KEPT_RESTORE_OLD.",
)
@click.option("--nothing-published", is_flag=True, help="Nobody has seen anything after the back-up's last position.")
@click.option(
    "--erasures",
    type=click.Path(exists=True, path_type=Path),
    multiple=True,
    help="Who was erased since: another back-up, or events from `kept audit stream --json`; may be repeated.",
)
@click.option(
    "--epoch", type=click.IntRange(min=2), help="Without --old: one more than the greatest that the cell ever had."
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
    if database is not None:
        if not database.startswith(POSTGRES):
            raise click.UsageError("--database: give a postgresql:// address")
        reachable(database, "--database")
    lost = Lost()
    if old is not None:
        read_old(old, manifest.cell, lost)
    for source in erasures:
        read_erasures(source, lost)
    if lost.position is None and published is None and not nothing_published:
        raise click.UsageError(HOW_TO_KNOW.format(position=manifest.position))
    published_to = max(manifest.position, published or 0, lost.position or 0)
    epoch = _epoch(epoch, manifest, lost)
    outcome = restore_cell(folder, settings, lost, published_to, epoch, reason, Shown(quiet=quiet))
    if as_json:
        click.echo(json.dumps(_as_json(outcome, settings, old)))
    else:
        click.echo("\n".join(_as_text(outcome, settings, old, told=bool(erasures))))


def _epoch(given: int | None, manifest: Manifest, lost: Lost) -> int:
    """One that no log of the cell has had. Raises UsageError."""
    least = max(manifest.epoch, lost.epoch) + 1
    if given is None and lost.position is None:
        raise click.UsageError(WHICH_EPOCH.format(next=least, epoch=manifest.epoch))
    if given is not None and given < least:
        raise click.UsageError(f"--epoch {given}: the cell had epoch {least - 1} already; give at least {least}")
    return given or least


def _about_master_key(settings: Settings, *, restored: bool) -> str:
    if restored:
        return f"the master key was in the back-up: {settings.master_key} is restored, and opens the keys"
    if not settings.master_key.exists():
        return f"put the cell's master key at {settings.master_key} before you start it: nothing opens without it"
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
        "master_key_restored": outcome.key_restored,
        "master_key_there": settings.master_key.exists(),
    }


def _as_text(outcome: Outcome, settings: Settings, old: str | None, *, told: bool) -> list[str]:
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
    lines.append(_about_master_key(settings, restored=outcome.key_restored))
    if settings.database:
        lines.append(
            f"{settings.data / MOVED} says where it lives, without a password: give that in ~/.pgpass, or set KEPT_DATABASE"
        )
    lines.append(f"start it: kept up --data {settings.data}; its views are made from the log")
    return lines
