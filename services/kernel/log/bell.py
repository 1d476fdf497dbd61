"""Wakes whoever waits for the log, in this process and in others, without polling.

A ring carries nothing: the woken read the database. One that gets lost costs a wait of `LONGEST_WAIT_S`, never an event.
"""

import contextlib
import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

LONGEST_WAIT_S = 1.0
TICK_NS = 50_000_000
# The server ends the connection of a listener that fetches nothing for so long, once all buffers are full: what it keeps
# for one, it keeps for all, and when it has no room for more, those who ring fail.
UNREAD_MS = 60_000


class Listener(ABC):
    """One waiter's ear. Not shared between threads."""

    @abstractmethod
    def wait(self, timeout_s: float) -> bool:
        """Returns True as soon as it rang since the last wait, False after the time."""

    @abstractmethod
    def poke(self) -> None:
        """Ends this waiter's own wait, from another thread."""

    def rest(self) -> None:  # noqa: B027 - a socket's ear may fill up meanwhile
        """Nobody waits for a while: what rings is not to be heard."""

    def wake(self) -> None:  # noqa: B027
        """Hears again."""

    @abstractmethod
    def close(self) -> None: ...


class Bell(ABC):
    # Where the database itself can ring, in the commit that is to be told of: what it notifies. Empty elsewhere.
    channel = ""

    def __init__(self) -> None:
        self._idle: list[Listener] = []

    @abstractmethod
    def ring(self) -> None: ...
    @abstractmethod
    def listen(self) -> Listener:
        """A new ear, to be closed."""

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[Listener]:
        """An ear for one short wait; kept for the next one, since making it costs more than most waits."""
        try:
            ear = self._idle.pop()
        except IndexError:
            ear = self.listen()
        else:
            ear.wake()
        try:
            yield ear
        finally:
            ear.rest()
            self._idle.append(ear)


class SilentBell(Bell):
    """For processes that nobody waits for."""

    def ring(self) -> None:
        return

    def listen(self) -> Listener:
        raise NotImplementedError("nobody rings a silent bell")


class SocketBell(Bell):
    """A folder of Unix datagram sockets, one for each listener; ringing sends a byte to each."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.setblocking(False)
        self._known: list[str] = []
        self._seen_change = -1

    def ring(self) -> None:
        # What rings is committed already, so nothing here may fail it; listeners look after LONGEST_WAIT_S by themselves.
        with contextlib.suppress(OSError):
            self._look()
        for path in self._known:
            try:
                self._sender.sendto(b"!", path)
            except (ConnectionRefusedError, FileNotFoundError):
                # The listener died without a word; its socket file stays behind. Take it away.
                with contextlib.suppress(OSError):
                    Path(path).unlink()
            except OSError:
                pass  # most likely its ear is full of rings: it will wake

    def _look(self) -> None:
        changed, now = self._folder.stat().st_mtime_ns, time.time_ns()
        if changed == self._seen_change:
            return
        self._known = [entry.path for entry in os.scandir(self._folder)]
        # Two changes within one tick of the kernel's clock leave the same time: look again until that tick is over.
        self._seen_change = changed if now - changed > TICK_NS else -1

    def listen(self) -> Listener:
        return _Ear(self._folder)


class _Ear(Listener):
    _count = 0
    _lock = threading.Lock()

    def __init__(self, folder: Path) -> None:
        with _Ear._lock:
            _Ear._count += 1
            number = _Ear._count
        self._path = folder / f"{os.getpid()}-{number}"
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._socket.setblocking(False)

    def wait(self, timeout_s: float) -> bool:
        # Not select(): a process with many open files could not use it.
        self._socket.settimeout(timeout_s)
        try:
            self._socket.recv(16)
        except (TimeoutError, BlockingIOError):
            return False
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(16)
        return True

    def poke(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._socket.sendto(b"!", str(self._path))

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)


class PostgresBell(Bell):
    """LISTEN and NOTIFY on one channel; a connection for each listener and one to ring with."""

    def __init__(self, address: str, channel: str) -> None:
        super().__init__()
        self._address = address
        self.channel = channel
        self._lock = threading.Lock()
        self._ringer: Any = None

    def ring(self) -> None:
        import psycopg

        # What rings is committed already, so nothing here may fail it; listeners look after LONGEST_WAIT_S by themselves.
        with self._lock, contextlib.suppress(psycopg.Error):
            if self._ringer is None or not self._rung():
                self._ringer = _connect(self._address, self.channel)
                self._rung()

    def _rung(self) -> bool:
        """False where the connection went stale meanwhile, which only shows when it is used."""
        import psycopg

        try:
            self._ringer.execute("SELECT pg_notify(%s, '')", (self.channel,))
        except psycopg.Error:
            self._ringer.close()
            self._ringer = None
            return False
        return True

    def listen(self) -> Listener:
        return _PostgresEar(self._address, self.channel, self.ring)


class _PostgresEar(Listener):
    """Deaf while there is no server; it connects again by itself."""

    def __init__(self, address: str, channel: str, ring: Callable[[], None]) -> None:
        self._address = address
        self._channel = channel
        self._ring = ring
        self._connection: Any = None
        self._listens()

    def _listens(self) -> bool:
        import psycopg
        from psycopg.sql import SQL, Identifier

        try:
            if self._connection is None:
                self._connection = _connect(self._address, self._channel)
                self._connection.execute(SQL("SET tcp_user_timeout = {}").format(UNREAD_MS))
            self._connection.execute(SQL("LISTEN {}").format(Identifier(self._channel)))
        except psycopg.Error:
            self.close()
            return False
        return True

    def wait(self, timeout_s: float) -> bool:
        import psycopg

        if self._connection is not None:
            try:
                return any(True for _ in self._connection.notifies(timeout=timeout_s, stop_after=1))
            except psycopg.Error:
                self.close()
        if self._listens():
            return True  # what rang meanwhile was not heard
        time.sleep(timeout_s)  # the next wait tries again
        return False

    def rest(self) -> None:
        import psycopg

        if self._connection is not None:
            try:
                self._connection.execute("UNLISTEN *")  # see UNREAD_MS
            except psycopg.Error:
                self.close()

    def wake(self) -> None:
        if not self._listens():
            self._listens()  # it had gone stale

    def poke(self) -> None:
        # Its connection is not to be used by two at once; that others wake too does no harm.
        self._ring()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _connect(address: str, channel: str) -> Any:
    from services.kernel.postgres_connection import connect  # needs psycopg, which a cell on SQLite does without

    return connect(address, f"kept:bell:{channel}")
