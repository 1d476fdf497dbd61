"""A cell that cannot work as it is set up: one clear line, an exit code that means something, and no trace."""

import hashlib
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
import pytest
from click.testing import CliRunner
from google.protobuf.message import Message
from kept.customer.v1 import events_pb2 as customer_events
from kept.customer.v1 import service_pb2 as customer
from kept.customer.v1.service_pb2_grpc import CustomerServiceStub

from services.cli.main import main
from services.cli.up import running_cell
from services.kernel.clock import FixedClock
from services.kernel.config import read_settings
from services.kernel.house import House
from tests.history import played, verified
from tests.kept import KEPT, ROOT, cell_up
from tests.scene import register_customer

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limits and capabilities")
NOW = datetime(2024, 5, 6, 8, 0, tzinfo=UTC)
UP, MIGRATE, DIGEST, REPLAY = ("up",), ("migrate",), ("digest",), ("replay", "--verify")
EVERY = (UP, MIGRATE, DIGEST, REPLAY)
FAILED, USAGE, MISCONFIGURED = 1, 2, 78
SETTINGS = ("DATA", "CELL", "DATABASE", "ENV", "OTLP_ENDPOINT", "MASTER_KEY_FILE")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a live cell with one customer; not to be changed."""
    data = tmp_path_factory.mktemp("sound") / "cell"
    with played(data, FixedClock(NOW)) as cell:
        request = register_customer()
        request.request_id = "r"
        cell.call("customer", "RegisterCustomer", request)
        cell.drain()
    return data


@pytest.fixture
def data(sound: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kept-") as folder:  # short: its sockets are then in the folder itself
        yield Path(shutil.copytree(sound, Path(folder) / "cell"))


def kept(*arguments: object, **environment: str) -> tuple[int, str]:
    """The exit code, and what it says on stderr; in this process, since it does not get to start others."""
    cleared: dict[str, str | None] = dict.fromkeys(f"KEPT_{name}" for name in SETTINGS)
    done = CliRunner().invoke(main, [*map(str, arguments)], env={**cleared, **environment})
    assert done.stdout == ""
    return done.exit_code, done.stderr


def trace(folder: Path) -> dict[str, str]:
    """Every file but those that come and go with processes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "run" not in path.parts and not path.name.endswith(("-wal", "-shm"))
    }


# A folder where something is missing or wrong

Harm = Callable[[Path], dict[str, str]]


def without(name: str) -> Harm:
    def harm(data: Path) -> dict[str, str]:
        (data / name).unlink()
        return {}

    return harm


def of_a_newer_kept(name: str) -> Harm:
    def harm(data: Path) -> dict[str, str]:
        with sqlite3.connect(data / name) as database:
            database.execute("UPDATE schema_version SET version = version + 1")
        database.close()
        return {}

    return harm


def garbage(name: str, content: bytes) -> Harm:
    def harm(data: Path) -> dict[str, str]:
        (data / name).write_bytes(content)
        return {}

    return harm


def another_master_key(data: Path) -> dict[str, str]:
    key = data.parent / "another.key"
    key.write_bytes(b64encode(b"k" * 32))
    return {"KEPT_MASTER_KEY_FILE": str(key)}


def no_master_key_at_all(data: Path) -> dict[str, str]:
    key = data.parent / "short.key"
    key.write_bytes(b64encode(b"short"))
    return {"KEPT_MASTER_KEY_FILE": str(key)}


RESTORE = "restore it from a copy"
HARMS: list[Any] = [
    pytest.param(another_master_key, "the master key does not open the key store", EVERY, id="another master key"),
    pytest.param(no_master_key_at_all, "a master key is 32 bytes in base64", EVERY, id="a master key of five bytes"),
    pytest.param(without("master.key"), f"the master key cannot be read or made; {RESTORE}", EVERY, id="no master key"),
    pytest.param(without("keys.db"), "the key store is missing", EVERY, id="no key store"),
    pytest.param(without("log.db"), "the event log is missing", EVERY, id="no log"),
    pytest.param(without("views-case.db"), "the case views is missing", (REPLAY,), id="no views"),
    pytest.param(of_a_newer_kept("log.db"), "newer than this Kept's", EVERY, id="a newer log"),
    pytest.param(of_a_newer_kept("keys.db"), "newer than this Kept's", EVERY, id="a newer key store"),
    pytest.param(of_a_newer_kept("views-sla.db"), "newer than this Kept's", (UP, MIGRATE, REPLAY), id="newer views"),
    pytest.param(garbage("log.db", b"garbage"), "log.db: is not a sound SQLite database", EVERY, id="no log file"),
    pytest.param(
        garbage("keys.db", b"x" * 9999), "keys.db: is not a sound SQLite database", EVERY, id="no key store file"
    ),
    pytest.param(
        garbage("views-case.db", b"x" * 9999), "views-case.db: is not a sound SQLite", (UP, REPLAY), id="no view file"
    ),
    pytest.param(lambda _: {"KEPT_CELL": "other"}, "this is the log of 'local'", EVERY, id="another cell's name"),
]


