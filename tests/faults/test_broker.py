"""The broker stalls, is cut off, delivers twice, loses its stream: commands and followers go on, and nothing is done twice.

Followers that read the copy, and the relay, run in processes of their own, as in production; a proxy is between them and
the broker, since the broker itself is shared with others.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest

from services.kernel.house import House
from services.kernel.log.port import Recorded
from services.kernel.log.positions import Positions
from services.kernel.policy import PolicyFollower
from services.kernel.ready import READY, READY_FD
from services.kernel.views import ViewFollower
from tests.broker import Copy, eventually, first_ones, relayed
from tests.databases import Cell
from tests.figures import Figures
from tests.kernel.copying import through
from tests.kernel.toys import Tally, given, jar_views, labelled
from tests.kernel.toys import told as tally_told
from tests.proxy import Proxy, proxy_to

RELAY = (sys.executable, "-m", "services.cli.worker", "relay")
FOLLOWERS = (sys.executable, "-m", "tests.faults.copy_followers")


@pytest.fixture
def house(sqlite_cell: Cell) -> Iterator[House]:
    house = sqlite_cell.house()
    house.make()
    views = jar_views()
    views.migrate(house.views_database("jars"))
    ViewFollower(views, house.log, house.views_database("jars"), house.view_bell).register()
    PolicyFollower(Tally(), house.log, house.clock).migrate()
    yield house
    house.close()


@pytest.fixture
def proxy(broker: str) -> Iterator[Proxy]:
    with proxy_to(broker) as made:
        yield made


@pytest.fixture
def plant(sqlite_cell: Cell, house: House, broker: str, proxy: Proxy) -> "Iterator[Plant]":
    made = Plant(sqlite_cell, house, through(proxy, broker))
    with made.processes:
        yield made
    Copy(broker, house).drop()


class Plant:
    """A cell of jars whose followers read the copy."""

    def __init__(self, cell: Cell, house: House, address: str) -> None:
        settings = replace(cell.settings, broker=address, follows_copy=True)
        self._environment = {**os.environ, **settings.environment()}
        self.house = house
        self.processes = ExitStack()
        self._labels: dict[str, list[str]] = {}

    def start(self, command: Sequence[str]) -> "subprocess.Popen[str]":
        return self.processes.enter_context(running(command, self._environment))

    def label(self, *jars: str, times: int) -> None:
        """Commands: each jar gets so many more labels."""
        for jar in jars:
            put = self._labels.setdefault(jar, [])
            new = [f"{jar}{number}" for number in range(len(put) + 1, len(put) + times + 1)]
            given(self.house.log, *(labelled(jar, int(label[len(jar) :]), label) for label in new))
            put += new

    def all_is_followed(self) -> bool:
        """Views and policies have every event, once, in order; what the policy told by itself too."""
        head = self.house.log.position()
        views = self.house.views_database("jars")
        with views.read() as session:
            if Positions(session).get("jars-views") < head:
                return False
            found = {row[0] for row in session.execute("SELECT history FROM jar")}
        with self.house.log.database.read() as session:
            if Positions(session).get("tally") < head:
                return False
        assert found == {" ".join(labels) for labels in self._labels.values()}
        for jar, labels in self._labels.items():
            assert tally_told(self.house.log, jar) == list(range(2, len(labels) + 1, 2))
        return head == self.house.log.position()

    def served_by_copy(self, followers: "subprocess.Popen[str]") -> bool:
        """Whether new events now come to that process from the copy."""
        self._read_from_copy(followers)
        self.label("a", times=2)
        eventually(self.all_is_followed)
        return self._read_from_copy(followers) > 0

    @staticmethod
    def _read_from_copy(followers: "subprocess.Popen[str]") -> int:
        """How many events since it was asked last."""
        followers.send_signal(signal.SIGUSR1)
        assert followers.stderr is not None
        return next(int(line.split()[-1]) for line in followers.stderr if line.startswith("lately from the copy: "))

    def all_is_copied(self) -> bool:
        return relayed(self.house) == self.house.log.position()


@contextmanager
def running(command: Sequence[str], environment: dict[str, str]) -> "Iterator[subprocess.Popen[str]]":
    """The process, ready; killed in the end."""
    read, write = os.pipe()
    told = {**environment, READY_FD: str(write)}
    with subprocess.Popen(command, env=told, pass_fds=(write,), stderr=subprocess.PIPE, text=True) as process:
        try:
            os.close(write)
            with os.fdopen(read, "rb") as ready:
                assert ready.read() == READY
            yield process
        finally:
            process.kill()


@contextmanager
def stopped(process: "subprocess.Popen[str]") -> Iterator[None]:
    """It stands still inside the block."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    yield
    process.send_signal(signal.SIGCONT)


