"""Fixtures for every test."""

from tests.broker import broker, copy
from tests.databases import address, cell, emptied, house, own_house, postgres, postgres_cell, sqlite_cell, sqlite_house
from tests.figures import figures, pytest_terminal_summary, totals

__all__ = [
    "address",
    "broker",
    "cell",
    "copy",
    "emptied",
    "figures",
    "house",
    "own_house",
    "postgres",
    "postgres_cell",
    "pytest_terminal_summary",
    "sqlite_cell",
    "sqlite_house",
    "totals",
]