@pytest.mark.parametrize(("harm", "says", "commands"), HARMS)
def test_a_cell_that_cannot_be_opened_is_told_in_one_line_and_left_as_it_is(
    data: Path, harm: Harm, says: str, commands: tuple[tuple[str, ...], ...]
) -> None:
    environment = harm(data)
    before = trace(data.parent)

    for command in commands:
        code, told = kept(*command, "--data", data, **environment)

        assert (code, told.count("\n")) == (MISCONFIGURED, 1), told
        assert told.startswith("kept: ")
        assert says in told
        assert trace(data.parent) == before


def test_a_cell_with_a_past_does_not_start_in_history_mode(data: Path) -> None:
    before = trace(data)

    code, told = kept("up", "--history", "--data", data)

    assert (code, told) == (FAILED, "kept: history mode is for an empty cell; start a new one (cell-not-empty)\n")
    assert trace(data) == before


# A cell that cannot be made


@pytest.mark.parametrize(
    ("options", "environment", "says"),
    [
        (("--listen", "nonsense"), {}, "give HOST:PORT"),
        (("--listen", "127.0.0.1:0"), {}, "give HOST:PORT"),
        (("--listen", "0.0.0.0:8443"), {}, "on the loopback"),
        (("--listen", "127.0.0.1:8443", "--separate"), {}, "--listen is for one API process"),
        ((), {"KEPT_CELL": "Not A Name"}, "KEPT_CELL='Not A Name': use 1 to 40"),
        ((), {"KEPT_MASTER_KEY_FILE": "/proc/no/such.key"}, "the master key cannot be read or made"),
    ],
)
def test_a_start_that_cannot_succeed_makes_no_cell(
    tmp_path: Path, options: tuple[str, ...], environment: dict[str, str], says: str
) -> None:
    code, told = kept("up", "--data", tmp_path / "new", *options, **environment)

    assert (code, told.count("\n")) == (MISCONFIGURED, 1), told
    assert says in told
    assert trace(tmp_path) == {}


def test_a_mail_server_that_is_set_up_wrong_is_told_in_one_line(tmp_path: Path) -> None:
    code, told = kept("up", "--no-console", "--data", tmp_path / "new", KEPT_SMTP_HOST="mail", KEPT_SMTP_PORT="abc")

    assert (code, told.count("\n")) == (MISCONFIGURED, 1), told
    assert "KEPT_SMTP_PORT" in told


def test_every_wrong_setting_is_named_at_once(tmp_path: Path) -> None:
    wrong = {
        "KEPT_CELL": "Not A Name",
        "KEPT_DATABASE": "mysql://ana:secret@db/kept",
        "KEPT_ENV": "staging",
        "KEPT_OTLP_ENDPOINT": "collector:4318",
    }

    for command in EVERY:
        code, told = kept(*command, "--data", tmp_path / "new", **wrong)

        assert (code, told.count("\n")) == (MISCONFIGURED, 1)
        assert all(name in told for name in wrong)
        assert "secret" not in told
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [DIGEST, REPLAY])
def test_reading_a_cell_that_is_not_there_does_not_make_it(tmp_path: Path, command: tuple[str, ...]) -> None:
    code, told = kept(*command, "--data", tmp_path / "new")

    assert (code, told.count("\n")) == (MISCONFIGURED, 1)
    assert "the event log is missing" in told
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder_is_told_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "cell"
    file.write_text("not a folder")

    on_the_command_line, in_the_environment = kept("up", "--data", file), kept("up", KEPT_DATA=str(file))
    above = kept("up", "--data", file / "below")

    assert on_the_command_line[0] == USAGE
    assert "is a file" in on_the_command_line[1]
    assert in_the_environment == (MISCONFIGURED, f"kept: {file}: cannot be made or written (File exists)\n")
    assert above == (MISCONFIGURED, f"kept: {file / 'below'}: cannot be made or written (Not a directory)\n")
    assert file.read_text() == "not a folder"


