"""For commands that need a cell: the one that runs on the folder, or one started for as long as the command takes."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from services.cli.imports.client import Connection
from services.cli.supervisor import end_with
from services.cli.up import running_cell
from services.kernel.config import Settings, read_settings
from services.kernel.ready import READY_FD

START_WITHIN_S = 60
STOP_WITHIN_S = 10


@contextmanager
def open_cell(data: Path | None, *, history: bool = False, separate: bool = False) -> Iterator[Connection]:
    """A connection to the cell on this folder. One that was not running is started, and stopped in the end."""
    settings = read_settings(os.environ, data)
    running = running_cell(settings)
    if running is not None:
        yield Connection(running["targets"], alive=lambda: running_cell(settings) is not None)
        return
    child = _start(settings, history=history, separate=separate)
    try:
        started = running_cell(settings)
        if started is None:
            raise click.ClickException("the cell stopped as soon as it had started")
        yield Connection(started["targets"], alive=lambda: child.poll() is None)
    finally:
        child.terminate()
        try:
            child.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def stay(connection: Connection, data: Path) -> None:
    """Says what one can do now, and returns at Ctrl-C or SIGTERM."""
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    click.echo(f"\nthe cell stays up at {connection.targets['cell']}; Ctrl-C stops it", err=True)
    click.echo("in another terminal, for example:", err=True)
    kept = sys.argv[0]
    click.echo(f"  {kept} replay --verify --data {data}    rebuild everything from the log, and compare", err=True)
    click.echo(f"  {kept} digest --data {data}             one digest of all streams", err=True)
    stopped.wait()


def _start(settings: Settings, *, history: bool, separate: bool) -> "subprocess.Popen[bytes]":
    """Returns when the cell is up. Its own messages go to stderr; what ended it early is the exit code."""
    ready, announce = os.pipe()
    argv = [sys.executable, "-m", "services.cli.main", "up", "--quiet"]
    argv += ["--history"] * history + ["--separate"] * separate
    environment = {**os.environ, **settings.environment(), READY_FD: str(announce)}
    child = subprocess.Popen(
        argv, env=environment, pass_fds=(announce,), process_group=0, preexec_fn=partial(end_with, os.getpid())
    )
    os.close(announce)
    with os.fdopen(ready, "rb") as pipe:
        readable, _, _ = select.select([pipe], [], [], START_WITHIN_S)
        if readable and pipe.read(1):
            return child
    child.terminate()
    code = child.wait()
    if code < 0:
        raise click.ClickException(f"the cell was ended by signal {-code} before it was up")
    raise click.exceptions.Exit(code or 1)
