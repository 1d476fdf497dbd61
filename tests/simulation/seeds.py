"""The seeds of a test run, in chunks that two workers share. They are the same in every run, so that a green one stays so."""

from collections import Counter

from tests.faults.forms import times
from tests.figures import Totals
from tests.simulation.run import simulate

FILES = 4
CHUNK = 25
SEEDS = times(2000, 12_000)


def chunks(of_file: int) -> list[range]:
    """Those of one of the files that run seeds; each file goes to one worker."""
    return [range(first, first + CHUNK) for first in range(1, SEEDS + 1, CHUNK)][of_file::FILES]


def run(seeds: range, totals: Totals) -> None:
    """Raises SeedFailedError for the first that fails, which says how to look at it."""
    events, happened = 0, Counter[str]()
    for seed in seeds:
        found = simulate(seed)
        events += found.events
        happened += found.happened
    deaths = happened["died before it commits"] + happened["died after it committed"]
    totals(seeds=len(seeds), events=events, kills=happened["killed"], deaths_at_commits=deaths)
