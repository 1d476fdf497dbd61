"""PostgreSQL is stopped in immediate mode under load and started again: nothing is lost, and nobody else is restarted."""

from pathlib import Path
from random import Random

from tests.faults.callers import Callers
from tests.faults.forms import takes_long, times
from tests.faults.postgres_cell import (
    assert_nothing_lost_or_doubled,
    assert_only_unavailable,
    assert_replays_the_same,
    cell_on,
)
from tests.private_postgres import private_postgres

STOPS = times(3, 40)
SEED = 11


@takes_long
def test_stopped_under_load_postgres_loses_nothing_and_the_cell_goes_on_by_itself(tmp_path: Path) -> None:
    random = Random(SEED)  # noqa: S311 - moments, not secrets
    data = tmp_path / "cell"
    with private_postgres() as server:
        with cell_on(server.address, data) as cell:
            started = cell.processes()
            with Callers(cell.told()["targets"]) as callers:
                for _ in range(STOPS):
                    callers.wait_for_more(random.randrange(1, 80))
                    server.stop()
                    callers.wait_for_trouble()
                    server.start()
                callers.wait_for_more(10)
            cell.assert_catches_up()
            assert cell.processes() == started
        assert_only_unavailable(callers.troubles)
        assert_nothing_lost_or_doubled(cell.settings, callers.acknowledged)
        assert_replays_the_same(server.address, data)
