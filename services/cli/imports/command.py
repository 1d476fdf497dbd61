"""`kept import servicenow FILE`: the importer as a command, with exit codes that mean something."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import click

from services.cli.client import CellError, Client, Connection, Interrupted
from services.cli.imports.journal import JournalError
from services.cli.imports.progress import Bar, Plain, Silent
from services.cli.imports.rows import BadFileError
from services.cli.imports.runner import ImportFailedError, Source, Summary, prepare, run, zone_of


@click.group("import")
def import_group() -> None:
    """Bring the history of another system into an empty cell."""


@import_group.command("servicenow")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--zone", required=True, help="IANA time zone of the file's times, for example America/Sao_Paulo.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="KEPT_DATA",
    default="data",
    show_default=True,
    help="Folder of the cell; made when it is not there.",
)
@click.option("--limit", type=click.IntRange(min=0), help="Take only the first N rows.")
@click.option(
    "--partners",
    default="",
    help="Assignment groups that are partner companies: names with commas between, or a file with one on each line. "
    "Every other group is a team.",
)
@click.option("--tenant", default="main", show_default=True, help="The company inside the cell.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
@click.option("--stay", is_flag=True, help="Keep the cell up afterwards, until Ctrl-C.")
def servicenow(
    file: Path,
    *,
    zone: str,
    data: Path,
    limit: int | None,
    partners: str,
    tenant: str,
    as_json: bool,
    quiet: bool,
    stay: bool,
) -> None:
    """Import a ServiceNow incident event log, CSV or Parquet.

    Such as UCI data set 498 (Amaral, Fantinato and Peres, University of Sao Paulo, CC BY 4.0). Callers become customers,
    incidents cases, states and reassignments commands, each at its historical time. A bad row is reported with its line
    and never stops the rest. After an interruption, however hard, the same command resumes.

    Exit codes: 0 imported, rejected rows or not; 1 failed; 2 wrong usage; 130 stopped by Ctrl-C, 143 by SIGTERM.
    """
    from services.cli import cell  # starts processes, which `--help` and the checks of the file need not

    try:
        zone_of(zone)
    except BadFileError as error:
        raise click.BadParameter(str(error), param_hint="--zone") from error
    try:
        source = prepare(file, zone, data_dir=data, limit=limit, partners=_names(partners))
        with cell.open_cell(data, history=True) as connection:
            summary = _import(source, replace(connection, tenant=tenant), data=data, quiet=quiet)
            for line in [summary.to_json()] if as_json else summary.lines():
                click.echo(line)
            if stay:
                cell.stay(connection, data)
    except (BadFileError, JournalError, CellError, ImportFailedError) as error:
        raise click.ClickException(str(error)) from error


def _import(source: Source, connection: Connection, *, data: Path, quiet: bool) -> Summary:
    with stop_signals() as received:

        def stopping() -> bool:
            return bool(received)

        shown = Silent() if quiet else Bar(sys.stderr) if sys.stderr.isatty() else Plain(sys.stderr)
        try:
            with shown, Client(connection, stopping=stopping) as client:
                return run(
                    source,
                    call=client.call,
                    tenant=connection.tenant,
                    data_dir=data,
                    progress=shown,
                    stopping=stopping,
                )
        except Interrupted as error:
            click.echo("stopped; the same command resumes it", err=True)
            raise click.exceptions.Exit(128 + received[0]) from error


@contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM, so that the command under way is finished; a second one acts as it always does."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def receive(number: int, _frame: FrameType | None) -> None:
        received.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, receive)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _names(partners: str) -> frozenset[str]:
    """Raises: BadFileError when a file of names cannot be read."""
    try:
        is_file = os.path.isfile(partners)  # Path.is_file raises on a list too long for a name
        names = Path(partners).read_text(encoding="utf-8").splitlines() if is_file else partners.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFileError(f"{partners}: {error}") from error
    return frozenset(name.strip() for name in names if name.strip())
