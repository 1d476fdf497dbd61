"""`kept import servicenow`: the command against a recording cell over real gRPC; what it prints and how it exits."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from services.cli.client import Connection
from services.cli.imports.command import import_group, stop_signals
from services.cli.imports.sample import write_sample
from tests.cli.importing import ZONE, RecordingCell
from tests.cli.serving import serving


class House:
    """Stands for `services.cli.cell`."""

    def __init__(self) -> None:
        self.recording = RecordingCell()
        self.answer: Any = self.recording
        self.opened: list[tuple[Path, bool]] = []
        self.stayed = 0

    @contextmanager
    def open_cell(self, data_dir: Path, history: bool) -> Iterator[Connection]:
        self.opened.append((data_dir, history))
        with serving(self.answer) as connection:
            yield connection

    def stay(self, _connection: object, _data: object) -> None:
        self.stayed += 1


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch) -> House:
    house = House()
    module = SimpleNamespace(open_cell=house.open_cell, stay=house.stay)
    monkeypatch.setattr("services.cli.cell", module, raising=False)
    return house


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.csv"
    write_sample(path, incidents=5)
    return path


def command(*arguments: object) -> Result:
    return CliRunner().invoke(import_group, ["servicenow", *map(str, arguments)])


def test_json_is_all_that_stdout_gets(house: House, sample: Path, tmp_path: Path) -> None:
    result = command(sample, "--zone", ZONE, "--data", tmp_path / "data", "--json")

    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    assert summary["cases"] == 5
    assert summary["applied"] + summary["repeated"] + summary["rejected"] == summary["rows"]
    assert house.opened == [(tmp_path / "data", True)]
    assert house.stayed == 0


def test_people_get_lines_and_every_rejected_row_on_stderr(house: House, sample: Path, tmp_path: Path) -> None:
    result = command(sample, "--zone", ZONE, "--data", tmp_path / "data")

    assert "rejected 2" in result.stdout
    assert "line 13 rejected: incident_state '-100' is not known" in result.stderr
    assert "rows/s" in result.stderr


def test_quiet_shows_nothing_but_the_summary_and_stay_stays(house: House, sample: Path, tmp_path: Path) -> None:
    result = command(sample, "--zone", ZONE, "--data", tmp_path / "data", "--quiet", "--stay", "--limit", 3)

    assert result.stderr == ""
    assert "3 rows" in result.stdout
    assert house.stayed == 1


@pytest.mark.parametrize("in_file", [False, True])
def test_partners_are_names_or_a_file_of_names(house: House, sample: Path, tmp_path: Path, in_file: bool) -> None:
    partners = ", ".join(f"Group {number}" for number in range(1, 100))  # longer than the name of a file may be
    if in_file:
        (tmp_path / "partners").write_text(partners.replace(", ", "\n"), encoding="utf-8")
        partners = str(tmp_path / "partners")

    result = command(sample, "--zone", ZONE, "--data", tmp_path / "data", "--partners", partners, "--limit", 1)

    assert result.exit_code == 0, result.output
    assert [method for _, method, _ in house.recording.recorded].count("Assign") == 1
    assert next(body for _, method, body in house.recording.recorded if method == "Assign").count(b"\x2a\x07Group")


@pytest.mark.parametrize(
    ("file", "arguments", "code", "words"),
    [
        ("sample.csv", ["--zone", "Mars/Base"], 2, "'Mars/Base' is not a time zone"),
        ("sample.csv", [], 2, "--zone"),
        ("sample.csv", ["--zone", "UTC", "--limit", "-1"], 2, "--limit"),
        ("nowhere.csv", ["--zone", "UTC"], 1, "nowhere.csv: No such file"),
        ("partners", ["--zone", "UTC"], 1, "missing columns"),
        ("sample.csv", ["--zone", "UTC", "--partners", "partners"], 1, "partners"),
    ],
)
def test_bad_input_is_one_clear_error_and_starts_no_cell(
    file: str,
    arguments: list[str],
    code: int,
    words: str,
    house: House,
    sample: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (sample.parent / "partners").write_bytes(b"\xff\xfe" if "--partners" in arguments else b"a,b\n")

    result = command(file, *arguments, "--data", tmp_path / "data")

    assert result.exit_code == code
    assert words in result.stderr.splitlines()[-1]
    assert house.opened == []
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_command_and_the_same_import_resumes(
    number: signal.Signals, code: int, house: House, sample: Path, tmp_path: Path
) -> None:
    undisturbed = RecordingCell()
    house.answer = undisturbed
    expected = json.loads(command(sample, "--zone", ZONE, "--data", tmp_path / "undisturbed", "--json").stdout)
    recording = RecordingCell()

    def answer(service: str, method: str, request: Any) -> Any:
        if recording.calls.total() == 30:
            os.kill(os.getpid(), number)
        return recording(service, method, request)

    house.answer = answer
    before = signal.getsignal(number)

    stopped = command(sample, "--zone", ZONE, "--data", tmp_path / "data")

    assert stopped.exit_code == code
    assert "the same command resumes it" in stopped.stderr
    assert recording.calls.total() == 31
    assert signal.getsignal(number) == before
    resumed = json.loads(command(sample, "--zone", ZONE, "--data", tmp_path / "data", "--json").stdout)
    assert recording.recorded == undisturbed.recorded
    assert resumed["applied"] == expected["applied"]


def test_a_second_ctrl_c_does_not_wait_for_the_command() -> None:
    with stop_signals() as received:
        os.kill(os.getpid(), signal.SIGINT)
        assert received == [signal.SIGINT]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_refused_beginning_is_one_clear_error(house: House, sample: Path, tmp_path: Path) -> None:
    command(sample, "--zone", ZONE, "--data", tmp_path / "data")

    result = command(sample, "--zone", "UTC", "--data", tmp_path / "data")

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("Error: this file's import into this folder began with zone")


def test_help_needs_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    result = command("--help")

    assert result.exit_code == 0
    assert "Exit codes: 0 imported" in " ".join(result.stdout.split())
