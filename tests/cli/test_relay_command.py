"""`kept relay rebuild`: what it says where there is a copy, and where there is none."""

import pytest
from click.testing import CliRunner, Result

from services.cli.main import main
from services.kernel.house import House
from tests.broker import Copy
from tests.databases import Cell
from tests.kernel.toys import given, labelled


@pytest.fixture
def address() -> str:
    """On SQLite alone."""
    return ""


def rebuild(cell: Cell, broker: str) -> Result:
    environment = {**cell.settings.environment(), "KEPT_BROKER": broker}
    return CliRunner(env=environment).invoke(main, ["relay", "rebuild", "--data", str(cell.settings.data)])


def test_the_copy_is_dropped(cell: Cell, house: House, copy: Copy) -> None:
    given(house.log, labelled("a", 1))
    copy.put(house.log.read(0, 10))

    first, second = rebuild(cell, copy.address), rebuild(cell, copy.address)

    assert (first.exit_code, first.output) == (0, f"{copy.stream}: dropped; the relay makes it again\n")
    assert (second.exit_code, second.output) == (0, f"{copy.stream}: was not there; the relay makes it\n")
    assert not copy.exists()


def test_an_empty_log_has_no_copy(cell: Cell, house: House, broker: str) -> None:
    done = rebuild(cell, broker)

    assert (done.exit_code, done.output) == (0, "the log is empty: there is nothing to copy yet\n")


def test_without_a_broker_there_is_none(cell: Cell, house: House) -> None:
    done = rebuild(cell, "")

    assert (done.exit_code, done.output) == (78, "kept: KEPT_BROKER is not set: this cell has no copy\n")


def test_a_broker_that_is_away_is_told_without_its_address(cell: Cell, house: House) -> None:
    given(house.log, labelled("a", 1))

    done = rebuild(cell, "amqp://ana:secret@127.0.0.1:1/")

    told = "the broker cannot be reached, or was lost (ConnectionRefusedError); see KEPT_BROKER (broker-away)"
    assert (done.exit_code, done.output) == (1, f"kept: {told}\n")
