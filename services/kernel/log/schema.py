"""Tables of the log, of followers, and the versions that a database may have."""

from collections.abc import Sequence

from services.kernel.database import Database, Dialect, Session
from services.kernel.errors import Misconfigured

# What concerns no customer, by company and type: so little that whoever replays one customer's history finds it at once.
SHARED_INDEX = "CREATE INDEX log_shared ON log (tenant, type, position) WHERE customer_id IS NULL"

# Counts the restores of the cell from a copy, from 1.
EPOCH = "ALTER TABLE cell ADD COLUMN epoch INTEGER NOT NULL DEFAULT 1"


def log_tables(dialect: Dialect) -> list[str]:
    return [
        f"""CREATE TABLE log (position BIGINT PRIMARY KEY, stream {dialect.uuid} NOT NULL, version INTEGER NOT NULL,
            type TEXT NOT NULL, tenant TEXT NOT NULL, customer_id {dialect.uuid}, recorded_at BIGINT NOT NULL,
            record {dialect.bytes} NOT NULL, leaf {dialect.bytes} NOT NULL)""",
        "CREATE UNIQUE INDEX log_stream ON log (stream, version)",
        "CREATE INDEX log_customer ON log (customer_id, position) WHERE customer_id IS NOT NULL",
        f"""CREATE TABLE head (one INTEGER PRIMARY KEY, position BIGINT NOT NULL, recorded_at BIGINT NOT NULL,
            peaks {dialect.bytes} NOT NULL)""",
        f"CREATE TABLE stream (id {dialect.uuid} PRIMARY KEY, version INTEGER NOT NULL)",
        f"""CREATE TABLE request (key {dialect.uuid} PRIMARY KEY, fingerprint {dialect.bytes} NOT NULL,
            id {dialect.uuid} NOT NULL, version INTEGER NOT NULL, position BIGINT NOT NULL, recorded_at BIGINT NOT NULL)""",
        "CREATE INDEX request_age ON request (recorded_at)",
        "CREATE TABLE cell (one INTEGER PRIMARY KEY, name TEXT NOT NULL, history_now BIGINT)",
        *follower_tables(dialect),
    ]


def follower_tables(_dialect: Dialect) -> list[str]:
    """Where followers stand; beside whatever they fill, so that both commit together."""
    return [
        "CREATE TABLE follower (name TEXT PRIMARY KEY, position BIGINT NOT NULL)",
        """CREATE TABLE parked (follower TEXT NOT NULL, position BIGINT NOT NULL, key TEXT NOT NULL, reason TEXT NOT NULL,
           PRIMARY KEY (follower, position))""",
        "CREATE INDEX parked_key ON parked (follower, key, position)",
    ]


class Additive(tuple[str, ...]):
    """A step that code from before it neither sees nor breaks, so that old and new may run side by side."""


def migrate(database: Database, name: str, steps: Sequence[Sequence[str]]) -> bool:
    """Brings one namespace to the newest version, in one transaction. Step i leads to version i + 1.

    Any number may do so at once. Returns whether anything was done. Raises Misconfigured when the database is newer than
    this code and may not be used by it, or when its cell has moved elsewhere.
    """
    database.create()
    with database.write() as session:
        database.lock_schema(session)
        refuse_moved(database, session)
        session.execute("CREATE TABLE IF NOT EXISTS schema_version (name TEXT PRIMARY KEY, version INTEGER NOT NULL)")
        session.execute(
            """CREATE TABLE IF NOT EXISTS schema_readable (name TEXT PRIMARY KEY, version INTEGER NOT NULL,
               oldest INTEGER NOT NULL)"""
        )
        version = _version(database, session, name) or 0
        if version >= len(steps):
            _refuse_newer(database, session, name, version, len(steps))
            return False
        for step in steps[version:]:
            for statement in step:
                session.execute(statement)
        session.execute(
            "INSERT INTO schema_version VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET version = excluded.version",
            (name, len(steps)),
        )
        session.execute(
            """INSERT INTO schema_readable VALUES (?, ?, ?) ON CONFLICT (name)
               DO UPDATE SET version = excluded.version, oldest = excluded.oldest""",
            (name, len(steps), _oldest_reader(steps)),
        )
    return True


def require(database: Database, name: str, version: int) -> None:
    """Raises Misconfigured unless the namespace is there, at a version that this code may use, and not moved elsewhere."""
    if not database.exists():
        raise Misconfigured(f"{name} is missing: restore it from a copy, or run `kept migrate` for a new cell")
    with database.read() as session:
        refuse_moved(database, session)
        found = _version(database, session, name)
        if found is None or found < version:
            needs = f"this Kept needs {version}; run `kept migrate`"
            raise Misconfigured(f"{name} has schema version {found or 0}, {needs}")
        _refuse_newer(database, session, name, found, version)


# Made by `kept move` in what it leaves behind. `address` without password; `finished` is 1 once the cell lives there.
MOVED = """CREATE TABLE moved (one INTEGER PRIMARY KEY, move TEXT NOT NULL, address TEXT NOT NULL,
           finished INTEGER NOT NULL)"""


def refuse_moved(database: Database, session: Session) -> None:
    """Raises Misconfigured where the cell has moved to another database, or is about to."""
    if not database.has_table(session, "moved"):
        return
    row = session.execute("SELECT address, finished FROM moved").fetchone()
    assert row is not None
    address, finished = row
    if finished:
        raise Misconfigured(
            f"this cell has moved to {address}: set KEPT_DATABASE to it; the files here are only the past"
        )
    raise Misconfigured(
        f"this cell is being moved to {address}: run `kept move` again to finish it, or with --abandon to stay here"
    )


def _version(database: Database, session: Session, name: str) -> int | None:
    if not database.has_table(session, "schema_version"):
        return None
    return version_of(session, name)


def version_of(session: Session, name: str) -> int | None:
    """The version of tables that are there."""
    row = session.execute("SELECT version FROM schema_version WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def _oldest_reader(steps: Sequence[Sequence[str]]) -> int:
    """The version of the last step that code from before it cannot live with."""
    return max(version for version, step in enumerate(steps, 1) if version == 1 or not isinstance(step, Additive))


def _refuse_newer(database: Database, session: Session, name: str, found: int, known: int) -> None:
    if found <= known:
        return
    row = None
    if database.has_table(session, "schema_readable"):
        sql = "SELECT oldest FROM schema_readable WHERE name = ? AND version = ?"
        row = session.execute(sql, (name, found)).fetchone()
    if row is None or row[0] > known:
        raise Misconfigured(f"{name} has schema version {found}, newer than this Kept's {known}; use a newer Kept")
