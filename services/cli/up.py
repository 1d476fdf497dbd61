"""`kept up`: one cell on this machine, supervised; every service in one API and one worker process, or each in its own."""

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from services.cli.supervisor import Process, Supervisor
from services.cli.table import NAMES, migrate
from services.kernel.cell import start_history
from services.kernel.config import Settings
from services.kernel.errors import Misconfigured
from services.kernel.house import House
from services.kernel.ready import announce_ready

ADDRESSES = "cell.json"


def run_cell(settings: Settings, *, separate: bool, history: bool, quiet: bool, listen: str | None) -> None:
    """Migrates, starts, and keeps the cell running until Ctrl-C or SIGTERM. Raises Misconfigured, StartFailed."""
    house = House(settings)
    house.make_folders()
    with only_cell_in(settings):
        migrate(house)
        if history:
            start_history(house.log)
        house.close()
        targets, processes = plan(settings, separate=separate, listen=listen)
        supervisor = Supervisor(processes, on_line=lambda name, line: print(f"{name}: {line}", file=sys.stderr))
        addresses = settings.run / ADDRESSES
        with supervisor.listening():  # from before the start to the end: between start and run nobody else would
            supervisor.start()
            if supervisor.stop_requested:
                return
            try:
                told = {"pid": os.getpid(), "targets": targets, "processes": supervisor.pids()}
                addresses.write_text(json.dumps(told))
                announce_ready()
                if not quiet:
                    where = ", ".join(sorted(set(targets.values())))
                    print(f"the cell is up: {where}  (Ctrl-C stops it)", file=sys.stderr)
                supervisor.run()
            finally:
                supervisor.stop()
                addresses.unlink(missing_ok=True)


def plan(settings: Settings, *, separate: bool, listen: str | None = None) -> tuple[dict[str, str], list[Process]]:
    """Where each service answers, and the processes that make it so."""
    environment = {**os.environ, **settings.environment(), "PYTHONUNBUFFERED": "1"}
    environment.setdefault("GRPC_VERBOSITY", "ERROR")

    def api(name: str, services: tuple[str, ...], address: str) -> Process:
        argv = (sys.executable, "-m", "services.cli.main", "api", *services, "--listen", address)
        return Process(name, argv, environment)

    def worker(name: str, services: tuple[str, ...]) -> Process:
        return Process(name, (sys.executable, "-m", "services.cli.worker", *services), environment)

    if not separate:
        address = listen or f"unix:{settings.run / 'kept.sock'}"
        return dict.fromkeys(("cell", *NAMES), address), [api("api", (), address), worker("worker", ())]
    if listen:
        raise Misconfigured("--listen is for one API process; with --separate each service has its own socket")
    targets = {name: f"unix:{settings.run / name}.sock" for name in NAMES}
    processes = [api(f"{name}-api", (name,), targets[name]) for name in NAMES]
    processes += [worker(f"{name}-worker", (name,)) for name in NAMES]
    return {"cell": targets[NAMES[0]], **targets}, processes


@contextmanager
def only_cell_in(settings: Settings, within_s: float = 1.0) -> Iterator[None]:
    """Holds the folder's lock. Raises Misconfigured when a cell runs on it already."""
    with open(settings.run / "lock", "w", encoding="ascii") as lock:
        until = time.monotonic() + within_s
        while not _locked(lock):
            if time.monotonic() >= until:
                raise Misconfigured(f"a cell already runs on {settings.data}; stop it first, or use another folder")
            time.sleep(0.02)  # somebody may only be looking whether a cell runs
        yield


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def running_cell(settings: Settings) -> dict[str, Any] | None:
    """What a running cell says of itself: pid, targets, processes; None when none runs on this folder."""
    try:
        with only_cell_in(settings, within_s=0):
            return None
    except FileNotFoundError:
        return None
    except Misconfigured:
        path: Path = settings.run / ADDRESSES
        return dict(json.loads(path.read_text())) if path.exists() else None
