"""Makes a cell from a back-up: in a folder beside its place, and then, when every event is checked, at its place."""

import getpass
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from services.cli.addresses import without_password
from services.cli.backup_folder import (
    KEYS,
    LOG,
    MASTER_KEY,
    Manifest,
    copy_checked,
    read_manifest,
    remove_part,
    settle,
    synced,
    write_synced,
)
from services.cli.lost_cell import Lost
from services.cli.shown import Shown
from services.cli.staging import Staging, is_in_doubt
from services.cli.table import SERVICES, make_tables
from services.cli.up import only_cell_in
from services.kernel import erasure
from services.kernel.cell import CellClock
from services.kernel.clock import micros
from services.kernel.config import MOVED, Settings, moved_to
from services.kernel.database import SQLite
from services.kernel.errors import KeptError, Misconfigured, Refused
from services.kernel.house import House
from services.kernel.log.epoch import Restored, epoch_of, start_epoch
from services.kernel.log.moved import mark_of
from services.kernel.log.transfer import Reader

PART = "restore.part"
JOURNALS = ("*.db-wal", "*.db-shm", "*.db-journal")


@dataclass(frozen=True)
class Outcome:
    """What was made. `destroyed` counts keys that the back-up still had and that were erased since; `key_restored` says
    whether the master key came out of the back-up as well."""

    manifest: Manifest
    epoch: int
    published_to: int
    destroyed: int
    erased: int
    key_restored: bool


def restore_cell(
    folder: Path, settings: Settings, lost: Lost, published_to: int, epoch: int, reason: str, shown: Shown
) -> Outcome:
    """Raises Misconfigured where something is already, backup-damaged, log-damaged, too-many-lost, restore-damaged."""
    manifest = read_manifest(folder)
    house = House(settings)
    refuse_unless_empty(house)
    house.make_folders()
    with closing(house), only_cell_in(settings):  # nobody starts a cell there meanwhile
        refuse_unless_empty(house)
        with _part(settings.data) as part:
            for name in (LOG, KEYS):
                copy_checked(folder, name, manifest, part / name)
            key = _master_key(folder, manifest, settings, part)
            made = House(replace(settings, data=part, database="", master_key=key))
            with closing(made):
                _verify(made, folder, manifest, shown)
                make_tables(made, manifest.cell, views=False)
                if key.exists():
                    made.keys.require()
                at = Restored(epoch, published_to, manifest.moment, f"user:{getpass.getuser().lower()}", reason)
                start_epoch(made.log, at, shown.stage("filling positions that were published"))
                destroyed = _erase_again(made, lost, at.actor)
                erased = len(erasure.recorded(made.database("log")))
                should = _found(made)
                key_restored = key != settings.master_key
                if key_restored:
                    _give_master_key(part, settings.master_key)
                if settings.database:
                    _to_postgres(made, settings, shown)
            if not settings.database:
                refuse_unless_empty(house)
                _give_place(part, settings.data)
            if _found(house) != should:
                raise Refused(
                    "restore-damaged",
                    f"the log in {_where(settings)} is not the one that was made from the back-up: somebody else has"
                    " changed it; restore once more, into another place",
                )
    return Outcome(manifest, epoch, published_to, destroyed, erased, key_restored)


# The place


def refuse_unless_empty(house: House) -> None:
    """Raises Misconfigured where anything of a cell is, or of the files of one that is lost."""
    settings = house.settings
    there = [
        name
        for name in ("log", *(f"views_{service.name}" for service in SERVICES), "keys")
        if house.database(name).exists()
    ]
    # Keys without a log are what a restore leaves that was ended between the two.
    if there and (settings.database or there != ["keys"] or not (settings.data / PART).exists()):
        raise Misconfigured(
            f"there is something of a cell {settings.cell!r} in {_where(settings)} already; restore into an empty place"
        )
    if settings.database:
        _refuse_another_cell(settings)
        return
    left = sorted(str(path) for journal in JOURNALS for path in settings.data.glob(journal))
    if left:
        raise Misconfigured(
            f"{', '.join(left)}: left of files that are gone; SQLite would write what is in it into the restored ones,"
            " so move it away, or restore into another folder"
        )


def _refuse_another_cell(settings: Settings) -> None:
    """The folder will say that its cell is in this database; one that it has, or had elsewhere, would not start any more."""
    log, lives_at = SQLite(settings.data / LOG), moved_to(settings.data)
    with closing(log):
        mark = mark_of(log) if log.exists() else None
    if (log.exists() or (settings.data / KEYS).exists()) and not (mark and mark.finished):
        raise Misconfigured(f"{settings.data}: there is a SQLite cell; choose another folder with --data")
    if lives_at not in ("", without_password(settings.database)):
        raise Misconfigured(
            f"{settings.data / MOVED}: says that a cell lives at {lives_at}; choose another folder with --data"
        )


@contextmanager
def _part(data: Path) -> Iterator[Path]:
    """Where the cell is made before it is one. Left behind only by a crash; the next restore starts over."""
    part = data / PART
    if part.exists():
        if not (data / LOG).exists():
            (data / KEYS).unlink(missing_ok=True)  # see `refuse_unless_empty`
        remove_part(part)
    part.mkdir(mode=0o700)
    try:
        yield part
    finally:
        remove_part(part)


def _give_place(part: Path, data: Path) -> None:
    for name in (KEYS, LOG):
        settle(part / name)
        synced(part / name)
    try:
        for name in (KEYS, LOG):  # the log last: where it is, the cell is
            (part / name).rename(data / name)
    except OSError as error:
        (data / KEYS).unlink(missing_ok=True)
        raise Misconfigured(f"{data}: cannot be written ({error.strerror})") from error
    synced(data)


def _to_postgres(made: House, settings: Settings, shown: Shown) -> None:
    with Staging(settings, made) as staging:
        staging.begin_anew("restore")
        staging.copy_log(shown.stage("copying the log"))
        staging.copy_rest(shown.stage("copying all else", "rows"))
        with _told(made, settings):
            staging.give_name()


@contextmanager
def _told(made: House, settings: Settings) -> Iterator[None]:
    """The folder says where its cell is, as after `kept move`; else `kept up` would make an empty one in it.

    Before the cell is there: what is ended in between is restored again, and nothing else can be started meanwhile.
    """
    path, head = settings.data / MOVED, made.log.head()
    was_there = path.exists()
    told = {
        "cell": settings.cell,
        "database": without_password(settings.database),
        "position": head.position,
        "root": head.root.hex(),
    }
    write_synced(path, json.dumps(told) + "\n")
    try:
        yield
    except KeptError as error:
        if not (was_there or is_in_doubt(error)):
            path.unlink()
        raise


def _where(settings: Settings) -> str:
    return "that database" if settings.database else str(settings.data)


# What is in it


def _found(house: House) -> tuple[str, int, int, str]:
    head = house.log.head()
    return house.log.cell(), epoch_of(house.database("log")), head.position, head.root.hex()


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


def _master_key(folder: Path, manifest: Manifest, settings: Settings, part: Path) -> Path:
    """The one to open the keys with: the one that is there, or else the back-up's, in `part`. Raises backup-damaged."""
    if MASTER_KEY not in manifest.files or settings.master_key.exists():
        return settings.master_key
    copy_checked(folder, MASTER_KEY, manifest, part / MASTER_KEY)
    return part / MASTER_KEY


def _give_master_key(part: Path, place: Path) -> None:
    """Raises Misconfigured."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_synced(place, (part / MASTER_KEY).read_text(encoding="ascii"))
    except OSError as error:
        raise Misconfigured(f"{place}: cannot be written ({error.strerror})") from error
