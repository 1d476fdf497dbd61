"""Reading the log: as typed events beside the library's, to folded states beside PostgreSQL's own binary copy, and by
several followers at once through the one reader that they share.

Fills stores of its own with cases, in a folder and in a database that go with it. One core for us, one for PostgreSQL.
"""

import struct
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg.sql import SQL, Identifier

from loadtests.cells import postgres_database
from loadtests.filler import fill
from loadtests.library_cases import Library
from loadtests.measure import Ratio, command, measure, tell
from services.case.domain import Case, Impact, Problem
from services.kernel.config import Settings
from services.kernel.events import log_event
from services.kernel.house import House
from services.kernel.log.reader import SharedReader, opened
from services.kernel.replay.fold import Fold
from services.kernel.replay.garbage import collecting_seldom

A = TypeVar("A")
CELL = "replay"
BATCH = 500  # events at once: what a follower reads
FOLLOWERS = 8
COPY = "COPY (SELECT position, type, recorded_at, record FROM log ORDER BY position) TO STDOUT (FORMAT BINARY)"
HEADER = 19  # bytes before the first row of a binary copy
TYPED, LIBRARY, FOLDED, SPLIT, SHARED = "typed", "library, typed", "folded", "COPY BINARY split", "8 followers, shared"
RATIOS = (
    Ratio("postgresql: typed by library", f"postgresql {TYPED}", f"postgresql {LIBRARY}", aim=5),
    Ratio("sqlite: typed by library", f"sqlite {TYPED}", f"sqlite {LIBRARY}", aim=5),
    Ratio("postgresql: 8 followers by library", f"postgresql {SHARED}", f"postgresql {LIBRARY}", aim=5),
    Ratio("sqlite: 8 followers by library", f"sqlite {SHARED}", f"sqlite {LIBRARY}", aim=5),
    Ratio("postgresql: folded by COPY BINARY split", f"postgresql {FOLDED}", f"postgresql {SPLIT}", aim=0.5),
)


def main() -> int:
    parser = command(__doc__)
    parser.add_argument("--events", type=int, default=100_000, help="how many each store has")
    arguments = parser.parse_args()
    with collecting_seldom(), ExitStack() as stack:  # of all sides alike
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kept-replay-")))
        address = stack.enter_context(postgres_database())
        sides: dict[str, Callable[[], float]] = {}
        for name, at in (("postgresql", address), ("sqlite", "")):
            house = _filled(stack, folder / name, at, arguments.events)
            sides[f"{name} {TYPED}"] = partial(_rate, _typed, house)
            sides[f"{name} {SHARED}"] = partial(_rate, _shared, house)
            sides[f"{name} {FOLDED}"] = partial(_rate, _folded, house)
            sides[f"{name} {LIBRARY}"] = _Library(stack, _environment(folder / name, at), house.log.position())
        sides[f"postgresql {SPLIT}"] = partial(_rate, _split, address)
        result = measure(sides, RATIOS, unit="events/s", repetitions=arguments.repetitions)
    tell(result, as_json=arguments.json)
    return 0


def _rate(side: Callable[[A], int], argument: A) -> float:
    """Events in a second, of one pass over them."""
    started = time.perf_counter()
    events = side(argument)
    return events / (time.perf_counter() - started)


class _Library:
    """The library's side; its store is filled when it is first asked."""

    def __init__(self, stack: ExitStack, environment: dict[str, str], events: int) -> None:
        self._stack = stack
        self._environment = environment
        self._events = events
        self._library: Library | None = None

    def __call__(self) -> float:
        """Raises NotInstalled."""
        if self._library is None:
            self._library = Library(self._environment, self._events)
            self._stack.callback(self._library.close)
        return _rate(self._library.read, BATCH)


def _typed(house: House) -> int:
    position = 0
    while events := house.log.read(position, BATCH):
        for recorded in events:
            log_event(recorded)
        position = events[-1].position
    return position


def _folded(house: House) -> int:
    fold = Fold((Case, Problem, Impact))
    while events := house.log.read(fold.position, BATCH):
        fold.add(events)
    return fold.position


def _shared(house: House) -> int:
    """Each follower in turn takes a batch, and opens each event of it. Returns how many events they got together."""
    reader = SharedReader(house.log)
    places = [0] * FOLLOWERS
    reading = True
    while reading:
        reading = False
        for number, place in enumerate(places):
            for recorded in reader.read(place, BATCH):
                place = opened(recorded).position
                reading = True
            places[number] = place
    return sum(places)


def _split(address: str) -> int:
    """The least that Python can do with rows: each is cut into its fields, which nobody looks at."""
    rows, count_at, size_at = 0, struct.Struct("!h").unpack_from, struct.Struct("!i").unpack_from
    with psycopg.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute(SQL("SET search_path TO {}").format(Identifier(f"{CELL}_log")))
        with cursor.copy(COPY) as copy:
            for data in copy:  # psycopg hands over one row at a time
                at = 0 if rows else HEADER
                (fields,) = count_at(data, at)
                at += 2
                row = []
                for _ in range(fields):
                    (size,) = size_at(data, at)
                    row.append(data[at + 4 : at + 4 + size])
                    at += 4 + size
                rows += fields > 0  # the last one is the trailer: -1 fields
    return rows


def _filled(stack: ExitStack, folder: Path, address: str, events: int) -> House:
    house = House(Settings(folder, CELL, address, development=True, otlp_endpoint=None, master_key=folder / "key"))
    house.make()
    stack.callback(house.close)
    fill(house, events)
    return house


def _environment(folder: Path, address: str) -> dict[str, str]:
    """The library's settings: on the same server, or in the same folder."""
    if not address:
        return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "library.db")}
    parts = urlsplit(address)
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_HOST": parts.hostname or "",
        "POSTGRES_PORT": str(parts.port or 5432),
        "POSTGRES_DBNAME": parts.path.removeprefix("/"),
        "POSTGRES_USER": unquote(parts.username or ""),
        "POSTGRES_PASSWORD": unquote(parts.password or ""),
    }


if __name__ == "__main__":
    sys.exit(main())
