"""What the demo draws its rates and durations from, measured on the real incident log; prints JSON.

    python -m loadtests.measure_incidents [incident_event_log.parquet]

Event time is `sys_updated_at`; states, priorities and groups are taken at their own event, never from the columns that
hold final values on every row. Durations are minutes of the wall clock; a list of quantiles is the 5th, 15th ... 95th
percentile, so that a quantile drawn at random has the measured distribution.
"""

import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
FILE = "uci-incidents/incident_event_log.parquet"
LOG = Path(os.environ.get("KEPT_SHARED_DATA") or ROOT.parent / "shared" / "data") / FILE
COLUMNS = (
    "number",
    "incident_state",
    "sys_updated_at",
    "caller_id",
    "contact_type",
    "category",
    "priority",
    "assignment_group",
)
WAITS = {
    "Awaiting User Info": "customer",
    "Awaiting Evidence": "customer",
    "Awaiting Vendor": "partner",
    "Awaiting Problem": "problem",
}
PERCENTILES = range(5, 100, 10)
COMMONEST = 12
MOST_REASSIGNED = 5


@dataclass
class Incident:
    """What one incident's rows tell, each at its own time."""

    opened: datetime
    caller: str
    channel: str
    category: str
    priority: str
    group: str
    last: datetime
    state: str = "New"
    acknowledged: datetime | None = None
    resolved: datetime | None = None  # for the first time
    last_resolved: datetime | None = None
    closed: datetime | None = None
    reopened: datetime | None = None
    reassigned: int = 0
    waiting_since: datetime | None = None
    waits: list[tuple[str, float]] = field(default_factory=list)
    waited_before_resolved: float = 0.0

    def worked(self) -> float:
        """Minutes from acknowledging to resolving, without those in which it waited."""
        assert self.acknowledged is not None
        assert self.resolved is not None
        return _minutes(self.acknowledged, self.resolved) - self.waited_before_resolved

    def take(self, row: dict[str, str], at: datetime) -> None:
        state = row["incident_state"]
        self.last = at
        if row["assignment_group"] not in ("?", self.group):
            self.reassigned += self.group != "?"
            self.group = row["assignment_group"]
        if state == self.state:
            return
        if self.state in WAITS and self.waiting_since is not None and WAITS.get(state) != WAITS[self.state]:
            self.waits.append((WAITS[self.state], _minutes(self.waiting_since, at)))
            self.waited_before_resolved += self.waits[-1][1] * (self.resolved is None)
            self.waiting_since = None
        if state in WAITS:
            self.waiting_since = self.waiting_since or at
        if state != "New" and self.acknowledged is None:
            self.acknowledged = at
        if state == "Resolved":
            self.resolved = self.resolved or at
            self.last_resolved = at
        if state == "Closed":
            self.closed = at
        if self.state in ("Resolved", "Closed") and state not in ("Resolved", "Closed"):
            self.reopened = self.reopened or at
        self.state = state


def main() -> int:
    path = Path(sys.argv[1]) if sys.argv[1:] else LOG
    if not path.exists():
        print(f"{path} is not there; set KEPT_SHARED_DATA, or name the file", file=sys.stderr)
        return 1
    print(json.dumps(measure(path), indent=1, ensure_ascii=False))
    return 0


def measure(path: Path) -> dict[str, Any]:
    incidents = read(path)
    return {
        **_arrivals(incidents),
        **_mixes(incidents),
        **_handling(incidents),
        **_holds(incidents),
        **_endings(incidents),
    }


def read(path: Path) -> list[Incident]:
    """In the file's order. Rows in a state that is none are left out."""
    import pyarrow.parquet

    incidents: dict[str, Incident] = {}
    columns = pyarrow.parquet.read_table(path, columns=list(COLUMNS)).to_pydict()
    for values in zip(*(columns[name] for name in COLUMNS), strict=True):
        row = dict(zip(COLUMNS, values, strict=True))
        if row["incident_state"] == "-100":
            continue
        at = datetime.strptime(row["sys_updated_at"], "%d/%m/%Y %H:%M")  # noqa: DTZ007 - the file names no zone
        incident = incidents.get(row["number"])
        if incident is None:
            incident = incidents[row["number"]] = Incident(
                at, row["caller_id"], row["contact_type"], row["category"], row["priority"], row["assignment_group"], at
            )
        incident.take(row, at)
    return list(incidents.values())


