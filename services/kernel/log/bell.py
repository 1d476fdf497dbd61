"""Wakes whoever waits for the log, in this process and in others, without polling.

A ring carries nothing: the woken read the database. One that gets lost costs a wait of `LONGEST_WAIT_S`, never an event.
"""

import contextlib
import os
import select
import socket
import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

LONGEST_WAIT_S = 1.0


class Listener(ABC):
    """One waiter's ear. Not shared between threads."""

    @abstractmethod
    def wait(self, timeout_s: float) -> bool:
        """Returns True as soon as it rang since the last wait, False after the time."""

    @abstractmethod
    def poke(self) -> None:
        """Ends this waiter's own wait, from another thread."""

    @abstractmethod
    def close(self) -> None: ...


class Bell(ABC):
    @abstractmethod
    def ring(self) -> None: ...
    @abstractmethod
    def listen(self) -> Listener: ...


class SilentBell(Bell):
    """For processes that nobody waits for."""

    def ring(self) -> None:
        return

    def listen(self) -> Listener:
        raise NotImplementedError("nobody rings a silent bell")


class SocketBell(Bell):
    """A folder of Unix datagram sockets, one for each listener; ringing sends a byte to each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.setblocking(False)
        self._known: list[str] = []
        self._seen_change = -1

    def ring(self) -> None:
        changed = self._folder.stat().st_mtime_ns
        if changed != self._seen_change:
            self._known = [entry.path for entry in os.scandir(self._folder)]
            self._seen_change = changed
        for path in self._known:
            try:
                self._sender.sendto(b"!", path)
            except BlockingIOError:
                pass  # its ear is full of rings: it will wake
            except (ConnectionRefusedError, FileNotFoundError):
                # The listener died without a word; its socket file stays behind. Take it away.
                with contextlib.suppress(FileNotFoundError):
                    Path(path).unlink()

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
        ready, _, _ = select.select([self._socket], [], [], timeout_s)
        if not ready:
            return False
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
        self._address = address
        self._channel = channel
        self._lock = threading.Lock()
        self._ringer: Any = None

    def ring(self) -> None:
        import psycopg

        with self._lock:
            try:
                if self._ringer is None or self._ringer.closed:
                    self._ringer = psycopg.connect(self._address, autocommit=True)
                self._ringer.execute("SELECT pg_notify(%s, '')", (self._channel,))
            except psycopg.OperationalError:
                self._ringer = None  # the events are committed; listeners find them after LONGEST_WAIT_S

    def listen(self) -> Listener:
        return _PostgresEar(self._address, self._channel)


class _PostgresEar(Listener):
    def __init__(self, address: str, channel: str) -> None:
        import psycopg
        from psycopg.sql import SQL, Identifier

        self._connection = psycopg.connect(address, autocommit=True)
        self._connection.execute(SQL("LISTEN {}").format(Identifier(channel)))

    def wait(self, timeout_s: float) -> bool:
        return any(True for _ in self._connection.notifies(timeout=timeout_s, stop_after=1))

    def poke(self) -> None:
        """Its wait ends by itself within LONGEST_WAIT_S: a connection is not to be used by two at once."""

    def close(self) -> None:
        self._connection.close()
