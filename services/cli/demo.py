"""`kept demo`: imports a small sample made on the spot, in the format of the real log, and keeps the cell up."""

import os
from pathlib import Path

import click

from services.cli.imports.command import servicenow
from services.cli.imports.sample import write_sample
from services.kernel.config import read_settings


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the cell.")
@click.option("--once", is_flag=True, help="Stop the cell when the import is done.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
@click.pass_context
def demo(context: click.Context, data: Path | None, *, once: bool, as_json: bool) -> None:
    """Import a small sample and keep the cell up until Ctrl-C."""
    folder = read_settings(os.environ, data).data
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    sample = folder / "sample.csv"
    write_sample(sample)
    context.invoke(
        servicenow,
        file=sample,
        zone="America/Sao_Paulo",
        data=folder,
        limit=None,
        partners="",
        tenant="main",
        as_json=as_json,
        quiet=False,
        stay=not once,
    )
