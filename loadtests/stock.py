"""One process of a crew that commands cases of the stock eventsourcing library, written as its manual shows.

    python -m loadtests.stock {sqlite FILE | postgres ADDRESS} CASES.JSON THREADS [--cached]

The library's own decorators, JSON and recorders, with its defaults: no cache of aggregates, unless asked for. Its SQLite
recorder sets WAL and leaves `synchronous` at what SQLite was built with; where that is not FULL, this refuses to run. Its
PostgreSQL recorder keeps 5 connections and opens up to 10 more; we let it keep one for each thread. Its commands are those
of `case_commands` without request ids, personal data that is sealed, or a proof; a lost race is decided again.
"""

import argparse
import json
import random
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError

from loadtests.cells import CASES
from loadtests.crew import Job, work


class StockCase(Aggregate):
    @event("Opened")
    def __init__(self, customer_id: UUID, category: str, priority: int, need: str) -> None:
        self.customer_id = customer_id
        self.category = category
        self.priority = priority
        self.need = need
        self.team = ""
        self.assignee = ""
        self.notes = 0

    @event("Assigned")
    def assign(self, team: str, assignee: str) -> None:
        self.team = team
        self.assignee = assignee

    @event("NoteAdded")
    def add_note(self, audience: int, text: str) -> None:  # noqa: ARG002 - the event takes what is asked for
        self.notes += 1


class StockCases(Application[UUID]):
    def open(self) -> UUID:
        case = StockCase(uuid4(), "delivery", 2, "the dryer does not dry")
        self.save(case)
        return case.id

    def assign(self, case_id: UUID, team: str, assignee: str) -> None:
        case: StockCase = self.repository.get(case_id)
        if (case.team, case.assignee) != (team, assignee):
            case.assign(team, assignee)
            self.save(case)

    def add_note(self, case_id: UUID, audience: int, text: str) -> None:
        case: StockCase = self.repository.get(case_id)
        case.add_note(audience, text)
        self.save(case)


def application(kind: str, where: str, threads: int, *, cached: bool) -> StockCases:
    cache = {"AGGREGATE_CACHE_MAXSIZE": str(CASES)} if cached else {}
    if kind == "sqlite":
        _require_full_sync()
        return StockCases({"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": where, **cache})
    address = urlsplit(where)
    return StockCases(
        {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": address.path.removeprefix("/"),
            "POSTGRES_HOST": address.hostname or "",
            "POSTGRES_PORT": str(address.port or 5432),
            "POSTGRES_USER": address.username or "",
            "POSTGRES_PASSWORD": address.password or "-",
            "POSTGRES_POOL_SIZE": str(threads),
            **cache,
        }
    )


def _require_full_sync() -> None:
    """Else it would not be measured at what we do."""
    with closing(sqlite3.connect(":memory:")) as connection:
        if connection.execute("pragma synchronous").fetchone() != (2,):
            raise SystemExit("this SQLite does not sync every commit by default")


def commander(stock: StockCases, cases: list[UUID]) -> Job:
    """One thread's commands; each is recorded, whatever was commanded before."""
    chance, name, numbers = random.Random(), uuid4().hex, count()  # noqa: S311 - which case comes next is no secret

    def command(number: int) -> None:
        case_id = chance.choice(cases)
        if number % 4 == 3:
            stock.add_note(case_id, 1, "the customer called and will call again tomorrow")
        else:
            stock.assign(case_id, "north", f"user:{name}-{number}")

    def job() -> None:
        number = next(numbers)
        while True:
            try:
                return command(number)
            except IntegrityError:
                continue

    return job


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=("sqlite", "postgres"))
    parser.add_argument("where", help="a file, or a postgresql:// address")
    parser.add_argument("cases", type=Path, help="the ids of open cases, as JSON; made where it is not there yet")
    parser.add_argument("threads", type=int)
    parser.add_argument("--cached", action="store_true", help="with the library's own cache of aggregates")
    arguments = parser.parse_args()
    stock = application(arguments.kind, arguments.where, arguments.threads, cached=arguments.cached)
    if not arguments.cases.exists():
        with ThreadPoolExecutor(arguments.threads) as threads:
            made = threads.map(lambda _: str(stock.open()), range(CASES))
            arguments.cases.write_text(json.dumps(list(made)))
    cases = [UUID(case_id) for case_id in json.loads(arguments.cases.read_text())]
    work(lambda _: commander(stock, cases), arguments.threads)
    stock.close()


if __name__ == "__main__":
    main()
