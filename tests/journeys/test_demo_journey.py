"""The demo through real processes: played, drained, verified, told as one JSON object; and found done the next time."""

import json
from pathlib import Path
from typing import Any

from tests.kept import digest, kept


def test_a_small_demo_is_played_verified_and_done_once(tmp_path: Path) -> None:
    first = _played(tmp_path)
    streams = digest(tmp_path)
    second = _played(tmp_path)

    assert first["replay"] == second["replay"] == "verified"
    assert first["customers"] == 40
    assert first["notices"]["completed"] > 0
    assert {**second, "seconds": 0} == {**first, "seconds": 0}
    assert digest(tmp_path) == streams


def test_the_same_seed_gives_the_same_streams_through_processes_too(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    _played(one)
    _played(other)

    assert digest(one) == digest(other)


def test_the_demo_leaves_a_cell_that_is_used_by_something_else_alone(tmp_path: Path) -> None:
    _played(tmp_path)
    (tmp_path / "demo.json").unlink()

    refused = kept("up", "--demo", "--once", "--data", tmp_path, "--customers", 40, "--days", 4)

    assert refused.returncode == 1
    assert "used by something else" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def _played(data: Path) -> Any:
    done = kept("up", "--demo", "--once", "--json", "--data", data, "--customers", 40, "--days", 4)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # quiet where there is no terminal
    return json.loads(done.stdout)
