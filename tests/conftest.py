"""Fixtures for every test."""

from tests.broker import broker, copy
from tests.databases import address, cell, emptied, house, own_house, postgres, postgres_cell, sqlite_cell, sqlite_house
from tests.figures import figures, pytest_terminal_summary, totals
from tests.temporary import pytest_configure, pytest_unconfigure

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
    "pytest_configure",
    "pytest_terminal_summary",
    "pytest_unconfigure",
    "sqlite_cell",
    "sqlite_house",
    "totals",
]
