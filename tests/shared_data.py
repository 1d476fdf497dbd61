"""The data that is not committed: where it lies, and what its absence means."""

import os
from pathlib import Path

from tests.needed import missing

REPOSITORY = Path(__file__).resolve().parent.parent


def shared_data(relative: str) -> Path:
    """A path below $KEPT_SHARED_DATA, else below ../shared/data of the repository.

    Skips the test with the reason where it is missing; in CI, where it has to be present, fails it.
    """
    path = Path(os.environ.get("KEPT_SHARED_DATA") or REPOSITORY.parent / "shared" / "data") / relative
    if not path.exists():
        missing(f"{path} is missing; set KEPT_SHARED_DATA to the folder that holds {relative}")
    return path
