"""How the demo shows how far it is: a bar of days on a terminal, nothing elsewhere."""

from datetime import datetime, timedelta
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from services.cli.demo.script import ZONE


class Days:
    """A context manager; is told each moment that is played."""

    def __init__(self, out: TextIO, since: datetime, until: datetime, *, quiet: bool = False) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[day]}"), TimeElapsedColumn())
        self._bar = Progress(
            *columns, console=Console(file=out), refresh_per_second=4, disable=quiet or not out.isatty()
        )
        self._since = since
        self._task = self._bar.add_task("customers and partners", total=(until - since) / timedelta(days=1), day="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def played(self, at: datetime) -> None:
        days = (at - self._since) / timedelta(days=1)
        day = f"day {int(days) + 1}, {at.astimezone(ZONE):%A %H:%M}"
        self._bar.update(self._task, description="days of service", completed=days, day=day)
