"""Row by row: what a replay rebuilt, and what is live."""

from collections.abc import Iterator
from itertools import chain, islice
from typing import Any
from uuid import UUID

from google.protobuf.message import DecodeError
from kept.common.v1.sealed_pb2 import Sealed

from services.kernel.database import Dialect, Session, as_uuid
from services.kernel.privacy import Erased, Sealer
from services.kernel.replay.findings import Findings
from services.kernel.tables import Table

Row = tuple[Any, ...]
BATCH = 500  # rows that are compared as one, as long as they are the same


def compare_table(
    table: Table, live: tuple[Session, Dialect], rebuilt: tuple[Session, Dialect], sealer: Sealer, findings: Findings
) -> int:
    """Adds row-missing, row-extra and row-differs. Returns how many rows the rebuilt table has."""
    theirs = _rows(table, live, like=rebuilt[1])
    ours = iter(rebuilt[0].execute(table.ordered(rebuilt[1])))
    count = 0
    while (their_batch := list(islice(theirs, BATCH))) == (our_batch := list(islice(ours, BATCH))):
        if not our_batch:
            return count
        count += len(our_batch)
    theirs, ours = chain(their_batch, theirs), chain(our_batch, ours)
    their, our = next(theirs, None), next(ours, None)
    while their is not None or our is not None:
        if their == our:
            their, our, count = next(theirs, None), next(ours, None), count + 1
            continue
        key = _key(table, our) if our is not None else None
        their_key = _key(table, their) if their is not None else None
        if our is not None and (their_key is None or (key is not None and _earlier(key, their_key))):
            findings.add("row-missing", None, f"{table.name} {_shown(key)} should be there")
            our, count = next(ours, None), count + 1
        elif their is not None and (key is None or their_key != key):
            findings.add("row-extra", None, f"{table.name} {_shown(their_key)} should not be there")
            their = next(theirs, None)
        elif our is not None and their is not None:
            _differ(table, our, their, sealer, findings)
            their, our, count = next(theirs, None), next(ours, None), count + 1
    return count


def _earlier(key: tuple[Any, ...], their_key: tuple[Any, ...]) -> bool:
    """False where a key changed by hand cannot be compared: such a row is none of ours."""
    try:
        return key < their_key
    except TypeError:
        return False


def _rows(table: Table, live: tuple[Session, Dialect], like: Dialect) -> Iterator[Row]:
    """The live rows, in the types that the sandbox's database gives."""
    rows = iter(live[0].execute(table.ordered(live[1])))
    if live[1] == like:
        return rows
    uuids = [kind == "uuid" for kind in table.columns.values()]
    return (
        tuple(
            value.bytes if is_uuid and value is not None else value for is_uuid, value in zip(uuids, row, strict=True)
        )
        for row in rows
    )


def _key(table: Table, row: Row) -> tuple[Any, ...]:
    at = {name: number for number, name in enumerate(table.columns)}
    return tuple(row[at[name]] for name in table.key)


def _differ(table: Table, our: Row, their: Row, sealer: Sealer, findings: Findings) -> None:
    wrong = []
    at = {name: number for number, name in enumerate(table.columns)}
    for name, number in at.items():
        ours, theirs = our[number], their[number]
        if ours == theirs:
            continue
        if name in table.sealed:
            stream = as_uuid(our[at[table.stream]])
            if _opened(sealer, ours, stream) == _opened(sealer, theirs, stream):
                continue
        wrong.append(name)
    if wrong:
        findings.add("row-differs", None, f"{table.name} {_shown(_key(table, our))}: {', '.join(wrong)}")


def _opened(sealer: Sealer, sealed: bytes | None, stream: UUID) -> str | bool | object:
    """The text; False for erased; something of its own where nothing is sealed, or where it does not open."""
    try:
        text = sealer.open(Sealed.FromString(sealed or b""), stream=stream)
    except (ValueError, TypeError, DecodeError):
        return object()
    return False if isinstance(text, Erased) else text


def _shown(key: tuple[Any, ...] | None) -> str:
    return ", ".join(
        str(UUID(bytes=part)) if isinstance(part, bytes) and len(part) == 16 else str(part) for part in key or ()
    )
