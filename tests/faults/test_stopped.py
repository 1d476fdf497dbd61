"""A process that stands still for long (SIGSTOP: swapped out, being debugged, on a sick disk): the others go on.

On SQLite there is one exception, and it is bounded: a process that stands still within a transaction on the log keeps
everybody from writing. They are told so after a while, people go on reading, and nothing is lost when it goes on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import grpc
import pytest
from kept.customer.v1 import service_pb2 as customer
from kept.customer.v1.service_pb2_grpc import CustomerServiceStub

from services.kernel.database import PATIENCE_S, SQLite
from services.kernel.errors import Unavailable
from tests.faults.forms import FORM, takes_long, times
from tests.faults.live import LiveCell, People, assert_each_is_there_once, live_cell, stands, wait_until_all_is_read
from tests.faults.processes import cell_processes, ends, stopped
from tests.figures import Figures
from tests.scene import edited, register_customer

MEANWHILE = times(40, 400)
AT_ONCE = 3
SEED = 12
ATTEMPTS, MOMENT_S = 400, 0.03
# A transaction of a process that runs is over long before.
STILL_HELD_S = 0.3
ANSWERED_WITHIN_S = 5
METADATA = (("kept-principal", "user:ana"), ("kept-tenant", "main"))


@takes_long
def test_while_a_worker_stands_still_everybody_else_goes_on_and_it_catches_up(memory: Path, figures: Figures) -> None:
    with live_cell(memory / "cell", "--separate") as cell:
        with People(cell, AT_ONCE) as people:
            people.wait_for(AT_ONCE)
            with standing_still(cell, people, "case-worker", writing=False):
                before = stands(cell, "case")
                people.wait_for(MEANWHILE)
                head = wait_until_all_is_read(cell, but="case")
                assert stands(cell, "case") == before
            people.wait_for(AT_ONCE)
        wait_until_all_is_read(cell)

    events = assert_each_is_there_once(cell)
    assert head - before >= MEANWHILE
    figures(behind=head - before, acknowledged=len(cell.acknowledged), events=events)


@takes_long
def test_while_one_stands_still_that_writes_the_log_people_read_and_then_all_goes_on(
    memory: Path, figures: Figures
) -> None:
    with live_cell(memory / "cell") as cell:
        with People(cell, AT_ONCE) as people:
            people.wait_for(AT_ONCE)
            customer_id = next(one.stream for one in cell.acknowledged.values() if one.method == "RegisterCustomer")
            with standing_still(cell, people, "worker", writing=True) as attempts:
                before = len(cell.acknowledged)
                with grpc.insecure_channel(cell.targets["customer"]) as channel:
                    request = customer.GetCustomerRequest(customer_id=customer_id)
                    shown = CustomerServiceStub(channel).GetCustomer(
                        request, timeout=ANSWERED_WITHIN_S, metadata=METADATA
                    )
                assert shown.customer_id == customer_id
                assert log_is_held(cell)
                assert len(cell.acknowledged) == before
            people.wait_for(MEANWHILE)
        wait_until_all_is_read(cell)

    events = assert_each_is_there_once(cell)
    figures(attempts=attempts, acknowledged=len(cell.acknowledged), events=events, lost=0, seed=SEED)


@takes_long
@pytest.mark.skipif(FORM == "short", reason="waits for the whole patience of a writer; KEPT_FAULTS=long")
def test_whoever_cannot_write_for_long_is_told_so(memory: Path) -> None:
    request = edited(register_customer(), {"request_id": "meanwhile"})
    with live_cell(memory / "cell") as cell:
        with (
            People(cell, AT_ONCE) as people,
            standing_still(cell, people, "worker", writing=True),
            grpc.insecure_channel(cell.targets["customer"]) as channel,
            pytest.raises(grpc.RpcError) as caught,
        ):
            CustomerServiceStub(channel).RegisterCustomer(request, timeout=3 * PATIENCE_S, metadata=METADATA)
        wait_until_all_is_read(cell)

    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "another process writes; try again" in str(caught.value.details())
    assert_each_is_there_once(cell)


@contextmanager
def standing_still(cell: LiveCell, people: People, name: str, *, writing: bool) -> Iterator[int]:
    """Inside, that process stands still, within a transaction on the log or outside of any. Gives how often it was tried."""
    random = Random(SEED)  # noqa: S311 - moments, not secrets
    pid = cell_processes(cell.supervisor.pid)[name]
    for attempt in range(1, ATTEMPTS):
        people.wait_for(1)
        assert not ends(pid, random.uniform(0, MOMENT_S))
        with stopped(pid):
            if log_is_held(cell) == writing:
                yield attempt
                return
    raise AssertionError(f"{name} was never found {'writing' if writing else 'at rest'}")


def log_is_held(cell: LiveCell) -> bool:
    """Whether nobody can write to the log, for longer than any transaction takes."""
    log = SQLite(cell.data / "log.db", patience_s=STILL_HELD_S)
    try:
        with log.write():
            return False
    except Unavailable as refusal:
        if refusal.slug != "storage-busy":
            raise
        return True
    finally:
        log.close()
