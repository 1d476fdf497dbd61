"""How every benchmark measures: its sides in turn, three times over, medians, and ratios between sides of the same run.

These machines are noisy, so a rate alone means nothing: each is told beside a yardstick that ran in the same minutes.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

REPETITIONS = 3


class NotInstalled(Exception):
    """A peer is not on this machine; says how to install it."""


@dataclass(frozen=True)
class Ratio:
    """One side's median by another's, and what we aim at: at least `aim`, or at most with `at_most`."""

    name: str
    side: str
    by: str
    aim: float
    at_most: bool = False

    def of(self, medians: Mapping[str, float]) -> dict[str, Any] | None:
        """None where one of the two was not measured."""
        if self.side not in medians or self.by not in medians:
            return None
        value = medians[self.side] / medians[self.by]
        met = value <= self.aim if self.at_most else value >= self.aim
        return {"value": round(value, 3), "aim": self.aim, "at_most": self.at_most, "met": met}


def measure(
    sides: Mapping[str, Callable[[], float]],
    ratios: Sequence[Ratio],
    *,
    unit: str,
    repetitions: int = REPETITIONS,
    told: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
) -> dict[str, Any]:
    """Runs each side `repetitions` times, all sides before the next repetition. A side returns its figure in `unit`."""
    loads, figures, missing = [os.getloadavg()[0]], dict[str, list[float]](), dict[str, str]()
    for repetition in range(repetitions):
        for name, side in sides.items():
            if name in missing:
                continue
            try:
                figure = side()
            except NotInstalled as reason:
                missing[name] = str(reason)
                told(f"{name}: left out, {reason}")
                continue
            figures.setdefault(name, []).append(round(figure, 3))
            told(f"{repetition + 1}/{repetitions} {name}: {figure:,.1f} {unit}")
        loads.append(os.getloadavg()[0])
    medians = {name: median(values) for name, values in figures.items()}
    return {
        "unit": unit,
        "repetitions": figures,
        "medians": medians,
        "ratios": {ratio.name: found for ratio in ratios if (found := ratio.of(medians)) is not None},
        "left_out": missing,
        "load": [round(load, 2) for load in loads],
        "cores": os.cpu_count(),
    }


def command(description: str | None) -> argparse.ArgumentParser:
    """The options that every benchmark has; a benchmark adds its own."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--repetitions", type=int, default=REPETITIONS, help="how often each side runs")
    return parser


def tell(result: Mapping[str, Any], *, as_json: bool) -> None:
    """Prints the result on stdout."""
    if as_json:
        print(json.dumps(result))
        return
    for name, value in result["medians"].items():
        print(f"{name:32} {value:12,.1f} {result['unit']}")
    for name, ratio in result["ratios"].items():
        sign, verdict = "at most" if ratio["at_most"] else "at least", "met" if ratio["met"] else "missed"
        print(f"{name:32} {ratio['value']:12.2f} ({sign} {ratio['aim']:g}: {verdict})")
