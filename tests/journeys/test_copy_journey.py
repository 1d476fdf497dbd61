"""A cell with a broker: its followers read the copy, its relay is killed, its copy dropped; views equal replay."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from services.cli.cell import open_cell
from services.cli.client import Client
from services.cli.up import running_cell
from services.kernel.config import read_settings
from services.kernel.copy.relay import NAME
from services.kernel.house import House
from tests.broker import Copy, eventually, first_ones, relayed
from tests.kept import kept
from tests.kernel.copying import through
from tests.proxy import Proxy, proxy_to
from tests.scene import edited, open_case, register_customer


def test_a_cell_whose_followers_read_the_copy(tmp_path: Path, broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(read_settings({}, tmp_path))
    copy = Copy(broker, house)
    with proxy_to(broker) as proxy:
        monkeypatch.setenv("KEPT_BROKER", through(proxy, broker))
        monkeypatch.setenv("KEPT_FOLLOW", "copy")
        try:
            lives(house, copy, proxy)
        finally:
            copy.drop()
            house.close()

    replayed = kept("replay", "--verify", "--data", tmp_path)
    assert replayed.returncode == 0, replayed.stdout


def lives(house: House, copy: Copy, proxy: Proxy) -> None:
    data = house.settings.data
    with open_cell(data) as connection, Client(replace(connection, principal="user:ana")) as client:
        tell(client, "first")
        eventually(lambda: 0 < relayed(house) == house.log.position())
        running = running_cell(house.settings)
        assert running is not None
        processes = running["processes"]
        for pid in processes.values():
            assert b"amqp" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        eventually(lambda: proxy.living == 3)  # the relay, and those who follow: the worker and the sender

        os.kill(processes[NAME], signal.SIGKILL)
        tell(client, "second")
        eventually(lambda: relayed(house) == house.log.position())

        dropped = kept("relay", "rebuild", "--data", data)
        assert (dropped.returncode, dropped.stdout) == (0, f"{copy.stream}: dropped; the relay makes it again\n")
        tell(client, "third")
        eventually(lambda: copy.exists() and relayed(house) == house.log.position())
    head = relayed(house)
    assert first_ones(copy.positions(upto=head)) == list(range(1, head + 1))


def tell(client: Client, name: str) -> None:
    """Customers, and a case of each."""
    for number in range(5):
        customer = edited(register_customer(), {"request_id": f"{name}-{number}"})
        customer_id = client.call("customer", "RegisterCustomer", customer).receipt.id
        case = edited(open_case(customer_id), {"request_id": f"{name}-{number}-case"})
        client.call("case", "Open", case)
