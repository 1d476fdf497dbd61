"""`kept story county` through real processes, and its share told first counted again by a script that knows only events."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from kept.cell.v1.service_pb2 import AdvanceTimeRequest

from tests.history import played
from tests.kept import kept

COUNT = Path(__file__).with_name("told_first.py")


@pytest.mark.parametrize("options", [(), ("--separate",)], ids=["together", "separate"])
def test_the_county_is_lost_and_kept(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = kept("story", "county", "--data", tmp_path / "cell", "--json", "--language", "zh", *options)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)

    assert told["lost_deal"]["minor_units"] == 186_000_00
    assert len(told["lost_deal"]["broken_promises"]) == 2
    apology, warning = told["notices"]
    assert "很抱歉" in apology["title"]
    assert all(notice["body"] in _quoted(done.stderr) for notice in (apology, warning))
    assert warning["reproduced"]
    assert warning["because"][0] == "kept.case.v1.CustomerAffected"
    assert (told["verified"], told["differences"]) == (True, [])
    assert len(set(told["processes"].values())) == 3
    assert _counted(told)[told["problem_id"]] == {
        name: told[name] for name in ("affected", "told_first", "called_first", "not_told", "share_told_first")
    }


def test_a_folder_with_another_history_is_left_alone(tmp_path: Path) -> None:
    with played(tmp_path / "cell") as cell:
        cell.call("cell", "AdvanceTime", AdvanceTimeRequest(request_id="r", to=Timestamp(seconds=4_000_000_000)))
        position = cell.house.log.position()

    done = kept("story", "county", "--data", tmp_path / "cell")

    assert done.returncode == 1
    assert "a folder of its own" in done.stderr
    with played(tmp_path / "cell") as cell:
        assert cell.house.log.position() == position


def test_the_counting_script_is_short() -> None:
    assert len(COUNT.read_text(encoding="utf-8").splitlines()) <= 100


def _counted(told: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-I", COUNT, told["streamed_events"]], capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def _quoted(story: str) -> str:
    """The notices as they were shown, without their frame."""
    return "\n".join(line.removeprefix("  │ ") for line in story.splitlines())
