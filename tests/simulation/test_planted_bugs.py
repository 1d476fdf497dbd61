"""The simulation finds what it is there to find: bugs that were planted, within the seeds of the short run."""

import pytest

from tests.simulation.bugs import BUGS
from tests.simulation.run import SeedFailedError, simulate
from tests.simulation.seeds import SEEDS


def found(bug: str) -> tuple[int, str]:
    """The first seed that fails, and what it says."""
    for seed in range(1, SEEDS + 1):
        try:
            simulate(seed, bug)
        except SeedFailedError as failed:
            return seed, str(failed)
    raise AssertionError(f"no seed from 1 to {SEEDS} found {bug}")


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found_and_its_seed_is_named(bug: str) -> None:
    seed, said = found(bug)

    assert f"python -m tests.simulation --seed {seed} --bug {bug} --trace" in said
    simulate(seed)  # it is the bug that fails, not the seed


@pytest.mark.parametrize("bug", BUGS)
def test_the_seed_that_found_it_finds_it_again(bug: str) -> None:
    seed, said = found(bug)

    with pytest.raises(SeedFailedError) as again:
        simulate(seed, bug)

    assert str(again.value) == said
