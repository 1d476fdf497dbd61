"""For commands that need a cell: the one that runs on the folder, or one started for as long as the command takes."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from services.cli.client import Connection
from services.cli.end_with_parent import ending_with_us
from services.cli.up import running_cell
from services.kernel.config import Settings, read_settings
from services.kernel.errors import Misconfigured
from services.kernel.house import House
from services.kernel.ready import READY_FD

START_WITHIN_S = 60
STOP_WITHIN_S = 10


@contextmanager
def open_cell(
    data: Path | None, *, history: bool = False, separate: bool = False, console: bool = False, new: bool = True
) -> Iterator[Connection]:
    """A connection to the cell on this folder. One that was not running is started, and stopped in the end.

    Raises Misconfigured where there is none yet, unless it may be a `new` one.
    """
    settings = read_settings(os.environ, data)
    if not (new or House(settings).database("log").exists()):
        raise Misconfigured(f"there is no cell in {settings.data}; check --data, or make one with `kept migrate`")
    running = running_cell(settings)
    if running is not None:
        yield Connection(
            running["targets"], alive=lambda: running_cell(settings) is not None, console=running["console"]
        )
        return
    child = _start(settings, history=history, separate=separate, console=console)
    try:
        started = running_cell(settings)
        if started is None:
            raise click.ClickException("the cell stopped as soon as it had started")
        yield Connection(started["targets"], alive=lambda: child.poll() is None, console=started["console"])
    finally:
        child.terminate()
        try:
            child.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class Stop:
    """Asked for by a signal, waited for by whoever stays. A threading.Event would deadlock where the handler interrupts the
    wait for it."""

    def __init__(self) -> None:
        self._asked, self._ask = os.pipe()

    def ask(self) -> None:
        os.write(self._ask, b"!")

    def wait(self, timeout_s: float | None = None) -> bool:
        """Returns True as soon as it was asked for, False after the time."""
        return bool(select.select([self._asked], [], [], timeout_s)[0])


def stay(connection: Connection, data: Path, meanwhile: Callable[["Stop"], object] = Stop.wait) -> None:
    """Says what one can do now, and returns at Ctrl-C or SIGTERM; `meanwhile` waits for it, and may do something."""
    stopped = Stop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.ask())
    click.echo(f"\nthe cell stays up at {connection.targets['cell']}; Ctrl-C stops it", err=True)
    if connection.console:
        click.echo(f"its console: {connection.console}", err=True)
    click.echo("in another terminal, for example:", err=True)
    kept = sys.argv[0]
    click.echo(f"  {kept} replay --verify --data {data}    rebuild everything from the log, and compare", err=True)
    click.echo(f"  {kept} digest --data {data}             one digest of all streams", err=True)
    meanwhile(stopped)


def _start(settings: Settings, *, history: bool, separate: bool, console: bool) -> "subprocess.Popen[bytes]":
    """Returns when the cell is up. Its own messages go to stderr; what ended it early is the exit code."""
    ready, announce = os.pipe()
    argv = [sys.executable, "-m", "services.cli.main", "up", "--quiet"]
    argv += ["--history"] * history + ["--separate"] * separate + ["--no-console"] * (not console)
    environment = {**os.environ, **settings.environment(), READY_FD: str(announce)}
    child = subprocess.Popen(ending_with_us(argv), env=environment, pass_fds=(announce,), process_group=0)
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
