"""PostgreSQL is stopped in immediate mode under load and started again: nothing is lost, and nobody else is restarted."""

from pathlib import Path
from random import Random

from tests.faults.forms import takes_long, times
from tests.faults.postgres_cell import under_load
from tests.figures import Figures
from tests.private_postgres import private_postgres

STOPS = times(3, 20)
SEED = 11


@takes_long
def test_stopped_under_load_postgres_loses_nothing_and_the_cell_goes_on_by_itself(
    tmp_path: Path, figures: Figures
) -> None:
    random = Random(SEED)  # noqa: S311 - moments, not secrets
    with private_postgres() as server, under_load(server.address, tmp_path / "cell") as callers:
        for _ in range(STOPS):
            callers.wait_for_more(random.randrange(1, 80))
            server.stop()
            callers.wait_for_trouble()
            server.start()
        callers.wait_for_more(10)
    figures(stops=STOPS, acknowledged=len(callers.acknowledged), refused=callers.troubles.total(), lost=0, seed=SEED)
