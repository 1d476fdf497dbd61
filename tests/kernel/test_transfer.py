"""Tables go over whole, value for value, in both directions; a log that is not whole is named as such."""

from contextlib import closing
from dataclasses import replace
from uuid import UUID

import pytest

from services.cli.table import make_tables
from services.kernel.database import Database, SQLite
from services.kernel.errors import Misconfigured, Unavailable
from services.kernel.house import House
from services.kernel.log.moved import Mark, finish, freeze, mark_of, thaw
from services.kernel.log.schema import migrate
from services.kernel.log.transfer import Damaged, Reader, Side, copy_tables, shapes_of
from tests.databases import Cell
from tests.kernel.toys import labelled, save

STEPS = [
    "CREATE TABLE jar (shelf {uuid} NOT NULL, label TEXT NOT NULL, size BIGINT, seal {bytes}, PRIMARY KEY (shelf, label))"
]
ROWS = [
    (
        UUID(int=number % 7),
        f"label {number} 安娜 %s ?",
        None if number % 3 else 2**62 - number,
        bytes([0, number % 256]),
    )
    for number in range(12_000)
]
NAME = "the jars"


def jars(database: Database, steps: list[str] = STEPS) -> Database:
    dialect = database.dialect
    migrate(database, NAME, [[sql.format(uuid=dialect.uuid, bytes=dialect.bytes) for sql in steps]])
    return database


@pytest.fixture
def other(cell: Cell, postgres: str) -> Database:
    """On the other kind of database."""
    cell.house().make_folders()
    return House(replace(cell.settings, database="" if cell.on_postgres else postgres)).database("others")


def copied(source: Database, target: Database) -> int:
    with source.snapshot() as theirs, target.write() as ours:
        return copy_tables(Side(source, theirs), Side(target, ours))


def rows(database: Database) -> list[tuple[object, ...]]:
    with database.read() as session:
        found = session.execute("SELECT shelf, label, size, seal FROM jar").fetchall()
    as_uuid = [(row[0] if isinstance(row[0], UUID) else UUID(bytes=row[0]), *row[1:3], bytes(row[3])) for row in found]
    return sorted(as_uuid, key=lambda row: (row[0], row[1]))


def test_every_value_goes_over_whatever_is_there_already(cell: Cell, other: Database) -> None:
    source, target = jars(cell.database("jars")), jars(other)
    for database, some in ((source, ROWS), (target, ROWS[:10])):
        with database.write() as session:
            session.executemany("INSERT INTO jar VALUES (?, ?, ?, ?)", some)

    assert copied(source, target) == len(ROWS)

    assert rows(target) == rows(source) == sorted(ROWS, key=lambda row: (row[0], row[1]))


def test_a_table_that_is_not_known_there_is_refused(cell: Cell, other: Database) -> None:
    source, target = jars(cell.database("jars")), jars(other)
    with source.write() as session:
        session.execute("CREATE TABLE shelf (name TEXT PRIMARY KEY)")

    with pytest.raises(Misconfigured, match="does not know the table shelf"):
        copied(source, target)


def test_a_table_without_a_key_is_refused(cell: Cell, other: Database) -> None:
    keyless = [*STEPS, "CREATE TABLE note (words TEXT)"]
    source, target = jars(cell.database("jars"), keyless), jars(other, keyless)

    with pytest.raises(Misconfigured, match="note has no primary key"):
        copied(source, target)


def test_another_schema_version_is_refused(cell: Cell, other: Database) -> None:
    source, target = jars(cell.database("jars")), jars(other)
    with source.write() as session:
        session.execute("UPDATE schema_version SET version = 2")

    with pytest.raises(Misconfigured, match="run `kept migrate` there first"):
        copied(source, target)


def test_every_table_of_a_cell_can_be_copied(cell: Cell) -> None:
    house = cell.house()
    house.make_folders()
    make_tables(house, cell.settings.cell, views=True)
    with closing(house):
        for namespace in ("log", "keys", "views_customer", "views_case"):
            with house.database(namespace).read() as session:
                shapes = shapes_of(Side(house.database(namespace), session))
            assert shapes
            assert [name for name, shape in shapes.items() if not shape.key] == []


# Whether a log is whole


def read(house: House) -> Reader:
    reader = Reader("the log")
    with house.log.database.read() as session:
        reader.read_on(session, upto=2)
        reader.read_on(session)
        reader.finish(session)
    return reader


def test_a_sound_log_gives_its_root(house: House) -> None:
    house.log.append([save(labelled(f"jar {number}", 1)) for number in range(7)])

    reader = read(house)

    head = house.log.head()
    assert (reader.position, reader.root) == (head.position, head.root)


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        ("DELETE FROM log WHERE position = 4", "position-gap"),
        ("UPDATE log SET recorded_at = recorded_at + 1 WHERE position = 4", "record-changed"),
        ("UPDATE log SET tenant = 'north' WHERE position = 4", "columns-differ"),
        ("DELETE FROM log WHERE position = 7", "position-gap"),
        ("UPDATE stream SET version = 9", "stream-version-differs"),
    ],
)
def test_a_log_that_is_not_whole_is_named(sqlite_house: House, harm: str, kind: str) -> None:
    sqlite_house.log.append([save(labelled(f"jar {number}", 1)) for number in range(7)])
    with sqlite_house.log.database.write() as session:
        session.execute(harm)

    with pytest.raises(Damaged, match=f"the log is damaged: {kind}"):
        read(sqlite_house)


# Frozen


@pytest.fixture
def file(sqlite_house: House) -> SQLite:
    database = sqlite_house.database("log")
    assert isinstance(database, SQLite)
    return database


def test_what_is_frozen_takes_nothing_and_thawed_everything(sqlite_house: House, file: SQLite) -> None:
    freeze(file, "one", "postgresql://db/kept")
    freeze(file, "one", "postgresql://db/kept")

    with pytest.raises(Unavailable, match="moving to another database"):
        sqlite_house.log.append([save(labelled("jar", 1))])
    with pytest.raises(Unavailable), file.write() as session:
        session.execute("INSERT INTO follower VALUES ('a', 1)")
    with pytest.raises(Misconfigured, match="is being moved to postgresql://db/kept"):
        sqlite_house.log.require()

    thaw(file)
    thaw(file)

    assert sqlite_house.log.append([save(labelled("jar", 1))]) == [1]
    sqlite_house.log.require()
    assert mark_of(file) is None


@pytest.mark.parametrize(("move", "address"), [("two", "postgresql://db/kept"), ("one", "postgresql://db/other")])
def test_two_moves_never_share_a_frozen_file(file: SQLite, move: str, address: str) -> None:
    freeze(file, "one", "postgresql://db/kept")

    with pytest.raises(Misconfigured, match="is being moved"):
        freeze(file, move, address)


def test_what_has_moved_is_not_frozen_for_a_move_again(file: SQLite) -> None:
    freeze(file, "one", "postgresql://db/kept")
    finish(file)

    assert mark_of(file) == Mark("one", "postgresql://db/kept", finished=True)
    with pytest.raises(Misconfigured, match="has moved to"):
        freeze(file, "one", "postgresql://db/kept")
