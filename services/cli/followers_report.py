"""What `kept followers` tells: where every follower stands, who works for it, and what it could not handle."""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from services.cli.columns import aligned, spell_age, spell_time
from services.cli.table import RELAY, SENDER, SERVICES
from services.kernel.clock import moment
from services.kernel.config import read_settings
from services.kernel.house import House
from services.kernel.lease import Holder
from services.kernel.log.positions import ParkedKey
from services.kernel.standing import Standing, standings_in

AT_ONCE, MOST_TOLD = 500, 10


@dataclass(frozen=True)
class Followed:
    """A follower as it is seen from outside; `types` has those of its parked events, by position."""

    kind: str
    standing: Standing
    holder: Holder | None
    types: dict[int, str]


@dataclass(frozen=True)
class Report:
    """What `kept followers` tells."""

    cell: str
    history: datetime | None
    head: int
    recorded_at: datetime | None
    followers: list[Followed]

    def named(self, name: str) -> Followed:
        """Raises UsageError, with the names that there are."""
        for one in self.followers:
            if one.standing.name == name:
                return one
        known = ", ".join(one.standing.name for one in self.followers)
        raise click.UsageError(f"NAME: there is no follower {name!r}; there are {known}")


def read_report(data: Path | None) -> Report:
    """Of all followers: each service's, the sender, the relay, then others. Raises Misconfigured where there is no log.

    Without a broker nobody runs the relay, and it is behind nothing; but who asks may only not have been told of the broker.
    """
    house = House(read_settings(os.environ, data))
    with closing(house):
        house.log.require()
        views = [house.views_database(service.views.name) for service in SERVICES]
        found = [one for database in (house.log.database, *views) for one in standings_in(house.log, database)]
        holders = house.leases.holders([one.name for one in found])
        if not house.settings.broker and RELAY not in holders:
            found = [one for one in found if one.name != RELAY]
        types = _types(house, [key.position for one in found for key in one.parked])
        head = house.log.head()
        return Report(
            house.log.cell(),
            house.clock.history_now(),
            head.position,
            moment(head.recorded_at) if head.position else None,
            [Followed(_kind(one.name), one, holders.get(one.name), types) for one in sorted(found, key=_order)],
        )


def _types(house: House, positions: list[int]) -> dict[int, str]:
    found = {}
    for start in range(0, len(positions), AT_ONCE):
        for position, recorded in house.log.at(positions[start : start + AT_ONCE]).items():
            found[position] = recorded.type
    return found


def kinds() -> Iterator[tuple[str, str]]:
    """Of all that the process table knows: name and kind, in order."""
    for service in SERVICES:
        yield from ((policy.name, "policy") for policy in service.policies)
        yield service.views.follower, "views"
    yield SENDER, "sender"
    yield RELAY, "relay"


def _kind(name: str) -> str:
    return dict(kinds()).get(name, "other")


def _order(one: Standing) -> tuple[int, str]:
    names = [name for name, _ in kinds()]
    return names.index(one.name) if one.name in names else len(names), one.name


def facts(report: Report, shown: list[Followed]) -> dict[str, Any]:
    return {
        "cell": report.cell,
        "mode": "live" if report.history is None else "history",
        "head": {"position": report.head, "recorded_at": spell_time(report.recorded_at)},
        "followers": [
            {
                "name": one.standing.name,
                "kind": one.kind,
                "position": one.standing.position,
                "lag_events": one.standing.lag,
                "lag_seconds": round(one.standing.lag_s, 3),
                "lease": one.holder and {"process": one.holder.process, "since": spell_time(one.holder.since)},
                "parked": [
                    {
                        "key": key.key,
                        "position": key.position,
                        "type": one.types.get(key.position),
                        "reason": key.reason,
                        "queued": key.queued,
                    }
                    for key in one.standing.parked
                ],
            }
            for one in shown
        ],
    }


def as_text(report: Report, shown: list[Followed], data: Path | None) -> list[str]:
    """For people; what one can do about a parked key is told with the folder that was asked about."""
    head = "FOLLOWER", "POSITION", "BEHIND", "FOR", "PARKED", "WORKED FOR BY", "SINCE"
    rows = [_row(one) for one in shown]
    lines = aligned([head, *rows], right={1, 2, 3, 4}) if rows else ["no follower is so"]
    when = f", recorded at {spell_time(report.recorded_at)}" if report.recorded_at else ""
    lines += ["", f"the log's head: {report.head:,}{when}"]
    if not any(one.holder for one in report.followers):
        lines.append("nobody works for them: the cell is stopped, or its workers are")
    if report.history is not None:
        lines.append("in history mode: who decides moves on with the clock, and only for what concerns him")
    if any(one.standing.lag < 0 for one in shown):
        lines.append("a follower has read more than is there: the log has lost its end; see `kept replay --verify`")
    for one in shown:
        for key in one.standing.parked[:MOST_TOLD]:
            lines += ["", *_next_step(one, key, "" if data is None else f" --data {data}")]
        if len(one.standing.parked) > MOST_TOLD:
            lines += [
                "",
                f"{one.standing.name}: {len(one.standing.parked) - MOST_TOLD:,} keys more; --json has them all",
            ]
    return lines


def _row(one: Followed) -> tuple[str, ...]:
    standing, holder = one.standing, one.holder
    return (
        standing.name,
        f"{standing.position:,}",
        f"{standing.lag:,}",
        spell_age(standing.lag_s) if standing.lag else "-",
        f"{len(standing.parked):,}" if standing.parked else "-",
        holder.process if holder else "nobody",
        spell_time(holder.since) or "-" if holder else "-",
    )


def _next_step(one: Followed, key: ParkedKey, where: str) -> list[str]:
    queue = f"; {key.queued:,} more of its key queue behind it" if key.queued else ""
    event = one.types.get(key.position, "an event that is not there")
    name = one.standing.name
    return [
        f"{name} could not handle position {key.position}, {event}: {key.reason}{queue}",
        f"  to try again, once the cause is gone:  kept followers retry {name} {key.key}{where} --reason ...",
        f"  to leave that one event out:           kept followers skip {name} {key.key}{where} --reason ...",
    ]
