"""Signals for a process whose threads are eventlet's: a handler alone does not wake their hub, a pipe does."""

import os
import signal
from collections.abc import Callable


def signalled(*numbers: signal.Signals) -> Callable[[], int]:
    """From now on these are heard; the function waits for the next one and returns its number, and others go on."""
    heard, hear = os.pipe()
    os.set_blocking(hear, False)
    # Python itself writes each signal's number there. A handler of ours could not: it may interrupt the hub.
    signal.set_wakeup_fd(hear)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    return lambda: os.read(heard, 1)[0]
