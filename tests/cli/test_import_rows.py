"""Reading the log: the same rows from both formats, in true order, without the future, and no bad row stops the rest."""

import csv
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow
import pyarrow.parquet
import pytest

from services.cli.imports.rows import BadFileError, Row, read
from services.cli.imports.sample import HEADER, write_sample
from tests.cli.importing import FIRST, LATEST, ZONE, commands_of, incident, log, rows_of, table_of

LEAKS = ("opened_at", "resolved_at", "closed_at", "resolved_by", "closed_code")


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.csv"
    write_sample(path)
    return path


def as_parquet(path: Path, *, without: str | None = None) -> Path:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {name: [row[name] for row in rows] for name in HEADER if name != without}
    table = pyarrow.table({"row": list(range(len(rows))), **columns})
    target = path.with_suffix(".parquet")
    pyarrow.parquet.write_table(table, target, row_group_size=50)
    return target


def times(*texts: str, zone: str = ZONE, tmp_path: Path) -> list[int]:
    rows = [FIRST | {"number": f"INC{index}", "sys_updated_at": text} for index, text in enumerate(texts)]
    table = read(log(tmp_path / "times.csv", rows), zone=ZoneInfo(zone), latest=LATEST)
    return [row.at for row in sorted(rows_of(table), key=lambda row: row.row)]


def test_csv_and_parquet_give_the_same_rows(sample: Path) -> None:
    from_csv, from_parquet = table_of(sample), table_of(as_parquet(sample))

    assert rows_of(from_csv) == rows_of(from_parquet)
    assert from_csv.made_sla == from_parquet.made_sla
    assert [(bad.row, bad.reason) for bad in from_csv.rejected] == [
        (bad.row, bad.reason) for bad in from_parquet.rejected
    ]
    assert [bad.line for bad in from_csv.rejected] == [bad.row + 1 for bad in from_csv.rejected]  # below the header


def test_the_sample_covers_the_format(sample: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.csv"
    write_sample(again)

    rows = rows_of(table_of(sample))

    assert again.read_bytes() == sample.read_bytes()
    assert {row.state for row in rows} == {
        "New",
        "Active",
        "Awaiting User Info",
        "Awaiting Evidence",
        "Awaiting Vendor",
        "Awaiting Problem",
        "Resolved",
        "Closed",
    }
    assert {bad.slug for bad in table_of(sample).rejected} == {"state-unknown", "time-unreadable"}
    assert len({row.number for row in rows}) == 60


def test_rows_come_by_time_and_then_as_the_file_has_them(tmp_path: Path) -> None:
    path = log(
        tmp_path / "log.csv",
        [
            *incident({"incident_state": "Active"}, {"incident_state": "Resolved"}),
            *incident({"incident_state": "Active"}, number="INC2"),
        ],
    )

    assert [(row.number, row.state) for row in rows_of(table_of(path))] == [
        ("INC1", "New"),
        ("INC2", "New"),
        ("INC1", "Active"),
        ("INC2", "Active"),
        ("INC1", "Resolved"),
    ]


def test_a_row_that_goes_back_keeps_its_time_and_its_place_within_the_incident(tmp_path: Path) -> None:
    rows = incident({"sys_updated_at": "1/3/2016 08:00", "location": "Location 8"}, {"incident_state": "Active"})
    between = FIRST | {"number": "INC2", "sys_updated_at": "1/3/2016 08:30"}

    minutes = list(table_of(log(tmp_path / "log.csv", [*rows, between])).minutes())

    assert [[row.row for row in rows] for _, rows in minutes] == [[4], [1, 2], [3]]
    (first, back), at = minutes[1][1], minutes[1][0]
    assert (first.at, back.at) == (at, at - 3600)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("1/3/2016 09:00", "2016-03-01T12:00"),
        ("01/03/2016 09:00", "2016-03-01T12:00"),
        ("16/10/2016 00:30", "2016-10-16T03:30"),  # skipped: 01:30 in summer time
        ("20/2/2016 23:30", "2016-02-21T01:30"),  # twice: the first, still in summer time
    ],
)
def test_times_are_local_to_the_zone(text: str, utc: str, tmp_path: Path) -> None:
    (at,) = times(text, tmp_path=tmp_path)

    assert at == times(f"{utc[8:10]}/{utc[5:7]}/{utc[:4]} {utc[11:]}", zone="UTC", tmp_path=tmp_path)[0]


