"""`kept move --to postgresql://...`: a cell that runs on SQLite goes on on PostgreSQL, event for event.

While it runs, its events are copied and checked. Then it is stopped, its files are frozen, so that no process can
acknowledge anything on them again, the rest is copied, and in one commit the copy gets the cell's name.
"""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import click

from services.cli.addresses import POSTGRES, no_password, reachable, without_password
from services.cli.backup_folder import write_synced
from services.cli.shown import Shown
from services.cli.staging import Staging, is_in_doubt
from services.cli.up import CHANGES_WITHIN_S, only_cell_in, running_cell
from services.kernel.config import MOVED, Settings, read_settings
from services.kernel.database import SQLite
from services.kernel.errors import KeptError, Misconfigured
from services.kernel.house import House
from services.kernel.log.moved import Mark, finish, freeze, mark_of, thaw
from services.kernel.privacy import require_keys

# When no more than this is left, the cell is stopped; copying it takes well under a second.
NEARLY_ALL = 2000
ROUNDS_MOST = 20  # where events come faster than that


@dataclass(frozen=True)
class Moved:
    """`stopped_s` is how long nothing could be recorded; `ran` whether a cell had to be stopped."""

    address: str
    events: int
    root: str
    ran: bool
    stopped_s: float


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the cell.")
@click.option(
    "--to",
    "address",
    required=True,
    envvar="KEPT_MOVE_TO",
    callback=no_password("KEPT_MOVE_TO"),
    help="postgresql:// address; or KEPT_MOVE_TO.",
)
@click.option("--abandon", is_flag=True, help="Stay on SQLite after a move that was interrupted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def move(data: Path | None, *, address: str, abandon: bool, as_json: bool, quiet: bool) -> None:
    """Move the cell of a folder from SQLite to PostgreSQL, while it runs.

    In the end the cell is stopped; `kept up` starts it again, on PostgreSQL. Request ids, positions and every byte of
    every event stay the same. Interrupted, the same command goes on.
    """
    if not address.startswith(POSTGRES):
        raise click.UsageError("--to: give a postgresql:// address")
    settings = read_settings({**os.environ, "KEPT_DATABASE": ""}, data)
    settings = replace(settings, database="")
    mover = Mover(settings, address, Shown(quiet=quiet))
    if abandon:
        mover.abandon()
        click.echo(f"the cell stays on SQLite; start it: kept up --data {settings.data}")
        return
    moved = mover.run()
    if as_json:
        click.echo(json.dumps(moved.__dict__))
        return
    click.echo(f"{moved.events:,} events moved, Merkle root {moved.root}; each was read back and hashed again")
    click.echo(f"the cell lives at {moved.address}; nothing could be recorded for {moved.stopped_s:.1f} s")
    click.echo(f"{settings.data / MOVED} says so without a password: give that in ~/.pgpass, or set KEPT_DATABASE")
    click.echo(
        f"start it: kept up --data {settings.data}. The folder keeps the master key; its SQLite files are the past"
    )


class Mover:
    def __init__(self, settings: Settings, address: str, shown: Shown) -> None:
        self._settings = settings
        self._address = without_password(address, "--to")
        self._to = replace(settings, database=address)
        self._shown = shown
        self._house = House(settings)
        log, keys = self._house.database("log"), self._house.database("keys")
        assert isinstance(log, SQLite)
        assert isinstance(keys, SQLite)
        self._log, self._keys = log, keys

    def run(self) -> Moved:
        """Raises Misconfigured, log-damaged, transfer-incomplete, and move-in-doubt: run it again."""
        mark = self._require()
        reachable(self._to.database, "--to")
        with closing(self._house), Staging(self._to, self._house) as staging:
            move = mark.move if mark is not None else self._id()
            if mark is not None and staging.holder() == move:
                return self._finished(ran=False, stopped_s=0.0)
            if mark is not None and mark.finished:
                raise Misconfigured(
                    f"this cell has moved to {mark.address}, and is not there: restore it from a back-up"
                )
            if not staging.go_on(move):
                staging.begin_anew(move)
            staging.refuse_taken()
            staging.require_same_schema()
            self._copy_while_it_runs(staging)
            began = time.monotonic()
            with self._stopped() as ran:
                self._shown.say("the cell is stopped; what is left is copied")
                self._change_over(staging, move)
                return self._finished(ran=ran, stopped_s=time.monotonic() - began)

    def abandon(self) -> None:
        """Raises Misconfigured where there is nothing to abandon, or the cell lives there already."""
        mark = self._require()
        if mark is None or mark.finished:
            raise Misconfigured(f"{self._settings.data}: no move was interrupted here")
        with closing(self._house), Staging(self._to, self._house) as staging:
            if staging.holder() == mark.move:
                raise Misconfigured(f"the cell lives at {self._address} already; run `kept move` again to finish")
            staging.discard()  # from here on nobody can finish that move
            if staging.holder() == mark.move:
                raise Misconfigured(
                    f"the cell has just come to live at {self._address}; run `kept move` again to finish"
                )
            self._thaw()

    def _require(self) -> Mark | None:
        """Raises Misconfigured unless there is a cell here that can be moved; the mark of a move that was interrupted."""
        if not self._log.exists():
            raise Misconfigured(f"there is no SQLite cell in {self._settings.data}; check --data")
        mark = mark_of(self._log)
        if mark is None:
            self._house.log.require()
            require_keys(self._keys)
            if self._house.log.cell() != self._settings.cell:
                raise Misconfigured(f"this is the log of {self._house.log.cell()!r}; set KEPT_CELL to it")
        elif mark.address != self._address:
            raise Misconfigured(f"this cell has moved, or is moving, to {mark.address}: name that with --to")
        return mark

    def _id(self) -> str:
        """One for all tries from this folder; another folder's cell of the same name has another."""
        path = self._settings.data / "moving"
        if not path.exists():
            write_synced(path, uuid4().hex)
        return path.read_text(encoding="ascii")

    def _copy_while_it_runs(self, staging: Staging) -> None:
        for _ in range(ROUNDS_MOST):
            if staging.copy_log(self._shown.stage("copying the log")) <= NEARLY_ALL:
                break
        staging.copy_views(lambda what: self._shown.stage(what, "rows"))

    @contextmanager
    def _stopped(self) -> Iterator[bool]:
        """No cell runs on the folder, nor starts. Yields whether one did."""
        running = running_cell(self._settings)
        if running is not None:
            os.kill(running["pid"], signal.SIGTERM)
        self._house.make_folders()
        with only_cell_in(self._settings, within_s=CHANGES_WITHIN_S):
            yield running is not None

    def _change_over(self, staging: Staging, move: str) -> None:
        freeze(self._log, move, self._address)  # what fails here has changed nothing
        try:
            freeze(self._keys, move, self._address)
            staging.copy_log(self._shown.stage("copying the rest of the log"))
            staging.copy_rest(self._shown.stage("copying all else", "rows"))
        except BaseException:
            self._stay()
            raise
        try:
            staging.give_name()
        except KeptError as error:
            if not is_in_doubt(error):
                self._stay()
            raise

    def _stay(self) -> None:
        """The copy has no name there, for certain: the cell goes on here. Where that is in doubt, it stays frozen."""
        self._thaw()
        self._shown.say(f"nothing was moved; start the cell again: kept up --data {self._settings.data}")

    def _finished(self, *, ran: bool, stopped_s: float) -> Moved:
        for database in (self._log, self._keys):
            finish(database)
        head = self._house.log.head()
        told = {
            "cell": self._settings.cell,
            "database": self._address,
            "position": head.position,
            "root": head.root.hex(),
        }
        write_synced(self._settings.data / MOVED, json.dumps(told) + "\n")
        (self._settings.data / "moving").unlink(missing_ok=True)
        return Moved(self._address, head.position, head.root.hex(), ran, stopped_s)

    def _thaw(self) -> None:
        thaw(self._keys)
        thaw(self._log)  # last: while it is frozen, the move can be told from one that never began
