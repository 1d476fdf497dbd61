"""Rows of a ServiceNow incident log, from CSV or Parquet, in the order in which they happened.

Only what was known at a row's own time is here. The file holds final values on every row in `opened_at`, `resolved_at`,
`closed_at`, `resolved_by` and `closed_code`: they are never read, and `Row` has no place for them. `made_sla` is kept
apart, of an incident's last row only, for the comparison at the end.
"""

import csv
import hashlib
import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple
from zoneinfo import ZoneInfo

import pyarrow
import pyarrow.parquet

# Column of the file -> field of Row; the fields after `at` stand in this order.
COLUMNS = {
    "number": "number",
    "incident_state": "state",
    "caller_id": "caller",
    "contact_type": "contact",
    "location": "location",
    "category": "category",
    "subcategory": "subcategory",
    "u_symptom": "symptom",
    "impact": "impact",
    "urgency": "urgency",
    "priority": "priority",
    "assignment_group": "group",
    "assigned_to": "assignee",
    "vendor": "vendor",
    "cmdb_ci": "cmdb_ci",
    "problem_id": "problem_id",
    "rfc": "rfc",
    "caused_by": "caused_by",
    "knowledge": "knowledge",
    "u_priority_confirmation": "priority_confirmed",
    "notify": "notify",
}
TIME_COLUMN = "sys_updated_at"
SLA_COLUMN = "made_sla"
NEEDED = (*COLUMNS, TIME_COLUMN, SLA_COLUMN)

STATES = frozenset(
    {
        "New",
        "Active",
        "Awaiting User Info",
        "Awaiting Evidence",
        "Awaiting Vendor",
        "Awaiting Problem",
        "Resolved",
        "Closed",
    }
)
PRIORITIES = {"1 - Critical": 1, "2 - High": 2, "3 - Moderate": 3, "4 - Low": 4}
MISSING = "?"
EARLIEST = int(datetime(1990, 1, 1, tzinfo=UTC).timestamp())
LONGEST_LINE = 1 << 20  # bytes
LONGEST_VALUE = 4000  # characters; a cell takes no longer text
BATCH = 8192

_TIME = re.compile(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4}) ([0-9]{1,2}):([0-9]{2})")


class BadFileError(Exception):
    """The file as a whole cannot be imported; the text says why, for the person who gave it."""


class Row(NamedTuple):
    """What one row said at its own time. Missing values are `?`."""

    row: int  # 1-based place in the file
    at: int  # seconds since 1970, UTC
    number: str
    state: str
    caller: str
    contact: str
    location: str
    category: str
    subcategory: str
    symptom: str
    impact: str
    urgency: str
    priority: str
    group: str
    assignee: str
    vendor: str
    cmdb_ci: str
    problem_id: str
    rfc: str
    caused_by: str
    knowledge: str
    priority_confirmed: str
    notify: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that was not applied, or not wholly. `line` is the CSV's physical line, or the Parquet's row from 1."""

    row: int
    line: int
    slug: str
    reason: str


@dataclass(slots=True)
class Table:
    """All good rows, column by column, and the bad ones with their reasons."""

    rows: int = 0
    rejected: list[Rejected] = field(default_factory=list)
    # Of incidents whose last row is Closed; for the comparison at the end and nothing before it.
    made_sla: dict[str, bool] = field(default_factory=dict)
    _rows: "array[int]" = field(default_factory=lambda: array("q"))
    _lines: "array[int]" = field(default_factory=lambda: array("q"))
    _times: "array[int]" = field(default_factory=lambda: array("q"))
    _codes: "list[array[int]]" = field(default_factory=lambda: [array("I") for _ in COLUMNS])
    _texts: list[dict[str, int]] = field(default_factory=lambda: [{} for _ in COLUMNS])

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, *, row: int, line: int, at: int, texts: tuple[str, ...]) -> None:
        self._rows.append(row)
        self._lines.append(line)
        self._times.append(at)
        for codes, index, text in zip(self._codes, self._texts, texts, strict=True):
            code = index.get(text)
            if code is None:
                code = index[text] = len(index)
            codes.append(code)

    def line_of(self, row: int) -> int:
        """Of a good row."""
        return self._lines[bisect_left(self._rows, row)]

    def minutes(self) -> Iterator[tuple[int, list[Row]]]:
        """Distinct times, ascending, each with its rows in file order.

        An incident's own order in the file wins: a row that goes back in time keeps its `at` and stands at the latest
        time that its incident had reached.
        """
        due = array("q")
        reached: dict[int, int] = {}
        for number, at in zip(self._codes[0], self._times, strict=True):
            latest = reached[number] = max(at, reached.get(number, at))
            due.append(latest)
        order = array("I", sorted(range(len(due)), key=due.__getitem__))
        texts = [list(index) for index in self._texts]
        columns = list(zip(texts, self._codes, strict=True))
        rows, times = self._rows, self._times
        for minute, places in groupby(order, key=due.__getitem__):
            yield minute, [Row(rows[i], times[i], *[values[codes[i]] for values, codes in columns]) for i in places]

    def first_minute(self) -> int:
        """The earliest time of all; the table must not be empty."""
        return min(self._times)

    def last_minute(self) -> int:
        """The latest time of all; the table must not be empty."""
        return max(self._times)


def digest_of(path: Path) -> str:
    """SHA-256 of the file, in hex. Raises: BadFileError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BadFileError(f"{path}: {error.strerror or error}") from error


