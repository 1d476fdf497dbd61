"""`kill -9` of any process of a cell that people work with: whoever got a receipt finds it kept, once."""

import os
import signal
from contextlib import closing
from pathlib import Path
from random import Random

from kept.common.v1.record_pb2 import Record

from services.kernel.config import read_settings
from services.kernel.house import House
from tests.faults.forms import takes_long, times
from tests.faults.live import ALL, LiveCell, People, assert_each_is_there_once, live_cell, wait_until_all_is_read
from tests.faults.processes import cell_processes, ends, looked_for
from tests.figures import Figures

# The API more often: it is the one that tells people what was recorded.
VICTIMS = ("api", "api", "api", "worker", "sender", "streams", "supervisor")
ROUNDS = times(1, 12)
# So often the API is killed at most until one of its answers got lost.
MOST_KILLS = (ROUNDS + 2) * len(VICTIMS)
AT_ONCE = 4
SEED = 11
COMES_WITHIN_S = 30.0
STOPS_WITHIN_S = 10.0
# Of acknowledged commands, and after them of seconds, between one kill and the next.
MOST_BETWEEN, MOMENT_S = times(20, 60), 0.03


@takes_long
def test_what_was_acknowledged_is_there_once_whatever_is_killed(memory: Path, figures: Figures) -> None:
    random = Random(SEED)  # noqa: S311 - moments, not secrets
    kills = doubts = 0
    with live_cell(memory / "cell") as cell:
        with People(cell, AT_ONCE) as people, closing(House(read_settings({}, cell.data))) as house:
            victims = [victim for _ in range(ROUNDS) for victim in random.sample(VICTIMS, len(VICTIMS))]
            while victims or (not doubts and kills < MOST_KILLS):
                victim = victims.pop() if victims else "api"
                people.wait_for(random.randrange(1, MOST_BETWEEN))
                pid = found(cell, victim)
                if victim == "api":
                    wait_for_a_commit(house)
                else:
                    ends(pid, random.uniform(0, MOMENT_S))
                kill(cell, pid)
                kills += 1
                if victim == "api":  # whoever asked it for what is recorded was not told, and has to ask again
                    doubts += len(requests_recorded(house) - cell.acknowledged.keys())
            people.wait_for(AT_ONCE)
        wait_until_all_is_read(cell)

    assert doubts > 0
    events = assert_each_is_there_once(cell)
    told = len(cell.acknowledged)
    figures(kills=kills, acknowledged=told, in_doubt_first=doubts, events=events, lost=0, doubled=0, seed=SEED)


def wait_for_a_commit(house: House) -> None:
    """Returns at once when something is committed, which is before whoever asked for it is told."""
    with closing(house.log.bell.listen()) as ear:
        assert ear.wait(COMES_WITHIN_S)


def requests_recorded(house: House) -> set[str]:
    return {Record.FromString(event.record).request_key for event in house.log.read(0, ALL)} - {""}


def found(cell: LiveCell, victim: str) -> int:
    """One that is being started again is waited for."""
    if victim == "supervisor":
        return cell.supervisor.pid
    return looked_for(lambda: cell_processes(cell.supervisor.pid).get(victim), cell.supervisor.pid, COMES_WITHIN_S)


def kill(cell: LiveCell, pid: int) -> None:
    """A cell without its supervisor ends; somebody starts it again."""
    processes = cell_processes(cell.supervisor.pid).values()
    os.kill(pid, signal.SIGKILL)
    if pid == cell.supervisor.pid:
        cell.supervisor.wait()
        assert all(ends(process, STOPS_WITHIN_S) for process in processes)
        cell.start()
