"""Who may import whom: the contracts of .importlinter hold, each was seen to break, and processes load what they may."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOUSES = {"services": "services", "gateway": "gateway", "kept": "protos/gen/kept"}
SERVICES = sorted(path.parent.name for path in (ROOT / "services").glob("*/domain.py"))

# Contract, where the offending import is put, what is imported.
OFFENCES = [
    ("layers", "services/case/domain.py", "services.case.views"),
    ("layers", "services/customer/views.py", "services.customer.application"),
    ("layers", "services/sla/calendar.py", "services.sla.domain"),
    ("layers", "services/case/helpers.py", "uuid"),
    ("layers-notification", "services/notification/planning.py", "services.notification.outbox"),
    ("layers-audit", "services/audit/notes.py", "services.audit.servicer"),
    ("layers-audit", "services/audit/worker.py", "uuid"),
    ("independence", "services/sla/policies.py", "services.case.views"),
    ("independence", "services/audit/reading.py", "services.case.views"),
    ("command-line", "services/sla/views.py", "gateway"),
    ("kernel", "services/kernel/events.py", "services.case.domain"),
    ("kernel", "services/kernel/follower.py", "kept.sla.v1.events_pb2"),
    ("domain", "services/case/domain.py", "kept.customer.v1.events_pb2"),
    ("domain", "services/customer/domain.py", "services.kernel.database"),
    ("domain", "services/sla/domain.py", "time"),
    ("channels", "services/notification/reproduce.py", "services.notification.channels.mailbox"),
    ("channels", "services/notification/sender.py", "services.notification.channels.smtp"),
    ("channels", "services/cli/table.py", "services.notification.worker"),
    ("workers-without-grpc", "services/cli/worker.py", "services.kernel.rpc.server"),
    ("workers-without-grpc", "services/case/views.py", "kept.case.v1.service_pb2_grpc"),
    ("grpc-without-eventlet", "services/kernel/house.py", "services.kernel.follow"),
    ("grpc-without-eventlet", "services/sla/servicer.py", "kombu"),
    ("grpc-without-eventlet", "services/cli/client.py", "eventlet"),
    ("importer", "services/cli/imports/runner.py", "services.kernel.house"),
    ("gateway", "gateway/__init__.py", "services.kernel.errors"),
]

# Some are imported only when they are needed: these are all that a process may come to load.
WORKER_MODULES = [
    "services.cli.worker",
    *(f"services.{name}.worker" for name in SERVICES),
    "services.kernel.copy.worker",
    "services.kernel.postgres",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
]
API_MODULES = [
    "services.cli.main",
    "services.cli.api",
    *(f"services.{name}.api" for name in SERVICES),
    "services.audit.api",
    "services.kernel.rpc.cell_servicer",
    *WORKER_MODULES[-3:],
    "gateway.__main__",
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and the contracts in a folder of their own, where an import may be added and taken out again."""
    folder = tmp_path_factory.mktemp("copy")
    for name, source in HOUSES.items():
        shutil.copytree(ROOT / source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests/architecture").mkdir(parents=True)
    for needed in (".importlinter", "tests/__init__.py", "tests/architecture/contracts.py"):
        shutil.copy(ROOT / needed, folder / needed)
    return folder


def test_the_contracts_hold() -> None:
    kept, broken, said = lint(ROOT)

    assert not broken, said
    assert kept == set(contract_names()), said


def test_every_contract_has_been_seen_to_break() -> None:
    assert {contract for contract, _, _ in OFFENCES} == set(contract_names().values())


@pytest.mark.parametrize(("contract", "file", "imported"), OFFENCES)
def test_one_offending_import_breaks_its_contract(copy: Path, contract: str, file: str, imported: str) -> None:
    victim = copy / file
    before = victim.read_bytes() if victim.exists() else None
    victim.write_bytes((before or b"") + f"\nimport {imported}\n".encode())
    try:
        _, broken, said = lint(copy)
    finally:
        victim.unlink() if before is None else victim.write_bytes(before)

    assert contract in {contract_names()[name] for name in broken}, said


def test_the_copy_itself_is_clean(copy: Path) -> None:
    _, broken, said = lint(copy)

    assert not broken, said


def test_every_service_is_named_in_the_contracts() -> None:
    contracts = re.split(r"(?m)^\[importlinter:contract:(.+)\]$", (ROOT / ".importlinter").read_text())[1:]
    named = dict(zip(contracts[::2], contracts[1::2], strict=True))

    for contract in ("independence", "command-line"):
        assert [name for name in SERVICES if f"\n    services.{name}\n" not in named[contract]] == []
    layers = "".join(named[contract] for contract in named if contract.startswith("layers"))
    assert [name for name in SERVICES if f"\n    services.{name}\n" not in layers] == []
    assert [name for name in SERVICES if f"\n    kept.{name}\n" not in named["kernel"]] == []


def test_a_worker_process_has_not_loaded_grpc() -> None:
    assert loaded_by(WORKER_MODULES, "grpc", "grpc_health", "grpc_reflection", "grpc_status") == []


def test_an_api_process_has_not_loaded_eventlet() -> None:
    assert loaded_by(API_MODULES, "eventlet", "nameko", "kombu") == []


@pytest.mark.parametrize(("module", "unwanted"), [("services.case.api", "grpc"), ("services.case.worker", "eventlet")])
def test_what_a_process_loads_is_seen(module: str, unwanted: str) -> None:
    assert loaded_by([module], unwanted) == [unwanted]


def contract_names() -> dict[str, str]:
    """Name -> identifier."""
    found = re.findall(r"(?m)^\[importlinter:contract:(.+)\]\nname = (.+)$", (ROOT / ".importlinter").read_text())
    return {name: identifier for identifier, name in found}


def lint(folder: Path) -> tuple[set[str], set[str], str]:
    """The names of the contracts that are kept, of those that are broken, and all that was said."""
    program = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", "PYTHONPATH": str(folder)}
    ended = subprocess.run(
        [program, "--no-cache", "--no-logo"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    said = ended.stdout + ended.stderr
    kept, broken = (set(re.findall(rf"(?m)^(.+) {verdict}$", said)) for verdict in ("KEPT", "BROKEN"))
    assert kept | broken == set(contract_names()), said
    assert (ended.returncode == 0) == (not broken), said
    return kept, broken, said


def loaded_by(modules: list[str], *unwanted: str) -> list[str]:
    """Which of the unwanted a fresh process has loaded after importing these."""
    code = f"import sys, {', '.join(modules)}\nprint(*sorted(sys.modules.keys() & {set(unwanted)!r}))"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()
