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


def version_of(session: Session, name: str) -> int | None:
    """The version of tables that are there."""
    row = session.execute("SELECT version FROM schema_version WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def migrate(database: Database, name: str, steps: Sequence[Sequence[str]]) -> bool:
    """Brings one namespace to the newest version, in one transaction. Step i leads to version i + 1.

    Returns whether anything was done. Raises Misconfigured when the database is newer than this code.
    """
    database.create()
    with database.write() as session:
        session.execute("CREATE TABLE IF NOT EXISTS schema_version (name TEXT PRIMARY KEY, version INTEGER NOT NULL)")
        row = session.execute("SELECT version FROM schema_version WHERE name = ?", (name,)).fetchone()
        version = row[0] if row else 0
        _refuse_newer(name, version, len(steps))
        for step in steps[version:]:
            for statement in step:
                session.execute(statement)
        session.execute(
            "INSERT INTO schema_version VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET version = excluded.version",
            (name, len(steps)),
        )
    return bool(version < len(steps))


def require(database: Database, name: str, version: int) -> None:
    """Raises Misconfigured unless the namespace is there, and at this version."""
    if not database.exists():
        raise Misconfigured(f"{name} is missing: restore it from a copy, or run `kept migrate` for a new cell")
    found = _version(database, name)
    if found is None or found < version:
        raise Misconfigured(f"{name} has schema version {found or 0}, this Kept needs {version}; run `kept migrate`")
    _refuse_newer(name, found, version)


def _version(database: Database, name: str) -> int | None:
    with database.read() as session:
        if not database.has_table(session, "schema_version"):
            return None
        row = session.execute("SELECT version FROM schema_version WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def _refuse_newer(name: str, found: int, known: int) -> None:
    if found > known:
        raise Misconfigured(f"{name} has schema version {found}, newer than this Kept's {known}; use a newer Kept")
