"""The process: its settings, when it is ready, what it says when it cannot start, and how it stops."""

import json
import signal
import socket

import httpx
import pytest
from kept.cell.v1 import service_pb2 as cell

from gateway.settings import Misconfigured, read_settings
from tests.gateway.fakes import FakeCell, Open
from tests.gateway.process import STOPS_WITHIN_S, gateway_up, start

CELL = {"KEPT_TARGETS": json.dumps({"cell": "unix:/nowhere/kept.sock"})}


def test_settings_have_defaults_but_for_the_targets() -> None:
    settings = read_settings(CELL)

    assert (settings.host, settings.port, settings.tenants) == ("127.0.0.1", 8480, ("main",))
    assert settings.targets == {"cell": "unix:/nowhere/kept.sock"}


def test_settings_are_read() -> None:
    settings = read_settings({**CELL, "KEPT_LISTEN": "[::1]:9000", "KEPT_TENANTS": "main, north"})

    assert (settings.host, settings.port, settings.tenants) == ("::1", 9000, ("main", "north"))


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"KEPT_TARGETS": ""}, "KEPT_TARGETS: give JSON"), ({"KEPT_TARGETS": "[]"}, "KEPT_TARGETS: give JSON"),
        ({"KEPT_TARGETS": '{"cell": 1}'}, "KEPT_TARGETS: give JSON"), ({"KEPT_TARGETS": '{"cell": ""}'}, "KEPT_TARGETS: give"),
        ({"KEPT_TARGETS": '{"case": "x"}'}, "target is missing: cell"),
        ({"KEPT_TARGETS": '{"cell": "x", "billing": "y"}'}, "'billing' is no service"),
        ({"KEPT_LISTEN": "0.0.0.0:8480"}, "on the loopback"), ({"KEPT_LISTEN": "127.0.0.1"}, "HOST:PORT"),
        ({"KEPT_LISTEN": "127.0.0.1:70000"}, "HOST:PORT"), ({"KEPT_TENANTS": "main North"}, "'North' is no name"),
        ({"KEPT_TENANTS": ","}, "name at least one"),
    ],
)  # fmt: skip
def test_a_mistake_in_the_settings_is_told(environment: dict[str, str], told: str) -> None:
    with pytest.raises(Misconfigured, match="KEPT_") as raised:
        read_settings({**CELL, **environment})

    assert told in str(raised.value)


def test_all_mistakes_are_told_at_once_in_one_line_with_exit_code_78() -> None:
    process = start(KEPT_TARGETS="no", KEPT_LISTEN="0.0.0.0:1")
    said, _ = process.communicate(timeout=STOPS_WITHIN_S)

    assert process.returncode == 78
    assert said.count("\n") == 1
    assert said.startswith("gateway: KEPT_TARGETS")
    assert "KEPT_LISTEN" in said


def test_a_taken_port_is_told_in_one_line_with_exit_code_78() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        process = start(**CELL, KEPT_LISTEN=where)
        said, _ = process.communicate(timeout=STOPS_WITHIN_S)

    assert process.returncode == 78
    assert said.count("\n") == 1
    assert f"KEPT_LISTEN={where} cannot be listened on" in said


def test_it_answers_when_it_says_that_it_is_ready_and_stops_on_sigterm_without_a_word() -> None:
    with gateway_up({"cell": "unix:/nowhere/kept.sock"}) as (process, address):
        assert "<title>Kept</title>" in httpx.get(address).text
        assert httpx.get(f"{address}/api/cell").json()["type"] == "urn:kept:unavailable"

        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=STOPS_WITHIN_S)

    assert (process.returncode, said) == (0, "")


def test_who_listens_for_changes_is_let_go_when_it_stops(fake: FakeCell) -> None:
    fake.answers = {"GetCell": cell.GetCellResponse(position=40), "StreamEvents": Open()}
    with (
        gateway_up(fake.targets()) as (process, address),
        httpx.stream("GET", f"{address}/api/changes") as listening,
    ):
        told = listening.iter_text()
        assert "listening" in next(told)

        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=STOPS_WITHIN_S)
        assert list(told) == []

    assert (process.returncode, said) == (0, "")
