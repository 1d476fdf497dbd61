"""Nobody runs code of ours between fork and exec: it would work in a copy of threads' state (gRPC's, for one)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("services", "gateway", "loadtests", "tests")


def forks(source: str) -> Iterator[int]:
    """The lines that would."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.keyword) and node.arg == "preexec_fn":
            yield node.value.lineno
        elif isinstance(node, ast.Attribute) and node.attr in ("fork", "forkpty"):
            yield node.lineno


@pytest.mark.parametrize("source", ["import os\nos.fork()", "Popen(argv,\n  preexec_fn=f)"])
def test_what_would_is_found(source: str) -> None:
    assert list(forks(source)) == [2]


def test_nobody_does() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        for line in forks(path.read_text(encoding="utf-8"))
    ]
    assert found == []
