"""Figures of a log, on both databases, fast also where it holds ten million events.

Positions are dense and `recorded_at` never decreases, so how many there are, and since when, is found by position. What
would take reading everything is estimated from a sample of positions, unless it is asked for in full, or the log is short.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from services.kernel.clock import Clock, micros
from services.kernel.database import Session, SQLite, as_uuid
from services.kernel.log.event_log import EventLog

# A log so short is read in full at once.
SHORT = 100_000
# Of a longer one: blocks of consecutive positions, spread evenly.
BLOCKS, BLOCK = 200, 100
LARGEST = 10
WINDOWS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}


@dataclass(frozen=True)
class LargeStream:
    """`type` is that of its first event: what it is a stream of."""

    id: UUID
    type: str
    events: int


@dataclass
class Stats:
    """Times in microseconds since 1970 UTC; None in an empty log. `estimated` names the figures that come from a sample, or
    from what the database believes; all others are exact."""

    events: int
    root: str
    epoch: int
    first_recorded_at: int | None
    last_recorded_at: int | None
    # Events recorded within the last minute, hour and day, by the machine's clock.
    recent: dict[str, int]
    database_bytes: int
    streams: int
    requests: int
    record_bytes: int = 0
    types: Counter[str] = field(default_factory=Counter)
    tenants: Counter[str] = field(default_factory=Counter)
    largest: list[LargeStream] = field(default_factory=list)
    estimated: frozenset[str] = frozenset()


def read_stats(log: EventLog, machine: Clock, *, full: bool = False) -> Stats:
    """Of the log as it stands. With `full`, every figure is exact, and every row is read."""
    head = log.head()
    whole = full or head.position <= SHORT
    now = micros(machine.now())
    with log.database.read() as session:
        row = session.execute("SELECT epoch FROM cell").fetchone()
        assert row is not None
        stats = Stats(
            events=head.position,
            root=head.root.hex(),
            epoch=row[0],
            first_recorded_at=_recorded_at(session, 1) if head.position else None,
            last_recorded_at=head.recorded_at if head.position else None,
            recent={
                name: head.position - _last_until(session, head.position, now - micros_of(window))
                for name, window in WINDOWS.items()
            },
            database_bytes=_database_bytes(log, session),
            streams=_rows(log, session, "stream", whole=whole),
            requests=_rows(log, session, "request", whole=whole),
        )
        if whole:
            _count(session, stats)
        else:
            _sample(session, stats)
            stats.estimated = frozenset({"record_bytes", "types", "tenants", "largest", "streams", "requests"})
    return stats


def micros_of(window: timedelta) -> int:
    return window // timedelta(microseconds=1)


def _recorded_at(session: Session, position: int) -> int:
    row = session.execute("SELECT recorded_at FROM log WHERE position = ?", (position,)).fetchone()
    assert row is not None
    return int(row[0])


def _last_until(session: Session, head: int, moment: int) -> int:
    """The last position that was recorded at that moment or before; 0 when none was."""
    low, high = 0, head
    while low < high:
        middle = (low + high + 1) // 2
        if _recorded_at(session, middle) <= moment:
            low = middle
        else:
            high = middle - 1
    return low


def _count(session: Session, stats: Stats) -> None:
    for tenant, type_name, events, size in session.execute(
        "SELECT tenant, type, count(*), sum(length(record)) FROM log WHERE position <= ? GROUP BY tenant, type",
        (stats.events,),
    ):
        stats.types[type_name] += events
        stats.tenants[tenant] += events
        stats.record_bytes += int(size)
    rows = session.execute("SELECT id, version FROM stream ORDER BY version DESC, id LIMIT ?", (LARGEST,)).fetchall()
    stats.largest = [_large(session, as_uuid(id_), version) for id_, version in rows]


def _sample(session: Session, stats: Stats) -> None:
    seen, size = 0, 0
    streams: Counter[UUID] = Counter()
    for tenant, type_name, stream, length in _sampled(session, stats.events):
        seen += 1
        size += length
        stats.types[type_name] += 1
        stats.tenants[tenant] += 1
        streams[as_uuid(stream)] += 1
    for counted in (stats.types, stats.tenants):
        for name, times in counted.items():
            counted[name] = round(times * stats.events / seen)
    stats.record_bytes = round(size * stats.events / seen)
    # A large stream has many events, so that some of them are in the sample; how large it is, the log knows.
    found = [_large(session, stream, _version(session, stream)) for stream, _ in streams.most_common(10 * LARGEST)]
    stats.largest = sorted(found, key=lambda one: (-one.events, one.id))[:LARGEST]


def _sampled(session: Session, events: int) -> Iterator[tuple[str, str, object, int]]:
    for number in range(BLOCKS):
        start = (events - BLOCK) * number // (BLOCKS - 1)
        yield from session.execute(
            "SELECT tenant, type, stream, length(record) FROM log WHERE position > ? AND position <= ?",
            (start, start + BLOCK),
        ).fetchall()


def _version(session: Session, stream: UUID) -> int:
    row = session.execute("SELECT version FROM stream WHERE id = ?", (stream,)).fetchone()
    assert row is not None
    return int(row[0])


def _large(session: Session, stream: UUID, events: int) -> LargeStream:
    row = session.execute("SELECT type FROM log WHERE stream = ? AND version = 1", (stream,)).fetchone()
    assert row is not None
    return LargeStream(stream, row[0], events)


def _rows(log: EventLog, session: Session, table: str, *, whole: bool) -> int:
    """How many rows a table of the log has; unless `whole`, as the database believes, where it does."""
    if not whole:
        if isinstance(log.database, SQLite):
            # Rows get rising numbers, and only the oldest are ever taken away.
            sql = f"SELECT (SELECT max(rowid) FROM {table}) - (SELECT min(rowid) FROM {table}) + 1"  # noqa: S608 - our own names
        else:
            sql = f"SELECT reltuples::bigint FROM pg_class WHERE oid = '{table}'::regclass"  # noqa: S608 - our own names
        row = session.execute(sql).fetchone()
        if row is not None and (row[0] or 0) > 0:  # -1: PostgreSQL has not looked yet
            return int(row[0])
    row = session.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - our own names
    assert row is not None
    return int(row[0])


def _database_bytes(log: EventLog, session: Session) -> int:
    """What the log's tables and indexes take on the disk."""
    if isinstance(log.database, SQLite):
        sql = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    else:
        sql = """SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c
                 WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'"""
    row = session.execute(sql).fetchone()
    assert row is not None
    return int(row[0])
