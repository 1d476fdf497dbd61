"""Milliseconds of one append and of one command, with 10 thousand, 1 million and 10 million events in the log.

    python -m loadtests.growth [--json] [--sizes 10000 1000000 10000000] [--sqlite] [--repetitions 3]

A cell for each size: 2,000 cases that were opened by commands, and around them events of 420 bytes, ten to a stream, each with
a request, that the database makes itself (its leaves are not the tree's; an append never reads one). One caller, one thing at a
time, so that a figure is a latency; in each repetition every size is measured before the next. 10 million events take about
12 GB and some minutes on PostgreSQL, in a database of our own that goes with the benchmark.
"""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median

from loadtests.appenders import kept
from loadtests.case_commands import commander
from loadtests.cells import bench_cell, postgres_database
from loadtests.crew import Job
from loadtests.filled import fill
from loadtests.measure import Ratio, command, measure, tell
from services.case.application import CaseApplication
from services.kernel.house import House

SIZES = (10_000, 1_000_000, 10_000_000)
TIMES = 1500


def main() -> int:
    parser = command(__doc__)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="events in the log; the first is the yardstick"
    )
    parser.add_argument("--sqlite", action="store_true", help="on SQLite instead of PostgreSQL")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        sides: dict[str, Callable[[], float]] = {}
        for size in arguments.sizes:
            cell = stack.enter_context(bench_cell("" if arguments.sqlite else stack.enter_context(postgres_database())))
            house = House(cell.settings)
            stack.callback(house.close)
            fill(house.database("log"), size)
            append, act = kept(house.recorder), commander(CaseApplication(house), cell.cases)
            sides[_name("append", size)] = lambda job=append: _median_ms(job)  # type: ignore[misc]
            sides[_name("command", size)] = lambda job=act: _median_ms(job)  # type: ignore[misc]
        first, *others = arguments.sizes
        ratios = [
            Ratio(f"{kind}, {size:,} to {first:,}", _name(kind, size), _name(kind, first), 1.2, at_most=True)
            for kind in ("append", "command")
            for size in others
        ]
        result = measure(sides, ratios, unit="ms", repetitions=arguments.repetitions)
    tell(result, as_json=arguments.json)
    return 0


def _name(kind: str, size: int) -> str:
    return f"{kind} at {size:,}"


def _median_ms(job: Job) -> float:
    """Of one thing at a time."""
    taken = []
    for _ in range(TIMES):
        started = time.perf_counter()
        job()
        taken.append(time.perf_counter() - started)
    return median(taken) * 1000


if __name__ == "__main__":
    sys.exit(main())
