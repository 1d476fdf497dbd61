"""`kept up --demo`: plays the demo into the cell of a folder, tells what came of it, and keeps the cell up."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from kept.cell.v1 import service_pb2 as cell

from services.cli.client import CellError, Client, Connection, Interrupted, RefusedError
from services.cli.demo.company import HQ
from services.cli.demo.keep_time import keep_time
from services.cli.demo.mark import Mark, NotOurs
from services.cli.demo.places import AREAS
from services.cli.demo.player import DIRECTOR, Call, Player
from services.cli.demo.progress import Days
from services.cli.demo.script import FIRST_DAY, Step
from services.cli.demo.story import SEED, WHOLE, Size, story
from services.cli.demo.summary import Summary, summarised
from services.cli.imports.command import stop_signals


def run_demo(
    data: Path,
    size: Mapping[str, int],
    *,
    separate: bool,
    once: bool,
    as_json: bool,
    quiet: bool,
    console: bool,
) -> None:
    """Plays what is not played yet; then verifies the replay and returns (`once`), or keeps the cell up until Ctrl-C.
    `size` has the fields of `Size` that are not to be as in the whole demo.

    Exit codes: 0 done; 1 failed, or the replay differs; 130 stopped by Ctrl-C, 143 by SIGTERM.
    """
    from services.cli import cell as cells  # starts processes, which `--help` need not

    os.environ.setdefault("KEPT_TENANTS", ",".join(AREAS))
    try:
        with cells.open_cell(data, history=True, separate=separate, console=console) as connection:
            summary = _played(connection, data, seed=SEED, size=replace(WHOLE, **size), quiet=quiet)
            if once:
                summary = replace(summary, replay=_verified(data))
            for line in [summary.to_json()] if as_json else summary.lines():
                click.echo(line)
            if not once:
                with Client(connection) as client:
                    cells.stay(connection, data, meanwhile=lambda stopped: keep_time(client.call, stopped))
    except (CellError, NotOurs, RefusedError) as error:
        raise click.ClickException(f"demo: {error}") from error
    if summary.replay == "differs":
        raise click.exceptions.Exit(1)


def _played(connection: Connection, data: Path, *, seed: int, size: Size, quiet: bool) -> Summary:
    with stop_signals() as received:

        def stopping() -> bool:
            return bool(received)

        try:
            with Client(connection, stopping=stopping) as client:
                return played(speaker(client), data, seed=seed, size=size, quiet=quiet, stopping=stopping)
        except Interrupted as error:
            click.echo("stopped; the same command resumes it", err=True)
            raise click.exceptions.Exit(128 + received[0]) from error


def played(
    call: Call, data: Path, *, seed: int, size: Size, quiet: bool = True, stopping: Callable[[], bool] = lambda: False
) -> Summary:
    """Plays what is not played yet into the folder's cell, over any `call`.

    Raises: CellError, NotOurs, RefusedError, Interrupted.
    """
    started = time.monotonic()
    mark = Mark(data, {"seed": seed, **asdict(size)})
    mark.claim(call(Step(FIRST_DAY, HQ, DIRECTOR, "cell", cell.GetCellRequest())))
    if mark.lost is None:
        told = story(seed, size)
        with Days(sys.stderr, told.since, told.until, quiet=quiet) as days:
            player = Player(call, seed=seed, stopping=stopping, progress=days.played)
            player.prepare(told.before, told.since)
            player.play(told.during, told.until)
        mark.finish(told.company.lost)
    return summarised(call, seed=seed, lost=mark.lost or (), since=started)


def speaker(client: Client) -> Call:
    """Makes each call in the name of whoever acts."""
    speakers: dict[tuple[str, str], Client] = {}

    def call(step: Step) -> Any:
        who = (step.tenant, step.actor)
        if who not in speakers:
            speakers[who] = client.speaking(tenant=step.tenant, principal=step.actor)
        return speakers[who].call(step.service, step.method, step.request)

    return call


def _verified(data: Path) -> str:
    """In a process of its own, which can send nothing (I10)."""
    command = [sys.executable, "-m", "services.cli.main", "replay", "--verify", "--quiet", "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise click.ClickException(f"the replay could not be made: {done.stderr.strip()}")
    if done.returncode:
        click.echo(done.stdout, err=True)
    return "differs" if done.returncode else "verified"
