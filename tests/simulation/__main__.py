"""Runs seeds by hand: `python -m tests.simulation --seed 7 [--count 100] [--bug position-apart] [--trace]`."""

import argparse
import sys
import time
from collections import Counter
from functools import partial

from tests.simulation.bugs import BUGS
from tests.simulation.run import SeedFailedError, simulate


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, required=True, help="the first seed to run")
    parser.add_argument("--count", type=int, default=1, help="how many, one after the other")
    parser.add_argument("--bug", choices=sorted(BUGS), default="", help="a bug to plant")
    parser.add_argument("--trace", action="store_true", help="print each step")
    told, say = parser.parse_args(), partial(print, flush=True)
    started, events, happened = time.monotonic(), 0, Counter[str]()
    for seed in range(told.seed, told.seed + told.count):
        try:
            run = simulate(seed, told.bug, say if told.trace else None)
        except SeedFailedError as failed:
            say(failed)
            return 1
        events += run.events
        happened += run.happened
        if told.count == 1:
            say(f"seed {seed}: {run.events} events in {run.steps} steps, trace {run.trace}, root {run.root.hex()}")
    say(", ".join(f"{what}: {count}" for what, count in sorted(happened.items())))
    say(f"{told.count} seeds, {events} events, nothing wrong, in {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
