"""The primary is lost with all that it had, and its synchronous standby takes over: nothing acknowledged is missing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from kept.common.v1.record_pb2 import Receipt
from psycopg.conninfo import make_conninfo

from services.kernel.application import Caller
from services.kernel.clock import MachineClock
from services.kernel.config import Settings
from services.kernel.errors import InDoubt
from services.kernel.house import House
from tests.faults.forms import takes_long, times
from tests.faults.postgres_cell import under_load
from tests.figures import Figures
from tests.kernel.toys import JarRequest, Jars, events
from tests.private_postgres import PrivatePostgres, postgres_pair

ROUNDS = times(1, 4)
BEFORE = 60
ONE_WAITS = "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


def address_of(*servers: PrivatePostgres) -> str:
    """Of several: the one that takes writes is meant, whichever it is."""
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return f"postgresql://postgres@{hosts}/postgres"


@takes_long
def test_failing_over_to_the_synchronous_standby_loses_nothing_acknowledged(tmp_path: Path, figures: Figures) -> None:
    acknowledged = 0
    for number in range(ROUNDS):
        with (
            postgres_pair() as (primary, standby),
            under_load(
                f"{address_of(primary, standby)}?target_session_attrs=read-write", tmp_path / f"cell-{number}"
            ) as callers,
        ):
            callers.wait_for_more(BEFORE + number)
            primary.lose()
            callers.wait_for_trouble()
            standby.promote()
            callers.wait_for_more(10)
        acknowledged += len(callers.acknowledged)
    figures(failovers=ROUNDS, acknowledged=acknowledged, lost=0)


def test_what_the_standby_has_not_confirmed_is_not_acknowledged_by_whatever_way(
    tmp_path: Path, figures: Figures
) -> None:
    """With a control: those who do not wait for the standby lose what they were told is done."""
    with ExitStack() as stack:
        primary, standby = stack.enter_context(postgres_pair())
        waiting = stack.enter_context(jars_on(primary, standby, tmp_path))
        hasty = stack.enter_context(jars_on(primary, standby, tmp_path, "-c synchronous_commit=local"))
        pool = stack.enter_context(ThreadPoolExecutor(1))
        confirmed = make(waiting, "confirmed")
        primary.stall_standby()

        promised_in_haste = make(hasty, "hasty")
        for _ in range(2):
            # PostgreSQL reports the commit as done when its wait is cancelled, and from then on its event can be read.
            cancelled = pool.submit(make, waiting, "cancelled")
            primary.wait_until(ONE_WAITS)
            primary.query("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
            with pytest.raises(InDoubt):
                cancelled.result()
            assert len(events(waiting.house.log)) == 3
        in_flight = pool.submit(make, waiting, "in flight")
        primary.wait_until(ONE_WAITS)
        primary.lose()
        with pytest.raises(InDoubt):
            in_flight.result()
        standby.promote()

        assert promised_in_haste.position == 2
        assert [event.record.stream for event in events(waiting.house.log)] == [confirmed.id]
        again = [make(waiting, name) for name in ("cancelled", "in flight")]
        assert [receipt.position for receipt in again] == [2, 3]
        assert [make(waiting, name) for name in ("confirmed", "cancelled", "in flight")] == [confirmed, *again]
    figures(failovers=1, acknowledged=1, in_doubt=3, lost=0, lost_without_waiting=1)


class HousedJars(Jars):
    """Commands on a cell, over connections of its own."""

    def __init__(self, house: House) -> None:
        super().__init__(house.recorder, house.keys, MachineClock())
        self.house = house


@contextmanager
def jars_on(primary: PrivatePostgres, standby: PrivatePostgres, data: Path, options: str = "") -> Iterator[HousedJars]:
    address = make_conninfo(address_of(standby, primary), options=options)
    house = House(Settings(data, "jars", address, True, None, data / "master.key"))
    house.make()
    yield HousedJars(house)
    house.close()


def make(jars: Jars, name: str) -> Receipt:
    """A new jar; the same name is the same request."""
    return jars.make(Caller("user:ana", "main", "Make"), JarRequest(request_id=name, label=name))
