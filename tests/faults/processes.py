"""The processes of a cell on this machine, found as an operator finds them: by who started whom, and what it runs."""

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

LOOK_AGAIN_S = 0.05
# What a process's command line has, and the name that it goes by; the first that fits.
NAMES = {
    "services.cli.worker\0notification-sender": "sender",
    "services.cli.worker": "worker",
    "\0streams\0": "streams",
    "\0api\0": "api",
    "gateway": "gateway",
}


def children(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                after_name = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue  # it ended meanwhile
            if int(after_name[1]) == parent:
                found.append(int(folder.name))
    return found


def cell_processes(supervisor: int) -> dict[str, int]:
    """By what they are; those of `--separate` as `customer-api` and `customer-worker`."""
    found = {}
    for child in children(supervisor):
        command = _command(child)
        name = next((name for part, name in NAMES.items() if part in command), None)
        if name in ("api", "worker"):
            after = command.split("\0api\0" if name == "api" else "services.cli.worker\0")[-1]
            service = after.split("\0")[0]
            name = name if not service or service.startswith("--") else f"{service}-{name}"
        if name is not None:
            found[name] = child
    return found


def _command(pid: int) -> str:
    try:
        return (Path("/proc") / str(pid) / "cmdline").read_text()
    except OSError:
        return ""


def ends(pid: int, within_s: float) -> bool:
    """Whether the process ends by itself in that time; one that is not there has."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], max(0.0, within_s))[0])
    finally:
        os.close(pidfd)


def looked_for(found: Callable[[], int | None], beside: int, within_s: float) -> int:
    """A process that will come; looks again and again while the one `beside` it runs."""
    until = monotonic() + within_s
    while (pid := found()) is None:
        assert monotonic() < until, "it did not come"
        assert not ends(beside, LOOK_AGAIN_S), "what should start it has ended"
    return pid


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Inside, the process stands still, as one does that swaps or is being debugged; then it goes on."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
