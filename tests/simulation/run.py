"""A seed, run: `simulate(7)` is the same run each time, on every machine."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from tests.simulation.bugs import BUGS, NONE
from tests.simulation.checks import check, verified
from tests.simulation.locks import waiting_by
from tests.simulation.prelude import prelude
from tests.simulation.randomness import drawn_from
from tests.simulation.scheduler import Scheduler
from tests.simulation.store import Disks
from tests.simulation.world import World

# A replay takes as long as half of the run itself, so only every second seed's log is replayed.
REPLAYED = 2
# And these by the product's own command, which takes as long as the run.
VERIFIED = 50


class SeedFailedError(AssertionError):
    """What a seed has found, with the command that shows it again."""


@dataclass(frozen=True)
class Run:
    """`trace` is a hash of every step; `root` the Merkle root of the log that came of them; `happened` counts troubles."""

    seed: int
    trace: str
    root: bytes
    events: int
    steps: int
    happened: Counter[str]


@cache
def _sandbox() -> Disks:
    return prelude().disks.copy()


def simulate(seed: int, bug: str = "", traced: Callable[[str], None] | None = None) -> Run:
    """Raises SeedFailedError."""
    given = prelude()
    given.disks.put_back()
    scheduler = Scheduler(seed, traced=traced)
    try:
        with drawn_from(scheduler.random), waiting_by(scheduler), _quiet():
            world = World(scheduler, given, BUGS[bug] if bug else NONE)
            world.run()
            root = check(world, _sandbox() if seed % REPLAYED == 0 else None)
            if seed % VERIFIED == 0:
                verified(world)
    except Exception as error:
        command = f"python -m tests.simulation --seed {seed}{f' --bug {bug}' if bug else ''} --trace"
        raise SeedFailedError(f"seed {seed}: {type(error).__name__}: {error}\nlook at it: {command}") from error
    finally:
        scheduler.end()
    events = world.answers.log.position() - given.position
    return Run(seed, scheduler.trace_hash(), root, events, scheduler.tick, scheduler.happened)


@contextmanager
def _quiet() -> Iterator[None]:
    """What processes log of faults that are meant is no news."""
    logger = logging.getLogger("services")
    before, logger.disabled = logger.level, False
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
