"""Each fault test tells what it went through, and the run tells it at its end."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.forms import FORM

Figures = Callable[..., None]
REPORTED = ("passed", "failed")
FIGURE = "figure "


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Figures:
    """`figures(kills=12, acknowledged=340)` as soon as they are known; the same name again replaces what was told."""

    def tell(**counted: object) -> None:
        for name, value in counted.items():
            record_property(FIGURE + name, value)

    return tell


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder with a short path, in memory where there is some, since many small syncs are slow."""
    folder = Path(tempfile.mkdtemp(prefix="kept-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    yield folder
    shutil.rmtree(folder)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each test that counted something; under xdist, too, since a report carries its properties."""
    reports = [report for outcome in REPORTED for report in terminalreporter.stats.get(outcome, ())]
    told = {report.nodeid: dict(report.user_properties) for report in reports}
    lines = []
    for test, properties in sorted(told.items()):
        counted = [f"{name.removeprefix(FIGURE)} {value}" for name, value in properties.items() if FIGURE in name]
        if counted:
            lines.append(f"{test.rpartition('/')[2]}: {', '.join(counted)}")
    if lines:
        terminalreporter.section(f"faults, {FORM} form")
        for line in lines:
            terminalreporter.write_line(line)
