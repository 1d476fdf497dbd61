"""Copies of a cell's tables from one database to another, and whether a log is whole.

Tables are made by their own migrations, on both sides the same; here only rows go over.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.kernel.database import Database, Dialect, Row, Session, marks
from services.kernel.errors import Misconfigured, Refused
from services.kernel.log.moved import tables_of
from services.kernel.merkle import EMPTY_ROOT
from services.kernel.replay.chain import COLUMNS, Chain
from services.kernel.replay.findings import Findings

AT_ONCE = 5000
LOG = "log"
# Each database has its own, from the migrations.
OWN = frozenset({"schema_version", "schema_readable"})

Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Shape:
    """One table: its columns with their types, in order, and its primary key."""

    name: str
    types: dict[str, str]
    key: tuple[str, ...]


@dataclass(frozen=True)
class Side:
    """A namespace and the transaction in which it is read or filled."""

    database: Database
    session: Session

    @property
    def dialect(self) -> Dialect:
        return self.database.dialect


def shapes_of(side: Side) -> dict[str, Shape]:
    return {shape.name: shape for shape in (_sqlite if side.dialect.uuid == "BLOB" else _postgres)(side.session)}


def copy_tables(source: Side, target: Side, *, leave_out: Iterable[str] = (), told: Told = lambda *_: None) -> int:
    """Makes the target's tables hold what the source's do. Returns how many rows. Raises Misconfigured where the two do
    not have the same tables, and transfer-incomplete where a table does not get as many rows as there are.
    """
    theirs, ours = shapes_of(source), shapes_of(target)
    require_same_schema(source, target)
    names = sorted(theirs.keys() - OWN - set(leave_out))
    unknown = [name for name in names if name not in ours or theirs[name].types.keys() != ours[name].types.keys()]
    if unknown:
        raise Misconfigured(f"this Kept does not know the table {unknown[0]} as it is there; use the Kept that made it")
    keyless = [name for name in names if not theirs[name].key]
    if keyless:
        raise Misconfigured(f"the table {keyless[0]} has no primary key, so it cannot be copied in order")
    total = sum(count(source.session, name) for name in names)
    done = 0
    for name in names:
        target.session.execute(f"DELETE FROM {name}")  # noqa: S608 - our own names
        for rows in pages(source.session, theirs[name], tuple(ours[name].types)):
            fill(target, ours[name], rows, source.dialect)
            done += len(rows)
            told(done, total)
        if count(target.session, name) != count(source.session, name):
            raise Refused("transfer-incomplete", f"{name}: not every row arrived", table=name)
    return done


def require_same_schema(source: Side, target: Side) -> None:
    versions = "SELECT name, version FROM schema_version"
    theirs: dict[str, int] = dict(source.session.execute(versions).fetchall())
    ours: dict[str, int] = dict(target.session.execute(versions).fetchall())
    for name, version in theirs.items():
        if ours.get(name) != version:
            there = f"{name} has schema version {version}, this Kept's is {ours.get(name, 0)}"
            raise Misconfigured(f"{there}: run `kept migrate` there first, with this Kept")


def pages(session: Session, shape: Shape, columns: tuple[str, ...], after: Row | None = None) -> Iterator[list[Row]]:
    """A table's rows in the order of its key, a page at a time, after the row with that key."""
    key = ", ".join(shape.key)
    select = f"SELECT {', '.join((*columns, *shape.key))} FROM {shape.name}"  # noqa: S608 - our own names
    rest = f" WHERE ({key}) > ({marks(len(shape.key))})"
    while True:
        sql = f"{select}{rest if after is not None else ''} ORDER BY {key} LIMIT {AT_ONCE}"
        rows = session.execute(sql, after or ()).fetchall()
        if not rows:
            return
        yield [row[: len(columns)] for row in rows]
        after = rows[-1][len(columns) :]


def fill(target: Side, shape: Shape, rows: list[Row], source: Dialect) -> None:
    """Inserts rows that were read from a database of that dialect."""
    at = [place for place, kind in enumerate(shape.types.values()) if kind == "uuid"]
    if at and source.uuid == "BLOB":
        rows = [_with_uuids(row, at) for row in rows]
    target.database.insert_rows(target.session, shape.name, shape.types, rows)


def count(session: Session, table: str) -> int:
    row = session.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - our own names
    assert row is not None
    return int(row[0])


# Whether a log is whole


class Damaged(Refused):
    """What was read is not what was recorded."""

    def __init__(self, what: str, findings: Findings) -> None:
        first = next(iter(findings.first.values()))
        where = f" at position {first.position}" if first.position is not None else ""
        super().__init__("log-damaged", f"{what} is damaged: {first.kind}{where}: {first.detail}", kind=first.kind)


class Reader:
    """Reads a log from position 1, hashes every record again, and compares it with what is said of it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self.chain = Chain(Findings())

    @property
    def position(self) -> int:
        return self.chain.position

    @property
    def root(self) -> bytes:
        return self.chain.edge.root() if self.position else EMPTY_ROOT

    def read_on(self, session: Session, told: Told = lambda *_: None, upto: int | None = None) -> None:
        """As far as the log goes, or up to that position. Raises log-damaged."""
        sql = f"SELECT {COLUMNS} FROM log WHERE position > ? ORDER BY position LIMIT {AT_ONCE}"  # noqa: S608 - our own names
        total = upto or _last(session)
        while upto is None or self.position < upto:
            rows = session.execute(sql, (self.position,)).fetchall()
            if not rows:
                break
            for row in rows:
                self.chain.check(row)
            self._refuse()
            told(self.position, total)

    def finish(self, session: Session) -> None:
        """Compares with the head and with the streams' versions. Raises log-damaged."""
        self.chain.finish(session)
        self._refuse()

    def _refuse(self) -> None:
        if self.chain.findings:
            raise Damaged(self._what, self.chain.findings)


def _last(session: Session) -> int:
    row = session.execute("SELECT coalesce(max(position), 0) FROM log").fetchone()
    assert row is not None
    return int(row[0])


def _with_uuids(row: Row, at: list[int]) -> Row:
    changed: list[Any] = list(row)
    for place in at:
        if changed[place] is not None:
            changed[place] = UUID(bytes=changed[place])
    return tuple(changed)


def _sqlite(session: Session) -> Iterator[Shape]:
    for name in tables_of(session):
        rows = session.execute("SELECT name, type, pk FROM pragma_table_info(?) ORDER BY cid", (name,)).fetchall()
        key = sorted((place, column) for column, _, place in rows if place)
        yield Shape(name, {column: kind.lower() for column, kind, _ in rows}, tuple(column for _, column in key))


def _postgres(session: Session) -> Iterator[Shape]:
    columns = """SELECT t.relname, a.attname, ty.typname, coalesce(array_position(i.indkey::int2[], a.attnum), -1)
        FROM pg_class t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_type ty ON ty.oid = a.atttypid LEFT JOIN pg_index i ON i.indrelid = t.oid AND i.indisprimary
        WHERE t.relkind = 'r' AND t.relnamespace = current_schema()::regnamespace ORDER BY t.relname, a.attnum"""
    found: dict[str, list[tuple[str, str, int]]] = {}
    for table, *column in session.execute(columns).fetchall():
        found.setdefault(table, []).append((column[0], column[1], column[2]))
    for table, described in found.items():
        key = sorted((place, column) for column, _, place in described if place >= 0)
        yield Shape(table, {column: kind for column, kind, _ in described}, tuple(column for _, column in key))