@linux
@pytest.mark.parametrize("place", ["cell", "cell/new"])
def test_a_folder_that_can_only_be_read_is_told(data: Path, place: str) -> None:
    before = trace(data)
    for folder in (data / "run" / "log", data / "run" / "views", data / "run", data):
        folder.chmod(0o500)
    try:
        done = subprocess.run(
            [sys.executable, "-c", UNDER_PERMISSIONS, *KEPT, "up", "--data", str(data.parent / place)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        data.chmod(0o700)
        (data / "run").chmod(0o700)

    assert (done.returncode, done.stderr.count("\n")) == (MISCONFIGURED, 1), done.stderr
    assert "written (Permission denied)" in done.stderr
    assert trace(data) == before


# Permissions of files hold for root, too, once it has given up the right to pass them over. A program of its own does so and
# becomes the command: code of ours between fork and exec would run in a copy of this process's gRPC threads' state.
UNDER_PERMISSIONS = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
if os.geteuid() == 0:
    libc = ctypes.CDLL(None)
    for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0):
            sys.exit("a capability could not be dropped")
os.execv(sys.argv[1], sys.argv[1:])
"""


@linux
def test_a_busy_port_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run(
            [*KEPT, "up", "--data", str(tmp_path / "new"), "--listen", address],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    says = f"kept: {address} is taken or cannot be listened on; stop what uses it or choose another\n"
    assert (done.returncode, done.stdout, done.stderr) == (MISCONFIGURED, "", says)


# A cell that runs


class Running:
    """A cell on its folder, with its processes."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.told = self.look()
        self.channel = grpc.insecure_channel(self.told["targets"]["customer"])
        self._stub = CustomerServiceStub(self.channel)
        with sqlite3.connect(data / "log.db") as log:
            found = log.execute("SELECT stream FROM log WHERE type = 'kept.customer.v1.CustomerRegistered'").fetchall()
        log.close()
        ((stream,),) = found
        self.customer_id = str(UUID(bytes=stream))

    def look(self) -> dict[str, Any]:
        found = running_cell(read_settings({}, self.data))
        assert found is not None
        return found

    def call(self, request: Message) -> Any:
        method = getattr(self._stub, request.DESCRIPTOR.name.removesuffix("Request"))
        metadata = (("kept-principal", "user:ana"), ("kept-tenant", "main"))
        return method(request, metadata=metadata, timeout=20)

    def limit_files(self, size: int) -> None:
        """As a full disk does to whoever wants to write more."""
        for pid in self.told["processes"].values():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def head(self) -> tuple[int, int]:
        """Where the log stands, and how many keys there are."""
        house = House(read_settings({}, self.data))
        try:
            with house.database("keys").read() as session:
                ((keys,),) = session.execute("SELECT count(*) FROM data_key").fetchall()
            return house.log.position(), keys
        finally:
            house.close()


@pytest.fixture(scope="module")
def running(sound: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    data = Path(shutil.copytree(sound, tmp_path_factory.mktemp("running") / "cell"))
    with cell_up(data):
        cell = Running(data)
        yield cell
        cell.channel.close()


def test_a_second_cell_on_the_same_folder_is_refused_and_the_first_goes_on(running: Running) -> None:
    code, told = kept("up", "--data", running.data)

    assert (code, told.count("\n")) == (MISCONFIGURED, 1)
    assert f"a cell already runs on {running.data}" in told
    assert running.look() == running.told
    assert running.call(customer.GetCustomerRequest(customer_id=running.customer_id)).customer_id == running.customer_id


@linux
def test_a_full_disk_fails_a_command_whole_and_the_cell_goes_on_when_there_is_space(running: Running) -> None:
    consent = customer.GiveConsentRequest(
        request_id="consent", customer_id=running.customer_id, purpose=customer_events.CONSENT_PURPOSE_SERVICE
    )
    another = register_customer()
    another.request_id = "another"
    before = running.head()

    running.limit_files(4096)
    for request in (another, consent):
        with pytest.raises(grpc.RpcError) as caught:
            running.call(request)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "cannot be read or written" in str(caught.value.details())
        assert running.head() == before
    running.limit_files(resource.RLIM_INFINITY)

    receipts = [running.call(request).receipt for request in (consent, another)]
    assert [receipt.position for receipt in receipts] == [before[0] + 1, before[0] + 3]
    shown = running.call(customer.GetCustomerRequest(customer_id=receipts[1].id, after_position=receipts[1].position))
    assert shown.contact.name == another.party.contact.name
    assert verified(running.data).findings.first == {}
