"""A history is imported through the real processes; replayed, it is the same; imported twice, it is the same history."""

import json
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import history
from tests.kept import ROOT, cell_up, digest, import_command, kept, kept_json, made_sample


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_sample(tmp_path_factory.mktemp("sample"), incidents=30)


@pytest.fixture(scope="module")
def imported(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cell's folder after an undisturbed import."""
    data = tmp_path_factory.mktemp("imported") / "cell"
    _import(sample, data)
    return data


def test_every_row_is_accounted_for(sample: Path, imported: Path) -> None:
    summary = _import(sample, imported)

    assert summary["applied"] + summary["repeated"] + summary["rejected"] == summary["rows"]
    assert summary["rejected"] == 2
    assert summary["cases"] == 30
    assert sum(summary["case_states"].values()) == 30


def test_the_replay_finds_nothing_that_differs(imported: Path) -> None:
    verdict = kept_json("replay", "--verify", "--data", imported, "--quiet")

    assert verdict["verified"]
    assert verdict["events"] > 0
    assert verdict["decisions"] > 0


def test_importing_again_changes_nothing(sample: Path, imported: Path) -> None:
    before = kept_json("digest", "--data", imported)

    _import(sample, imported)

    assert kept_json("digest", "--data", imported) == before


def test_two_imports_give_the_same_streams(sample: Path, imported: Path, tmp_path: Path) -> None:
    _import(sample, tmp_path / "second")

    assert digest(tmp_path / "second") == digest(imported)


def test_services_in_processes_of_their_own_give_the_same_streams(sample: Path, imported: Path, tmp_path: Path) -> None:
    with cell_up(tmp_path / "separate", "--separate", "--history"):
        _import(sample, tmp_path / "separate")

    assert digest(tmp_path / "separate") == digest(imported)


def test_the_same_history_without_processes_gives_the_same_streams(
    sample: Path, imported: Path, tmp_path: Path
) -> None:
    (tmp_path / "played").mkdir()
    history.imported(tmp_path / "played", sample)

    assert digest(tmp_path / "played") == digest(imported)


def test_one_changed_byte_is_found_and_its_position_named(imported: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(imported, tmp_path / "changed", ignore=shutil.ignore_patterns("run")))
    with sqlite3.connect(data / "log.db") as log:
        (record,) = log.execute("SELECT record FROM log WHERE position = 100").fetchone()
        changed = bytes([*record[:-1], record[-1] ^ 1])
        log.execute("UPDATE log SET record = ? WHERE position = 100", (changed,))
    log.close()

    done = kept("replay", "--verify", "--data", data, "--quiet")

    assert done.returncode == 1
    assert "record-changed at position 100" in done.stdout


def _import(sample: Path, data: Path) -> dict[str, Any]:
    done = subprocess.run(import_command(sample, data), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))
