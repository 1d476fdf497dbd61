"""An auditor's way through the real processes: checkpoints kept, the log verified, and each kind of tampering named."""

import json
import shutil
import signal
import sqlite3
import stat
import subprocess
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.kernel.config import read_settings
from services.kernel.house import House
from tests.audit.streaming import Writer
from tests.history import played_sample
from tests.kept import KEPT, ROOT, cell_up, kept, kept_json
from tests.kernel.test_rpc import Refusal

STOPS_WITHIN_S = 5.0


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cell's folder and its verifier key; a checkpoint of it is in `note` beside the folder."""
    data = played_sample(tmp_path_factory.mktemp("audit"), incidents=12)
    done = kept("audit", "checkpoint", "--data", data, "--out", data.parent / "note")
    assert done.returncode == 0, done.stderr
    assert (data.parent / "note").read_text() in done.stdout
    return data, done.stdout.splitlines()[-1].removeprefix("verifier key: ")


@pytest.fixture
def copy(played: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(played[0], tmp_path / "copy", ignore=shutil.ignore_patterns("run")))


def test_an_earlier_note_is_never_written_over(played: tuple[Path, str]) -> None:
    note = played[0].parent / "note"
    before = note.read_text()

    done = kept("audit", "checkpoint", "--data", played[0], "--out", note)

    assert (done.returncode, note.read_text()) == (1, before)
    assert "is there already" in done.stderr


def test_a_folder_without_a_cell_is_told_and_stays_without(tmp_path: Path) -> None:
    done = kept("audit", "verify", "--data", tmp_path / "typo")

    assert (done.returncode, (tmp_path / "typo").exists()) == (78, False)
    assert "there is no cell in" in done.stderr


def grown(data: Path) -> int:
    """Three events more, while no cell runs."""
    house = House(read_settings({}, data))
    Writer(house.log).write_plain(3)
    house.close()
    return house.log.position()


def test_a_log_that_only_grew_is_verified(played: tuple[Path, str], copy: Path) -> None:
    note, key = played[0].parent / "note", played[1]
    size = grown(copy)

    told = kept_json("audit", "verify", "--data", copy, "--checkpoint", note, "--key", key, "--position", 7)

    assert (told["verified"], told["differences"], told["verifier_key"]) == (True, [], key)
    assert told["events"] == told["size"] == size == told["earlier_size"] + 3


def test_one_changed_byte_is_found_and_its_position_named(copy: Path) -> None:
    with sqlite3.connect(copy / "log.db") as log:
        (record,) = log.execute("SELECT record FROM log WHERE position = 100").fetchone()
        log.execute("UPDATE log SET record = ? WHERE position = 100", (bytes([*record[:-1], record[-1] ^ 1]),))
    log.close()

    done = kept("audit", "verify", "--data", copy)

    assert done.returncode == 1
    assert "DIFFERS: record-changed at position 100" in done.stdout


def test_a_log_that_is_shorter_than_its_checkpoint_is_found(
    played: tuple[Path, str], copy: Path, tmp_path: Path
) -> None:
    size = grown(copy)
    longer = tmp_path / "longer"
    assert kept("audit", "checkpoint", "--data", copy, "--out", longer).returncode == 0

    done = kept("audit", "verify", "--data", played[0], "--checkpoint", longer, "--key", played[1])

    assert done.returncode == 1
    assert f"DIFFERS: log-truncated at position {size - 2}" in done.stdout


def test_a_forged_signature_is_found(played: tuple[Path, str], tmp_path: Path) -> None:
    note = (played[0].parent / "note").read_text()
    head, dash, signature = note.rpartition("— ")
    name, signed = signature.split(" ")
    forged = tmp_path / "forged"
    forged.write_text(f"{head}{dash}{name} {signed[:20]}{'A' if signed[20] != 'A' else 'B'}{signed[21:]}")

    done = kept("audit", "verify", "--data", played[0], "--checkpoint", forged)

    assert done.returncode == 1
    assert "DIFFERS: signature-invalid: the earlier checkpoint: it is not signed by kept/local+" in done.stdout


def test_what_is_no_key_is_wrong_usage(played: tuple[Path, str]) -> None:
    done = kept("audit", "verify", "--data", played[0], "--key", "kept/local")

    assert done.returncode == 2
    assert "NAME+HASH+KEY" in done.stderr


def test_events_are_streamed_one_on_each_line(played: tuple[Path, str]) -> None:
    opened = "kept.case.v1.CaseOpened"

    done = kept("audit", "stream", "--data", played[0], "--after", 5, "--type", opened, "--json")

    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(events) == 12
    assert {event["record"]["type"] for event in events} == {opened}
    assert min(event["position"] for event in events) > 5
    customer = events[0]["record"]["customer_id"]
    text = kept("audit", "stream", "--data", played[0], "--customer", customer).stdout.splitlines()
    assert text
    assert all(f"  {customer}  " in line for line in text)


def test_a_type_that_is_none_is_refused(played: tuple[Path, str]) -> None:
    done = kept("audit", "stream", "--data", played[0], "--type", "kept.case.v1.CaseEaten")

    assert done.returncode == 1
    assert "types[0]: is no event type of this Kept" in done.stderr


def test_the_stream_process_is_healthy_and_only_its_owner_can_call_it(copy: Path) -> None:
    with cell_up(copy):
        socket = read_settings({}, copy).run / "streams.sock"
        assert stat.S_IMODE(socket.stat().st_mode) == 0o600
        with grpc.insecure_channel(f"unix:{socket}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            for service in ("", "kept.audit.v1.AuditService"):
                answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=60)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(grpc.RpcError) as caught:
                reflected(channel)
            assert Refusal(caught.value).code is grpc.StatusCode.UNIMPLEMENTED, "outside of development"


def reflected(channel: grpc.Channel) -> list[Any]:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    return list(stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=60))


def test_a_follower_stops_at_ctrl_c_and_a_cell_stops_at_once_while_somebody_follows(copy: Path) -> None:
    with cell_up(copy) as cell:
        leaving, staying = following(copy), following(copy)
        leaving.send_signal(signal.SIGINT)
        _, said = leaving.communicate(timeout=STOPS_WITHIN_S)
        assert (leaving.returncode, said) == (130, "")

        cell.terminate()

        assert cell.wait(STOPS_WITHIN_S) == 0
    _, told = staying.communicate()
    assert staying.returncode == 1
    assert "the cell has stopped" in told


def following(data: Path) -> "subprocess.Popen[str]":
    """One that has got its first event."""
    process = subprocess.Popen(
        [*KEPT, "audit", "stream", "--data", str(data), "--follow"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("1  ")
    return process
