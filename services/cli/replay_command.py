"""`kept replay --verify`: rebuilds everything from the log, and compares."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

from services.cli.imports.progress import Bar, Plain, Silent
from services.cli.table import SERVICES
from services.kernel.config import read_settings
from services.kernel.house import House
from services.kernel.replay.verify import Verdict, verify


@click.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Folder of the cell.")
@click.option("--verify", "verified", is_flag=True, required=True, help="Compare what is rebuilt with what is there.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def replay(data: Path | None, *, verified: bool, as_json: bool, quiet: bool) -> None:
    """Read the log from position 1 into fresh views and policies, and compare with the live ones. Sends nothing.

    Exit codes: 0 nothing differs; 1 something does; 78 the cell cannot be read.
    """
    del verified  # required: a replay that compares nothing would tell nothing
    house = House(read_settings(os.environ, data))
    house.require()
    for service in SERVICES:
        service.views.require(house.views_database(service.name))
    shown = Silent() if quiet else Bar(sys.stderr) if sys.stderr.isatty() else Plain(sys.stderr)
    views = [service.views for service in SERVICES]
    policies = [policy() for service in SERVICES for policy in service.policies]
    with shown:
        verdict = verify(house, views, policies, progress=shown.advance)
    click.echo(json.dumps(_as_json(verdict)) if as_json else "\n".join(_as_text(verdict)))
    if verdict.findings:
        raise click.exceptions.Exit(1)


def _as_json(verdict: Verdict) -> dict[str, object]:
    return {
        "verified": not verdict.findings,
        "events": verdict.events,
        "decisions": verdict.decisions,
        "rows": verdict.rows,
        "root": verdict.root,
        "seconds": round(verdict.seconds, 3),
        "events_per_s": round(verdict.events / verdict.seconds) if verdict.seconds else 0,
        "decisions_of_older_versions": verdict.older,
        "differences": [
            {**asdict(first), "count": verdict.findings.counts[kind]} for kind, first in verdict.findings.first.items()
        ],
    }


def _as_text(verdict: Verdict) -> list[str]:
    lines = [
        f"{verdict.events:,} events, {verdict.decisions:,} decisions and {verdict.rows:,} rows replayed"
        f" in {verdict.seconds:.1f} s",
        f"Merkle root {verdict.root}",
    ]
    for actor, count in verdict.older.items():
        lines.append(f"{count:,} decisions were made by {actor}, an older version, and are not compared")
    for kind, first in verdict.findings.first.items():
        where = f" at position {first.position}" if first.position is not None else ""
        lines.append(f"DIFFERS: {kind}{where}: {first.detail} ({verdict.findings.counts[kind]} in all)")
    lines.append("nothing differs" if not verdict.findings else "the log and what was made of it do not agree")
    return lines
