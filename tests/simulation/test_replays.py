"""A seed is one run: the same steps, the same log, in this process and in any other. And the runs are not all idle ones."""

import re
import subprocess
import sys
from collections import Counter

from tests.simulation.run import simulate

SEED = 42
TROUBLES = (
    "killed", "stopped", "died before it commits", "died after it committed", "died before it delivers",
    "commit refused", "commit in doubt", "committed together", "version-conflict", "request-repeated",
    "request-repeated among others", "follower-fenced", "clock back", "time passes", "notice", "notice twice",
    "parked", "OfferExpired", "ThresholdReached", "VerdictReached",
)  # fmt: skip


def test_a_seed_runs_the_same_again() -> None:
    lines: list[list[str]] = [[], []]
    runs = [simulate(SEED, traced=told.append) for told in lines]

    assert runs[0] == runs[1]
    assert lines[0] == lines[1]
    assert len(lines[0]) > 100


def test_another_process_runs_it_the_same_whatever_its_hash_seed() -> None:
    here = simulate(SEED)

    for hash_seed in ("1", "2"):
        told = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", str(SEED)],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": hash_seed, "PATH": ""},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert f"trace {here.trace}, root {here.root.hex()}" in told


def test_seeds_differ() -> None:
    runs = [simulate(seed) for seed in (1, 2, 3)]

    assert len({run.trace for run in runs}) == len({run.root for run in runs}) == 3


def test_everything_that_can_go_wrong_does() -> None:
    happened = sum((simulate(seed).happened for seed in range(1, 61)), Counter[str]())

    assert {trouble: happened[trouble] for trouble in TROUBLES if not happened[trouble]} == {}


def test_a_failing_seed_can_be_looked_at_by_hand() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "tests.simulation", "--seed", "1", "--count", "50", "--bug", "conflict-as-success"],
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
        check=False,
        capture_output=True,
        text=True,
    )

    assert told.returncode == 1
    found = re.search(r"look at it: python -m (tests\.simulation) (--seed \d+ --bug \S+ --trace)", told.stdout)
    assert found is not None
    replayed = subprocess.run(
        [sys.executable, "-m", found[1], *found[2].split()],
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
        check=False,
        capture_output=True,
        text=True,
    ).stdout
    assert replayed.endswith(told.stdout)
    assert len(replayed) > len(told.stdout)
