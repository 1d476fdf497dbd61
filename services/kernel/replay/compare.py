"""Row by row: what a replay rebuilt, and what is live."""

from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

from kept.common.v1.sealed_pb2 import Sealed

from services.kernel.database import Dialect, Session, as_uuid
from services.kernel.privacy import Erased, Sealer
from services.kernel.replay.findings import Findings
from services.kernel.tables import Table

Row = tuple[Any, ...]


def compare_table(
    table: Table, live: tuple[Session, Dialect], rebuilt: tuple[Session, Dialect], sealer: Sealer, findings: Findings
) -> int:
    """Adds row-missing, row-extra and row-differs. Returns how many rows the rebuilt table has."""
    theirs = _rows(table, live[0].execute(table.ordered(live[1])))
    ours = _rows(table, rebuilt[0].execute(table.ordered(rebuilt[1])))
    count = 0
    their, our = next(theirs, None), next(ours, None)
    while their is not None or our is not None:
        key = _key(table, our) if our is not None else None
        their_key = _key(table, their) if their is not None else None
        if their_key is None or (key is not None and key < their_key):
            findings.add("row-missing", None, f"{table.name} {_shown(key)} should be there")
            our, count = next(ours, None), count + 1
        elif key is None or their_key < key:
            findings.add("row-extra", None, f"{table.name} {_shown(their_key)} should not be there")
            their = next(theirs, None)
        else:
            assert our is not None
            assert their is not None
            if our != their:
                _differ(table, our, their, sealer, findings)
            their, our, count = next(theirs, None), next(ours, None), count + 1
    return count


def _rows(table: Table, rows: Iterable[Row]) -> Iterator[Row]:
    kinds = list(table.columns.values())
    for row in rows:
        yield tuple(_plain(kind, value) for kind, value in zip(kinds, row, strict=True))


def _plain(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == "uuid":
        return as_uuid(value)
    return bytes(value) if kind == "bytes" else value


def _key(table: Table, row: Row) -> tuple[Any, ...]:
    at = {name: number for number, name in enumerate(table.columns)}
    return tuple(part.bytes if isinstance(part, UUID) else part for part in (row[at[name]] for name in table.key))


def _differ(table: Table, our: Row, their: Row, sealer: Sealer, findings: Findings) -> None:
    wrong = []
    at = {name: number for number, name in enumerate(table.columns)}
    for name, number in at.items():
        ours, theirs = our[number], their[number]
        if ours == theirs:
            continue
        if name in table.sealed and _opened(sealer, ours, our[at[table.stream]]) == _opened(
            sealer, theirs, their[at[table.stream]]
        ):
            continue
        wrong.append(name)
    if wrong:
        findings.add("row-differs", None, f"{table.name} {_shown(_key(table, our))}: {', '.join(wrong)}")


def _opened(sealer: Sealer, sealed: bytes | None, stream: UUID) -> str | bool | None:
    """The text; False for erased; None where nothing is sealed, or it does not open."""
    if not sealed:
        return None
    text = sealer.open(Sealed.FromString(sealed), stream=stream)
    return False if isinstance(text, Erased) else text


def _shown(key: tuple[Any, ...] | None) -> str:
    return ", ".join(
        str(UUID(bytes=part)) if isinstance(part, bytes) and len(part) == 16 else str(part) for part in key or ()
    )