def read(path: Path, *, zone: ZoneInfo, latest: datetime, limit: int | None = None) -> Table:
    """The first `limit` rows of the file, or all; times are local to `zone`, and none is later than `latest`.

    A local time that a clock change skipped is moved forward by as much; of one that came twice, the first is meant.
    Raises: BadFileError when it is neither CSV nor Parquet, lacks columns or cannot be read.
    """
    table, localise = Table(), _localiser(zone, latest=int(latest.timestamp()))
    try:
        with path.open("rb") as file:
            source = _parquet(path) if file.read(4) == b"PAR1" else _csv(path, file)
            for line, values in source:
                if limit is not None and table.rows >= limit:
                    break
                table.rows += 1
                _take(table, line=line, values=values, localise=localise)
    except OSError as error:  # pyarrow's errors on damaged files among them
        raise BadFileError(f"{path}: {error.strerror or error}") from error
    except (pyarrow.ArrowException, KeyError) as error:  # KeyError: the same column twice
        raise BadFileError(f"{path}: not a readable table: {error}") from error
    return table


def _take(table: Table, *, line: int, values: tuple[str, ...] | Rejected, localise: Callable[[str], int | str]) -> None:
    row = table.rows
    if isinstance(values, Rejected):
        table.rejected.append(Rejected(row, line, values.slug, values.reason))
        return
    *texts, time, made_sla = values
    at = localise(time)
    number, state, priority = texts[0], texts[1], texts[10]
    problem = None
    if number == MISSING or not number.strip():
        problem = ("number-missing", "the incident's number is missing")
    elif state not in STATES:
        problem = ("state-unknown", f"incident_state {_short(state)} is not known")
    elif isinstance(at, str):
        problem = ("time-unreadable" if "unreadable" in at else "time-absurd", f"{TIME_COLUMN} {_short(time)} is {at}")
    elif priority != MISSING and priority not in PRIORITIES:
        problem = ("priority-unknown", f"priority {_short(priority)} is not known")
    elif max(map(len, texts)) > LONGEST_VALUE:
        problem = ("value-too-long", f"a value has more than {LONGEST_VALUE} characters")
    if problem or isinstance(at, str):
        slug, reason = problem or ("", "")
        table.rejected.append(Rejected(row, line, slug, reason))
        return
    table.add(row=row, line=line, at=at, texts=tuple(texts))
    if state == "Closed":
        table.made_sla[number] = made_sla == "true"
    else:
        table.made_sla.pop(number, None)


