"""`kill -9` of any process, at any moment of an import: the same command goes on, and the streams are the same."""

import os
import signal
import subprocess
from pathlib import Path
from random import Random
from time import monotonic

from tests.kept import ROOT, digest, import_command, kept, made_sample

# A full round takes a while: KEPT_KILLS=20 runs it.
KILLS = int(os.environ.get("KEPT_KILLS") or 4)
VICTIMS = ("api", "worker", "importer", "supervisor")
ROUNDS_MOST = 5 * KILLS + 5
LOOK_AGAIN_S = 0.05


def test_killed_at_random_moments_an_import_ends_with_the_same_streams(tmp_path: Path) -> None:
    sample = made_sample(tmp_path)
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    started = monotonic()
    subprocess.run(import_command(sample, undisturbed), cwd=ROOT, check=True, capture_output=True)
    share_s = (monotonic() - started) / (2 * KILLS)

    _import_with_kills(sample, killed, share_s)

    assert digest(killed) == digest(undisturbed)
    replayed = kept("replay", "--verify", "--data", killed, "--quiet")
    assert replayed.returncode == 0, replayed.stdout


def _import_with_kills(sample: Path, data: Path, share_s: float) -> None:
    """Starts the import again until it ends by itself, and kills one process of it after another meanwhile.

    `share_s` is the longest that it runs between two kills, in seconds.
    """
    random = Random(7)  # noqa: S311 - moments, not secrets
    kills = 0
    for _ in range(ROUNDS_MOST):
        importer = subprocess.Popen(
            import_command(sample, data), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        pause_s = random.uniform(0, share_s)
        while kills < KILLS and not _ended(importer, within_s=pause_s):
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


def _ended(process: "subprocess.Popen[bytes]", within_s: float) -> bool:
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _processes(importer: int) -> dict[str, int]:
    """The importer and those that it started, by what they are."""
    found = {"importer": importer}
    for supervisor in _children(importer):
        found["supervisor"] = supervisor
        for child in _children(supervisor):
            found["worker" if "services.cli.worker" in _command(child) else "api"] = child
    return found


def _children(parent: int) -> list[int]:
    children = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                after_name = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue  # it ended meanwhile
            if int(after_name[1]) == parent:
                children.append(int(folder.name))
    return children


def _command(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""
