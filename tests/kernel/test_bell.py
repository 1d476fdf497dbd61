"""The bell wakes whoever waits, in this process and in others; a ring that gets lost costs time, never an event."""

import fcntl
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from services.kernel.log.bell import Bell, PostgresBell, SilentBell, SocketBell

LONG_S = 60.0  # nobody waits this long: what is waited for is there already, or comes


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kept-") as made:
        yield Path(made)


@pytest.fixture(params=["socket", "postgres"])
def another(request: pytest.FixtureRequest, folder: Path) -> Callable[[], Bell]:
    """Makes a bell as another process would have it: nothing is shared but the folder, or the server."""
    if request.param == "socket":
        return lambda: SocketBell(folder)
    address, channel = request.getfixturevalue("postgres"), f"kept_{'x' * 39}-_{uuid4().hex[:8]}"
    return lambda: PostgresBell(address, channel)


# Both bells


def test_a_ring_wakes_every_listener(another: Callable[[], Bell]) -> None:
    ears = [another().listen(), another().listen()]

    another().ring()

    assert [ear.wait(LONG_S) for ear in ears] == [True, True]
    for ear in ears:
        ear.close()


def test_without_a_ring_the_wait_ends_with_its_time(another: Callable[[], Bell]) -> None:
    ear = another().listen()

    assert ear.wait(0) is False
    ear.close()


def test_a_ring_before_the_wait_counts(another: Callable[[], Bell]) -> None:
    bell = another()
    ear = bell.listen()
    bell.ring()

    assert ear.wait(LONG_S) is True
    ear.close()


def test_a_listener_that_came_after_the_last_ring_hears_the_next(another: Callable[[], Bell]) -> None:
    bell = another()
    first = bell.listen()
    bell.ring()
    second = bell.listen()
    bell.ring()

    assert (first.wait(LONG_S), second.wait(LONG_S)) == (True, True)
    for ear in (first, second):
        ear.close()


def test_a_borrowed_ear_is_used_again(another: Callable[[], Bell]) -> None:
    bell = another()
    with bell.borrowed() as first, bell.borrowed() as second:
        assert first is not second
    with bell.borrowed() as again:
        assert again in (first, second)
        bell.ring()
        assert again.wait(LONG_S) is True
    for ear in (first, second):
        ear.close()


def test_nobody_listens_to_a_silent_bell() -> None:
    SilentBell().ring()

    with pytest.raises(NotImplementedError):
        SilentBell().listen()


# Sockets


def child(code: str, folder: Path) -> "subprocess.Popen[str]":
    start = "import sys\nfrom pathlib import Path\nfrom services.kernel.log.bell import SocketBell\n"
    start += "bell = SocketBell(Path(sys.argv[1]))\n"
    return subprocess.Popen([sys.executable, "-c", start + code, str(folder)], stdout=subprocess.PIPE, text=True)


LISTENS = "ear = bell.listen()\nprint('listening', flush=True)\nprint(ear.wait(60.0), flush=True)\near.close()\n"


def test_another_process_wakes_us_and_we_wake_it(folder: Path) -> None:
    ear = SocketBell(folder).listen()
    with child("bell.ring()\n" + LISTENS, folder) as other:
        assert ear.wait(LONG_S) is True
        assert other.stdout is not None
        assert other.stdout.readline() == "listening\n"

        SocketBell(folder).ring()

        assert other.stdout.readline() == "True\n"
    ear.close()
    assert list(folder.iterdir()) == []


def test_the_socket_of_a_listener_that_was_killed_is_taken_away(folder: Path) -> None:
    with child(LISTENS, folder) as other:
        assert other.stdout is not None
        other.stdout.readline()
        other.send_signal(signal.SIGKILL)
    ear = SocketBell(folder).listen()
    assert len(list(folder.iterdir())) == 2

    SocketBell(folder).ring()

    assert ear.wait(LONG_S) is True
    assert len(list(folder.iterdir())) == 1
    ear.close()


def test_many_rings_are_one_and_never_block(folder: Path) -> None:
    bell = SocketBell(folder)
    ear = bell.listen()
    for _ in range(2000):
        bell.ring()

    assert (ear.wait(LONG_S), ear.wait(0)) == (True, False)
    ear.close()


def test_a_listener_within_the_same_tick_of_the_clock_is_found(folder: Path) -> None:
    """The folder's time of change does not tell the two apart."""
    tick = time.time_ns() + 3600 * 10**9
    bell = SocketBell(folder)
    first = bell.listen()
    os.utime(folder, ns=(tick, tick))
    bell.ring()
    second = bell.listen()
    os.utime(folder, ns=(tick, tick))

    bell.ring()

    assert second.wait(0) is True
    for ear in (first, second):
        ear.close()


def test_a_ring_never_fails_what_was_committed_before_it(folder: Path) -> None:
    bell = SocketBell(folder / "run")
    bell.ring()

    (folder / "run").mkdir()
    (folder / "run" / "no socket").write_text("in the way")
    bell.ring()


def test_a_waiter_is_poked_from_another_thread(another: Callable[[], Bell]) -> None:
    ear = another().listen()
    woken: list[bool] = []
    waiter = threading.Thread(target=lambda: woken.append(ear.wait(LONG_S)))

    waiter.start()
    ear.poke()
    waiter.join()

    assert woken == [True]
    ear.close()


def test_a_process_with_many_open_files_can_wait(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(4096, hard)), hard))
    bell = SocketBell(folder)
    ear: Any = bell.listen()
    ear._socket = socket.socket(fileno=fcntl.fcntl(ear._socket.detach(), fcntl.F_DUPFD, 1100))

    bell.ring()

    assert ear.wait(LONG_S) is True
    ear.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# PostgreSQL


def terminate(address: str, connection: Any) -> None:
    with psycopg.connect(address, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 10000)", (connection.info.backend_pid,))


def test_a_listener_that_lost_its_connection_listens_again(postgres: str) -> None:
    bell = PostgresBell(postgres, "jars")
    ear: Any = bell.listen()
    terminate(postgres, ear._connection)

    while not ear.wait(0):
        pass  # until it has found out; then it returns as if it rang, for what rang meanwhile was not heard
    assert ear.wait(0) is False
    bell.ring()
    assert ear.wait(LONG_S) is True
    ear.close()


def test_a_listener_without_a_server_waits_out_its_time(postgres: str) -> None:
    ear: Any = PostgresBell(postgres, "jars").listen()
    terminate(postgres, ear._connection)
    ear._address = "postgresql://postgres@127.0.0.1:1/nowhere"

    assert [ear.wait(0) for _ in range(3)] == [False, False, False]
    ear.close()


def test_a_ringer_that_lost_its_connection_fails_nobody_and_rings_again(postgres: str) -> None:
    bell: Any = PostgresBell(postgres, "jars")
    ear = bell.listen()
    bell.ring()
    assert ear.wait(LONG_S) is True
    terminate(postgres, bell._ringer)

    bell.ring()
    bell.ring()

    assert ear.wait(LONG_S) is True
    ear.close()