def _localiser(zone: ZoneInfo, *, latest: int) -> Callable[[str], int | str]:
    known: dict[str, int | str] = {}

    def convert(text: str) -> int | str:
        parts = _TIME.fullmatch(text)
        if parts is None:
            return "unreadable: D/M/YYYY HH:MM is meant"
        day, month, year, hour, minute = map(int, parts.groups())
        try:
            # fold=0 is what we promise: in a gap the offset before it, so later by the gap; of two, the first.
            at = int(datetime(year, month, day, hour, minute, tzinfo=zone).timestamp())
        except (ValueError, OverflowError):
            return "unreadable: there is no such day or hour"
        if at < EARLIEST:
            return "absurd: before 1990"
        return "absurd: in the future" if at > latest else at

    def localise(text: str) -> int | str:
        at = known.get(text)
        if at is None:
            at = known[text] = convert(text)
        return at

    return localise


def _parquet(path: Path) -> Iterator[tuple[int, tuple[str, ...] | Rejected]]:
    with pyarrow.parquet.ParquetFile(path) as file:
        _check_columns(path, file.schema_arrow.names)
        line = 0
        for batch in file.iter_batches(batch_size=BATCH, columns=list(NEEDED)):
            # iter_batches gives the columns in the file's order, not in the order asked for.
            columns = [batch.column(name).cast(pyarrow.string()).fill_null(MISSING).to_pylist() for name in NEEDED]
            for values in zip(*columns, strict=True):
                line += 1
                yield line, tuple(value or MISSING for value in values) if "" in values else values


def _csv(path: Path, file: BinaryIO) -> Iterator[tuple[int, tuple[str, ...] | Rejected]]:
    file.seek(0)
    lines = _Lines(file)
    header = _record(csv.reader(lines), lines)
    if header is None or isinstance(header, Rejected) or not header:
        raise BadFileError(f"{path}: neither Parquet nor CSV with a header line")
    header[0] = header[0].removeprefix("\ufeff")
    _check_columns(path, header)
    places = [header.index(name) for name in NEEDED]
    reader = csv.reader(lines)
    while (record := _record(reader, lines)) is not None:
        line = lines.number - len(lines.taken) + 1
        if isinstance(record, list) and not record:
            continue  # an empty line is no row
        values = record if isinstance(record, Rejected) else _values(record, places, columns=len(header))
        if isinstance(values, Rejected):
            lines.give_back()  # an open quote must not swallow the rows after it
        yield line, values


def _values(record: list[str], places: list[int], *, columns: int) -> tuple[str, ...] | Rejected:
    if len(record) != columns:
        return Rejected(0, 0, "column-count", f"{len(record)} columns instead of {columns}")
    values = tuple([record[place] or MISSING for place in places])
    if any("\n" in value for value in values):
        return Rejected(0, 0, "line-break", "a value runs over several lines")
    return values


def _record(reader: Iterator[list[str]], lines: "_Lines") -> list[str] | Rejected | None:
    """The next record; None at the end."""
    lines.unreadable = False
    lines.taken.clear()
    try:
        record = next(reader, None)
    except csv.Error as error:
        return Rejected(0, 0, "not-csv", f"not readable as CSV: {error}")
    if lines.unreadable:
        return Rejected(0, 0, "not-text", f"not UTF-8, or longer than {LONGEST_LINE} bytes")
    return record


class _Lines:
    """The file's lines as text, of bounded length; those of one record can be given back, all but its first."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._again: list[str] = []
        self.taken: list[str] = []
        self.number = 0
        self.unreadable = False

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = self._again.pop() if self._again else self._decode(self._file.readline(LONGEST_LINE))
        if not line:
            raise StopIteration
        self.number += 1
        self.taken.append(line)
        return line

    def give_back(self) -> None:
        rest = self.taken[1:]
        self._again.extend(reversed(rest))
        self.number -= len(rest)

    def _decode(self, raw: bytes) -> str:
        too_long = len(raw) == LONGEST_LINE and not raw.endswith(b"\n")
        while too_long and raw and not raw.endswith(b"\n"):
            raw = self._file.readline(LONGEST_LINE)
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text = ""
        if too_long or (raw and not text):
            self.unreadable = True
            return "unreadable\n"
        return text


def _check_columns(path: Path, names: list[str]) -> None:
    missing = [name for name in NEEDED if name not in names]
    if missing:
        raise BadFileError(f"{path}: not a ServiceNow incident log; missing columns: {', '.join(missing)}")


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