@pytest.mark.parametrize(
    ("change", "slug"),
    [
        ({"incident_state": "-100"}, "state-unknown"),
        ({"incident_state": ""}, "state-unknown"),
        ({"number": "?"}, "number-missing"),
        ({"number": " "}, "number-missing"),
        ({"sys_updated_at": "31/2/2016 10:00"}, "time-unreadable"),
        ({"sys_updated_at": "2016-03-01 10:00"}, "time-unreadable"),
        ({"sys_updated_at": "1/3/2016 25:00"}, "time-unreadable"),
        ({"sys_updated_at": "1/3/0016 10:00"}, "time-absurd"),
        ({"sys_updated_at": "1/3/9016 10:00"}, "time-absurd"),
        ({"priority": "5 - Whenever"}, "priority-unknown"),
        ({"location": "x" * 4001}, "value-too-long"),
        ({"location": "x" * 200_000}, "not-csv"),
        ({"location": "x" * 1_200_000}, "not-text"),
        ({"location": "a\nb"}, "line-break"),
    ],
)
def test_a_bad_row_is_named_and_the_rest_is_read(change: dict[str, str], slug: str, tmp_path: Path) -> None:
    rows = incident({}, {"incident_state": "Active"})
    rows[1] |= change

    table = table_of(log(tmp_path / "log.csv", rows))

    first = table.rejected[0]
    assert (first.slug, first.row, first.line) == (slug, 2, 3)
    assert [row.state for row in rows_of(table)] == ["New", "Active"]
    assert table.rows == len(table) + len(table.rejected)


@pytest.mark.parametrize("broken", [b"too,few\n", b'"never closed,a,b\n', b"\xff\xfe\n", b"a\x00b\n"])
def test_a_broken_line_costs_itself_only(broken: bytes, tmp_path: Path) -> None:
    path = log(tmp_path / "log.csv", incident({"incident_state": "Active"}, {"incident_state": "Resolved"}))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], broken, *lines[2:]]))

    table = table_of(path)

    assert [bad.line for bad in table.rejected] == [3]
    assert [row.state for row in rows_of(table)] == ["New", "Active", "Resolved"]


def test_quoted_values_empty_lines_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = log(tmp_path / "log.csv", incident({"location": 'A "quoted", one'}))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n\r\n")

    table = table_of(path)

    assert not table.rejected
    assert rows_of(table)[1].location == 'A "quoted", one'


def test_the_limit_takes_the_first_rows_bad_ones_counted(tmp_path: Path) -> None:
    rows = incident({"incident_state": "-100"}, {"incident_state": "Active"})

    table = table_of(log(tmp_path / "log.csv", rows), limit=2)

    assert (table.rows, len(table), len(table.rejected)) == (2, 1, 1)


def test_nothing_of_the_future_is_in_a_row(sample: Path) -> None:
    before = commands_of(table_of(sample))
    with sample.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for index, row in enumerate(rows):
        row.update(dict.fromkeys(LEAKS, f"another {index}"))
        row["made_sla"] = "false"
    after = commands_of(table_of(log(sample, rows)))

    assert before == after
    assert not {*LEAKS, "made_sla"} & set(Row._fields)


def test_the_outcome_is_that_of_the_last_row_and_of_closed_incidents_only(tmp_path: Path) -> None:
    closed = incident({"incident_state": "Resolved"}, {"incident_state": "Closed", "made_sla": "false"})
    again = incident({"incident_state": "Closed"}, {"incident_state": "Active"}, number="INC2")

    assert table_of(log(tmp_path / "log.csv", [*closed, *again])).made_sla == {"INC1": False}


@pytest.mark.parametrize("parquet", [False, True])
def test_a_missing_column_is_one_clear_error(sample: Path, parquet: bool) -> None:
    if parquet:
        path = as_parquet(sample, without="location")
    else:
        path = sample
        path.write_text(path.read_text(encoding="utf-8").replace("location,", "place,", 1), encoding="utf-8")

    with pytest.raises(BadFileError, match=r"missing columns: location$"):
        table_of(path)


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"\x00\x01\x02", b"\xff\xff\n", b"PK\x03\x04 zip"])
def test_what_is_neither_csv_nor_parquet_is_one_clear_error(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)

    with pytest.raises(BadFileError, match=r"file: "):
        table_of(path)


def test_a_damaged_parquet_is_one_clear_error(sample: Path) -> None:
    path = as_parquet(sample)
    content = bytearray(path.read_bytes())
    content[100:4000] = bytes(3900)
    path.write_bytes(content)

    with pytest.raises(BadFileError):
        table_of(path)


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="No such file"):
        table_of(tmp_path / "nowhere.csv")
