"""Processes that do the same jobs at the same time, and how many they get done in a second.

A process is a module that calls `work`; it is started by `jobs_per_s`, which tells all of them when to begin and when to
stop. Each thread of a process does one job after another. The first jobs, which open connections, are not counted.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from loadtests.measure import NotInstalled

ROOT = Path(__file__).parent.parent
WARM_UP = 5
END_WITHIN_S = 30

Job = Callable[[], object]


def jobs_per_s(argv: Sequence[str], *, processes: int, seconds: float) -> float:
    """Runs `python -m ARGV` that many times at once, `{member}` in it being 0, 1, ... Raises CalledProcessError when one of
    them fails."""
    command = [sys.executable, "-m", *argv]
    with ExitStack() as stack:
        crew = [
            stack.enter_context(_started([one.replace("{member}", str(member)) for one in command]))
            for member in range(processes)
        ]
        for member in crew:
            if _pipe(member.stdout).readline() != "ready\n":
                raise subprocess.CalledProcessError(member.wait(END_WITHIN_S), command)
        for member in crew:
            _pipe(member.stdin).write(f"{seconds}\n")
            _pipe(member.stdin).flush()
        done = [_pipe(member.stdout).readline() for member in crew]
        for member in crew:
            if member.wait(END_WITHIN_S):
                raise subprocess.CalledProcessError(member.returncode, command)
        return float(sum(json.loads(line) for line in done))


def work(job_of: Callable[[int], Job], threads: int) -> None:
    """What a member's module does: makes each thread's job by its number, does them when told, and tells jobs/s."""
    crew = [_Worker(job_of(number)) for number in range(threads)]
    _together(crew, lambda worker: worker.warm_up())
    print("ready", flush=True)
    seconds = float(sys.stdin.readline())
    started = time.monotonic()
    _together(crew, lambda worker: worker.go_on_until(started + seconds))
    print(json.dumps(sum(worker.done for worker in crew) / (time.monotonic() - started)), flush=True)


class _Worker:
    def __init__(self, job: Job) -> None:
        self._job = job
        self.done = 0
        self.error: BaseException | None = None

    def warm_up(self) -> None:
        for _ in range(WARM_UP):
            self._job()

    def go_on_until(self, deadline: float) -> None:
        job, done = self._job, 0
        while time.monotonic() < deadline:
            job()
            done += 1
        self.done = done


def _together(crew: Sequence[_Worker], task: Callable[[_Worker], None]) -> None:
    """Raises what one of them raised: a figure that left failures out would be a lie."""

    def run(worker: _Worker) -> None:
        try:
            task(worker)
        except BaseException as error:
            worker.error = error

    threads = [threading.Thread(target=run, args=(worker,)) for worker in crew]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for worker in crew:
        if worker.error is not None:
            raise worker.error


def require_peer(module: str, package: str) -> None:
    """Raises NotInstalled where a member could not import it: it is none of our dependencies."""
    probe = [sys.executable, "-c", f"import {module}"]
    if subprocess.run(probe, env=_environment(), stderr=subprocess.DEVNULL, check=False).returncode:
        folder = os.environ.get("KEPT_PEERS") or "FOLDER"
        raise NotInstalled(f"pip install --no-deps --target {folder} {package}, and set KEPT_PEERS to that folder")


def _environment() -> dict[str, str]:
    """With the peers, in a folder outside of the repository, where it is named."""
    path = (os.environ.get("PYTHONPATH"), os.environ.get("KEPT_PEERS"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}


def _started(command: Sequence[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=_environment()
    )


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
