"""A disk that gets full in the middle of anything: a clear refusal, nothing half done, and all goes on when there is space.

The cell is not restarted in between: the same connections, caches and followers go on.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from google.protobuf.message import Message

from services.kernel.clock import FixedClock
from services.kernel.errors import Unavailable
from tests.faults.disk import Disk, recorded
from tests.faults.forms import FORM, takes_long, times
from tests.figures import Figures
from tests.history import Played, played, verified
from tests.kept import ROOT
from tests.needed import missing
from tests.scene import edited, install_item, open_case, register_customer

NOW = datetime(2024, 5, 6, 8, 0, tzinfo=UTC)
ROUNDS = times(30, 400)
SEED = 20_240_507
FILES = {"log": "log.db", "keys": "keys.db", "views": "views-"}
# What one customer's commands write to these files, roughly: a round's disk gets full somewhere in it.
MOST_WRITES = {"log": 60, "keys": 12, "views": 60}


def of(file: str) -> Callable[[str], bool]:
    return lambda path: Path(path).name.startswith(FILES[file])


class Desk:
    """Tells a cell of one customer after another. A command that finds the disk full is sent again after `when_full`."""

    def __init__(self, cell: Played, when_full: Callable[[Unavailable], None]) -> None:
        self._cell, self._when_full = cell, when_full
        self.positions: set[int] = set()
        self.refused = self._served = 0

    def serve_one(self) -> None:
        self._served += 1
        customer = self._tell("customer", register_customer())
        self._tell("customer", edited(install_item(customer), {"warranty_until": None}))
        self._tell("case", edited(open_case(customer), {"external_reference": f"R{self._served}"}))

    def _tell(self, service: str, request: Message) -> str:
        request = edited(request, {"request_id": f"{self._served}-{request.DESCRIPTOR.name}"})
        while True:
            before = self._cell.house.log.head()
            try:
                receipt = self._cell.call(service, request.DESCRIPTOR.name.removesuffix("Request"), request).receipt
            except Unavailable as refusal:
                assert self._cell.house.log.head() == before
                self.refused += 1
                self._when_full(refusal)
            else:
                self.positions.add(receipt.position)
                return str(receipt.id)


def full(disk: Disk, patience: int, refusal: Unavailable) -> None:
    """Somebody makes space after so many more refusals of this round."""
    assert_says_that_the_disk_is_full(refusal)
    if disk.refused_since_it_is_full > patience:
        disk.free()


def assert_says_that_the_disk_is_full(refusal: Unavailable) -> None:
    assert (refusal.slug, refusal.status) == ("storage-full", "UNAVAILABLE")
    assert "the disk is full; free some space and try again" in str(refusal)


@takes_long
@pytest.mark.parametrize("file", ["log", "keys"])
def test_a_command_on_a_full_disk_is_refused_whole_and_done_once_when_there_is_space(
    memory: Path, figures: Figures, file: str
) -> None:
    random = Random(SEED)  # noqa: S311 - moments, not secrets
    data = memory / "cell"
    patience = 0
    with recorded() as disk, played(data, FixedClock(NOW)) as cell:
        desk = Desk(cell, lambda refusal: full(disk, patience, refusal))
        for _ in range(ROUNDS):
            patience = random.randrange(3)
            disk.fill_after(random.randrange(MOST_WRITES[file]), of(file))
            desk.serve_one()
            disk.free()
            cell.drain()
        events = cell.house.log.read(0, 1_000_000)

    assert desk.refused > ROUNDS / 4
    assert [event.position for event in events] == list(range(1, len(events) + 1))
    assert len(desk.positions) == 3 * ROUNDS
    assert verified(data).findings.first == {}
    figures(rounds=ROUNDS, commands_refused=desk.refused, acknowledged=3 * ROUNDS, lost=0, seed=SEED)


@takes_long
@pytest.mark.parametrize("file", ["log", "views"])
def test_a_follower_on_a_full_disk_parks_nothing_and_goes_on_when_there_is_space(
    memory: Path, figures: Figures, file: str
) -> None:
    random = Random(SEED)  # noqa: S311 - moments, not secrets
    data, stopped = memory / "cell", 0
    with recorded() as disk, played(data, FixedClock(NOW)) as cell:
        desk = Desk(cell, unexpected)
        for _ in range(ROUNDS):
            desk.serve_one()
            disk.fill_after(random.randrange(MOST_WRITES[file]), of(file))
            stopped += is_stopped(cell, disk)
            disk.free()
            cell.drain()  # and nothing is parked

    assert stopped > ROUNDS / 4
    assert verified(data).findings.first == {}
    figures(rounds=ROUNDS, followers_stopped=stopped, parked=0, seed=SEED)


def is_stopped(cell: Played, disk: Disk) -> bool:
    """Whether a follower meets the full disk before all have read everything."""
    try:
        cell.drain()
    except Unavailable as refusal:
        assert_says_that_the_disk_is_full(refusal)
        assert disk.refused
        return True
    return False


def unexpected(refusal: Unavailable) -> None:
    raise refusal


IN_A_NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


def needs_a_namespace() -> None:
    if not (shutil.which("unshare") and subprocess.run([*IN_A_NAMESPACE, "true"], check=False).returncode == 0):
        missing("needs a mount namespace of its own: unshare, and the right to use it")


@takes_long
@pytest.mark.skipif(FORM == "short", reason="test_bad_setup has a cell whose files may not grow; KEPT_FAULTS=long")
def test_a_cell_on_a_small_disk_refuses_and_goes_on_when_the_disk_is_made_larger(
    memory: Path, figures: Figures
) -> None:
    needs_a_namespace()

    done = subprocess.run(
        [*IN_A_NAMESPACE, sys.executable, "-m", "tests.faults.small_disk", str(memory)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    figures(**json.loads(done.stdout), lost=0)
