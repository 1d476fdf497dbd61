"""`kept followers`: where every follower stands, who works for it, and what it could not handle; an operator's answer to
that is recorded on the log."""

import getpass
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import click
from kept.cell.v1.service_pb2 import DESCRIPTOR, ReleaseParkedRequest
from kept.common.v1.record_pb2 import Receipt

from services.cli.client import CellError, Client, Connection, RefusedError
from services.cli.followers_report import Report, as_text, facts, read_report
from services.cli.up import only_cell_in, running_cell
from services.kernel.application import ATTEMPTS
from services.kernel.cell import CellApplication, wait_until
from services.kernel.config import Settings, read_settings
from services.kernel.errors import KeptError, Misconfigured, Unavailable, VersionConflict
from services.kernel.house import House
from services.kernel.log.positions import ParkedKey
from services.kernel.rpc.cell_servicer import released
from services.kernel.rpc.interceptors import identify

DATA = click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the cell.")
CARRIED_OUT_WITHIN = timedelta(seconds=10)
TENANT = "main"
REASON = click.option("--reason", required=True, help="Why; it goes on the log.")


@click.group(invoke_without_command=True)
@DATA
@click.option("--behind", is_flag=True, help="Only those that have not read everything.")
@click.option("--parked", is_flag=True, help="Only those that wait for an operator.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def followers(context: click.Context, data: Path | None, *, behind: bool, parked: bool, as_json: bool) -> None:
    """Show where every follower stands, who works for it, and what it could not handle.

    Reads the databases alone, so the cell may be stopped. BEHIND counts events; FOR is the age of the oldest of them.
    """
    context.obj = data
    if context.invoked_subcommand is not None:
        return
    report = read_report(data)
    shown = [
        one for one in report.followers if (not behind or one.standing.lag) and (not parked or one.standing.parked)
    ]
    if as_json:
        click.echo(json.dumps(facts(report, shown)))
    else:
        click.echo("\n".join(as_text(report, shown, data)))


@followers.command()
@DATA
@click.argument("name")
@click.argument("key")
@REASON
@click.pass_obj
def retry(folder: Path | None, data: Path | None, name: str, key: str, reason: str) -> None:
    """Have NAME try the parked events of KEY again, in order."""
    _release(data or folder, name, key, reason, skip=False)


@followers.command()
@DATA
@click.argument("name")
@click.argument("key")
@REASON
@click.pass_obj
def skip(folder: Path | None, data: Path | None, name: str, key: str, reason: str) -> None:
    """Have NAME leave out the first parked event of KEY, and go on with those behind it."""
    _release(data or folder, name, key, reason, skip=True)


def _release(data: Path | None, name: str, key: str, reason: str, *, skip: bool) -> None:
    report = read_report(data)
    found = _parked(report, name)
    if key not in found:
        keys = f"it has parked {', '.join(found)}" if found else "it has parked nothing"
        raise click.ClickException(f"KEY: {name} has not parked {key}; {keys}")
    request = ReleaseParkedRequest(
        request_id=str(uuid.uuid4()),
        follower=name,
        key=key,
        skip_first=skip,
        position=found[key].position if skip else 0,
        reason=reason,
    )
    settings = read_settings(os.environ, data)
    running = running_cell(settings)
    receipt = _recorded(settings, request) if running is None else _asked_for(running["targets"], request)
    click.echo(f"recorded at position {receipt.position}")
    click.echo(_outcome(settings, data, name, key, receipt.position))


def _asked_for(targets: Mapping[str, str], request: ReleaseParkedRequest) -> Receipt:
    """Carried out by the cell that runs on this folder."""
    connection = Connection(dict(targets), tenant=TENANT, principal=_operator())
    with Client(connection) as client:
        try:
            receipt: Receipt = client.call("cell", "ReleaseParked", request).receipt
        except RefusedError as error:
            raise click.ClickException(error.message) from error
        except CellError as error:
            raise click.ClickException(str(error)) from error
    return receipt


def _recorded(settings: Settings, request: ReleaseParkedRequest) -> Receipt:
    """Recorded from here, as an API process would have: the cell's own processes may be on other machines, and a second
    set of them is the last thing that an operator wants."""
    method = f"/{DESCRIPTOR.services_by_name['CellService'].full_name}/ReleaseParked"
    with closing(House(settings)) as house, _nothing_else_runs(house):
        house.require()
        application = CellApplication(house.recorder, house.keys, house.clock)
        for left in reversed(range(ATTEMPTS)):
            try:
                return released(application, identify(method, _operator(), TENANT), request)
            except Misconfigured:
                raise
            except (Unavailable, VersionConflict) as error:  # the same request id finds out what became of it
                if not left:
                    raise click.ClickException(str(error)) from error
            except KeptError as error:
                raise click.ClickException(str(error)) from error
    raise AssertionError("the last attempt returns or raises")


@contextmanager
def _nothing_else_runs(house: House) -> Iterator[None]:
    """On this folder: no cell starts, and nothing is moved or restored. On PostgreSQL the cell may run anywhere, and does not
    mind. Raises CellRuns."""
    if house.settings.database:
        yield
        return
    house.make_folders()
    with only_cell_in(house.settings):
        yield


def _operator() -> str:
    """Whoever runs the command; in a container that knows no names, its number."""
    try:
        name = getpass.getuser().lower()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        name = f"uid-{os.getuid()}"
    return f"user:{name}"


def _parked(report: Report, name: str) -> dict[str, ParkedKey]:
    return {one.key: one for one in report.named(name).standing.parked}


def _outcome(settings: Settings, data: Path | None, name: str, key: str, position: int) -> str:
    """What became of a release, once the follower has carried it out; it is not waited for long."""
    if read_report(data).named(name).holder is None:
        return f"nobody works for {name} now: it carries this out as soon as its worker runs"
    with closing(House(settings)) as house:
        try:
            wait_until(
                house.log.bell,
                lambda: read_report(data).named(name).standing.position >= position,
                CARRIED_OUT_WITHIN,
                "not-carried-out",
            )
        except Unavailable:
            return f"{name} has yet to carry it out; `kept followers` shows how it went"
    left = _parked(read_report(data), name).get(key)
    if left is None:
        return f"{name} has nothing parked under {key} any more"
    return f"{name} cannot handle position {left.position} either: {left.reason}; {left.queued:,} queue behind it"
