"""Ctrl-C, SIGTERM, even `kill -9`: whatever ends a cell or an import, it is gone within five seconds, processes and all."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.request import urlopen

import pytest

from services.cli.up import running_cell
from services.kernel.config import read_settings
from tests.kept import KEPT, ROOT, cell_up, digest, import_command, made_sample

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")

STOPS_WITHIN_S = 5.0
STARTS_WITHIN_S = 60.0
LOOK_AGAIN_S = 0.02
INTERRUPTED = 130

Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def started() -> Iterator[Started]:
    """Starts processes that do not outlive the test."""
    processes: list[subprocess.Popen[str]] = []

    def start(*argv: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def processes_of(data: Path) -> set[int]:
    """Whatever works on that folder, children of children included."""
    found = set()
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"\0KEPT_DATA={data}\0" in f"\0{(folder / 'environ').read_text()}\0":
                found.add(int(folder.name))
        except (OSError, UnicodeDecodeError):
            continue  # it ended meanwhile, or is nobody's business
    return found


def wait_until(so: Callable[[], bool], process: "subprocess.Popen[Any]", within_s: float) -> None:
    """Looks again and again while the process runs, and once when it has ended."""
    until = monotonic() + within_s
    while not so() and monotonic() < until and process.poll() is None:
        try:
            process.wait(LOOK_AGAIN_S)
        except subprocess.TimeoutExpired:
            continue
    assert so()


def end(pids: set[int], within_s: float) -> bool:
    """Whether they all end by themselves in that time; nobody need be their parent."""
    until = monotonic() + within_s
    for pid in pids:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        ended, _, _ = select.select([pidfd], [], [], max(0.0, until - monotonic()))
        os.close(pidfd)
        if not ended:
            return False
    return True


def is_clean(data: Path) -> bool:
    """Nobody can be called any more, and the next cell can start."""
    run = read_settings({}, data).run
    return running_cell(read_settings({}, data)) is None and not (run / "cell.json").exists()


@pytest.mark.parametrize(
    ("number", "options"), [(signal.SIGINT, ("--separate",)), (signal.SIGTERM, ())], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_cell_stops_whole(tmp_path: Path, number: signal.Signals, options: tuple[str, ...]) -> None:
    data = tmp_path / "cell"
    with cell_up(data, *options) as cell:
        processes = processes_of(data)
        cell.send_signal(number)

        assert cell.wait(STOPS_WITHIN_S) == 0
    assert len(processes) == (12 if options else 4)
    assert processes_of(data) == set()
    assert is_clean(data)
    assert [path.name for path in (data / "run").rglob("*") if path.is_socket()] == []


def test_a_cells_console_answers_and_ends_with_it(tmp_path: Path) -> None:
    data = tmp_path / "cell"
    with cell_up(data, console=True) as cell:
        told = running_cell(read_settings({}, data))
        assert told is not None
        with urlopen(told["console"], timeout=STARTS_WITHIN_S) as page:  # noqa: S310 - our own address
            assert b"<html" in page.read()
        cell.send_signal(signal.SIGINT)

        assert cell.wait(STOPS_WITHIN_S) == 0
    assert not Path(f"/proc/{told['processes']['gateway']}").exists()


def test_nobody_is_sent_to_a_cell_that_is_stopping(tmp_path: Path) -> None:
    data = tmp_path / "cell"
    settings = read_settings({}, data)
    with cell_up(data) as cell:
        told = running_cell(settings)
        assert told is not None
        worker = told["processes"]["worker"]
        os.kill(worker, signal.SIGSTOP)  # so that the stop takes its time
        cell.terminate()

        wait_until(lambda: not (settings.run / "cell.json").exists(), cell, STOPS_WITHIN_S)
        assert cell.poll() is None
        os.kill(worker, signal.SIGCONT)
        assert running_cell(settings) is None  # it has waited for the end
        assert cell.wait(STOPS_WITHIN_S) == 0


def test_a_cell_that_is_killed_takes_its_processes_along(tmp_path: Path) -> None:
    data = tmp_path / "cell"
    with cell_up(data) as cell:
        processes = processes_of(data)
        cell.kill()
        cell.wait()

        assert len(processes) == 4
        assert end(processes, STOPS_WITHIN_S)
    assert processes_of(data) == set()


def test_a_cell_that_is_only_starting_is_not_taken_for_the_one_before_and_stops_too(
    tmp_path: Path, started: Started
) -> None:
    data = tmp_path / "cell"
    addresses = read_settings({}, data).run / "cell.json"
    addresses.parent.mkdir(parents=True)
    addresses.write_text('{"pid": 1, "targets": {}, "processes": {}}')  # of a cell that was killed
    cell = started(*KEPT, "up", "--data", str(data))
    wait_until(lambda: bool(processes_of(data)), cell, STARTS_WITHIN_S)
    assert not addresses.exists() or json.loads(addresses.read_text())["pid"] == cell.pid
    cell.send_signal(signal.SIGTERM)

    assert cell.wait(STOPS_WITHIN_S) == 0
    assert processes_of(data) == set()
    assert is_clean(data)


def test_an_interrupted_import_stops_its_cell_and_the_same_command_resumes_it(tmp_path: Path, started: Started) -> None:
    data, command = tmp_path / "cell", import_command(made_sample(tmp_path, incidents=12), tmp_path / "cell")
    imports = started(*command)
    wait_until(lambda: minutes(data) > 10, imports, STARTS_WITHIN_S)
    interrupted_at = monotonic()
    imports.send_signal(signal.SIGINT)

    _, told = imports.communicate(timeout=STARTS_WITHIN_S)
    assert (imports.returncode, told) == (INTERRUPTED, "stopped; the same command resumes it\n")
    assert monotonic() - interrupted_at < STOPS_WITHIN_S
    assert processes_of(data) == set()
    done = minutes(data)
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
    assert minutes(data) > done
    assert digest(data)


def test_a_killed_import_takes_its_cell_along(tmp_path: Path, started: Started) -> None:
    data = tmp_path / "cell"
    imports = started(*import_command(made_sample(tmp_path, incidents=12), data))
    wait_until(lambda: minutes(data) > 10, imports, STARTS_WITHIN_S)
    processes = processes_of(data)
    imports.kill()

    assert len(processes) == 5  # the supervisor too: the importer itself got the folder as an argument
    assert end(processes, STOPS_WITHIN_S)


def minutes(data: Path) -> int:
    """How many lines the journal of the import has."""
    return sum(journal.read_bytes().count(b"\n") for journal in (data / "imports").glob("*.jsonl"))
