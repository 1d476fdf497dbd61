"""Fills a log with events that are there for their number: ten to a stream, each with a request and of the usual size.

Their records are bytes and no messages, and their leaves are not the tree's: who appends reads neither.
"""

import os
import sys
from collections.abc import Iterator
from uuid import UUID

from loadtests.appenders import BYTES, TYPE
from services.kernel.database import Database, Row, Session

PER_STREAM, AT_ONCE = 10, 1_000_000
# Dropped, and made again when the rows are there, which is a lot faster.
INDEXES = ("log_stream", "log_customer", "log_shared")

_EVENTS = f"generate_series(0, {{streams}} - 1) n (g), generate_series(1, {PER_STREAM}) e (v)"
_AT = f"{{after}} + {PER_STREAM} * g + v"
POSTGRES = (
    f"""INSERT INTO log SELECT {_AT}, md5('stream' || {{after}} + g)::uuid, v, '{TYPE}', 'main',
        md5('customer' || {{after}} + g)::uuid, h.recorded_at, decode(repeat('ab', {BYTES}), 'hex'), sha256(int8send(g))
        FROM head h, {_EVENTS}""",  # noqa: S608 - numbers and names of ours
    f"""INSERT INTO stream SELECT md5('stream' || {{after}} + g)::uuid, {PER_STREAM}
        FROM generate_series(0, {{streams}} - 1) n (g)""",  # noqa: S608
    f"""INSERT INTO request SELECT md5('request' || {_AT})::uuid, sha256(int8send(g)), md5('stream' || {{after}} + g)::uuid, v,
        {_AT}, h.recorded_at FROM head h, {_EVENTS}""",  # noqa: S608
)


def fill(database: Database, size: int) -> None:
    """Brings the log to about `size` events, and tells how far it is."""
    remade = _drop_indexes(database)
    with database.read() as session:
        (position, recorded_at) = session.execute("SELECT position, recorded_at FROM head").fetchone() or (0, 0)
    while position < size:
        streams = max(1, min(AT_ONCE, size - position) // PER_STREAM)
        with database.write() as session:
            if database.dialect.one_call:
                for sql in POSTGRES:
                    session.execute(sql.format(after=position, streams=streams))
            else:
                _insert(session, position, streams, recorded_at)
            position += streams * PER_STREAM
            session.execute("UPDATE head SET position = ?, peaks = ?", (position, bytes(32 * position.bit_count())))
        print(f"{position:,} of {size:,} events", file=sys.stderr, flush=True)
    with database.read() as session:
        for sql in remade:
            session.execute(sql)
        session.execute("ANALYZE")
        if database.dialect.one_call:
            session.execute("CHECKPOINT")  # what was filled in is not to be written while others are measured


def _drop_indexes(database: Database) -> list[str]:
    """Returns how they were made."""
    catalog = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()"
    if not database.dialect.one_call:
        catalog = "SELECT name, sql FROM sqlite_master WHERE type = 'index'"
    with database.read() as session:
        found = {str(name): str(sql) for name, sql in session.execute(catalog) if name in INDEXES}
        for name in found:
            session.execute(f"DROP INDEX {name}")
    return list(found.values())


def _insert(session: Session, after: int, streams: int, recorded_at: int) -> None:
    ids = [UUID(bytes=os.urandom(16)) for _ in range(streams)]
    record = os.urandom(BYTES)

    def events() -> Iterator[Row]:
        position = after
        for stream in ids:
            for version in range(1, PER_STREAM + 1):
                position += 1
                yield position, stream, version, TYPE, "main", stream, recorded_at, record, record[:32]

    session.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", events())  # type: ignore[arg-type]  # rows as they come
    session.executemany("INSERT INTO stream VALUES (?, ?)", [(stream, PER_STREAM) for stream in ids])
    requests = (
        (UUID(bytes=os.urandom(16)), record[:32], stream, 1, after + 1, recorded_at)
        for stream in ids
        for _ in range(PER_STREAM)
    )
    session.executemany("INSERT INTO request VALUES (?, ?, ?, ?, ?, ?)", requests)  # type: ignore[arg-type]
