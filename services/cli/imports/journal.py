"""How far an import came, so that the same command resumes it with nothing doubled.

One line of JSON each: the header, the refusals, each as soon as it is known, and one for every finished minute with the
ids that were made in it. A power cut may lose the last minutes: they are sent again, under the same request ids. It may
not lose a refusal, because a command that was refused once might be accepted later; so refusals are synced.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# Which command: the row, and the command's place in it from 0.
Key = tuple[int, int]


class JournalError(Exception):
    """The journal cannot be used; the text says why and what to do."""


class Journal:
    """Of one file's import into one folder. Opened by `open_journal`, for one process at a time."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.header: dict[str, Any] = {}
        self.finished = -1  # index of the last finished minute
        self.position = 0  # of the log, after that minute
        self.ids: dict[Key, str] = {}
        self.refusals: dict[Key, tuple[str, str]] = {}
        self._descriptor = descriptor
        self._load()

    def begin(self, header: Mapping[str, Any]) -> None:
        """Records under what settings this import runs. Raises: JournalError if it began under others."""
        header = dict(header)
        if not self.header:
            self.header = header
            self._append({"import": header}, sync=True)
        differing = [name for name in header if self.header.get(name) != header[name]]
        if differing:
            before = ", ".join(
                f"{name} {_told(self.header.get(name))}, now {_told(header[name])}" for name in differing
            )
            raise JournalError(
                f"this file's import into this folder began with {before}: "
                "resume it with the settings it began with, or import into another folder"
            )

    def refused(self, key: Key, *, slug: str, message: str) -> None:
        self.refusals[key] = (slug, message)
        self._append({"refused": [*key, slug, message]}, sync=True)

    def finish(self, minute: int, *, position: int, ids: Mapping[Key, str]) -> None:
        line: dict[str, Any] = {"minute": minute, "position": position}
        if ids:
            line["ids"] = [[*key, made] for key, made in ids.items()]
        self._append(line)
        self.finished, self.position = minute, position

    def _append(self, line: Mapping[str, Any], *, sync: bool = False) -> None:
        raw = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        try:
            written = os.write(self._descriptor, raw)
            if sync:
                os.fsync(self._descriptor)
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}") from error
        if written < len(raw):  # the next load drops the torn line
            raise JournalError(f"{self.path}: the disk is full")

    def _load(self) -> None:
        good = 0
        with self.path.open("rb") as file:
            for raw in file:
                if not raw.endswith(b"\n"):
                    break  # torn: its writer was killed
                try:
                    self._read(json.loads(raw))
                except (ValueError, KeyError, TypeError) as error:
                    raise JournalError(f"{self.path}: damaged at byte {good}: move it away to start again") from error
                good += len(raw)
        os.ftruncate(self._descriptor, good)

    def _read(self, line: dict[str, Any]) -> None:
        if "import" in line:
            self.header = line["import"]
        elif "refused" in line:
            row, command, slug, message = line["refused"]
            self.refusals[row, command] = (slug, message)
        else:
            self.finished, self.position = line["minute"], line["position"]
            self.ids.update({(row, command): made for row, command, made in line.get("ids", ())})


@contextmanager
def open_journal(data_dir: Path, digest: str) -> Iterator[Journal]:
    """The journal of the file with this digest, read to its last whole line; made where there is none.

    Raises: JournalError when it cannot be written, is damaged, or another process has it.
    """
    path = journal_path(data_dir, digest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise JournalError(f"{path}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise JournalError(f"{path}: another import of this file into this folder is running") from error
        yield Journal(path, descriptor)
    finally:
        if os.fstat(descriptor).st_size == 0:  # never begun: leave no trace
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()
        os.close(descriptor)


def peek_header(data_dir: Path, digest: str) -> dict[str, Any]:
    """The settings that this file's import began with; empty where it has not begun. Changes nothing."""
    try:
        with journal_path(data_dir, digest).open("rb") as file:
            header = json.loads(file.readline())["import"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return header if isinstance(header, dict) else {}


def journal_path(data_dir: Path, digest: str) -> Path:
    return data_dir / "imports" / f"{digest}.jsonl"


def _told(setting: Any) -> str:
    return "not set" if setting is None else repr(setting)
