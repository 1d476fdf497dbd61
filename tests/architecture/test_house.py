"""The house's conventions that no linter knows: its layout, the size of its files, and the shape of its RPCs."""

import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor

from services.cli.table import NAMES

ROOT = Path(__file__).resolve().parents[2]
LAYOUT = (
    "README.md Makefile pyproject.toml requirements.lock buf.yaml .importlinter .ci/run protos/kept protos/gen/kept "
    "services/kernel services/cli gateway k8s loadtests tests/architecture tests/journeys tests/kernel"
).split()
SERVICE_FILES = ("domain", "application", "views", "servicer", "api", "worker")
LONGEST = 400  # lines; a typical file has half of that

PROTOS = sorted((ROOT / "protos/kept").glob("*/v1/service.proto"))
RPC = re.compile(r"(?m)((?:^ *//.*\n)*)^ *rpc (\w+)\(")
RECORDS = re.compile(r"\bRecords ([A-Z]\w+)")


def methods() -> Iterator[tuple[str, MethodDescriptor]]:
    """Every RPC, with its comment."""
    for path in PROTOS:
        package = f"kept.{path.parts[-3]}.v1"
        comments = {name: comment for comment, name in RPC.findall(path.read_text(encoding="utf-8"))}
        for service in import_module(f"{package}.service_pb2").DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield comments[method.name], method


METHODS = [pytest.param(comment, method, id=method.full_name) for comment, method in methods()]
CHANGES = [one for one in METHODS if "request_id" in one.values[1].input_type.fields_by_name]


def test_everything_is_in_its_place() -> None:
    assert [name for name in LAYOUT if not (ROOT / name).exists()] == []


def test_every_service_has_the_same_files_and_is_in_the_process_table() -> None:
    folders = sorted(path.name for path in (ROOT / "services").iterdir() if (path / "api.py").exists())

    assert folders == sorted({*NAMES, "cli"})
    assert [f"{name}/{file}" for name in NAMES for file in SERVICE_FILES if not source(name, file).exists()] == []
    assert [name for name in NAMES if not (ROOT / "protos/kept" / name / "v1/events.proto").exists()] == []


def source(name: str, file: str) -> Path:
    return ROOT / "services" / name / f"{file}.py"


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "services").rglob("*.py")}

    assert {str(path.relative_to(ROOT)): lines for path, lines in lengths.items() if lines > LONGEST} == {}


@pytest.mark.parametrize(("comment", "method"), METHODS)
def test_an_rpc_says_what_it_does(comment: str, method: MethodDescriptor) -> None:
    assert comment.strip(), f"{method.full_name} has no comment: say its effect, the event it records, its errors"


@pytest.mark.parametrize(("comment", "method"), CHANGES)
def test_a_change_names_the_events_that_it_records(comment: str, method: MethodDescriptor) -> None:
    events = import_module(method.input_type.file.package + ".events_pb2").DESCRIPTOR.message_types_by_name
    named = RECORDS.findall(comment)

    assert named
    assert set(named) <= set(events)


@pytest.mark.parametrize(("comment", "method"), CHANGES)
def test_a_change_takes_a_request_id_first_and_gives_back_only_a_receipt(
    comment: str, method: MethodDescriptor
) -> None:
    assert method.input_type.fields_by_name["request_id"].number == 1
    assert [(field.name, field.message_type.full_name) for field in method.output_type.fields] == [
        ("receipt", "kept.common.v1.Receipt")
    ]


@pytest.mark.parametrize(("comment", "method"), METHODS)
def test_an_rpc_that_gives_a_receipt_takes_a_request_id(comment: str, method: MethodDescriptor) -> None:
    changes = "receipt" in method.output_type.fields_by_name

    assert changes == ("request_id" in method.input_type.fields_by_name)


@pytest.mark.parametrize(("comment", "method"), METHODS)
def test_a_list_is_read_in_pages_or_says_its_bound(comment: str, method: MethodDescriptor) -> None:
    if method.name.startswith("List") and "at most" not in comment and "page_size" in method.input_type.fields_by_name:
        assert "page_token" in method.input_type.fields_by_name
        assert "next_page_token" in method.output_type.fields_by_name


def test_tests_wait_for_what_happens_and_never_sleep() -> None:
    sleeping = re.compile(r"\btime\.sleep\(|from time import .*\bsleep\b".replace("time", "[t]ime"))

    assert found(sleeping, "tests") == []


def test_a_silenced_warning_is_named() -> None:
    assert found(re.compile(r"#\s*noqa(?!: [A-Z]+[0-9])|#\s*type:\s*ignore(?!\[)".replace("#", "[#]")), "") == []


def found(pattern: re.Pattern[str], folder: str) -> list[str]:
    """Where it occurs in our Python, as file:line."""
    houses = [folder] if folder else ["services", "gateway", "tests", "loadtests", "protos"]
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for house in houses
        for path in sorted((ROOT / house).rglob("*.py"))
        if "gen" not in path.relative_to(ROOT).parts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
