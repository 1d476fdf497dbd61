"""A disk under SQLite that writes down what is done to it, and that can be full.

It lies between the very SQLite library that Python's sqlite3 module uses and that library's own way to the system
(`sqlite3_vfs`), so that nothing of Kept knows of it. Source: https://www.sqlite.org/vfs.html
"""

import _sqlite3
import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_int64, c_void_p, cast, pointer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from tests.needed import missing

OK, FULL = 0, 13
OPEN_CREATE = 0x4


class Done(NamedTuple):
    """One thing that was done. `what` is create, write, cut (to a length), sync, unlink, sync-folder or told."""

    what: str
    path: str
    offset: int = 0
    data: bytes = b""
    told: Any = None


class Disk:
    """What was done, in order; and whether there is still room."""

    def __init__(self) -> None:
        self.journal: list[Done] = []
        self.refused = self.refused_since_it_is_full = 0
        self._room_for: int | None = None
        self._full_in: Callable[[str], bool] = lambda _path: True

    def tell(self, told: Any) -> None:
        """Somebody outside was told something, and will rely on it."""
        self.journal.append(Done("told", "", told=told))

    def fill_after(self, writes: int, where: Callable[[str], bool] = lambda _path: True) -> None:
        """From so many writes to these files on, there is no room for another one."""
        self._room_for, self._full_in = writes, where
        self.refused_since_it_is_full = 0

    def free(self) -> None:
        self._room_for = None

    def takes(self, path: str) -> bool:
        """Whether there is room for a whole write to that file; else half of it is written."""
        if self._room_for is None or not self._full_in(path):
            return True
        self._room_for -= 1
        if self._room_for >= 0:
            return True
        self.refused += 1
        self.refused_since_it_is_full += 1
        return False


@contextmanager
def recorded() -> Iterator[Disk]:
    """Whatever is opened inside, by the sqlite3 module of this process, is on this disk."""
    disk = Disk()
    shim = _Shim(_library(), disk)
    shim.begin()
    try:
        yield disk
    finally:
        shim.end()


# SQLite's own structures. Only what is put in between has a type; the rest is handed on as it is.

_OPEN = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, POINTER(c_int))
_DELETE = CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)
_WRITE = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_TRUNCATE = CFUNCTYPE(c_int, c_void_p, c_int64)
_SYNC = CFUNCTYPE(c_int, c_void_p, c_int)
_OPEN_FOLDER = CFUNCTYPE(c_int, c_char_p, POINTER(c_int))
_SET_CALL = CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p)
_GET_CALL = CFUNCTYPE(c_void_p, c_void_p, c_char_p)


class _Vfs(ctypes.Structure):
    _fields_: ClassVar[list[Any]] = [
        ("version", c_int),
        ("file_size", c_int),
        ("longest_path", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", _OPEN),
        ("delete", _DELETE),
        *((name, c_void_p) for name in ("access", "full_path", "dl_open", "dl_error", "dl_sym", "dl_close", "random")),
        *((name, c_void_p) for name in ("sleep", "time", "last_error", "time_64")),
        ("set_call", _SET_CALL),
        ("get_call", _GET_CALL),
        ("next_call", c_void_p),
    ]


class _Methods(ctypes.Structure):
    _fields_: ClassVar[list[Any]] = [
        ("version", c_int),
        ("close", c_void_p),
        ("read", c_void_p),
        ("write", _WRITE),
        ("truncate", _TRUNCATE),
        ("sync", _SYNC),
        *((name, c_void_p) for name in ("file_size", "lock", "unlock", "check_lock", "control", "sector", "traits")),
        *((name, c_void_p) for name in ("shm_map", "shm_lock", "shm_barrier", "shm_unmap", "fetch", "unfetch")),
    ]


class _File(ctypes.Structure):
    _fields_: ClassVar[list[Any]] = [("methods", POINTER(_Methods))]


class _Shim:
    """Puts a disk in between, and takes it out again. What C code may still call is kept for ever."""

    _kept: ClassVar[list[Any]] = []

    def __init__(self, library: Any, disk: Disk) -> None:
        self._library, self._disk = library, disk
        library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        self._below = library.sqlite3_vfs_find(None)
        self._paths: dict[int, str] = {}
        self._methods: dict[int, Any] = {}
        self._vfs = _Vfs.from_buffer_copy(self._below.contents)
        self._vfs.name = b"kept-disk"
        self._vfs.open, self._vfs.delete = _OPEN(self._open), _DELETE(self._delete)
        self._open_folder_below = _OPEN_FOLDER(self._below.contents.get_call(self._below, b"openDirectory"))
        self._seen_open_folder = _OPEN_FOLDER(self._open_folder)
        self._kept.append(self)

    def begin(self) -> None:
        self._library.sqlite3_vfs_register(byref(self._vfs), 1)
        self._below.contents.set_call(self._below, b"openDirectory", cast(self._seen_open_folder, c_void_p))

    def end(self) -> None:
        self._below.contents.set_call(self._below, b"openDirectory", None)
        self._library.sqlite3_vfs_unregister(byref(self._vfs))
        self._library.sqlite3_vfs_register(self._below, 1)

    def _did(self, what: str, path: str, offset: int = 0, data: bytes = b"") -> None:
        self._disk.journal.append(Done(what, path, offset, data))

    def _open(self, _vfs: Any, name: Any, file: Any, flags: int, out: Any) -> int:
        path = ctypes.string_at(name).decode() if name else ""
        new = bool(path) and flags & OPEN_CREATE and not Path(path).exists()
        code = int(self._below.contents.open(self._below, name, file, flags, out))
        if code == OK and path:
            if new:
                self._did("create", path)
            self._paths[file] = path
            opened = cast(file, POINTER(_File)).contents
            opened.methods = pointer(self._between(opened.methods))
        return code

    def _between(self, below: Any) -> _Methods:
        address = ctypes.addressof(below.contents)
        if address not in self._methods:
            methods = _Methods.from_buffer_copy(below.contents)
            own = below.contents

            def write(file: Any, data: Any, size: int, offset: int) -> int:
                path = self._paths[file]
                fits = size if self._disk.takes(path) else size // 2
                self._did("write", path, offset, ctypes.string_at(data, fits))
                code = int(own.write(file, data, fits, offset))
                return code if fits == size else FULL

            def truncate(file: Any, size: int) -> int:
                self._did("cut", self._paths[file], size)
                return int(own.truncate(file, size))

            def sync(file: Any, flags: int) -> int:
                self._did("sync", self._paths[file])
                return int(own.sync(file, flags))

            methods.write, methods.truncate, methods.sync = _WRITE(write), _TRUNCATE(truncate), _SYNC(sync)
            self._methods[address] = methods
        found: _Methods = self._methods[address]
        return found

    def _delete(self, _vfs: Any, name: bytes, sync_folder: int) -> int:
        if Path(name.decode()).exists():
            self._did("unlink", name.decode())
        return int(self._below.contents.delete(self._below, name, sync_folder))

    def _open_folder(self, name: bytes, out: Any) -> int:
        # SQLite opens a file's folder for one reason: to sync it.
        self._did("sync-folder", str(Path(name.decode()).parent))
        return int(self._open_folder_below(name, out))


def _library() -> Any:
    """The library that the sqlite3 module works with. A Python that hides it cannot be looked under."""
    library: Any = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
    if not hasattr(library, "sqlite3_vfs_find"):
        missing("this Python's SQLite library is built in and hidden; nothing can be put under it")
    return library
