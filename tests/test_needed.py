"""A machine that lacks something skips what needs it, and CI fails."""

import ctypes
import shutil
from types import SimpleNamespace

import pytest

from tests.faults.disk import recorded
from tests.faults.test_disk_full import needs_a_namespace
from tests.needed import missing

Skipped, Failed = pytest.skip.Exception, pytest.fail.Exception
ENDS = pytest.mark.parametrize(("ci", "ends"), [("true", Failed), ("", Skipped)], ids=["in CI", "elsewhere"])


@ENDS
def test_what_is_missing_skips_and_in_ci_fails(
    ci: str, ends: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)

    with pytest.raises((Skipped, Failed), match="no such thing") as told:
        missing("no such thing")

    assert told.type is ends


@ENDS
def test_a_hidden_sqlite_library_is_missing(
    ci: str, ends: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace())

    with pytest.raises((Skipped, Failed), match="nothing can be put under it") as told, recorded():
        pass

    assert told.type is ends


@ENDS
def test_the_right_to_a_mount_namespace_is_missing(
    ci: str, ends: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(shutil, "which", lambda _: None)

    with pytest.raises((Skipped, Failed), match="mount namespace") as told:
        needs_a_namespace()

    assert told.type is ends
