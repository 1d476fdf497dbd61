"""Fixtures for every test."""

from tests.databases import cell, house, postgres, postgres_cell, sqlite_cell, sqlite_house

__all__ = ["cell", "house", "postgres", "postgres_cell", "sqlite_cell", "sqlite_house"]
