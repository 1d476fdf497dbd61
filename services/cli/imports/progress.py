"""How an import shows how far it is: a bar on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from services.cli.imports.rows import Rejected

LINE_ROWS = 10_000
SHOWN_REJECTED = 20


class Progress(Protocol):
    """Is told how far the import is. `advance` is called often."""

    def advance(self, done: int, total: int) -> None:
        """Rows accounted for, and rows in all."""

    def rejected(self, row: Rejected) -> None: ...


class Silent:
    """Shows nothing; a context manager as the others are."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def advance(self, done: int, total: int) -> None:
        pass

    def rejected(self, row: Rejected) -> None:
        pass


class Plain(Silent):
    """A line for every 10,000 rows, and one for each of the first rejected rows."""

    def __init__(self, out: TextIO, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._out, self._monotonic = out, monotonic
        self._started = monotonic()
        self._told, self._rejected = 0, 0

    def advance(self, done: int, total: int) -> None:
        if done // LINE_ROWS == self._told and done < total:
            return
        self._told = done // LINE_ROWS
        rate = done / max(self._monotonic() - self._started, 1e-9)
        self.say(f"{done} of {total} rows, {rate:.0f} rows/s, {(total - done) / rate:.0f} s left")

    def rejected(self, row: Rejected) -> None:
        self._rejected += 1
        if self._rejected <= SHOWN_REJECTED:
            self.say(f"line {row.line} rejected: {row.reason}")
        elif self._rejected == SHOWN_REJECTED + 1:
            self.say("more rejected rows are counted, and listed at the end")

    def say(self, line: str) -> None:
        print(line, file=self._out, flush=True)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.0f} rows/s")


class Bar(Plain):
    """A bar with rate and time left; rejected rows stand above it."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(out)
        self._console = Console(file=out)
        columns = (TextColumn("importing"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
        self._bar = RichProgress(*columns, console=self._console, refresh_per_second=4)
        self._task = self._bar.add_task("rows", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)
