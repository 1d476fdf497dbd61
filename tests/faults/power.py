"""What a power cut leaves of a folder: everything that was synced, and of the rest any part, torn at any sector.

A file's name is on the disk once its folder was synced; of names made and taken away since then, the first so many are.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.disk import Done

SECTOR = 512
SYNCS = ("sync", "sync-folder")


@dataclass(frozen=True)
class Image:
    """The files that are found when the power is back, by path; and what somebody had been told before."""

    cut_at: int
    survival: float
    files: dict[str, bytes]
    told: Sequence[Any]

    def write(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        for path, content in self.files.items():
            (folder / Path(path).name).write_bytes(content)


def images(journal: Sequence[Done], random: Random, *, boundaries: int, each: int) -> Iterator[Image]:
    """At so many sync boundaries, spread over all, `each` images just before the sync, where most is at stake.

    The first two of a boundary lose all that was not synced, and nothing; the others any part.
    """
    at = [index for index, done in enumerate(journal) if done.what in SYNCS]
    chosen = set(random.sample(at, min(boundaries, len(at))))
    disk = _Platters()
    for index, done in enumerate(journal):
        if index in chosen:
            for number in range(each):
                survival = (0.0, 1.0, random.random())[min(number, 2)]
                yield Image(index, survival, disk.left(random, survival), tuple(disk.told))
        disk.do(done)


def boundaries_of(journal: Sequence[Done]) -> int:
    return sum(done.what in SYNCS for done in journal)


class _Platters:
    """What is synced, and what is only on its way. Files have numbers, since a name may be given again."""

    def __init__(self) -> None:
        self.told: list[Any] = []
        self._synced: dict[int, bytearray] = defaultdict(bytearray)
        self._unsynced: dict[int, list[Done]] = defaultdict(list)
        self._names: dict[str, int] = {}
        self._synced_names: dict[str, int] = {}
        self._changed_names: list[tuple[str, int | None]] = []
        self._count = 0

    def do(self, done: Done) -> None:
        match done.what:
            case "told":
                self.told.append(done.told)
            case "create":
                self._count += 1
                self._names[done.path] = self._count
                self._changed_names.append((done.path, self._count))
            case "unlink":
                del self._names[done.path]
                self._changed_names.append((done.path, None))
            case "sync-folder":
                for name, number in self._changed_names:
                    _rename(self._synced_names, name, number)
                self._changed_names.clear()
            case "sync":
                number = self._names[done.path]
                for waiting in self._unsynced.pop(number, ()):
                    _apply(self._synced[number], waiting)
            case _:
                self._unsynced[self._names[done.path]].append(done)

    def left(self, random: Random, survival: float) -> dict[str, bytes]:
        names = dict(self._synced_names)
        upto = sum(random.random() < survival for _ in self._changed_names)
        for name, number in self._changed_names[:upto]:
            _rename(names, name, number)
        return {name: self._content(number, random, survival) for name, number in names.items()}

    def _content(self, number: int, random: Random, survival: float) -> bytes:
        content = bytearray(self._synced[number])
        for done in self._unsynced.get(number, ()):
            for piece in _sectors(done):
                if random.random() < survival:
                    _apply(content, piece)
        return bytes(content)


def _rename(names: dict[str, int], name: str, number: int | None) -> None:
    if number is None:
        names.pop(name, None)
    else:
        names[name] = number


def _sectors(done: Done) -> Iterator[Done]:
    """A write in pieces, each of which is there after a power cut, or not. Their borders are the disk's."""
    if done.what != "write":
        yield done
        return
    start, end = done.offset, done.offset + len(done.data)
    while start < end:
        upto = min(end, (start // SECTOR + 1) * SECTOR)
        yield done._replace(offset=start, data=done.data[start - done.offset : upto - done.offset])
        start = upto


def _apply(content: bytearray, done: Done) -> None:
    if done.what == "cut":
        del content[done.offset :]
        content.extend(bytes(max(0, done.offset - len(content))))
        return
    content.extend(bytes(max(0, done.offset - len(content))))
    content[done.offset : done.offset + len(done.data)] = done.data
