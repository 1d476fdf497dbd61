"""How far a long command is: a line that is written over on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import TextIO

EVERY_S = 2.0
ON_TERMINAL_S = 0.1
CLEAR_LINE = "\r\x1b[K"

Told = Callable[[int, int], None]


class Shown:
    """Tells on stderr which stage is under way, and how much of it is done."""

    def __init__(
        self, *, quiet: bool = False, out: TextIO | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        out = out or sys.stderr
        self._out = None if quiet else out
        self._terminal = out.isatty()
        self._monotonic = monotonic
        self._told_at = 0.0

    def stage(self, what: str, unit: str = "events") -> Told:
        """What is told how many of how many are done, as often as it likes."""
        started = self._monotonic()
        self._told_at = started

        def told(done: int, total: int) -> None:
            now = self._monotonic()
            if now - self._told_at < (ON_TERMINAL_S if self._terminal else EVERY_S) and done < total:
                return
            self._told_at = now
            rate = done / max(now - started, 1e-9)
            self._write(f"{what}: {done:,} of {total:,} {unit}, {rate:,.0f}/s", last=done >= total)

        return told

    def say(self, line: str) -> None:
        self._write(line, last=True)

    def _write(self, line: str, *, last: bool) -> None:
        if self._out is None:
            return
        if self._terminal:
            print(CLEAR_LINE + line, end="\n" if last else "", file=self._out, flush=True)
        else:
            print(line, file=self._out, flush=True)
