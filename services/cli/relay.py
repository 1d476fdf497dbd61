"""`kept relay`: the copy of the log on the broker, which can be dropped and is made again."""

import os
from pathlib import Path

import click

from services.kernel.config import read_settings
from services.kernel.copy.broker import Link
from services.kernel.copy.messages import stream_name
from services.kernel.errors import Misconfigured
from services.kernel.house import House


@click.group()
def relay() -> None:
    """The copy of the log on the broker."""


@relay.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder of the cell; KEPT_DATA, or ./data, when not given.",
)
def rebuild(data: Path | None) -> None:
    """Drop the copy. The relay notices within a second or two, and publishes the whole log again.

    Followers read the log meanwhile. Raises Misconfigured without a broker, broker-away when it does not answer.
    """
    settings = read_settings(os.environ, data)
    if not settings.broker:
        raise Misconfigured("KEPT_BROKER is not set: this cell has no copy")
    house = House(settings)
    house.require()
    stream = stream_name(house.log)
    house.close()
    if stream is None:
        click.echo("the log is empty: there is nothing to copy yet")
        return
    link = Link(settings.broker, "kept relay rebuild")
    there = link.has(stream)
    if there:
        link.delete(stream)
    link.close()
    click.echo(
        f"{stream}: dropped; the relay makes it again" if there else f"{stream}: was not there; the relay makes it"
    )
