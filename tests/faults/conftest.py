"""Where fault tests keep their cells."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder with a short path, in memory where there is some, since many small syncs are slow."""
    folder = Path(tempfile.mkdtemp(prefix="kept-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    yield folder
    shutil.rmtree(folder)
