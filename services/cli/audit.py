"""`kept audit`: the log as an auditor reads it, signed checkpoints of it, and whether it is what was signed."""

import getpass
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import click
from google.protobuf.json_format import MessageToDict
from kept.audit.v1 import service_pb2 as m
from kept.common.v1.record_pb2 import Record

from services.audit.notes import BadNote, Verifier, read_verifier
from services.cli.audit_check import Outcome, check, events_after
from services.cli.cell import open_cell
from services.cli.client import CellError, Client, RefusedError

DATA = click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the cell.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
INTERRUPTED = 130


@click.group()
def audit() -> None:
    """Read and verify the log as an auditor does, through the running cell or one started for it."""


@audit.command()
@DATA
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the note to this file as well.")
def checkpoint(data: Path | None, *, out: Path | None) -> None:
    """Print the head of the log as a signed note, and the key that verifies it.

    Keep both where the cell's owner cannot change them: a later `kept audit verify` with them proves that the log has
    only grown.
    """
    with _client(data) as client:
        told = client.call("audit", "GetCheckpoint", m.GetCheckpointRequest())
    if out is not None:
        _write(out, told.note)
    click.echo(told.note)
    click.echo(f"verifier key: {told.verifier_key}")


@audit.command()
@DATA
@click.option(
    "--checkpoint", "earlier", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="An earlier note."
)
@click.option("--key", help="The verifier key that you kept; without it, the cell says itself what its key is.")
@click.option("--position", type=click.IntRange(min=1), help="An event whose place in the log is to be proven.")
@JSON
def verify(data: Path | None, *, earlier: Path | None, key: str | None, position: int | None, as_json: bool) -> None:
    """Read every event, compute the root, and compare it with what is signed.

    Exit codes: 0 nothing differs; 1 something does, and it is named; 2 wrong usage; 78 the cell cannot be started.
    """
    started = time.monotonic()
    verifier, note = _verifier(key), None if earlier is None else _text(earlier)
    with _client(data) as client:
        outcome = check(client, key=verifier, earlier=note, position=position)
    told = _as_json(outcome, time.monotonic() - started) if as_json else "\n".join(_as_text(outcome, own_key=bool(key)))
    click.echo(told)
    if outcome.findings:
        raise click.exceptions.Exit(1)


@audit.command()
@DATA
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only events after this position.")
@click.option(
    "--type", "types", multiple=True, help="Only this type, such as kept.case.v1.CaseOpened; may be repeated."
)
@click.option("--customer", "customers", multiple=True, help="Only this customer's; may be repeated.")
@click.option("--follow", is_flag=True, help="Go on as events come, until Ctrl-C.")
@JSON
def stream(
    data: Path | None, *, after: int, types: tuple[str, ...], customers: tuple[str, ...], follow: bool, as_json: bool
) -> None:
    """Print events, one on each line; personal data stays sealed."""
    request = m.StreamEventsRequest(after_position=after, types=types, customer_ids=customers, follow=follow)
    with _client(data) as client:
        try:
            for event in events_after(client, request):
                click.echo(_event_as_json(event) if as_json else _event_as_text(event))
        except KeyboardInterrupt:
            raise click.exceptions.Exit(INTERRUPTED) from None


@contextmanager
def _client(data: Path | None) -> Iterator[Client]:
    auditor = f"auditor:{getpass.getuser().lower()}"
    with open_cell(data, new=False) as connection, Client(replace(connection, principal=auditor)) as client:
        try:
            yield client
        except RefusedError as error:
            raise click.ClickException(f"{error.message} ({error.slug})") from error
        except CellError as error:
            raise click.ClickException(str(error)) from error


def _verifier(key: str | None) -> Verifier | None:
    try:
        return None if key is None else read_verifier(key)
    except BadNote as error:
        raise click.BadParameter(str(error), param_hint="--key") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{path} cannot be read as text", param_hint="--checkpoint") from error


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise click.ClickException(
            f"{path} is there already; an earlier note is evidence: choose another file"
        ) from error
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from error


def _as_json(outcome: Outcome, seconds: float) -> str:
    told = {
        "verified": not outcome.findings,
        "events": outcome.events,
        "size": outcome.size,
        "root": outcome.root,
        "verifier_key": outcome.verifier_key,
        "earlier_size": outcome.earlier,
        "position": outcome.position,
        "epochs": [MessageToDict(epoch, preserving_proto_field_name=True) for epoch in outcome.epochs],
        "seconds": round(seconds, 3),
        "differences": [
            {**asdict(first), "count": outcome.findings.counts[kind]} for kind, first in outcome.findings.first.items()
        ],
    }
    return json.dumps(told)


def _as_text(outcome: Outcome, *, own_key: bool) -> list[str]:
    lines = [f"{outcome.events:,} events read; the checkpoint is of {outcome.size:,}", f"Merkle root {outcome.root}"]
    lines.append(f"signed by {outcome.verifier_key}")
    if not own_key:
        lines.append("that this is the cell's key is its own word; give the key that you kept with --key")
    for epoch in outcome.epochs:
        lines.append(
            f"epoch {epoch.epoch} was restored from a back-up of position {epoch.restored_to:,};"
            f" what was published after it, up to {epoch.published_to:,}, is lost: {epoch.reason}"
        )
    for kind, first in outcome.findings.first.items():
        where = f" at position {first.position}" if first.position is not None else ""
        lines.append(f"DIFFERS: {kind}{where}: {first.detail}")
    if outcome.findings.first.keys() == {"signature-invalid"}:
        return [*lines, "this says nothing of the log: check that the key and the note are this cell's"]
    if outcome.findings.first.keys() == {"events-lost"}:
        return [*lines, "a restore has lost events that were signed; all else is what was signed"]
    if outcome.findings:
        return [*lines, "the log is not what was signed"]
    if outcome.earlier is not None:
        lines.append(f"it begins with the {outcome.earlier:,} events of the earlier checkpoint")
    if outcome.position is not None:
        lines.append(f"event {outcome.position:,} is in it")
    return [*lines, "nothing differs"]


def _event_as_text(event: m.StreamEventsResponse) -> str:
    record = Record.FromString(event.record)
    whose = record.customer_id or "-"
    when = event.recorded_at.ToJsonString()
    return f"{event.position}  {when}  {record.type}  {record.stream}/{record.version}  {whose}  {record.actor}"


def _event_as_json(event: m.StreamEventsResponse) -> str:
    record = MessageToDict(Record.FromString(event.record), preserving_proto_field_name=True)
    return json.dumps({"position": event.position, "recorded_at": event.recorded_at.ToJsonString(), "record": record})
