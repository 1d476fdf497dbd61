"""What a story is made of: steps, told in the order of their time by scripts that learn what became of each."""

from collections.abc import Generator
from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Asia/Shanghai")
FIRST_DAY = datetime(2026, 3, 2, tzinfo=ZONE)  # a Monday
DAYS = 60
# Everybody acts on the half hour: the cell's clock is moved once for all that happens then, and never past it. So no
# deadline passes unnoticed between two commands, and there are few enough moments for sixty days to take a minute.
GRID = timedelta(minutes=30)
OPENS, CLOSES, SUNDAY = time(8, 30), time(18), 7


class Step(NamedTuple):
    """One call. A change lacks only its request id and its `occurred_at`; a read has neither."""

    at: datetime
    tenant: str
    actor: str
    service: str
    request: Any

    @property
    def method(self) -> str:
        name: str = self.request.DESCRIPTOR.name
        return name.removesuffix("Request")


class Wait(NamedTuple):
    """Until then: a step is put together as soon as the last one is answered, and may need what others do meanwhile."""

    at: datetime


# Yields steps, none before the last one; is sent a change's receipt, a read's response, or nothing after a wait.
Script = Generator[Step | Wait, Any, None]


class Part(NamedTuple):
    """A script under a name of its own, which its request ids begin with; it is not asked for anything before `at`.

    What happens at one moment on different lanes may be told at the same time, and on one lane is told one after the
    other; what has no lane is told alone, and first.
    """

    name: str
    at: datetime
    script: Script
    lane: int | None = None


def on_grid(at: datetime) -> datetime:
    """The first moment of the grid that is not before."""
    return at + (datetime.min.replace(tzinfo=UTC) - at) % GRID


def day(number: int, hour: int = 0, minute: int = 0) -> datetime:
    """Local time on a day of the play, counted from 0."""
    return FIRST_DAY + timedelta(days=number, hours=hour, minutes=minute)


def at_work(at: datetime) -> datetime:
    """The same moment when people work, Monday to Saturday, else the next morning on which they do."""
    local = at.astimezone(ZONE)
    if local.isoweekday() == SUNDAY or local.time() >= CLOSES:
        local = _morning(local + timedelta(days=1))
    elif local.time() < OPENS:
        local = _morning(local)
    return _morning(local + timedelta(days=1)) if local.isoweekday() == SUNDAY else local


def _morning(local: datetime) -> datetime:
    return datetime.combine(local.date(), OPENS, ZONE)
