"""`kept digest`: one digest of all streams, to compare two cells that should hold the same history.

Left out is what may differ between two runs: times of recording, positions, trace contexts, and the random part of
sealing (sealed values count by what they open as).
"""

import hashlib
import json
import os
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID

import click
from google.protobuf.message import Message
from kept.common.v1.record_pb2 import Record
from kept.common.v1.sealed_pb2 import Sealed

from services.kernel.config import read_settings
from services.kernel.events import event_classes
from services.kernel.house import House
from services.kernel.privacy import Erased, Sealer

BATCH = 5000


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the cell.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def digest(data: Path | None, *, as_json: bool) -> None:
    """One digest of all streams, without times of recording and the random part of sealing."""
    house = House(read_settings(os.environ, data))
    house.require()
    total, streams, types = digest_of(house)
    if as_json:
        click.echo(json.dumps({"digest": total, "streams": streams, "events": types.total(), "types": types}))
    else:
        click.echo(f"{total}  {streams:,} streams, {types.total():,} events")


def digest_of(house: House) -> tuple[str, int, Counter[str]]:
    """The digest, the number of streams, and how many events there are of each type."""
    streams: dict[str, Any] = {}
    types: Counter[str] = Counter()
    position = 0
    while events := house.log.read(position, BATCH):
        for event in events:
            record = Record.FromString(event.record)
            types[record.type] += 1
            record.ClearField("traceparent")  # of the run, not of the history
            body = event_classes()[record.type].FromString(record.data)
            if _sealed_within(record.type):
                _open_all(body, house.sealer, UUID(record.stream))
                record.data = body.SerializeToString(deterministic=True)
            streams.setdefault(record.stream, hashlib.sha256()).update(
                hashlib.sha256(record.SerializeToString(deterministic=True)).digest()
            )
        position = events[-1].position
    whole = hashlib.sha256()
    for name in sorted(streams):
        whole.update(name.encode() + streams[name].digest())
    return whole.hexdigest(), len(streams), types


@cache
def _sealed_within(type_name: str) -> bool:
    return _has_sealed(event_classes()[type_name].DESCRIPTOR)


def _has_sealed(descriptor: Any) -> bool:
    if descriptor.full_name == Sealed.DESCRIPTOR.full_name:
        return True
    return any(field.message_type is not None and _has_sealed(field.message_type) for field in descriptor.fields)


def _open_all(message: Message, sealer: Sealer, stream: UUID) -> None:
    """Puts each sealed value's text in the place of its ciphertext."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for one in value if field.is_repeated else (value,):
            if isinstance(one, Sealed):
                text = sealer.open(one, stream=stream)
                one.nonce, one.ciphertext = b"", b"erased" if isinstance(text, Erased) else text.encode()
            else:
                _open_all(one, sealer, stream)
