"""Fixtures for every test."""

from tests.broker import broker, copy
from tests.databases import address, cell, emptied, house, own_house, postgres, postgres_cell, sqlite_cell, sqlite_house

__all__ = [
    "address",
    "broker",
    "cell",
    "copy",
    "emptied",
    "house",
    "own_house",
    "postgres",
    "postgres_cell",
    "sqlite_cell",
    "sqlite_house",
]
