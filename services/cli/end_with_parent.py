"""Programs that end with the process that starts them, even after a kill -9 of it.

This file is what runs first in the new process: it asks the kernel for that, and becomes the program. Whoever starts it
runs no code of its own between fork and exec, which would work in a copy of its threads' state (gRPC's, for one).
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

NOT_STARTED = 127  # what a shell says of a program that it cannot start
_PR_SET_PDEATHSIG = 1


def ending_with_us(argv: Sequence[str]) -> tuple[str, ...]:
    """The command that runs `argv`, and gets SIGTERM when this thread ends; elsewhere than on Linux it stays."""
    if sys.platform != "linux":
        return tuple(argv)
    return (sys.executable, "-I", "-S", __file__, str(os.getpid()), *argv)


def _become(parent: int, argv: Sequence[str]) -> None:
    """Raises OSError when there is no such program."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # one that the parent ignored would be ignored for ever
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGTERM))
    if os.getppid() != parent:  # gone before we asked
        os.kill(os.getpid(), signal.SIGTERM)
    os.execvp(argv[0], list(argv))  # noqa: S606 - the program that this process was started for


if __name__ == "__main__":
    try:
        _become(int(sys.argv[1]), sys.argv[2:])
    except OSError as error:
        sys.stderr.write(f"{sys.argv[2]}: {error.strerror}\n")
        sys.exit(NOT_STARTED)
