"""The demo's figures are those of the real log, and draws from them have the measured distribution."""

import json
from collections import Counter
from dataclasses import asdict, fields
from statistics import median

import pytest

from loadtests.measure_incidents import FILE, measure
from services.cli.demo import figures
from services.cli.demo.cases import all_calls
from services.cli.demo.chance import Chance
from services.cli.demo.customers import all_customers
from services.cli.demo.figures import FIGURES, Figures
from services.cli.demo.script import ZONE
from tests.shared_data import shared_data

DRAWS = 20_000


def test_the_figures_are_measured_again_from_the_real_log() -> None:
    measured = json.loads(json.dumps(measure(shared_data(FILE))))

    assert measured == asdict(FIGURES)


def test_how_each_figure_was_measured_is_written_down() -> None:
    assert figures.__doc__ is not None
    untold = [name.name for name in fields(Figures) if f"`{name.name}`" not in figures.__doc__]

    assert untold == ["incidents", "callers", "days"]  # the sizes that the others are shares of
    assert "CC BY 4.0" in figures.__doc__


@pytest.mark.parametrize(
    "shares", ["arrivals_by_weekday", "arrivals_by_hour", "channels", "priorities", "reassigned_times"]
)
def test_shares_add_up(shares: str) -> None:
    assert sum(getattr(FIGURES, shares).values()) == pytest.approx(1, abs=0.002)


def test_a_drawn_duration_has_the_measured_percentiles() -> None:
    chance = Chance(1, "durations")
    minutes = sorted(chance.lasts(FIGURES.minutes_to_acknowledge).total_seconds() / 60 for _ in range(DRAWS))

    for place, measured in enumerate(FIGURES.minutes_to_acknowledge):
        drawn = minutes[DRAWS * (10 * place + 5) // 100]
        assert drawn == pytest.approx(measured, rel=0.15, abs=3)
    assert min(minutes) >= FIGURES.minutes_to_acknowledge[0]
    assert max(minutes) <= FIGURES.minutes_to_acknowledge[-1]


def test_two_in_five_of_the_measured_cases_come_when_they_were_measured() -> None:
    customers = all_customers(1, 2000)
    calls = all_calls(1, customers)
    weekdays = Counter(str(call.at.isoweekday()) for call in calls)
    hours = [call.at.astimezone(ZONE).hour for call in calls]

    assert len(calls) == round(800 * FIGURES.cases_per_caller_in_60_days)
    assert weekdays["1"] / len(calls) == pytest.approx(FIGURES.arrivals_by_weekday["1"] * 63 / 60, abs=0.04)
    assert weekdays["7"] / len(calls) < 0.06
    assert median(hours) in (11, 12)
