"""The whole import against a cell that only records: order, accounting, and that no interruption doubles anything."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kept.case.v1 import service_pb2 as case
from kept.cell.v1 import service_pb2 as cell

from services.cli.client import Interrupted
from services.cli.imports.journal import JournalError
from services.cli.imports.progress import Progress, Silent
from services.cli.imports.rows import BadFileError, Rejected
from services.cli.imports.runner import ImportFailedError, Summary, prepare, run
from services.cli.imports.sample import write_sample
from tests.cli.importing import LATEST, ZONE, Killed, RecordingCell, incident, log

Start = Callable[..., Summary]


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.csv"
    write_sample(path, incidents=14)
    return path


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """start(path, cell, ...) imports into one folder, again and again."""

    def import_(
        path: Path,
        call: RecordingCell,
        *,
        folder: str = "data",
        tenant: str = "main",
        zone: str = ZONE,
        progress: Progress | None = None,
        stopping: Callable[[], bool] = lambda: False,
        **settings: Any,
    ) -> Summary:
        data = tmp_path / folder
        source = prepare(path, zone, data_dir=data, now=lambda: LATEST, **settings)
        return run(source, call=call, tenant=tenant, data_dir=data, progress=progress or Silent(), stopping=stopping)

    return import_


def refuses_some(recording: RecordingCell, request: Any) -> bool:
    """Refuses by the state of the cell, so that the same command would be accepted later."""
    refusable = isinstance(request, case.AcknowledgeRequest | case.HoldRequest | case.AddNoteRequest)
    return refusable and len(recording.recorded) % 3 == 0


def comparable(summary: Summary) -> dict[str, Any]:
    """What must not depend on how often it was interrupted, or into which folder it went."""
    return dataclasses.asdict(summary) | {"seconds": 0, "rows_per_s": [], "rejected_file": ""}


def test_history_starts_and_promises_are_published_before_the_first_row(sample: Path, start: Start) -> None:
    recording = RecordingCell()

    start(sample, recording)

    assert [method for _, method, _ in recording.recorded[:8]] == [
        "StartHistory",
        "AdvanceTime",
        "PublishCalendar",
        "PublishCalendar",
        "PublishPolicy",
        "AdvanceTime",
        "RegisterCustomer",
        "Open",
    ]


def test_the_clock_is_moved_once_for_every_minute_and_before_its_rows(sample: Path, start: Start) -> None:
    recording = RecordingCell()  # refuses what occurs after its clock

    start(sample, recording)

    moves = [
        cell.AdvanceTimeRequest.FromString(body) for _, method, body in recording.recorded if method == "AdvanceTime"
    ]
    seconds = [move.to.seconds for move in moves[1:-1]]
    assert seconds == sorted(set(seconds))


def test_every_row_is_applied_repeated_or_rejected(sample: Path, start: Start) -> None:
    summary = start(sample, RecordingCell(refuse=refuses_some))

    assert summary.applied + summary.repeated + summary.rejected == summary.rows
    assert set(summary.rejected_by_reason) == {"state-unknown", "time-unreadable", "case-not-open"}
    assert sum(summary.rejected_by_reason.values()) == summary.rejected == len(summary.rejected_samples)
    assert [row["line"] for row in summary.rejected_samples] == sorted(row["line"] for row in summary.rejected_samples)
    lines = Path(summary.rejected_file).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + summary.rejected


def test_a_refused_row_is_named_by_line_and_slug(tmp_path: Path, start: Start) -> None:
    path = log(tmp_path / "log.csv", incident({"incident_state": "Awaiting Vendor"}, {}))

    summary = start(path, RecordingCell(refuse=lambda _, request: isinstance(request, case.HoldRequest)))

    assert (summary.applied, summary.rejected) == (1, 2)
    assert summary.rejected_samples[0] == {
        "row": 2,
        "line": 3,
        "slug": "case-not-open",
        "reason": "case-not-open: the case is not open",
    }


def test_the_summary_says_what_came_of_it(tmp_path: Path, start: Start) -> None:
    def closed(number: str, made_sla: str) -> list[dict[str, str]]:
        return incident({"incident_state": "Closed", "made_sla": made_sla}, number=number)

    path = log(
        tmp_path / "log.csv",
        [*closed("INC1", "true"), *closed("INC2", "true"), *closed("INC3", "false"), *incident(number="INC4")],
    )
    recording = RecordingCell()

    summary = start(path, recording)

    assert (summary.customers, summary.cases, summary.events) == (1, 4, len(recording.recorded))
    assert summary.case_states == {"closed": 3}
    assert summary.verdicts == {"time_to_own": {"kept": 2, "running": 1}}
    assert summary.made_sla == {
        "kept": {"true": 1, "false": 0},
        "broken": {"true": 1, "false": 0},
        "without verdict": {"true": 0, "false": 1},
    }
    assert summary.not_closed_in_file == 1
    assert json.loads(summary.to_json())["commands"] == summary.commands
    assert any("applied 7, repeated 0, rejected 0" in line for line in summary.lines())


def test_verdicts_are_asked_for_100_cases_at_a_time(tmp_path: Path, start: Start) -> None:
    rows = [row for index in range(250) for row in incident(incident_state="Closed", number=f"INC{index}")]
    recording = RecordingCell()

    summary = start(log(tmp_path / "log.csv", rows), recording)

    assert recording.calls["ListClocks"] == 3
    assert sum(sum(answers.values()) for answers in summary.made_sla.values()) == 250


def test_an_import_killed_at_any_call_ends_as_an_undisturbed_one(tmp_path: Path, start: Start) -> None:
    sample = tmp_path / "sample.csv"
    write_sample(sample, incidents=8)
    undisturbed = RecordingCell(refuse=refuses_some)
    expected = comparable(start(sample, undisturbed, folder="undisturbed"))
    assert expected["rejected_by_reason"]["case-not-open"]
    for answered in (False, True):
        for kill_at in range(1, undisturbed.calls.total() + 1):
            folder = f"{answered}-{kill_at}"
            recording = RecordingCell(refuse=refuses_some)
            recording.kill_at, recording.answered = kill_at, answered
            with pytest.raises(Killed):
                start(sample, recording, folder=folder)

            recording.kill_at = None
            summary = start(sample, recording, folder=folder)

            assert recording.recorded == undisturbed.recorded, folder
            assert comparable(summary) == expected, folder


def test_a_refusal_is_remembered_though_it_would_be_accepted_now(tmp_path: Path, start: Start) -> None:
    rows = incident({"incident_state": "Awaiting Vendor", "sys_updated_at": "1/3/2016 09:00"}, incident_state="Active")
    path = log(tmp_path / "log.csv", [*rows, *incident(number="INC2")])
    recording = RecordingCell(refuse=lambda _, request: isinstance(request, case.HoldRequest))
    recording.kill_at = 14  # in the same minute, after the refusal
    with pytest.raises(Killed):
        start(path, recording)
    assert recording.calls["Hold"] == 1

    recording.kill_at = None
    recording.refuse = lambda _, __: False
    summary = start(path, recording)

    assert recording.calls["Hold"] == 1
    assert summary.rejected_by_reason == {"case-not-open": 1}


def test_many_interruptions_in_a_row_end_as_none(sample: Path, start: Start) -> None:
    undisturbed, recording = RecordingCell(), RecordingCell()
    expected = comparable(start(sample, undisturbed, folder="undisturbed"))
    asked = 0

    def stopping() -> bool:
        nonlocal asked
        asked += 1
        return asked % 29 == 0

    for _ in range(undisturbed.calls.total()):
        try:
            summary = start(sample, recording, stopping=stopping)
            break
        except Interrupted:
            continue

    assert asked > 29
    assert recording.recorded == undisturbed.recorded
    assert comparable(summary) == expected


def test_a_finished_import_sends_nothing_again(sample: Path, start: Start) -> None:
    recording = RecordingCell()
    first = start(sample, recording)
    before = Counter(recording.calls)

    again = start(sample, recording)

    assert comparable(again) == comparable(first)
    assert set(recording.calls - before) == {"AdvanceTime", "GetCell", "CountCases", "CountVerdicts", "ListClocks"}


def test_every_id_is_journalled_once_and_no_other_receipt(sample: Path, start: Start, tmp_path: Path) -> None:
    summary = start(sample, RecordingCell())

    (journal,) = (tmp_path / "data" / "imports").glob("*.jsonl")
    lines = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    assert sum(len(line.get("ids", ())) for line in lines) == summary.customers + summary.cases


def test_a_disk_that_takes_no_more_is_one_clear_error(sample: Path, start: Start, tmp_path: Path) -> None:
    digest = prepare(sample, ZONE, data_dir=tmp_path).digest
    (tmp_path / "data" / "imports" / f"{digest}-rejected.csv").mkdir(parents=True)

    with pytest.raises(ImportFailedError, match=r"-rejected\.csv: Is a directory"):
        start(sample, RecordingCell())


def test_the_future_stays_the_future_of_the_beginning(tmp_path: Path, start: Start) -> None:
    tomorrow = LATEST + timedelta(days=1)
    late = {"sys_updated_at": f"{tomorrow.day}/{tomorrow.month}/{tomorrow.year} 12:00", "location": "Location 8"}
    path = log(tmp_path / "log.csv", incident(late))
    start(path, RecordingCell(), folder="data")

    source = prepare(path, ZONE, data_dir=tmp_path / "data", now=lambda: LATEST + timedelta(days=9))

    assert [bad.slug for bad in source.table.rejected] == ["time-absurd"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"limit": 5}, "limit not set, now 5"),
        ({"zone": "UTC"}, "zone 'America/Sao_Paulo', now 'UTC'"),
        ({"partners": {"Group 1"}}, "partners"),
        ({"tenant": "north"}, "tenant"),
    ],
)
def test_it_resumes_only_with_the_settings_it_began_with(
    change: dict[str, Any], words: str, sample: Path, start: Start
) -> None:
    recording = RecordingCell()
    start(sample, recording)
    before = list(recording.recorded)

    with pytest.raises(JournalError, match=words):
        start(sample, recording, **change)

    assert recording.recorded == before


def test_another_cell_under_the_same_journal_is_refused(sample: Path, start: Start) -> None:
    start(sample, RecordingCell())

    with pytest.raises(ImportFailedError, match="not the cell that the import began in"):
        start(sample, RecordingCell())


def test_a_cell_that_is_not_empty_is_refused_and_no_trace_left(sample: Path, start: Start, tmp_path: Path) -> None:
    recording = RecordingCell(refuse=lambda _, request: isinstance(request, cell.StartHistoryRequest))

    with pytest.raises(ImportFailedError, match="refused to be imported into: case-not-open"):
        start(sample, recording)

    assert not (tmp_path / "data" / "imports").exists()


def test_a_file_without_good_rows_is_accounted_for(tmp_path: Path, start: Start) -> None:
    path = log(tmp_path / "log.csv", incident(incident_state="-100"))

    summary = start(path, RecordingCell())

    assert (summary.rows, summary.rejected, summary.cases) == (1, 1, 0)


@pytest.mark.parametrize("zone", ["Mars/Base", "", "../etc/passwd", "America", "/etc/localtime", "São Paulo\0"])
def test_an_unknown_zone_is_one_clear_error(zone: str, sample: Path, start: Start) -> None:
    with pytest.raises(BadFileError, match="is not a time zone"):
        start(sample, RecordingCell(), zone=zone)


def test_progress_ends_at_the_number_of_rows_and_names_the_rejected(sample: Path, start: Start) -> None:
    class Noting(Silent):
        def __init__(self) -> None:
            self.done: list[tuple[int, int]] = []
            self.bad: list[Rejected] = []

        def advance(self, done: int, total: int) -> None:
            self.done.append((done, total))

        def rejected(self, row: Rejected) -> None:
            self.bad.append(row)

    noting = Noting()

    summary = start(sample, RecordingCell(refuse=refuses_some), progress=noting)

    assert noting.done[-1] == (summary.rows, summary.rows)
    assert [done for done, _ in noting.done] == sorted(done for done, _ in noting.done)
    assert len(noting.bad) == summary.rejected


def test_the_rate_is_told_for_every_10000_rows_that_were_sent(tmp_path: Path, start: Start) -> None:
    rows = [row for index in range(10_500) for row in incident(number=f"INC{index}", caller_id="Caller 1")]
    path = log(tmp_path / "log.csv", [row | {"assignment_group": "?"} for row in rows])
    recording = RecordingCell()

    assert len(start(path, recording).rows_per_s) == 1
    assert start(path, recording).rows_per_s == []  # only walked
