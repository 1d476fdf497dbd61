"""`kept parked`: what deciding followers could not handle; an operator's answer is recorded on the log."""

import json
import uuid
from pathlib import Path

import click
from kept.cell.v1.service_pb2 import ListParkedRequest, ReleaseParkedRequest

from services.cli.cell import open_cell
from services.cli.imports.client import Client, RefusedError

DATA = click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the cell.")


@click.group()
def parked() -> None:
    """Events that a deciding follower could not handle, and those that queue behind them."""


@parked.command("list")
@DATA
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_parked(data: Path | None, *, as_json: bool) -> None:
    """Show what is parked, oldest first, at most 100."""
    with open_cell(data) as connection, Client(connection) as client:
        found = client.call("cell", "ListParked", ListParkedRequest()).parked
    rows = [{"follower": one.follower, "position": one.position, "key": one.key, "reason": one.reason} for one in found]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo("{follower}  {position}  {key}  {reason}".format(**row))
    if not rows:
        click.echo("nothing is parked")


@parked.command()
@DATA
@click.argument("follower")
@click.argument("key")
@click.option("--skip", is_flag=True, help="Leave out the first parked event of the key instead of trying it again.")
@click.option("--reason", required=True, help="Why; it goes on the log.")
def release(data: Path | None, follower: str, key: str, *, skip: bool, reason: str) -> None:
    """Let FOLLOWER go on with KEY."""
    request = ReleaseParkedRequest(
        request_id=str(uuid.uuid4()), follower=follower, key=key, skip_first=skip, reason=reason
    )
    with open_cell(data) as connection, Client(connection) as client:
        try:
            receipt = client.call("cell", "ReleaseParked", request).receipt
        except RefusedError as error:
            raise click.ClickException(error.message) from error
    click.echo(f"recorded at position {receipt.position}; {follower} carries it out")
