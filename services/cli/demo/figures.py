"""Rates and durations of the demo, as measured on a real incident log; `figures.json` holds the numbers.

Measured on: UCI Machine Learning Repository 498, "Incident management process enriched event log", by Claudio Amaral,
Marcelo Fantinato and Sarajane Peres, University of Sao Paulo; CC BY 4.0. `python -m loadtests.measure_incidents` prints
the numbers again, and a test compares. What is not in that log, a visit's course above all, is told beside its use.

How each was measured (24,918 incidents of 5,245 callers; event time is `sys_updated_at`, and a value is taken at its own
event, for the log holds final values on every row):

- `cases_per_caller_in_60_days`: incidents by callers, by the days from the first opening to the last event, times 60.
- `arrivals_by_weekday` (ISO), `arrivals_by_hour` (local), `channels`, `priorities`, `commonest_categories`: shares of the
  incidents by their first row.
- `acknowledged_at_once`: the share whose first row is past New. `minutes_to_acknowledge`: from the first row to the first
  one past New, for all others.
- `reassigned_times`: how often the assignment group changed; 5 is 5 or more.
- `held_for`: the share that ever waited, by reason. `minutes_held_for`: each wait, until its state was left.
- `minutes_to_resolve`: from the first row to the first Resolved. `minutes_of_work`: of these, what lay after acknowledging
  and outside every wait. By priority.
- `reopened`: the share of the resolved that went back to an open state. `minutes_until_reopened`: after the first Resolved.
- `minutes_until_closed`: from the last Resolved to Closed.

Lists of minutes are the 5th, 15th ... 95th percentile.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

Shares = dict[str, float]
Minutes = Sequence[int]


@dataclass(frozen=True)
class Figures:
    incidents: int
    callers: int
    days: int
    cases_per_caller_in_60_days: float
    arrivals_by_weekday: Shares
    arrivals_by_hour: Shares
    channels: Shares
    priorities: Shares
    commonest_categories: Sequence[float]
    acknowledged_at_once: float
    minutes_to_acknowledge: Minutes
    reassigned_times: Shares
    held_for: Shares
    minutes_held_for: dict[str, Minutes]
    minutes_to_resolve: dict[str, Minutes]
    minutes_of_work: dict[str, Minutes]
    reopened: float
    minutes_until_reopened: Minutes
    minutes_until_closed: Minutes


FIGURES = Figures(**json.loads(Path(__file__).with_name("figures.json").read_text(encoding="utf-8")))
