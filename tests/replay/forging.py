"""What somebody with the files in his hands can do to a log, and how thoroughly he can cover it up."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from kept.common.v1.record_pb2 import Record

from services.cli.table import SERVICES
from services.kernel.merkle import Edge, leaf_hash
from services.kernel.replay.findings import Difference
from services.kernel.replay.verify import Verdict
from tests.history import verified


class Forger:
    """Works on a copy of a cell's folder."""

    def __init__(self, original: Path, folder: Path) -> None:
        self.data = folder / "forged"
        shutil.copytree(original, self.data, ignore=shutil.ignore_patterns("run"))

    @contextmanager
    def file(self, name: str) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.data / f"{name}.db")
        connection.execute("PRAGMA synchronous = OFF")
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def sql(self, statement: str, *parameters: object, file: str = "log") -> None:
        """Exactly one row, unless it is a table that one cannot count."""
        with self.file(file) as database:
            changed = database.execute(statement, parameters).rowcount
            assert changed != 0, statement

    def rows(self, query: str, *parameters: object, file: str = "log") -> list[tuple[Any, ...]]:
        with self.file(file) as database:
            return database.execute(query, parameters).fetchall()

    # The log

    def records(self) -> dict[int, Record]:
        return {at: Record.FromString(one) for at, one in self.rows("SELECT position, record FROM log")}

    def find(self, wanted: Callable[[Record], bool], nth: int = 0) -> int:
        return [position for position, record in sorted(self.records().items()) if wanted(record)][nth]

    def rewrite(self, position: int, change: Callable[[Record], object]) -> None:
        """The record and the copies beside it."""
        record = self.records()[position]
        change(record)
        columns = (UUID(record.stream).bytes, record.version, record.type, record.tenant)
        customer = UUID(record.customer_id).bytes if record.customer_id else None
        self.sql(
            """UPDATE log SET stream = ?, version = ?, type = ?, tenant = ?, customer_id = ?, record = ?
               WHERE position = ?""",
            *(*columns, customer, record.SerializeToString(deterministic=True), position),
        )

    def remove(self, position: int) -> None:
        self.sql("DELETE FROM log WHERE position = ?", position)

    def append(self, record: Record) -> int:
        """At the end, as the time of recording the last one's."""
        ((last, recorded_at),) = self.rows("SELECT position, recorded_at FROM head")
        customer = UUID(record.customer_id).bytes if record.customer_id else None
        values = (UUID(record.stream).bytes, record.version, record.type, record.tenant, customer, recorded_at)
        self.sql(
            "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *(last + 1, *values, record.SerializeToString(deterministic=True), b""),
        )
        return int(last) + 1

    def renumber(self) -> None:
        """Closes the gaps: positions, and where followers of the log stand."""
        with self.file("log") as log:
            old = [position for (position,) in log.execute("SELECT position FROM log ORDER BY position")]
            for new, position in enumerate(old, 1):
                log.execute("UPDATE log SET position = ? WHERE position = ?", (new, position))
            moved = {position: new for new, position in enumerate(old, 1)}
            for name, position in log.execute("SELECT name, position FROM follower").fetchall():
                at = moved.get(position, len(old))
                log.execute("UPDATE follower SET position = ? WHERE name = ?", (at, name))
        for service in SERVICES:
            with self.file(f"views-{service.name.replace('_', '-')}") as views:
                views.execute("UPDATE follower SET position = min(position, ?)", (len(old),))

    def cover_up(self) -> None:
        """Leaves, root, head and the streams' versions, as if all had always been so."""
        edge, versions, position, recorded_at = Edge(), {}, 0, 0
        with self.file("log") as log:
            rows = log.execute("SELECT position, recorded_at, record FROM log ORDER BY position").fetchall()
            for position, recorded_at, record in rows:
                leaf = leaf_hash(position, recorded_at, record)
                edge.extend([leaf])
                log.execute("UPDATE log SET leaf = ? WHERE position = ?", (leaf, position))
                parsed = Record.FromString(record)
                versions[UUID(parsed.stream).bytes] = parsed.version
            log.execute(
                "UPDATE head SET position = ?, recorded_at = ?, peaks = ?", (position, recorded_at, edge.packed())
            )
            log.execute("DELETE FROM stream")
            log.executemany("INSERT INTO stream VALUES (?, ?)", versions.items())

    # What comes out

    def verdict(self) -> Verdict:
        return verified(self.data)

    def found(self) -> dict[str, Difference]:
        return self.verdict().findings.first

    def where(self) -> dict[str, int | None]:
        """The kinds that were found, and the first position of each."""
        return {kind: difference.position for kind, difference in self.found().items()}
