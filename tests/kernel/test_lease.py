"""One contract for leases, on files and on PostgreSQL: one holder at a time, and the next one as soon as that one ends."""

import errno
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from services.kernel.errors import Unavailable
from services.kernel.lease import FileLeases, Lease, Leases, PostgresLeases, this_process
from services.kernel.ready import READY, READY_FD
from tests.databases import Cell

ENOUGH_S = 30.0
LOOK_AGAIN_S = 0.02


@pytest.fixture
def process(cell: Cell) -> Iterator[Callable[[], Leases]]:
    """What each process of the cell has for itself; here, several of them are in this one."""
    made: list[Leases] = []

    def another() -> Leases:
        made.append(cell.house().leases)
        return made[-1]

    yield another
    for leases in made:
        leases.close()


@contextmanager
def holding(cell: Cell, follower: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A process that holds the lease."""
    read, write = os.pipe()
    environment = {**os.environ, **cell.settings.environment(), READY_FD: str(write)}
    command = [sys.executable, "-m", "tests.kernel.holding", follower]
    with subprocess.Popen(command, env=environment, pass_fds=(write,)) as child:
        os.close(write)
        try:
            with os.fdopen(read, "rb") as ready:
                assert ready.read() == READY
            yield child
        finally:
            child.kill()


def soon(found: Callable[[], Any]) -> Any:
    """The first answer that is one, looked for again and again."""
    until = time.monotonic() + ENOUGH_S
    while not (answer := found()) and time.monotonic() < until:
        select.select([], [], [], LOOK_AGAIN_S)  # nothing tells of a lock that is free
    return answer


def taken(leases: Leases, follower: str) -> Lease:
    lease = leases.take(follower)
    assert lease is not None
    return lease


def test_one_holds_it_and_the_others_do_not(process: Callable[[], Leases]) -> None:
    first, second = process(), process()

    lease = taken(first, "tally")

    assert lease.held
    assert second.take("tally") is None
    assert first.take("tally") is None, "not twice in one process either"


def test_each_follower_has_a_lease_of_its_own(process: Callable[[], Leases]) -> None:
    first, second = process(), process()

    assert taken(first, "tally").held
    assert taken(second, "jars-views").held
    assert taken(first, "sender").held


def test_what_is_released_is_there_for_the_next_one_at_once(process: Callable[[], Leases]) -> None:
    first, second = process(), process()
    lease, other = taken(first, "tally"), taken(first, "jars-views")

    lease.release()

    assert not lease.held
    assert taken(second, "tally").held
    assert other.held
    assert second.take("jars-views") is None, "one that was released takes no other with it"


def test_to_release_again_takes_nothing_from_the_next_one(process: Callable[[], Leases]) -> None:
    first, second = process(), process()
    lease = taken(first, "tally")
    lease.release()
    taken(second, "tally")

    lease.release()

    assert first.take("tally") is None


def test_closing_releases_all(process: Callable[[], Leases]) -> None:
    first, second = process(), process()
    leases = [taken(first, name) for name in ("tally", "jars-views")]

    first.close()

    assert [lease.held for lease in leases] == [False, False]
    assert soon(lambda: second.take("tally"))
    assert soon(lambda: second.take("jars-views"))


def test_who_holds_it_and_since_when_is_seen(process: Callable[[], Leases]) -> None:
    before = datetime.now(UTC)
    first, second, looking = process(), process(), process()
    taken(first, "tally")
    taken(second, "jars-views").release()

    found = looking.holders(["tally", "jars-views", "sender"])

    assert list(found) == ["tally"]
    assert found["tally"].process == this_process()
    since = found["tally"].since
    assert since is not None
    assert before - timedelta(seconds=1) < since <= datetime.now(UTC)
    assert first.take("sender"), "looking takes nothing"


def test_a_disk_that_is_full_for_a_while_keeps_no_lease_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = FileLeases(tmp_path)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as on_a_full_disk:
        on_a_full_disk.setattr(os, "pwrite", full)
        with pytest.raises(OSError, match="no space"):
            leases.take("jars-views")

    assert taken(leases, "jars-views").held
    leases.close()


def test_another_cells_lease_is_another(cell: Cell, process: Callable[[], Leases]) -> None:
    taken(process(), "tally")
    other: Leases = (
        PostgresLeases(cell.settings.database, cell.settings.cell + "-2")
        if cell.on_postgres
        else FileLeases(cell.settings.run / "another")
    )

    assert other.holders(["tally"]) == {}
    assert taken(other, "tally").held
    other.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "SIGTERM"])
def test_the_next_one_gets_it_when_the_holder_dies(
    cell: Cell, process: Callable[[], Leases], number: signal.Signals
) -> None:
    leases = process()
    with holding(cell, "tally") as child:
        assert leases.take("tally") is None
        assert leases.holders(["tally"])["tally"].process.endswith(f":{child.pid}")
        child.send_signal(number)
        child.wait()

        assert soon(lambda: leases.take("tally")).held
    assert leases.holders(["tally"])["tally"].process == this_process()


# What only PostgreSQL's can lose


@pytest.fixture
def postgres_leases(postgres_cell: Cell) -> Iterator[tuple[PostgresLeases, PostgresLeases]]:
    """Two processes' leases; the server counts one as gone after half a second of silence."""
    settings = postgres_cell.settings
    made = [PostgresLeases(settings.database, settings.cell, idle_s=0.5) for _ in range(2)]
    yield made[0], made[1]
    for leases in made:
        leases.close()


def end_session(leases: PostgresLeases) -> None:
    """As a restart of the server would, or a failover."""
    with psycopg.connect(leases._address, autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", (leases._connection.info.backend_pid,))


def test_who_loses_the_connection_loses_every_lease_and_learns_it(
    postgres_leases: tuple[PostgresLeases, PostgresLeases],
) -> None:
    first, second = postgres_leases
    leases = [taken(first, name) for name in ("tally", "jars-views")]

    end_session(first)

    assert soon(lambda: second.take("tally")).held
    assert soon(lambda: not any(lease.held for lease in leases)), "found out without being asked"
    assert first.take("tally") is None
    assert taken(first, "jars-views").held, "on a new connection"


def test_a_lost_connection_is_told_and_the_next_try_makes_another(
    postgres_leases: tuple[PostgresLeases, PostgresLeases],
) -> None:
    leases, _ = postgres_leases
    assert leases.holders([]) == {}
    end_session(leases)

    with pytest.raises(Unavailable) as caught:
        leases.take("tally")

    assert caught.value.slug == "leases-lost"
    assert taken(leases, "tally").held


def test_a_holder_that_is_silent_loses_its_leases_and_one_that_lives_keeps_them(
    postgres_leases: tuple[PostgresLeases, PostgresLeases],
) -> None:
    """As one that is stopped by SIGSTOP is silent: here, nobody speaks on its connection any more."""
    first, second = postgres_leases
    lease, kept = taken(first, "tally"), taken(second, "jars-views")

    with first._lock:
        assert soon(lambda: second.take("tally")).held

    assert soon(lambda: not lease.held)
    assert kept.held, "its own thread spoke for it, for longer than the server waits"
