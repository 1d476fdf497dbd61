"""What callers and listeners are told while a PostgreSQL server is down, full, silent, or ends what takes too long."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from services.kernel.database import Session
from services.kernel.errors import Misconfigured, Unavailable
from services.kernel.log import bell as bell_module
from services.kernel.log.bell import PostgresBell
from services.kernel.postgres import Postgres
from services.kernel.postgres_connection import BOUNDS, connect
from tests.private_postgres import PrivatePostgres, private_postgres

LONG_S = 60.0  # nobody waits this long: what is waited for is there already, or comes
JARS = "jars"


@pytest.fixture(scope="module")
def server() -> Iterator[PrivatePostgres]:
    with private_postgres("max_connections = 12\nsuperuser_reserved_connections = 0\nmax_wal_senders = 0\n") as made:
        yield made


@pytest.fixture
def database(server: PrivatePostgres) -> Iterator[Postgres]:
    made = Postgres(server.address, JARS)
    yield made
    made.close()


def refusal_of(database: Postgres, use: Callable[[Session], object]) -> str:
    """The slug of what a write is refused with."""
    with pytest.raises(Unavailable) as caught, database.write() as session:
        use(session)
    assert caught.value.retry_after_s > 0
    return caught.value.slug


def take_all_connections(server: PrivatePostgres, taken: ExitStack) -> None:
    while True:
        taken.enter_context(server.connect())


# Down


def test_listeners_are_deaf_without_a_server_and_hear_again_when_it_is_back(server: PrivatePostgres) -> None:
    bell = PostgresBell(server.address, "jars")
    before = bell.listen()
    bell.ring()
    assert before.wait(LONG_S) is True
    with bell.borrowed():
        pass
    server.stop()

    meanwhile = bell.listen()
    bell.ring()
    assert (before.wait(0), meanwhile.wait(0)) == (False, False)
    with bell.borrowed() as ear:
        assert ear.wait(0) is False
    server.start()

    assert (before.wait(0), meanwhile.wait(0)) == (True, True)  # what rang meanwhile was not heard
    with bell.borrowed() as again:
        assert again is ear
        bell.ring()
        assert (before.wait(LONG_S), meanwhile.wait(LONG_S), again.wait(LONG_S)) == (True, True, True)
    for one in (before, meanwhile, ear):
        one.close()


def test_a_ringer_whose_connection_went_stale_is_heard_at_once(server: PrivatePostgres) -> None:
    bell = PostgresBell(server.address, "jars")
    bell.ring()
    server.stop()
    server.start()
    ear = PostgresBell(server.address, "jars").listen()

    bell.ring()

    assert ear.wait(LONG_S) is True
    ear.close()


def test_an_ear_that_nobody_uses_has_the_server_keep_nothing_for_it(server: PrivatePostgres) -> None:
    """What is not fetched fills the server's queue, and when that is full those who ring fail."""
    bell = PostgresBell(server.address, "jars")
    with bell.borrowed() as ear:
        pass
    bell.ring()

    with bell.borrowed() as again:
        assert again is ear
        assert again.wait(0) is False
        bell.ring()
        assert again.wait(LONG_S) is True
    ear.close()


