"""Connections to PostgreSQL of which nobody waits for ever, and commits whose outcome is told as far as it is known.

A host that dies without a word, or a network that swallows everything, would else keep a caller for hours. What the
address itself says goes before these; it may name several hosts, of which the one that takes writes is meant.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from services.kernel.errors import InDoubt, Misconfigured

BOUNDS: dict[str, str] = {
    "connect_timeout": "5",  # seconds, for each host
    # What was sent is confirmed by the other host's kernel within this, milliseconds; a statement may take longer.
    "tcp_user_timeout": "15000",
    # Who only waits, as a listener does, finds out after idle + interval * count seconds.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}


def connect(address: str, name: str, *, given_as: str = "KEPT_DATABASE") -> psycopg.Connection[Any]:
    """Autocommitting; the server knows it by that name. Raises Misconfigured, psycopg.OperationalError."""
    try:
        return psycopg.connect(_bounded(address), autocommit=True, application_name=name)
    except psycopg.ProgrammingError as error:  # not told: it may repeat a password
        raise Misconfigured(f"{given_as} is no address that PostgreSQL understands") from error


@lru_cache(maxsize=16)
def _bounded(address: str) -> str:
    """With what the address leaves to us."""
    said = conninfo_to_dict(address)
    ours = BOUNDS
    if any("," in str(said.get(place, "")) for place in ("host", "hostaddr")):
        ours = {**BOUNDS, "target_session_attrs": "read-write"}
    return make_conninfo(address, **{name: value for name, value in ours.items() if name not in said})


@contextmanager
def committing(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Around the statement that commits. Raises InDoubt where its end was not heard, or not the end that it should have.

    PostgreSQL ends the wait for a synchronous standby when somebody cancels it: it then reports the commit as done, and
    only warns that no other server may have it.
    """
    warnings: list[psycopg.errors.Diagnostic] = []

    def hear(notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            warnings.append(notice)

    connection.add_notice_handler(hear)
    try:
        yield
    except psycopg.OperationalError as error:
        if connection.info.transaction_status not in (TransactionStatus.IDLE, TransactionStatus.INERROR):
            raise InDoubt from error
        raise
    finally:
        connection.remove_notice_handler(hear)
    if warnings:
        raise InDoubt
