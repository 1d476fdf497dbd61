"""The data that is not committed: where it lies, and what its absence means."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


def shared_data(relative: str) -> Path:
    """A path below $KEPT_SHARED_DATA, else below ../shared/data of the repository.

    Skips the test with the reason where it is missing; in CI, where it has to be present, fails it.
    """
    path = Path(os.environ.get("KEPT_SHARED_DATA") or REPOSITORY.parent / "shared" / "data") / relative
    if path.exists():
        return path
    reason = f"{path} is missing; set KEPT_SHARED_DATA to the folder that holds {relative}"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