def ends(process: "subprocess.Popen[str]") -> str:
    """What it said, once it has ended well."""
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 0, said
    return said


@pytest.mark.parametrize("fault", [Proxy.cut, Proxy.stall], ids=["stopped", "partitioned"])
def test_without_the_broker_commands_and_followers_go_on(
    plant: Plant, proxy: Proxy, figures: Figures, fault: Callable[[Proxy], None]
) -> None:
    plant.start(RELAY)
    followers = plant.start(FOLLOWERS)
    plant.label("a", "b", times=20)
    eventually(lambda: plant.served_by_copy(followers))
    eventually(plant.all_is_copied)

    fault(proxy)
    plant.label("a", "c", times=30)
    eventually(plant.all_is_followed)
    assert not plant.all_is_copied()

    proxy.open()
    plant.label("b", times=10)
    eventually(lambda: plant.all_is_followed() and plant.all_is_copied())
    eventually(lambda: plant.served_by_copy(followers))
    figures(broker_away=1, events=plant.house.log.position(), lost=0, doubled=0)


def test_messages_that_come_again_are_handled_once(plant: Plant, broker: str, figures: Figures) -> None:
    copy = Copy(broker, plant.house)
    plant.label("a", "b", times=50)
    log: list[Recorded] = plant.house.log.read(0, 1000)
    copy.put([*log[:60], *log[20:60], *log, log[0], log[-1], log[-1]])
    plant.start(FOLLOWERS)
    plant.start(RELAY)

    plant.label("a", times=50)
    copy.put(plant.house.log.read(80, 40))
    eventually(lambda: plant.all_is_followed() and plant.all_is_copied())
    head = plant.house.log.position()
    again = len(copy.positions(upto=head)) - head
    assert again > 0
    figures(events=head, delivered_again=again, lost=0, doubled=0)


def test_a_relay_that_is_killed_and_a_stream_that_is_deleted_leave_no_gap(
    plant: Plant, proxy: Proxy, broker: str, figures: Figures
) -> None:
    """Killed where it hurts: the broker has what was published, and the relay's position does not know."""
    copy = Copy(broker, plant.house)
    plant.start(FOLLOWERS)
    killed = plant.start(RELAY)
    plant.label("a", times=10)
    eventually(lambda: plant.all_is_followed() and plant.all_is_copied())
    head = plant.house.log.position()
    with stopped(killed):  # else it might be asking for the stream just now, and would give the broker up for lost
        plant.label("a", "b", times=50)
        proxy.stall(answers_only=True)
    copy.positions(upto=head + 1)
    assert relayed(plant.house) == head
    killed.kill()
    killed.wait()

    proxy.open()
    relay = plant.start(RELAY)
    eventually(lambda: plant.all_is_followed() and plant.all_is_copied())
    head = plant.house.log.position()
    assert first_ones(copy.positions(upto=head)) == list(range(1, head + 1))

    copy.delete()
    plant.label("a", "b", times=50)
    eventually(lambda: plant.all_is_followed() and plant.all_is_copied() and copy.exists())
    head = plant.house.log.position()
    assert first_ones(copy.positions(upto=head)) == list(range(1, head + 1))
    assert "surely reaches position 0: publishing it again" in ends(relay)
    figures(relays_killed=1, streams_deleted=1, events=head, lost=0, doubled=0)
