"""`kept up`: one cell on this machine, supervised; every service in one API and one worker process, or each in its own."""

import fcntl
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from services.cli.supervisor import Process, Supervisor
from services.cli.table import NAMES, RELAY, SENDER, migrate
from services.kernel.cell import start_history
from services.kernel.config import Settings
from services.kernel.errors import Misconfigured
from services.kernel.house import House
from services.kernel.ready import announce_ready

ADDRESSES = "cell.json"
CONSOLE_PORT = 8480
# Between one state and the next: a start takes at most 30 seconds, a stop at most 5.
CHANGES_WITHIN_S = 35.0


class CellRuns(Misconfigured):
    """A cell already runs on the folder."""


def run_cell(
    settings: Settings, *, separate: bool, history: bool, quiet: bool, listen: str | None, console: str | None
) -> None:
    """Migrates, starts, and keeps the cell running until Ctrl-C or SIGTERM. Raises Misconfigured, StartFailed.

    `console` is HOST:PORT on the loopback; None leaves the gateway out.
    """
    targets, processes = plan(settings, separate=separate, listen=listen)
    if console is not None:
        processes.append(gateway(targets, console))
    house = House(settings)
    house.make_folders()
    addresses = settings.run / ADDRESSES
    with only_cell_in(settings):
        addresses.unlink(missing_ok=True)  # of a cell that was killed
        migrate(house)
        if history:
            start_history(house.log)
        house.close()
        supervisor = _Announced(processes, addresses)
        with supervisor.listening():  # from before the start to the end: between start and run nobody else would
            supervisor.start()
            if supervisor.stop_requested:
                return
            supervisor.tell()
            try:
                told: dict[str, Any] = {"pid": os.getpid(), "targets": targets, "processes": supervisor.pids()}
                told["console"] = console and f"http://{console}"
                _write(addresses, json.dumps(told))
                announce_ready()
                if not quiet:
                    where = ", ".join(sorted(set(targets.values())))
                    if console is not None:
                        print(f"the console: http://{console}", file=sys.stderr)
                    print(f"the cell is up: {where}  (Ctrl-C stops it)", file=sys.stderr)
                supervisor.run()
            finally:
                supervisor.stop()
                addresses.unlink(missing_ok=True)


class _Announced(Supervisor):
    """Takes the addresses away as soon as it is to stop: who looks for the cell then waits for its end, and does not
    call those who are leaving. What its processes say before they are up is kept back: why a start failed, the failure
    itself says."""

    def __init__(self, processes: Sequence[Process], addresses: Path) -> None:
        super().__init__(processes, on_line=self._hear)
        self._addresses = addresses
        self._kept_back: list[str] | None = []

    def _hear(self, name: str, line: str) -> None:
        told = f"{name}: {line}"
        if self._kept_back is None:
            print(told, file=sys.stderr)
        else:
            self._kept_back.append(told)

    def tell(self) -> None:
        """What was kept back, and from now on each line as it comes."""
        for line in self._kept_back or ():
            print(line, file=sys.stderr)
        self._kept_back = None

    def request_stop(self) -> None:
        self._addresses.unlink(missing_ok=True)
        super().request_stop()


