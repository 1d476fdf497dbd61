"""What is still known of a cell that is lost: how far its log was read, which epochs it had, and who was erased.

Each source is one that somebody has kept elsewhere: the old cell itself, other back-ups, an auditor's events.
"""

import base64
import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.message import DecodeError

from services.cli.addresses import POSTGRES
from services.cli.backup_folder import KEYS, LOG, MANIFEST, ReadOnly
from services.cli.followers_report import kinds
from services.cli.table import RELAY
from services.cli.up import CellRuns, only_cell_in
from services.kernel import erasure
from services.kernel.config import LONGEST_CELL, Settings
from services.kernel.database import Database, SQLite
from services.kernel.erasure import Erasures
from services.kernel.errors import KeptError, Misconfigured
from services.kernel.lease import PostgresLeases
from services.kernel.log.epoch import epoch_of
from services.kernel.log.moved import mark_of

ENDS_WITHIN_S = 2.0


@dataclass
class Lost:
    """`position` is the last that the old log had, where it could be read; `erasures` whose keys are to stay destroyed."""

    position: int | None = None
    epoch: int = 0
    erasures: Erasures = field(default_factory=dict)

    def add(self, erasures: Erasures) -> None:
        for subject, purposes in erasures.items():
            erasure.add(self.erasures, subject, purposes)


def read_old(old: str, cell: str, lost: Lost) -> None:
    """A folder with what is left of a SQLite cell, or the address of a PostgreSQL one. Raises Misconfigured, also while the
    cell still runs: what it then records would be at positions that the restored log gives away."""
    log, keys = _databases(old, cell)
    try:
        with closing(log), closing(keys):
            if not log.exists():
                raise Misconfigured(f"{_shown(old)}: there is no log of cell {cell!r}")  # noqa: TRY301 - told as the others are
            mark = mark_of(log)
            if mark is not None and mark.finished:  # what is here is only the past
                raise Misconfigured(f"{_shown(old)}: that cell has moved: give --old {mark.address}")  # noqa: TRY301
            _refuse_running(old, cell, log)
            with log.read() as session:
                row = session.execute("SELECT name, position FROM cell, head").fetchone()
            if row is None or row[0] != cell:
                raise Misconfigured(f"{_shown(old)}: is the log of {row and row[0]!r}, not of {cell!r}")  # noqa: TRY301
            lost.position, lost.epoch = int(row[1]), epoch_of(log)
            lost.add(erasure.recorded(log))
            if keys.exists():
                lost.add(erasure.told_by_keys(keys))
    except Misconfigured:
        raise
    except Exception as error:
        why = error if isinstance(error, KeptError) else type(error).__name__
        raise Misconfigured(
            f"{_shown(old)}: the old log cannot be read ({why}); leave --old out, and give --published"
        ) from error


def read_erasures(source: Path, lost: Lost) -> int:
    """Another back-up, or a file of events as `kept audit stream --json` prints them. Returns how many persons it tells of.

    Raises Misconfigured.
    """
    try:
        found: Erasures = {}
        if (source / MANIFEST).exists():
            for erased in (_of_log(source / LOG), _of_keys(source / KEYS)):
                for subject, purposes in erased.items():
                    erasure.add(found, subject, purposes)
        else:
            found = erasure.told_by_events(_events(source))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DecodeError, sqlite3.Error) as error:
        what = "a back-up's folder, or a file of events as `kept audit stream --json` prints them"
        raise Misconfigured(f"{source}: is not {what}") from error
    lost.add(found)
    return len(found)


def _of_log(path: Path) -> Erasures:
    with closing(ReadOnly(path)) as log:
        return erasure.recorded(log)


def _of_keys(path: Path) -> Erasures:
    with closing(ReadOnly(path)) as keys:
        return erasure.told_by_keys(keys)


def _events(path: Path) -> Iterator[tuple[str, bytes]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                record = json.loads(line)["record"]
                yield record["type"], base64.b64decode(record.get("data", ""), validate=True)


def _databases(old: str, cell: str) -> tuple[Database, Database]:
    if not old.startswith(POSTGRES):
        return SQLite(Path(old) / LOG), SQLite(Path(old) / KEYS)
    from services.kernel.postgres import Postgres

    schema = _schema(cell)
    return Postgres(old, f"{schema}_log", given_as="--old"), Postgres(old, f"{schema}_keys", given_as="--old")


def _refuse_running(old: str, cell: str, log: Database) -> None:
    if not old.startswith(POSTGRES):
        folder = Path(old)
        settings = Settings(folder, cell, "", development=False, otlp_endpoint=None, master_key=folder / "master.key")
        try:
            with suppress(FileNotFoundError), only_cell_in(settings):  # without its run folder none was ever started
                pass
        except CellRuns as error:
            raise Misconfigured(f"{old}: the old cell still runs; stop it first") from error
        return
    until = time.monotonic() + ENDS_WITHIN_S
    while who := _at_work(old, cell, log):
        if time.monotonic() >= until:
            raise Misconfigured(f"--old: the old cell still runs: {who}; stop it first")
        time.sleep(0.05)  # who has just stopped may still be known to the server


def _at_work(old: str, cell: str, log: Database) -> str:
    """Who works on a PostgreSQL cell; empty when nobody does."""
    leases = PostgresLeases(old, cell)
    with closing(leases):
        holders = {holder.process for holder in leases.holders([RELAY, *(name for name, _ in kinds())]).values()}
    if holders:
        return f"in {', '.join(sorted(holders))}"
    # An API process holds no lease, and records. The server knows who has the log open, by the name they connect with.
    sql = """SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()
             AND datname = current_database() AND application_name = ? ORDER BY pid"""
    with log.read() as session:
        pids = [str(pid) for (pid,) in session.execute(sql, (f"kept:{_schema(cell)}_log",)).fetchall()]
    if not pids:
        return ""
    return (
        f"its log is open in sessions {', '.join(pids)} (end those of a machine that is gone with pg_terminate_backend)"
    )


def _schema(cell: str) -> str:
    return cell[:LONGEST_CELL].replace("-", "_")


def _shown(old: str) -> str:
    return "--old" if old.startswith(POSTGRES) else old
