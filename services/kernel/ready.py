"""How a process tells the supervisor that started it that it is ready."""

import os
from contextlib import suppress

READY_FD = "KEPT_READY_FD"
READY = b"ready\n"


def announce_ready() -> None:
    """Says "ready" once, and only when a supervisor listens; call it when the first request can be answered.

    Takes `KEPT_READY_FD` out of `os.environ`, so that a second call does nothing and grandchildren do not inherit it.
    """
    number = os.environ.pop(READY_FD, None)
    if number is None:
        return
    with suppress(BrokenPipeError), open(int(number), "wb", buffering=0) as pipe:  # a supervisor that died ends us soon
        pipe.write(READY)
