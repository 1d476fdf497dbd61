"""What tests counted, told at the end of a run: each fault test what it went through, the simulation all its seeds together.

Under xdist, too, since a report carries its properties. Used from tests/conftest.py.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any

import pytest

from tests.faults.forms import FORM

Figures = Callable[..., None]
Totals = Callable[..., None]
REPORTED = ("passed", "failed")
FIGURE, TOTAL = "figure ", "total "


@pytest.fixture
def figures(record_property: Callable[[str, object], None]) -> Figures:
    """`figures(kills=12, acknowledged=340)` as soon as they are known; the same name again replaces what was told."""

    def tell(**counted: object) -> None:
        for name, value in counted.items():
            record_property(FIGURE + name, value)

    return tell


@pytest.fixture
def totals(record_property: Callable[[str, object], None]) -> Totals:
    """`totals(seeds=25)`: added up over all tests of the folder that tell so; once in each test."""

    def tell(**counted: int) -> None:
        for name, value in counted.items():
            record_property(TOTAL + name, value)

    return tell


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each test that counted something, and one for each folder whose tests counted together."""
    reports = [report for outcome in REPORTED for report in terminalreporter.stats.get(outcome, ())]
    lines = told((report.nodeid, dict(report.user_properties)) for report in reports)
    if lines:
        terminalreporter.section(f"faults, {FORM} form")
        for line in lines:
            terminalreporter.write_line(line)


def told(reports: Iterable[tuple[str, dict[str, Any]]]) -> list[str]:
    """The lines, of (test, properties)."""
    lines, sums = [], defaultdict[str, Counter[str]](Counter)
    for test, properties in sorted(reports, key=lambda report: report[0]):
        own = {name.removeprefix(FIGURE): value for name, value in properties.items() if name.startswith(FIGURE)}
        if own:
            lines.append(f"{test.rpartition('/')[2]}: {_spelt(own)}")
        for name, value in properties.items():
            if name.startswith(TOTAL):
                sums[PurePosixPath(test.partition("::")[0]).parent.name][name.removeprefix(TOTAL)] += value
    return [*lines, *(f"{folder}: {_spelt(counted)}" for folder, counted in sums.items())]


def _spelt(counted: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in counted.items())
