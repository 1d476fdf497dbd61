"""A cell for one benchmark, with customers and open cases in it; gone afterwards."""

import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from kept.case.v1 import events_pb2 as e
from kept.case.v1.service_pb2 import OpenRequest
from kept.customer.v1 import events_pb2 as customer
from kept.customer.v1 import service_pb2 as customers
from psycopg.sql import SQL, Identifier

from services.case.application import CaseApplication
from services.cli.table import migrate
from services.customer.application import CustomerApplication
from services.kernel.application import Caller
from services.kernel.config import Settings
from services.kernel.house import House

LOCAL = "postgresql://postgres@127.0.0.1:5432/postgres"
CUSTOMERS, CASES = 50, 2000
OPENERS = 16


@dataclass(frozen=True)
class BenchCell:
    """Its folder; the address of its database, empty for SQLite; and its open cases."""

    folder: Path
    database: str
    cases: list[str]

    @property
    def settings(self) -> Settings:
        return settings_of(self.folder, self.database)


def settings_of(folder: Path, database: str) -> Settings:
    return Settings(folder, "bench", database, development=False, otlp_endpoint=None, master_key=folder / "master.key")


@contextmanager
def postgres_database() -> Iterator[str]:
    """The address of a database of our own. Its commits are as durable as the server's own settings make them."""
    server = os.environ.get("KEPT_TEST_POSTGRES") or LOCAL
    name = f"kept_bench_{os.getpid()}_{uuid4().hex[:8]}"
    # The connection is kept: on a server that has none left later, the database would stay behind.
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        try:
            yield urlsplit(server)._replace(path=f"/{name}").geturl()
        finally:
            admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


@contextmanager
def sqlite_folder() -> Iterator[Path]:
    """On the disk that temporary files are on; in memory a sync would cost nothing."""
    with tempfile.TemporaryDirectory(prefix="kept-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def bench_cell(database: str = "") -> Iterator[BenchCell]:
    """A live cell, SQLite where no address is given."""
    with sqlite_folder() as folder:
        house = House(settings_of(folder, database))
        migrate(house)
        cases = _open_cases(house)
        house.close()
        yield BenchCell(folder, database, cases)


def _open_cases(house: House) -> list[str]:
    customer_app, case_app = CustomerApplication(house), CaseApplication(house)

    def register(number: int) -> str:
        request = customers.RegisterCustomerRequest(
            request_id=f"customer-{number}",
            party=customers.PartyInput(
                kind=customer.PARTY_KIND_INDIVIDUAL,
                contact=customers.ContactInput(name="Ana Fantinato"),
                preferences=customer.Preferences(language="en", time_zone="Europe/Berlin"),
            ),
            stage=customer.CUSTOMER_STAGE_ACTIVE,
        )
        return customer_app.register_customer(customer_app.command(caller("register"), request), request).id

    def open_case(number: int) -> str:
        request = OpenRequest(
            request_id=f"case-{number}",
            customer_id=known[number % CUSTOMERS],
            classification=e.Classification(kind=e.CASE_KIND_COMPLAINT, category="delivery"),
            priority=e.PRIORITY_HIGH,
            need="the dryer does not dry",
        )
        return case_app.open(case_app.command(caller("open"), request), request).id

    with ThreadPoolExecutor(OPENERS) as threads:
        known = list(threads.map(register, range(CUSTOMERS)))
        cases = list(threads.map(open_case, range(CASES)))
    for application in (customer_app, case_app):
        application.close()
    return cases


def caller(method: str) -> Caller:
    return Caller("user:bench", "main", method)
