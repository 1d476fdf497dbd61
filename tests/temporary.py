"""Whatever tests and their processes leave in the system's temporary folder goes with the run.

A cell whose folder has a long path, as pytest's have, keeps its sockets and locks there, and nobody else takes them away.
"""

import os
import tempfile

import pytest

_HELD = pytest.StashKey[tempfile.TemporaryDirectory[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """One folder for the run, with a short path; xdist's workers inherit it."""
    if hasattr(config, "workerinput"):
        return
    # pytest keeps its own of the last runs, to be looked at.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    held = tempfile.TemporaryDirectory(prefix="kept-", ignore_cleanup_errors=True)
    os.chmod(held.name, 0o711)  # noqa: S103 - PostgreSQL's own user passes through
    config.stash[_HELD] = held
    os.environ["TMPDIR"] = tempfile.tempdir = held.name


def pytest_unconfigure(config: pytest.Config) -> None:
    if _HELD in config.stash:
        config.stash[_HELD].cleanup()
