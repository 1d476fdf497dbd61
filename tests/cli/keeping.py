"""A small cell to back up, to restore and to move, and the commands on it, run in this process."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from click.testing import CliRunner, Result
from kept.common.v1.record_pb2 import Record

from services.cli.digest import digest_of
from services.cli.main import main
from services.cli.table import SERVICES
from services.kernel.clock import FixedClock
from services.kernel.config import Settings
from services.kernel.house import House
from services.kernel.replay.verify import verify
from tests.history import Played
from tests.scene import register_customer

NOW = datetime(2024, 5, 6, 8, 0, tzinfo=UTC)
SETTINGS = ("DATA", "CELL", "DATABASE", "ENV", "OTLP_ENDPOINT", "MASTER_KEY_FILE", "MOVE_TO", "RESTORE_OLD")


def register(settings: Settings, *request_ids: str) -> list[Any]:
    """Customers in a live cell, each view and policy up to date. Returns their receipts."""
    cell = Played(settings, FixedClock(NOW))
    receipts = []
    for request_id in request_ids:
        request = register_customer()
        request.request_id = request_id
        receipts.append(cell.call("customer", "RegisterCustomer", request).receipt)
    cell.drain()
    cell.close()
    return receipts


def run(*arguments: object, settings: Settings, **environment: str) -> Result:
    """A command on the cell, as from a shell."""
    cleared: dict[str, str | None] = dict.fromkeys(f"KEPT_{name}" for name in SETTINGS)
    own = {**cleared, **settings.environment(), **environment}
    return CliRunner().invoke(main, [*map(str, arguments)], env=own)


def run_json(*arguments: object, settings: Settings, **environment: str) -> Any:
    done = run(*arguments, "--json", "--quiet", settings=settings, **environment)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def beside(settings: Settings, name: str, database: str = "") -> Settings:
    """The same cell at another place, under the same master key."""
    return replace(settings, data=settings.data / name, database=database)


def digest(settings: Settings) -> str:
    """Of every stream, with what is sealed opened."""
    house = House(settings)
    house.require()
    told = digest_of(house)[0]
    house.close()
    return told


def records(settings: Settings) -> list[Record]:
    house = House(settings)
    found = [Record.FromString(bytes(event.record)) for event in house.log.read(0, 100_000)]
    house.close()
    return found


def types_after(settings: Settings, position: int) -> list[str]:
    return [record.type.rpartition(".")[2] for record in records(settings)[position:]]


def differences(settings: Settings) -> Mapping[str, Any]:
    """What a replay finds; the cell's followers read all there is first."""
    cell = Played(settings, FixedClock(NOW))
    cell.drain()
    policies = [policy() for service in SERVICES for policy in service.policies]
    found = verify(cell.house, [service.views for service in SERVICES], policies).findings.first
    cell.close()
    return found


def subjects(settings: Settings) -> list[UUID]:
    """Whose data is sealed here, in the order of their ids."""
    house = House(settings)
    with house.database("keys").read() as session:
        rows = session.execute("SELECT DISTINCT subject FROM data_key ORDER BY subject").fetchall()
    house.close()
    return [row[0] if isinstance(row[0], UUID) else UUID(bytes=row[0]) for row in rows]


def live_keys(settings: Settings, subject: UUID) -> int:
    house = House(settings)
    with house.database("keys").read() as session:
        sql = "SELECT count(*) FROM data_key WHERE subject = ? AND key IS NOT NULL"
        row = session.execute(sql, (subject,)).fetchone()
    house.close()
    assert row is not None
    return int(row[0])


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
