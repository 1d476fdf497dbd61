"""A cell on a PostgreSQL of the test's own: started as people start it, and looked through afterwards."""

import json
import os
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from kept.common.v1.record_pb2 import Record

from services.cli.table import SERVICES
from services.cli.up import ADDRESSES
from services.kernel.cell import wait_until
from services.kernel.config import Settings, read_settings
from services.kernel.events import LogEvent, log_event
from services.kernel.house import House
from services.kernel.log.positions import Positions
from services.kernel.ready import READY, READY_FD
from tests.faults.auditor import Auditor
from tests.faults.callers import PRINCIPAL, Acknowledged, Callers, Trouble
from tests.kept import KEPT, ROOT, kept

STOPS_WITHIN_S = 60.0
CATCH_UP_WITHIN = timedelta(seconds=60)
BATCH = 5000


@dataclass(frozen=True)
class RunningCell:
    settings: Settings

    def told(self) -> dict[str, Any]:
        """What the cell says of itself: `targets`, and the process ids that it has now."""
        return dict(json.loads((self.settings.run / ADDRESSES).read_text()))

    def processes(self) -> dict[str, int]:
        """Of each process of the cell that lives, its id."""
        told = self.told()["processes"]
        return {name: pid for name, pid in told.items() if Path("/proc", str(pid)).exists()}

    def assert_catches_up(self, auditor: Auditor) -> None:
        """Every follower of the cell reads up to the end of the log, and the auditor saw what is in it, each event once."""
        house = House(self.settings)
        wait_until(house.log.bell, lambda: not _behind(house), CATCH_UP_WITHIN, "followers-behind")
        head = house.log.position()
        auditor.wait_for(head)
        recorded = [(event.position, event.record) for event in house.log.read(0, head)]
        assert auditor.seen[:head] == recorded, "the auditor did not see what is in the log, each event once"
        house.close()


@contextmanager
def cell_on(address: str, data: Path) -> Iterator[RunningCell]:
    """A cell that is up inside the block."""
    ready, ready_end = os.pipe()
    said = data.with_suffix(".log")
    with open(said, "wb") as output:
        process = subprocess.Popen(
            [*KEPT, "up", "--no-console", "--data", str(data)],
            cwd=ROOT,
            env={**os.environ, "KEPT_DATABASE": address, READY_FD: str(ready_end)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(ready_end,),
        )
    os.close(ready_end)
    try:
        with open(ready, "rb") as pipe:
            assert pipe.read() == READY, said.read_text()
        yield RunningCell(read_settings({"KEPT_DATABASE": address}, data))
    finally:
        process.terminate()
        process.wait(STOPS_WITHIN_S)


@contextmanager
def under_load(address: str, data: Path) -> Iterator[Callers]:
    """A cell that is called and followed inside the block; after it, all is looked through: nothing is lost or doubled,
    nobody was left without an answer, and none of the cell's processes was started again."""
    with cell_on(address, data) as cell:
        targets, started = cell.told()["targets"], cell.processes()
        with Auditor(targets) as auditor:
            with Callers(targets) as callers:
                yield callers
            cell.assert_catches_up(auditor)
        now = cell.processes()
        assert now == started, f"{started} have become {now}"
    assert_only_unavailable(callers.troubles)
    assert_nothing_lost_or_doubled(cell.settings, callers.acknowledged)
    assert_replays_the_same(address, data)


def assert_only_unavailable(troubles: Counter[Trouble]) -> None:
    """Callers were told why they may send the same again."""
    assert {trouble.status for trouble in troubles} == {"UNAVAILABLE"}, troubles
    slugs = {trouble.slug for trouble in troubles}
    assert slugs <= {"storage-lost", "log-in-doubt", "view-behind"}, troubles


def assert_nothing_lost_or_doubled(settings: Settings, acknowledged: Sequence[Acknowledged]) -> None:
    """Every acknowledged event is at its position, once; every request had one effect; positions are dense."""
    house = House(settings)
    events = all_events(house)
    assert [event.position for event in events] == list(range(1, house.log.position() + 1))

    versions: dict[str, list[int]] = defaultdict(list)
    effects: dict[str, list[LogEvent]] = defaultdict(list)
    for event in events:
        versions[event.record.stream].append(event.record.version)
        if event.record.actor == PRINCIPAL:
            effects[event.record.request_key].append(event)
    assert all(seen == list(range(1, len(seen) + 1)) for seen in versions.values())

    missing = lost(events, acknowledged)
    assert missing == [], f"acknowledged and not there: {missing}"
    assert len(acknowledged) == len({one.key for one in acknowledged})
    assert effects.keys() == {one.key for one in acknowledged}, "something was recorded that nobody asked for"
    # What one method records is always as much.
    sizes = Counter((one.method, len(effects[one.key])) for one in acknowledged)
    assert len(sizes) == len({method for method, _ in sizes}) == 3, sizes
    for one in acknowledged:
        positions = [event.position for event in effects[one.key]]
        assert positions == list(range(positions[0], one.receipt.position + 1)), f"{one} has {positions}"
    house.close()


def lost(events: Sequence[LogEvent], acknowledged: Sequence[Acknowledged]) -> list[Acknowledged]:
    """Those whose receipt names no event of theirs."""

    def found(one: Acknowledged) -> bool:
        receipt = one.receipt
        if receipt.position > len(events):
            return False
        record: Record = events[receipt.position - 1].record
        return (record.stream, record.version, record.request_key) == (receipt.id, receipt.version, one.key)

    return [one for one in acknowledged if not found(one)]


def assert_replays_the_same(address: str, data: Path) -> None:
    replayed = kept("replay", "--verify", "--data", data, "--quiet", KEPT_DATABASE=address)
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr


def all_events(house: House) -> list[LogEvent]:
    found: list[LogEvent] = []
    while batch := house.log.read(len(found), BATCH):
        found += map(log_event, batch)
    return found


def _behind(house: House) -> list[str]:
    """The followers that have something to read."""
    head, behind = house.log.position(), []
    for namespace in ("log", *(f"views_{service.name}" for service in SERVICES)):
        with house.database(namespace).read() as session:
            positions = Positions(session).all()
        assert positions or namespace == "log"
        behind += [name for name, position in positions.items() if position < head]
    return behind
