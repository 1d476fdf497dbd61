"""Runs a module on one core: `python -m loadtests.pinned CORE MODULE [ARGUMENT ...]`."""

import os
import sys

if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})  # kept by what replaces this process, and by its threads
    os.execv(sys.executable, [sys.executable, "-m", *sys.argv[2:]])  # noqa: S606 - our own modules
