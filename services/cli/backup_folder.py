"""A back-up on the disk: a folder with log.db, keys.db and a manifest that says what they are. Whole, or not there.

Its files are SQLite's, whichever database the cell had, so it can be restored onto either.
"""

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from services.kernel.database import SQLite
from services.kernel.errors import Misconfigured, Refused

MANIFEST, LOG, KEYS, MASTER_KEY = "manifest.json", "log.db", "keys.db", "master.key"
FORMAT = 1
CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Manifest:
    """`root` is the Merkle root over all events up to `position`, in hex; `files` maps names to size and SHA-256."""

    format: int
    cell: str
    epoch: int
    position: int
    root: str
    made_at: str
    kept: str
    database: str
    master_key: bool
    files: dict[str, dict[str, Any]]

    @property
    def moment(self) -> datetime:
        """When the back-up was made. Raises ValueError."""
        return datetime.fromisoformat(self.made_at).astimezone(UTC)


class ReadOnly(SQLite):
    """A file that nobody changes: not even its journal's mode is."""

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{Path(self.path).absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None
        )


@contextmanager
def new_folder(to: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name when the block ends well: until then it is TO.part.

    Raises Misconfigured where something is there already, or nothing can be.
    """
    part = to.with_name(f"{to.name}.part")
    if to.exists():
        raise Misconfigured(f"{to}: is there already; a back-up never writes over anything, choose another name")
    try:
        if part.exists():
            remove_part(part)
        part.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise Misconfigured(f"{part}: cannot be made ({error.strerror})") from error
    yield part
    for path in part.iterdir():
        synced(path)
    synced(part)
    part.rename(to)
    synced(to.parent)


def remove_part(part: Path) -> None:
    """Takes away what a command that was ended has left. Raises Misconfigured where there is anything of others in it."""
    names = {
        MANIFEST,
        MASTER_KEY,
        *(f"{name}{end}" for name in (LOG, KEYS) for end in ("", "-wal", "-shm", "-journal")),
    }
    others = [path.name for path in part.iterdir() if path.name not in names]
    if others:
        raise Misconfigured(f"{part}: holds {others[0]}, which is none of ours; take the folder away")
    shutil.rmtree(part)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    (folder / MANIFEST).write_text(json.dumps(asdict(manifest), indent=2) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Raises Misconfigured for what is no back-up, or one of a newer Kept."""
    try:
        told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if told["format"] != FORMAT:
            raise Misconfigured(f"{folder}: is a back-up of format {told['format']}; use the Kept that made it")
        manifest = Manifest(**told)
        if not {LOG, KEYS} <= manifest.files.keys() or not manifest.moment.year:
            raise ValueError("files are missing")  # noqa: TRY301 - one message for whatever is wrong with it
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = "; its making was interrupted" if folder.name.endswith(".part") else ""
        raise Misconfigured(f"{folder}: is no whole back-up: {MANIFEST} cannot be read{hint}") from error
    return manifest


def described(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": _digest(path)}


def copy_checked(folder: Path, name: str, manifest: Manifest, to: Path) -> None:
    """Raises backup-damaged unless the file is as the manifest says."""
    try:
        shutil.copyfile(folder / name, to)
        to.chmod(0o600)
    except FileNotFoundError as error:
        raise Refused("backup-damaged", f"{folder / name}: is missing", file=name) from error
    except OSError as error:
        raise Misconfigured(f"{to}: cannot be written ({error.strerror})") from error
    expected, found = manifest.files[name], described(to)
    if found["bytes"] != expected["bytes"]:
        what = f"has {found['bytes']:,} bytes, the manifest says {expected['bytes']:,}"
        raise Refused("backup-damaged", f"{folder / name}: {what}", file=name)
    if found["sha256"] != expected["sha256"]:
        what = "its SHA-256 is not the one in the manifest"
        raise Refused("backup-damaged", f"{folder / name}: {what}", file=name)


def settle(path: Path) -> None:
    """One file, whole by itself: no journal beside it."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("pragma journal_mode=delete")
    finally:
        connection.close()
    path.chmod(0o600)


def synced(path: Path) -> None:
    """On the disk, whatever happens next."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_synced(path: Path, text: str) -> None:
    """All of it, on the disk, or nothing."""
    unready = path.with_name(f"{path.name}.new")
    unready.write_text(text, encoding="utf-8")
    unready.chmod(0o600)
    synced(unready)
    unready.replace(path)
    synced(path.parent)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
