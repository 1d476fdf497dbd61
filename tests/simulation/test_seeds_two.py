"""Whatever a seed does to the cell, nothing is lost, doubled or reordered. A part of the seeds; see `seeds`."""

import pytest

from tests.figures import Totals
from tests.simulation.seeds import chunks, run


@pytest.mark.parametrize("seeds", chunks(1), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_nothing_is_lost_doubled_or_reordered(seeds: range, totals: Totals) -> None:
    run(seeds, totals)
