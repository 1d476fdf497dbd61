"""The `kept` command as a process of its own, as people start it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from services.cli.imports.sample import write_sample

ROOT = Path(__file__).parent.parent
KEPT = (sys.executable, "-m", "services.cli.main")
ZONE = "America/Sao_Paulo"
READY_WITHIN_S = 60


def kept(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Runs it to its end."""
    return subprocess.run(
        [*KEPT, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def kept_json(*arguments: object) -> Any:
    """What it prints as JSON, whatever its exit code."""
    done = kept(*arguments, "--json")
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def import_command(sample: Path, data: Path) -> tuple[str, ...]:
    return (*KEPT, "import", "servicenow", str(sample), "--zone", ZONE, "--data", str(data), "--json", "--quiet")


def digest(data: Path) -> str:
    return str(kept_json("digest", "--data", data)["digest"])


@contextmanager
def cell_up(data: Path, *options: str, console: bool = False) -> Iterator["subprocess.Popen[bytes]"]:
    """A cell that is up inside the block."""
    process = subprocess.Popen(
        [*KEPT, "up", *([] if console else ["--no-console"]), "--data", str(data), *options],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
    )
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(b"the cell is up"):
                break
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=READY_WITHIN_S)


def made_sample(folder: Path, incidents: int = 60) -> Path:
    sample = folder / "sample.csv"
    write_sample(sample, incidents=incidents)
    return sample
