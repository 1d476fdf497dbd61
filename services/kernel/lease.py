"""Who works for a follower: one process at a time, handed over within seconds when it stops or dies.

A lease only saves work. What keeps every effect single is the follower's position (I4): whoever works without knowing that
its lease is gone is fenced, and nothing of its batch is committed.

Ended in any way, even by `kill -9`, a process loses its leases at once. One that is only stopped (SIGSTOP, a frozen
container) keeps them: a file's for as long as it is there, PostgreSQL's for `IDLE_S`, since it no longer says that it is
alive. `kept followers` shows process and host of each holder; to hand a stopped one's work over, end it (`kill -9`).
"""

import fcntl
import hashlib
import json
import os
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from services.kernel.clock import MachineClock
from services.kernel.errors import Unavailable

PING_S = 1.0
# From PostgreSQL 14 on the server itself ends the session of a holder that was silent for so long.
IDLE_S = 10.0
# PostgreSQL's lock that tells since when counts seconds from here, in 31 bits.
SINCE_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
# After some five seconds without an answer either end gives the connection up.
KEEPALIVES = {"keepalives_idle": "2", "keepalives_interval": "1", "keepalives_count": "3"}
UNANSWERED = {"tcp_user_timeout": "4000"}


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lease, as `HOST:PID`, and since when (UTC, whole seconds); None where it just took it."""

    process: str
    since: datetime | None


class Lease(ABC):
    """Held from when it was taken until it is released, or lost with what carries it."""

    @property
    @abstractmethod
    def held(self) -> bool:
        """Whether it is still ours, as far as we know. Asks nobody."""

    @abstractmethod
    def release(self) -> None:
        """Lets the next one take it, at once. Safe to repeat."""


class Leases(ABC):
    """The leases of one process."""

    @abstractmethod
    def take(self, follower: str) -> Lease | None:
        """None while anybody holds it, this process included. Raises Unavailable where that cannot be found out."""

    @abstractmethod
    def holders(self, followers: Iterable[str]) -> dict[str, Holder]:
        """Who holds what; a follower that nobody works for is left out. Raises Unavailable."""

    @abstractmethod
    def close(self) -> None:
        """Releases all."""


def this_process() -> str:
    # PostgreSQL cuts a session's name off after 63 bytes.
    return f"{socket.gethostname()[:48]}:{os.getpid()}"


class FileLeases(Leases):
    """For one machine: a locked file for each follower. The system unlocks it when its holder ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: list[_FileLease] = []

    def take(self, follower: str) -> Lease | None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(self._folder / follower, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        told = json.dumps({"process": this_process(), "since": MachineClock().now().isoformat(timespec="seconds")})
        try:
            os.pwrite(file, told.encode().ljust(256), 0)  # always as long, so that nobody reads half of another's
        except BaseException:
            os.close(file)  # a full disk: else this process would hold it for ever, and not know
            raise
        lease = _FileLease(file)
        self._taken.append(lease)
        return lease

    def holders(self, followers: Iterable[str]) -> dict[str, Holder]:
        found = ((follower, self._holder(self._folder / follower)) for follower in followers)
        return {follower: holder for follower, holder in found if holder is not None}

    @staticmethod
    def _holder(path: Path) -> Holder | None:
        # Whoever tries to take the lease while we look is told that it is held, and tries again a second later.
        with suppress(FileNotFoundError), path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _told(file.read())
        return None

    def close(self) -> None:
        while self._taken:
            self._taken.pop().release()


def _told(written: bytes) -> Holder:
    if not written.strip():
        return Holder("", None)  # the file is locked, and not yet written
    told = json.loads(written)
    return Holder(told["process"], datetime.fromisoformat(told["since"]))


class _FileLease(Lease):
    def __init__(self, file: int) -> None:
        self._file: int | None = file

    @property
    def held(self) -> bool:
        return self._file is not None

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class PostgresLeases(Leases):
    """Advisory locks of one session, which a thread keeps alive. Needs a connection of its own to the server itself: behind
    a pooler that shares sessions they mean nothing.

    Each lease is two locks: one on a number made of cell and follower, which only one session gets; and one that says
    since when, for `holders`. Who it is, the session's name says.
    """

    def __init__(self, address: str, cell: str, *, idle_s: float = IDLE_S) -> None:
        self._address = address
        self._cell = cell
        self._idle_s = idle_s
        self._lock = threading.Lock()  # of the connection, and of what is held through it
        self._connection: Any = None
        self._held: dict[str, _PostgresLease] = {}
        self._pinger: threading.Thread | None = None
        self._closing = threading.Event()

    def take(self, follower: str) -> Lease | None:
        with self._lock:
            if follower in self._held:
                return None
            number = self._number(follower)
            if not self._ask("SELECT pg_try_advisory_lock(%s)", number)[0][0]:
                return None
            lease = _PostgresLease(self, follower, int((MachineClock().now() - SINCE_EPOCH).total_seconds()))
            self._ask("SELECT pg_try_advisory_lock(%s, %s)", _half(number), lease.since_s)
            self._held[follower] = lease
            if self._pinger is None:
                self._pinger = threading.Thread(target=self._ping, name="leases", daemon=True)
                self._pinger.start()
        return lease

    def holders(self, followers: Iterable[str]) -> dict[str, Holder]:
        with self._lock:
            rows = self._ask(
                """SELECT pid, classid::bigint, objid::bigint, objsubid, application_name
                   FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
            )
        # A lock on one number has it in two halves, and 1 beside them; one on two numbers has them, and 2.
        names = {(pid, high << 32 | low): name for pid, high, low, kind, name in rows if kind == 1}
        since = {(pid, half): SINCE_EPOCH + timedelta(seconds=s) for pid, half, s, kind, _ in rows if kind == 2}
        wanted = {self._number(follower) % 2**64: follower for follower in followers}
        return {
            wanted[number]: Holder(name.removeprefix("kept "), since.get((pid, number % 2**32)))
            for (pid, number), name in names.items()
            if number in wanted
        }

    def close(self) -> None:
        self._closing.set()
        if self._pinger is not None:
            self._pinger.join()
        with self._lock:
            self._lose()

    def release(self, lease: "_PostgresLease") -> None:
        with self._lock:
            if not lease.held:
                return
            lease.lose()
            del self._held[lease.follower]
            number = self._number(lease.follower)
            with suppress(Unavailable):  # the lost connection has released it
                self._ask("SELECT pg_advisory_unlock(%s, %s)", _half(number), lease.since_s)
                self._ask("SELECT pg_advisory_unlock(%s)", number)

    def _number(self, follower: str) -> int:
        """A signed 64-bit number, the same in every process."""
        digest = hashlib.sha256(f"kept lease {self._cell}/{follower}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    def _ask(self, sql: str, *values: object) -> list[Any]:
        """Raises Unavailable, and then everything is lost."""
        import psycopg

        try:
            if self._connection is None:
                self._connect()
            return list(self._connection.execute(sql, values).fetchall())
        except psycopg.Error as error:
            self._lose()
            raise Unavailable("leases-lost", "the connection to PostgreSQL was lost or refused; try again") from error
        except BaseException:
            self._lose()  # ended in the middle of an answer: what comes next on it would be that answer
            raise

    def _connect(self) -> None:
        from psycopg.conninfo import conninfo_to_dict, make_conninfo

        from services.kernel.postgres_connection import connect

        said = conninfo_to_dict(self._address)
        ours = {name: value for name, value in (KEEPALIVES | UNANSWERED).items() if name not in said}
        self._connection = connect(make_conninfo(self._address, **ours), f"kept {this_process()}")
        for name, value in KEEPALIVES.items():
            self._connection.execute(f"SET tcp_{name} = {value}")
        if self._connection.info.server_version >= 140000:
            self._connection.execute(f"SET idle_session_timeout = '{int(self._idle_s * 1000)} ms'")

    def _lose(self) -> None:
        for lease in self._held.values():
            lease.lose()
        self._held.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ping(self) -> None:
        """So that the server knows that we are there, and we that it is."""
        while not self._closing.wait(min(PING_S, self._idle_s / 2)):
            with self._lock, suppress(Unavailable):  # whoever held a lease sees that it is lost
                if self._held:
                    self._ask("SELECT 1")


class _PostgresLease(Lease):
    def __init__(self, leases: PostgresLeases, follower: str, since_s: int) -> None:
        self.follower = follower
        self.since_s = since_s
        self._leases = leases
        self._lost = False

    @property
    def held(self) -> bool:
        return not self._lost

    def lose(self) -> None:
        self._lost = True

    def release(self) -> None:
        self._leases.release(self)


def _half(number: int) -> int:
    """The lower 32 bits, signed, as PostgreSQL takes them."""
    return (number % 2**32 ^ 2**31) - 2**31
