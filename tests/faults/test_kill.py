"""`kill -9` of any process, at any moment of an import: the same command goes on, and the streams are the same."""

import os
import signal
import subprocess
from pathlib import Path
from random import Random
from time import monotonic

from tests.faults.forms import takes_long, times
from tests.faults.processes import LOOK_AGAIN_S, cell_processes, children, ends
from tests.figures import Figures
from tests.kept import ROOT, digest, import_command, kept, made_sample

KILLS = times(4, 20)
VICTIMS = ("api", "worker", "importer", "supervisor")
SEED = 7
ROUNDS_MOST = 5 * KILLS + 5


@takes_long
def test_killed_at_random_moments_an_import_ends_with_the_same_streams(tmp_path: Path, figures: Figures) -> None:
    sample = made_sample(tmp_path)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    started = monotonic()
    subprocess.run(import_command(sample, undisturbed), cwd=ROOT, check=True, capture_output=True)
    share_s = (monotonic() - started) / (2 * KILLS)

    _import_with_kills(sample, killed, share_s)

    assert digest(killed) == digest(undisturbed)
    replayed = kept("replay", "--verify", "--data", killed, "--quiet")
    assert replayed.returncode == 0, replayed.stdout
    figures(kills=KILLS, seed=SEED)


def _import_with_kills(sample: Path, data: Path, share_s: float) -> None:
    """Starts the import again until it ends by itself, and kills one process of it after another meanwhile.

    `share_s` is the longest that it runs between two kills, in seconds.
    """
    random = Random(SEED)  # noqa: S311 - moments, not secrets
    kills = 0
    for _ in range(ROUNDS_MOST):
        importer = subprocess.Popen(
            import_command(sample, data), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        pause_s = random.uniform(0, share_s)
        while kills < KILLS and not ends(importer.pid, pause_s):
            victim = _processes(importer.pid).get(VICTIMS[kills % len(VICTIMS)])
            pause_s = LOOK_AGAIN_S
            if victim is not None:
                os.kill(victim, signal.SIGKILL)
                kills += 1
                pause_s = random.uniform(0, share_s)
        if importer.wait() == 0:
            assert kills == KILLS, "the import ended before all the kills"
            return
    raise AssertionError("the import never came to its end")


def _processes(importer: int) -> dict[str, int]:
    """The importer and those that it started, by what they are."""
    found = {"importer": importer}
    for supervisor in children(importer):
        found |= {"supervisor": supervisor, **cell_processes(supervisor)}
    return found
