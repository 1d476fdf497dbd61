"""What cells leave outside their folders goes with the run."""

import subprocess
import sys
import tempfile
from pathlib import Path

from services.kernel.config import read_settings


def test_run_folders_are_where_they_are_taken_away(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 100)
    printed = f"from pathlib import Path; from {read_settings.__module__} import read_settings; " + (
        f"print(read_settings({{}}, Path({str(long)!r})).run)"
    )

    run = read_settings({}, long).run
    elsewhere = subprocess.run([sys.executable, "-c", printed], capture_output=True, text=True, check=True).stdout

    assert str(run) == elsewhere.strip(), "the same for the processes of tests"
    assert run.parent == Path(tempfile.gettempdir())
    assert run.parent.name.startswith("kept-")
    assert not tmp_path.is_relative_to(run.parent), "and what a test looked at is kept"
