"""Timelines: where the events of a subject are in the log, which has all the rest; newest first, page by page."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from services.kernel.database import Session
from services.kernel.paging import make_token, page_size, read_token
from services.kernel.tables import Table

LATEST = 2**62  # after every event, in time and position


class Paged(Protocol):
    page_size: int
    page_token: str


def timeline_table(name: str) -> Table:
    return Table(
        name,
        {"subject": "uuid", "occurred_at": "int", "position": "int"},
        key=("subject", "occurred_at", "position"),
    )


def page(session: Session, table: Table, subjects: Sequence[UUID], request: Paged) -> tuple[list[int], str]:
    """Positions of one page, newest first, and the token of the next; empty on the last. Raises invalid-argument."""
    size = page_size(request.page_size)
    before = read_token(request.page_token, int, int) or (LATEST, LATEST)
    places = [
        (int(occurred_at), int(position))
        for subject in subjects
        for occurred_at, position in session.execute(
            f"""SELECT occurred_at, position FROM {table.name} WHERE subject = ? AND (occurred_at, position) < (?, ?)
                ORDER BY occurred_at DESC, position DESC LIMIT ?""",  # noqa: S608 - our own names
            (subject, *before, size + 1),
        )
    ]
    places.sort(reverse=True)
    token = make_token(*places[size - 1]) if len(places) > size else ""
    return [position for _, position in places[:size]], token
