"""What a clock knows between events: how much service time is used, since when it runs, and what falls due next.

Pure but for the rows it is kept in. Moments are whole microseconds since 1970 UTC; service time is whole seconds.
"""

from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Self
from uuid import UUID

from kept.sla.v1 import events_pb2 as e

from services.kernel.clock import micros, moment
from services.kernel.database import Row, Session, as_uuid, marks
from services.kernel.tables import Table
from services.sla.calendar import Calendar

CLOCKS = Table(
    "sla_clock",
    {
        "clock_id": "uuid", "case_id": "uuid", "target": "int", "policy": "text", "policy_version": "int",
        "calendar_version": "int", "rule": "bytes", "used_s": "int", "running_since": "int", "stood_since": "int",
        "waiting_for": "int", "due_at": "int", "warned": "int", "outcome": "int", "next_at": "int", "cause_id": "text",
    },
    key=("clock_id",),
    indexes=(("case_id", "target"), ("next_at", "clock_id")),
)  # fmt: skip


@dataclass(slots=True)
class ClockState:
    """One row of sla_clock. `running_since` is None while the clock stands, `stood_since` until it first stood; `next_at`
    is None when nothing falls due; `waiting_for` is the case's, as long as there is no verdict."""

    clock_id: UUID
    case_id: UUID
    target: int
    policy: str
    policy_version: int
    calendar_version: int
    rule: bytes
    used_s: int
    running_since: int | None
    stood_since: int | None
    waiting_for: int
    due_at: int
    warned: int
    outcome: int
    next_at: int | None
    cause_id: str

    @classmethod
    def of_row(cls, row: Row) -> Self:
        values = list(row)
        values[0], values[1], values[6] = as_uuid(row[0]), as_uuid(row[1]), bytes(row[6])
        return cls(*values)

    @property
    def target_rule(self) -> e.TargetRule:
        return _rule(self.rule)

    def pins(self) -> e.Pins:
        return e.Pins(
            policy=self.policy,
            policy_version=self.policy_version,
            calendar=self.target_rule.calendar,
            calendar_version=self.calendar_version,
        )

    def pauses(self) -> bool:
        """Whether the rule has it stand while the case waits as it does."""
        return self.waiting_for in self.target_rule.pause_on

    def used_at(self, calendar: Calendar, at: int) -> int:
        """Service seconds used until `at`; news from before the clock started to run counts as nothing."""
        if self.running_since is None or at <= self.running_since:
            return self.used_s
        return self.used_s + calendar.between(moment(self.running_since), moment(at))

    def run(self, calendar: Calendar, at: int) -> None:
        """Starts or goes on at `at`, but not before it last stood: no time is counted twice. The deadline follows from
        what is left."""
        rule = self.target_rule
        self.running_since = at if self.stood_since is None else max(at, self.stood_since)
        self.due_at = _reach(calendar, self.running_since, rule.budget_s - self.used_s, rule.boundary)
        self.plan(calendar)

    def stand(self, calendar: Calendar, at: int) -> None:
        if self.running_since is not None:
            self.used_s = self.used_at(calendar, at)
            self.stood_since = max(at, self.running_since)
        self.running_since = None
        self.next_at = None

    def plan(self, calendar: Calendar) -> None:
        """Sets `next_at` to the next warning, or to the deadline."""
        if self.running_since is None:
            self.next_at = None
            return
        warning = self.next_warning()
        rule = self.target_rule
        self.next_at = self.due_at
        if warning is not None:
            left = rule.budget_s * warning // 100 - self.used_s
            self.next_at = min(self.due_at, _reach(calendar, self.running_since, left, rule.boundary))

    def next_warning(self) -> int | None:
        """The lowest percentage not warned of yet."""
        return min((percent for percent in self.target_rule.warn_percents if percent > self.warned), default=None)

    def insert(self, session: Session) -> None:
        session.execute(f"INSERT INTO sla_clock VALUES ({marks(len(_COLUMNS))})", _values(self))  # noqa: S608 - our own names

    def update(self, session: Session) -> None:
        values = _values(self)
        session.execute(_UPDATE, (*values[2:], self.clock_id))


@lru_cache(maxsize=1024)
def _rule(packed: bytes) -> e.TargetRule:
    """Parsed once for all clocks that go by it; not to be changed."""
    return e.TargetRule.FromString(packed)


def _reach(calendar: Calendar, start: int, seconds: int, boundary: e.Boundary.ValueType) -> int:
    if seconds <= 0:
        return start
    reached = calendar.reach(moment(start), seconds, boundary)
    return micros(reached)


def clocks_of(session: Session, case_id: UUID) -> list[ClockState]:
    rows = session.execute("SELECT * FROM sla_clock WHERE case_id = ? ORDER BY target", (case_id,))
    return [ClockState.of_row(row) for row in rows.fetchall()]


def due_clocks(session: Session, before: int, most: int) -> list[ClockState]:
    """Clocks with something due before that moment, the earliest first."""
    rows = session.execute(
        "SELECT * FROM sla_clock WHERE next_at < ? ORDER BY next_at, clock_id LIMIT ?", (before, most)
    )
    return [ClockState.of_row(row) for row in rows.fetchall()]


_COLUMNS = list(CLOCKS.columns)
_values = attrgetter(*_COLUMNS)
_UPDATE = f"UPDATE sla_clock SET {', '.join(f'{name} = ?' for name in _COLUMNS[2:])} WHERE clock_id = ?"  # noqa: S608
