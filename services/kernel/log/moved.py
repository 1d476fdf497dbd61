"""A log that is left for another database: from the mark on, SQLite itself refuses every change, whoever asks for it.

Triggers do it, so no process of any version can acknowledge anything more on the old files, however long it still runs.
Callers are told UNAVAILABLE (cell-moves) and come again.
"""

from dataclasses import dataclass

from services.kernel.database import Database, Session, SQLite
from services.kernel.log.schema import MOVED, refuse_moved

CHANGES = ("INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True)
class Mark:
    """Which move, and where to, without password. Unfinished: nothing is there yet, and nothing goes on here."""

    move: str
    address: str
    finished: bool


def mark_of(database: Database) -> Mark | None:
    with database.read() as session:
        if not database.has_table(session, "moved"):
            return None
        row = session.execute("SELECT move, address, finished FROM moved").fetchone()
    assert row is not None
    return Mark(row[0], row[1], bool(row[2]))


def freeze(database: SQLite, move: str, address: str) -> None:
    """In one commit, under the write lock that every append takes. A file that this move has frozen stays so.

    Raises Misconfigured where another move has.
    """
    with database.write() as session:
        if database.has_table(session, "moved"):
            if session.execute("SELECT move, address, finished FROM moved").fetchone() != (move, address, 0):
                refuse_moved(database, session)
            return
        for table in tables_of(session):
            for change in CHANGES:
                session.execute(
                    f"CREATE TRIGGER {_trigger(table, change)} BEFORE {change} ON {table}"
                    " BEGIN SELECT RAISE(ABORT, 'the cell has moved'); END"
                )
        session.execute(MOVED)
        session.execute("INSERT INTO moved VALUES (1, ?, ?, 0)", (move, address))


def finish(database: SQLite) -> None:
    """The cell lives there now."""
    with database.write() as session:
        session.execute("UPDATE moved SET finished = 1")


def thaw(database: SQLite) -> None:
    """The cell stays here after all. Only where it is certain that it does not live there."""
    with database.write() as session:
        if not database.has_table(session, "moved"):
            return
        session.execute("DROP TABLE moved")
        for table in tables_of(session):
            for change in CHANGES:
                session.execute(f"DROP TRIGGER IF EXISTS {_trigger(table, change)}")


def tables_of(session: Session) -> list[str]:
    """Every table of a SQLite file, but the mark itself."""
    sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' AND name <> 'moved' ORDER BY name"
    return [name for (name,) in session.execute(sql).fetchall()]


def _trigger(table: str, change: str) -> str:
    return f"moved_{table}_{change.lower()}"
