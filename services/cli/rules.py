"""`kept rules`: which notices go out, when, and in what words; checked and published from a file."""

import getpass
import re
import uuid
from dataclasses import replace
from importlib import resources
from pathlib import Path

import click
from kept.notification.v1.service_pb2 import PublishRuleSetRequest

from services.cli.cell import open_cell
from services.cli.client import CellError, Client, RefusedError


@click.group()
def rules() -> None:
    """The rules of notices: which there are, when they may go out, and their words."""


@rules.command()
def default() -> None:
    """Print the rules to begin with, in Chinese and English."""
    click.echo(default_rules(), nl=False)


@rules.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the cell.")
@click.option("--tenant", default="main", show_default=True, help="The company whose customers are told by them.")
@click.option("--name", default="standard", show_default=True, help="Of the rule set.")
@click.option("--check", is_flag=True, help="Only look for mistakes; publish nothing.")
def publish(file: Path, data: Path | None, *, tenant: str, name: str, check: bool) -> None:
    """Publish FILE: notices planned from now on go by it. Each mistake is told with line and column."""
    try:
        source = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file}: is not UTF-8 ({error.reason} at byte {error.start})") from error
    request = PublishRuleSetRequest(request_id=str(uuid.uuid4()), name=name, source=source, check_only=check)
    with open_cell(data, new=False) as connection:
        operator = replace(connection, tenant=tenant, principal=f"user:{getpass.getuser().lower()}")
        with Client(operator) as client:
            try:
                receipt = client.call("notification", "PublishRuleSet", request).receipt
            except RefusedError as error:
                raise click.ClickException("\n".join(_mistakes(file, error.message))) from error
            except CellError as error:
                raise click.ClickException(str(error)) from error
    click.echo("no mistakes" if check else f"{name} version {receipt.version} is in force for {tenant}")


def _mistakes(file: Path, told: str) -> list[str]:
    """One a line, each with its place."""
    return [f"{file}: {mistake}" for mistake in re.split(r"; (?=line [0-9])", told.removeprefix("source: "))]


def default_rules() -> str:
    return resources.files("services.notification").joinpath("default_rules.yaml").read_text(encoding="utf-8")