def plan(settings: Settings, *, separate: bool, listen: str | None = None) -> tuple[dict[str, str], list[Process]]:
    """Where each service answers, and the processes that make it so. Raises Misconfigured."""
    if listen and not re.fullmatch(r"(127\.0\.0\.1|localhost|\[::1\]):[1-9][0-9]{0,4}", listen):
        what = "give HOST:PORT on the loopback, for example 127.0.0.1:8443; nobody signs in yet"
        raise Misconfigured(f"--listen {listen}: {what}")
    # What is for the outside is for the sender alone.
    outside = {name: value for name, value in os.environ.items() if name.startswith("KEPT_SMTP_")}
    inside = {name: value for name, value in os.environ.items() if name not in outside}
    environment = {**inside, **settings.environment(), "PYTHONUNBUFFERED": "1"}
    environment.setdefault("GRPC_VERBOSITY", "ERROR")

    def api(name: str, services: tuple[str, ...], address: str) -> Process:
        argv = (sys.executable, "-m", "services.cli.main", "api", *services, "--listen", address)
        return Process(name, argv, environment)

    def worker(name: str, services: tuple[str, ...]) -> Process:
        own = {**environment, **outside} if SENDER in services else environment
        return Process(name, (sys.executable, "-m", "services.cli.worker", *services), own)

    audit = f"unix:{settings.run / 'streams.sock'}"
    streams = Process("streams", (sys.executable, "-m", "services.cli.main", "streams", "--listen", audit), environment)
    alone = [worker("sender", (SENDER,)), streams]
    if settings.broker:
        alone.append(worker("relay", (RELAY,)))
    if not separate:
        address = listen or f"unix:{settings.run / 'kept.sock'}"
        targets = {**dict.fromkeys(("cell", *NAMES), address), "audit": audit}
        return targets, [api("api", (), address), worker("worker", ()), *alone]
    if listen:
        raise Misconfigured("--listen is for one API process; with --separate each service has its own socket")
    targets = {name: f"unix:{settings.run / name}.sock" for name in NAMES}
    processes = [api(f"{name}-api", (name,), targets[name]) for name in NAMES]
    processes += [worker(f"{name}-worker", (name,)) for name in NAMES]
    return {"cell": targets[NAMES[0]], **targets, "audit": audit}, [*processes, *alone]


def gateway(targets: dict[str, str], console: str) -> Process:
    """HTTP for people and internal UIs. It speaks gRPC to the services, and needs none of the cell's settings."""
    inside = {
        name: value for name, value in os.environ.items() if not name.startswith("KEPT_") or name == "KEPT_TENANTS"
    }
    own = {"KEPT_TARGETS": json.dumps(targets), "KEPT_LISTEN": console, "PYTHONUNBUFFERED": "1"}
    return Process("gateway", (sys.executable, "-m", "gateway"), {"GRPC_VERBOSITY": "ERROR", **inside, **own})


def free_console() -> str:
    """The usual address of the console; where another cell has it, one that is free."""
    for port in (CONSOLE_PORT, 0):
        with socket.socket() as tried, suppress(OSError):
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind(("127.0.0.1", port))
            return f"127.0.0.1:{tried.getsockname()[1]}"
    raise Misconfigured("no port of 127.0.0.1 is free for the console; leave it out with --no-console")


@contextmanager
def only_cell_in(settings: Settings, within_s: float = 1.0) -> Iterator[None]:
    """Holds the folder's lock. Raises CellRuns when a cell does already, Misconfigured when the folder is not ours."""
    with _lock_file(settings) as lock:
        until = time.monotonic() + within_s
        while not _locked(lock):
            if time.monotonic() >= until:
                raise CellRuns(f"a cell already runs on {settings.data}; stop it first, or use another folder")
            time.sleep(0.02)  # somebody may only be looking whether a cell runs
        yield


def _lock_file(settings: Settings) -> IO[str]:
    try:
        return open(settings.run / "lock", "w", encoding="ascii")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Misconfigured(f"{settings.data}: cannot be written ({error.strerror})") from error


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def running_cell(settings: Settings) -> dict[str, Any] | None:
    """What a running cell says of itself: pid, targets, processes; None when none runs on this folder.

    One that is starting or stopping is waited for.
    """
    until = time.monotonic() + CHANGES_WITHIN_S
    while time.monotonic() < until:
        try:
            with only_cell_in(settings, within_s=0):
                return None
        except FileNotFoundError:
            return None
        except CellRuns:
            with suppress(FileNotFoundError):
                return dict(json.loads((settings.run / ADDRESSES).read_text()))
        time.sleep(0.05)
    return None


def _write(path: Path, text: str) -> None:
    """All of it, or nothing, for whoever reads at the same time."""
    unready = path.with_suffix(".new")
    unready.write_text(text)
    unready.replace(path)