def _arrivals(incidents: list[Incident]) -> dict[str, Any]:
    """The rate is that of all days from the first opening to the last event."""
    days = (max(one.last for one in incidents) - min(one.opened for one in incidents)).days + 1
    callers = len({one.caller for one in incidents})
    return {
        "incidents": len(incidents),
        "callers": callers,
        "days": days,
        "cases_per_caller_in_60_days": round(len(incidents) / callers / days * 60, 4),
        "arrivals_by_weekday": _shares(one.opened.isoweekday() for one in incidents),
        "arrivals_by_hour": _shares(one.opened.hour for one in incidents),
    }


def _mixes(incidents: list[Incident]) -> dict[str, Any]:
    categories = Counter(one.category for one in incidents).most_common(COMMONEST)
    return {
        "channels": _shares(one.channel for one in incidents),
        "priorities": _shares(one.priority for one in incidents),
        "commonest_categories": [round(count / len(incidents), 4) for _, count in categories],
    }


def _handling(incidents: list[Incident]) -> dict[str, Any]:
    acknowledged = [one for one in incidents if one.acknowledged and one.acknowledged != one.opened]
    return {
        "acknowledged_at_once": round(sum(one.acknowledged == one.opened for one in incidents) / len(incidents), 4),
        "minutes_to_acknowledge": _quantiles(
            _minutes(one.opened, one.acknowledged) for one in acknowledged if one.acknowledged
        ),
        "reassigned_times": _shares(min(one.reassigned, MOST_REASSIGNED) for one in incidents),
    }


def _holds(incidents: list[Incident]) -> dict[str, Any]:
    minutes: dict[str, list[float]] = defaultdict(list)
    share: Counter[str] = Counter()
    for one in incidents:
        share.update({reason for reason, _ in one.waits})
        for reason, lasted in one.waits:
            minutes[reason].append(lasted)
    return {
        "held_for": {reason: round(share[reason] / len(incidents), 4) for reason in sorted(share)},
        "minutes_held_for": {reason: _quantiles(minutes[reason]) for reason in sorted(minutes)},
    }


def _endings(incidents: list[Incident]) -> dict[str, Any]:
    resolved: dict[str, list[float]] = defaultdict(list)
    worked: dict[str, list[float]] = defaultdict(list)
    for one in incidents:
        if one.resolved:
            resolved[one.priority].append(_minutes(one.opened, one.resolved))
            worked[one.priority].append(one.worked())
    ended = [one for one in incidents if one.resolved]
    reopened = [one for one in ended if one.reopened and one.resolved]
    closed = [one for one in ended if one.closed and one.last_resolved and one.closed >= one.last_resolved]
    return {
        "minutes_to_resolve": {priority: _quantiles(resolved[priority]) for priority in sorted(resolved)},
        "minutes_of_work": {priority: _quantiles(worked[priority]) for priority in sorted(worked)},
        "reopened": round(len(reopened) / len(ended), 4),
        "minutes_until_reopened": _quantiles(
            _minutes(one.resolved, one.reopened) for one in reopened if one.resolved and one.reopened
        ),
        "minutes_until_closed": _quantiles(
            _minutes(one.last_resolved, one.closed) for one in closed if one.last_resolved and one.closed
        ),
    }


def _minutes(since: datetime, until: datetime) -> float:
    return (until - since).total_seconds() / 60


def _shares(values: Iterable[Any]) -> dict[str, float]:
    counts = Counter(values)
    return {str(value): round(counts[value] / counts.total(), 4) for value in sorted(counts)}


def _quantiles(values: Iterable[float]) -> list[int]:
    """Nearest rank; what goes back in time counts as none."""
    ordered = sorted(max(value, 0.0) for value in values)
    return [round(ordered[_rank(percent, len(ordered))]) for percent in PERCENTILES]


def _rank(percent: int, size: int) -> int:
    return max(-(-percent * size // 100) - 1, 0)


if __name__ == "__main__":
    sys.exit(main())
