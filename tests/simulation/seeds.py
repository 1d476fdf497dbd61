"""The seeds of a test run, in chunks that two workers share. They are the same in every run, so that a green one stays so."""

from tests.faults.forms import times
from tests.simulation.run import simulate

FILES = 4
CHUNK = 25
SEEDS = times(2000, 60_000)


def chunks(of_file: int) -> list[range]:
    """Those of one of the files that run seeds; each file goes to one worker."""
    return [range(first, first + CHUNK) for first in range(1, SEEDS + 1, CHUNK)][of_file::FILES]


def run(seeds: range) -> None:
    """Raises SeedFailedError for the first that fails, which says how to look at it."""
    for seed in seeds:
        simulate(seed)