def test_a_listener_that_stands_still_is_ended_and_hears_again_later(
    server: PrivatePostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a process does that was sent SIGSTOP: the server keeps for it what it does not fetch, at the cost of all."""
    monkeypatch.setattr(bell_module, "UNREAD_MS", 200)
    bell = PostgresBell(server.address, "stands")
    ear = bell.listen()

    server.query("SELECT count(pg_notify('stands', n || repeat('x', 7000))) FROM generate_series(1, 4000) n")

    server.wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'kept:bell:stands'")
    while ear.wait(0):
        pass  # what still came, and that it listens anew
    bell.ring()
    assert ear.wait(LONG_S) is True
    ear.close()


def test_a_pool_whose_connections_went_stale_is_good_for_the_second_call(
    server: PrivatePostgres, database: Postgres
) -> None:
    with database.read() as first, database.read() as second:
        assert first is not second
    server.stop()
    server.start()

    assert refusal_of(database, lambda session: None) == "storage-lost"
    with database.read() as first, database.read() as second:
        assert [one.execute("SELECT 1").fetchone() for one in (first, second)] == [(1,), (1,)]


# Full


def test_a_server_without_room_for_another_connection_may_have_some_later(
    server: PrivatePostgres, database: Postgres
) -> None:
    bell = PostgresBell(server.address, "jars")
    with ExitStack() as taken:
        with pytest.raises(psycopg.OperationalError, match="too many"):
            take_all_connections(server, taken)
        assert refusal_of(database, lambda session: None) == "storage-lost"
        bell.ring()
        ear = bell.listen()
        assert ear.wait(0) is False

    server.wait_until("SELECT count(*) < 5 FROM pg_stat_activity WHERE backend_type = 'client backend'")
    with database.write() as session:
        assert session.execute("SELECT 1").fetchone() == (1,)
    assert ear.wait(0) is True
    ear.close()


# Ended


def test_a_statement_that_takes_too_long_may_be_tried_again(database: Postgres) -> None:
    def take_long(session: Session) -> None:
        session.execute("SET LOCAL statement_timeout = 20")
        session.execute("SELECT pg_sleep(60)")

    assert refusal_of(database, take_long) == "storage-busy"


def test_a_lock_that_is_not_to_be_had_may_be_tried_again(database: Postgres) -> None:
    def take_lock(session: Session) -> None:
        session.execute("SET LOCAL lock_timeout = 20")
        session.execute("SELECT pg_advisory_xact_lock(1)")

    with database.write() as holder:
        take_lock(holder)
        assert refusal_of(database, take_lock) == "storage-busy"


def test_a_transaction_that_stood_still_and_was_ended_may_be_tried_again(
    server: PrivatePostgres, database: Postgres
) -> None:
    """Its follower parks nothing: that is told as the storage's fault, not as the event's."""

    def stand_still(session: Session) -> None:
        session.execute("SET LOCAL idle_in_transaction_session_timeout = 20")
        server.wait_until("SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'kept:jars'")
        session.execute("SELECT 1")

    assert refusal_of(database, stand_still) == "storage-lost"


# Silent


def test_a_host_that_says_nothing_is_given_up_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]}/postgres?connect_timeout=2"

        with pytest.raises(Unavailable) as caught, Postgres(address, JARS).read():
            pass

    assert caught.value.slug == "storage-lost"


def test_what_is_sent_to_a_host_that_died_is_given_up_on(server: PrivatePostgres) -> None:
    wanted = {
        "TCP_USER_TIMEOUT": BOUNDS["tcp_user_timeout"],
        "TCP_KEEPIDLE": BOUNDS["keepalives_idle"],
        "TCP_KEEPINTVL": BOUNDS["keepalives_interval"],
        "TCP_KEEPCNT": BOUNDS["keepalives_count"],
    }
    with connect(server.address, "jars") as connection, socket.socket(fileno=connection.fileno()) as line:
        found = {name: str(line.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))) for name in wanted}
        kept_alive = line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        line.detach()

    assert found == wanted
    assert kept_alive == 1


def test_what_the_address_says_goes_before(server: PrivatePostgres) -> None:
    with connect(f"{server.address}?keepalives_idle=77&target_session_attrs=primary", "jars") as connection:
        said = connection.info.get_parameters()

    assert (said["keepalives_idle"], said["keepalives_count"]) == ("77", BOUNDS["keepalives_count"])
    assert said["target_session_attrs"] == "primary"


@pytest.mark.parametrize("hosts", ["127.0.0.1:{port},127.0.0.1:1", "127.0.0.1:1,127.0.0.1:{port}"])
def test_of_several_hosts_the_one_that_takes_writes_is_meant(server: PrivatePostgres, hosts: str) -> None:
    address = f"postgresql://postgres@{hosts.format(port=server.port)}/postgres"

    with connect(address, "jars") as connection:
        assert connection.info.port == server.port
        assert connection.info.get_parameters()["target_session_attrs"] == "read-write"


def test_a_bound_that_is_no_number_is_told_as_such(server: PrivatePostgres) -> None:
    with pytest.raises(Misconfigured, match="KEPT_DATABASE"):
        connect(f"{server.address}?connect_timeout=soon", "jars")
