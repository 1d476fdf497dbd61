"""The house's conventions that no linter knows: its layout, the size of its files, and the shape of its RPCs."""

import re
from importlib import import_module
from pathlib import Path

from google.protobuf.descriptor import Descriptor, MethodDescriptor

from services.cli.table import NAMES

ROOT = Path(__file__).resolve().parents[2]
LAYOUT = (
    (".ci/run", ".importlinter", "Makefile", "README.md", "buf.yaml", "pyproject.toml", "requirements.lock")
    + ("gateway", "k8s", "loadtests", "protos/gen/kept", "protos/kept", "services/cli", "services/kernel")
    + ("tests/architecture", "tests/journeys", "tests/kernel")
)
READERS = ("audit",)  # they read the log and record nothing: no aggregates, no views, no followers
SERVICE_FILES = ("domain", "application", "views", "servicer", "api", "worker")
LONGEST = 400  # lines; a typical file has half of that

RPC = re.compile(r"(?m)((?:^ *//.*\n)*)^ *rpc (\w+)\(")
RECORDS = re.compile(r"\bRecords ([A-Z]\w+)")
PAGING = ("page_size", "page_token", "next_page_token")


def test_everything_is_in_its_place() -> None:
    assert [name for name in LAYOUT if not (ROOT / name).exists()] == []


def test_every_service_is_in_the_process_table_and_has_the_same_files() -> None:
    folders = {path.parent.name for path in (ROOT / "services").glob("*/domain.py")}
    files = [f"services/{name}/{file}.py" for name in NAMES for file in SERVICE_FILES]
    protos = [f"protos/kept/{name}/v1/{file}.proto" for name in NAMES for file in ("events", "service")]

    assert folders == set(NAMES)
    assert [name for name in files + protos if not (ROOT / name).exists()] == []


def test_a_service_that_only_reads_has_nothing_that_records() -> None:
    for name in READERS:
        files = {path.stem for path in (ROOT / "services" / name).glob("*.py")}
        assert files >= {"api", "servicer"}
        assert files.isdisjoint({"domain", "application", "views", "policies", "worker"})
        assert not (ROOT / f"protos/kept/{name}/v1/events.proto").exists()
        assert [method.full_name for method, _ in CHANGES if method.full_name.startswith(f"kept.{name}.")] == []


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "services").rglob("*.py")}

    assert {str(path.relative_to(ROOT)): lines for path, lines in lengths.items() if lines > LONGEST} == {}


def test_every_rpc_says_what_it_does() -> None:
    assert len(RPCS) > 30
    assert [method.full_name for method, comment in RPCS if not comment.strip()] == []


def test_every_change_names_the_events_that_it_records() -> None:
    assert {method.full_name: found for method, comment in CHANGES if (found := unknown_events(method, comment))} == {}


def test_a_change_takes_a_request_id_first_and_gives_back_nothing_but_a_receipt() -> None:
    for method, _ in CHANGES:
        assert method.input_type.fields_by_name["request_id"].number == 1, method.full_name
        (field,) = method.output_type.fields
        assert isinstance(field.message_type, Descriptor), method.full_name
        assert field.message_type.full_name == "kept.common.v1.Receipt", method.full_name


def test_a_read_gives_no_receipt() -> None:
    reads = [method for method, comment in RPCS if (method, comment) not in CHANGES]

    assert [method.full_name for method in reads if "receipt" in method.output_type.fields_by_name] == []


def test_paging_is_the_same_everywhere() -> None:
    for method, _ in RPCS:
        fields = {*method.input_type.fields_by_name, *method.output_type.fields_by_name}
        assert len(fields.intersection(PAGING)) in (0, len(PAGING)), method.full_name


def test_tests_wait_for_what_happens_and_never_sleep() -> None:
    """Whoever's sleep it is. One of 0 only lets others go on, and a definition is no call."""
    assert occurrences(r"(?<!def )\bsleep\((?!0\))|\bimport .*\bsleep\b", "tests") == []


def test_a_silenced_warning_is_named() -> None:
    houses = ("services", "gateway", "tests", "loadtests")

    assert occurrences(r"#\s*noqa(?!: [A-Z]+[0-9])|#\s*type:\s*ignore(?!\[)", *houses) == []


def unknown_events(method: MethodDescriptor, comment: str) -> list[str]:
    package = method.input_type.file.package
    events = import_module(f"{package}.events_pb2").DESCRIPTOR.message_types_by_name
    named = RECORDS.findall(comment)
    return [name for name in named if name not in events] if named else ["names none"]


def occurrences(pattern: str, *folders: str) -> list[str]:
    """Where it is found, as file:line."""
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, line)
    ]


def _rpcs() -> list[tuple[MethodDescriptor, str]]:
    """Every RPC with its comment."""
    found = []
    for path in sorted((ROOT / "protos/kept").glob("*/v1/service.proto")):
        comments = {name: comment for comment, name in RPC.findall(path.read_text(encoding="utf-8"))}
        module = import_module(f"kept.{path.parts[-3]}.v1.service_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            found += [(method, comments[method.name]) for method in service.methods]
    return found


RPCS = _rpcs()
CHANGES = [(method, comment) for method, comment in RPCS if "request_id" in method.input_type.fields_by_name]
