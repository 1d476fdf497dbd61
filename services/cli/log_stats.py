"""`kept log stats`: how large the log is, what is in it, and how fast it grows."""

import json
import os
from collections import Counter
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from services.cli.columns import aligned, spell_bytes, spell_time
from services.kernel.clock import MachineClock, moment
from services.kernel.config import read_settings
from services.kernel.house import House
from services.kernel.log.stats import WINDOWS, Stats, read_stats

MOST_TOLD = 20


@click.group()
def log() -> None:
    """The event log itself."""


@log.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the cell.")
@click.option("--full", is_flag=True, help="Read every row, so that every figure is exact; slow on a large log.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def stats(data: Path | None, *, full: bool, as_json: bool) -> None:
    """Show how large the log is, what is in it, and how fast it grows. Reads the database alone, so the cell may be
    stopped.

    Of a log of more than 100,000 events, what would take reading all of it is estimated from 20,000 of them, and said to be.
    """
    house = House(read_settings(os.environ, data))
    with closing(house):
        house.log.require()
        found = read_stats(house.log, MachineClock(), full=full)
        told = _as_json(house.log.cell(), found)
    click.echo(json.dumps(told) if as_json else "\n".join(_as_text(told, found)))


def _as_json(cell: str, found: Stats) -> dict[str, Any]:
    return {
        "cell": cell,
        "events": found.events,
        "streams": found.streams,
        "requests": found.requests,
        "head": {"position": found.events, "recorded_at": _when(found.last_recorded_at), "root": found.root},
        "epoch": found.epoch,
        "first_recorded_at": _when(found.first_recorded_at),
        "last_recorded_at": _when(found.last_recorded_at),
        "bytes": {"records": found.record_bytes, "database": found.database_bytes},
        "recorded_within": found.recent,
        "per_second": {name: round(found.recent[name] / window.total_seconds(), 3) for name, window in WINDOWS.items()},
        "types": _most(found.types),
        "tenants": _most(found.tenants),
        "largest_streams": [{**asdict(one), "id": str(one.id)} for one in found.largest],
        "estimated": sorted(found.estimated),
    }


def _most(counted: Counter[str]) -> dict[str, int]:
    """The most frequent, and the sum of the others under `other`."""
    most = counted.most_common(MOST_TOLD)
    rest = counted.total() - sum(count for _, count in most)
    return dict(most) | ({"other": rest} if rest else {})


def _when(value: int | None) -> str | None:
    return None if value is None else spell_time(moment(value))


def _as_text(told: dict[str, Any], found: Stats) -> list[str]:
    def about(name: str, text: str) -> str:
        return f"about {text}" if name in found.estimated else text

    rows = [
        ("events", f"{found.events:,}"),
        ("streams", about("streams", f"{found.streams:,}")),
        ("requests kept", about("requests", f"{found.requests:,}")),
        ("first recorded", told["first_recorded_at"] or "-"),
        ("last recorded", told["last_recorded_at"] or "-"),
        ("Merkle root", found.root),
        ("epoch", str(found.epoch)),
        ("records", about("record_bytes", spell_bytes(found.record_bytes))),
        ("database", spell_bytes(found.database_bytes)),
    ]
    for name, rate in told["per_second"].items():
        rows.append((f"last {name}", f"{found.recent[name]:,} events, {rate:,} a second"))
    lines = aligned(rows)
    for title, name in (("events by type", "types"), ("events by company", "tenants")):
        counted = [(f"  {each}", f"{count:,}") for each, count in told[name].items()]
        lines += ["", about(name, title) if counted else f"{title}: none", *(aligned(counted, {1}) if counted else [])]
    largest = [(f"  {one.id}", one.type, f"{one.events:,}") for one in found.largest]
    title = "largest streams, of those in the sample" if "largest" in found.estimated else "largest streams"
    lines += ["", title if largest else f"{title}: none", *(aligned(largest, {2}) if largest else [])]
    if found.estimated:
        lines += ["", "what is told with `about` comes from a sample; --full reads everything"]
    return lines
