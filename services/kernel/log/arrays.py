"""Lists in PostgreSQL's own binary form for arrays, made in one go.

The driver makes each element by itself, in Python, and as text: for a batch of 32 events that took longer than
the server took to store them.
"""

from collections.abc import Iterable
from functools import lru_cache
from struct import pack
from uuid import UUID

UUID_OID, INTEGER_OID, TEXT_OID, BYTEA_OID = 2950, 23, 25, 17  # pg_type.oid of the elements
_NULL = b"\xff\xff\xff\xff"
_LENGTH_OF_UUID = pack("!i", 16)
_LENGTH_OF_INTEGER = 4


class Array(bytes):
    """A parameter that goes to the server as it is, in binary, typed by the cast beside its place in the statement."""


def uuids(values: Iterable[UUID | None]) -> Array:
    return _array(UUID_OID, [_NULL if value is None else _LENGTH_OF_UUID + value.bytes for value in values])


def integers(values: Iterable[int]) -> Array:
    """Of 32 bits."""
    return _array(INTEGER_OID, [pack("!ii", _LENGTH_OF_INTEGER, value) for value in values])


def texts(values: Iterable[str]) -> Array:
    return _array(TEXT_OID, [_text(value) for value in values])


def byte_strings(values: Iterable[bytes]) -> Array:
    return _array(BYTEA_OID, [pack("!i", len(value)) + value for value in values])


@lru_cache(maxsize=4096)  # names of event types and tenants
def _text(value: str) -> bytes:
    encoded = value.encode()
    return pack("!i", len(encoded)) + encoded


def _array(oid: int, elements: list[bytes]) -> Array:
    # Source: array_recv in PostgreSQL's arrayfuncs.c: dimensions, whether any is null, type; then size and lower bound.
    if not elements:
        return Array(pack("!iiI", 0, 0, oid))
    return Array(pack("!iiIii", 1, _NULL in elements, oid, len(elements), 1) + b"".join(elements))
