"""Columns for people, and how commands spell times and sizes."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Rows as lines, each column as wide as its widest cell; those in `right` end at the same place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def cell(column: int, text: str) -> str:
        return text.rjust(widths[column]) if column in right else text.ljust(widths[column])

    return ["  ".join(cell(column, text) for column, text in enumerate(row)).rstrip() for row in rows]


def spell_time(when: datetime | None) -> str | None:
    """RFC 3339 in UTC, whole seconds."""
    return None if when is None else when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def spell_age(seconds: float) -> str:
    """`12 s`, `3 min`, `5 h` or `2 d`: as exact as one wants to know."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"


def spell_bytes(count: int) -> str:
    """`1.5 MB`: decimal units, one digit."""
    value, units = float(count), iter(("kB", "MB", "GB", "TB"))
    unit = "B"
    while value >= 1000 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{count:,} B" if unit == "B" else f"{value:,.1f} {unit}"
