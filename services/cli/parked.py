"""`kept parked`: what followers could not handle; an operator's answer is recorded on the log."""

import getpass
import json
import os
import uuid
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from kept.cell.v1.service_pb2 import ReleaseParkedRequest

from services.cli.cell import open_cell
from services.cli.client import Client, RefusedError
from services.cli.table import NAMES
from services.kernel.config import read_settings
from services.kernel.house import House
from services.kernel.log.positions import Positions

DATA = click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the cell.")


@click.group()
def parked() -> None:
    """Events that a follower could not handle, and those that queue behind them."""


@parked.command("list")
@DATA
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_parked(data: Path | None, *, as_json: bool) -> None:
    """Show what is parked, oldest first."""
    house = House(read_settings(os.environ, data))
    house.require()
    rows: list[dict[str, Any]] = []
    for database in (house.log.database, *(house.views_database(name) for name in NAMES)):
        with database.read() as session:
            rows.extend(asdict(one) for one in Positions(session).parked())
    rows.sort(key=lambda row: (row["position"], row["follower"]))
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
    operator = f"user:{getpass.getuser().lower()}"
    with open_cell(data, new=False) as connection, Client(replace(connection, principal=operator)) as client:
        try:
            receipt = client.call("cell", "ReleaseParked", request).receipt
        except RefusedError as error:
            raise click.ClickException(error.message) from error
    click.echo(f"recorded at position {receipt.position}; {follower} carries it out")
