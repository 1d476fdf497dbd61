"""`make bench`: the import of the real log and the replay of it, each as a ratio to a yardstick of the same run.

Reads ../shared/data (or KEPT_SHARED_DATA); --rows takes fewer rows. Bounded by the file; addresses this machine alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from kept.common.v1.record_pb2 import Record

from loadtests.yardstick import bare_call_s, bare_commit_s
from services.cli.up import running_cell
from services.kernel.config import Settings, read_settings
from services.kernel.database import SQLite
from services.kernel.merkle import leaf_hash

ROOT = Path(__file__).parent.parent
LOG = (
    Path(os.environ.get("KEPT_SHARED_DATA") or ROOT.parent / "shared" / "data")
    / "uci-incidents/incident_event_log.parquet"
)
ZONE = "America/Sao_Paulo"
KEPT = [sys.executable, "-m", "services.cli.main"]
READ = 5000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, help="take only the first N rows")
    parser.add_argument("--keep", type=Path, help="keep the cell in this new folder")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    if not LOG.exists():
        print(f"{LOG} is not there; set KEPT_SHARED_DATA", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="kept-bench-") as name:
        data = arguments.keep or Path(name) / "cell"
        if data.exists():
            parser.error(f"{data} is there already")
        result = {"load_before": os.getloadavg()[0], **_import(Path(name), data, arguments.rows), **_replay(data)}
    print(json.dumps(result) if arguments.json else "\n".join(f"{key}: {value}" for key, value in result.items()))
    return 0


def _import(folder: Path, data: Path, rows: int | None) -> dict[str, Any]:
    call_s, commit_s = bare_call_s(folder), bare_commit_s(folder)
    memory = _Memory(read_settings(os.environ, data))
    command = [*KEPT, "import", "servicenow", str(LOG), "--zone", ZONE, "--data", str(data), "--json"]
    if rows is not None:
        command += ["--limit", str(rows)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    with memory.watching(process.pid):
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(process.returncode)
    summary = json.loads(output)
    calls = sum(summary["commands"].values())
    seconds = summary["seconds"]
    return {
        "rows": summary["rows"],
        "events": summary["events"],
        "commands": calls,
        "import_s": seconds,
        "rows_per_s": round(summary["rows"] / seconds, 1),
        "rows_per_s_each_10000": summary["rows_per_s"],
        "bare_call_ms": round(call_s * 1000, 3),
        "bare_commit_ms": round(commit_s * 1000, 3),
        # 1 would be: every command as fast as an empty call and one synced commit, and followers for nothing.
        "import_to_yardstick": round(seconds / (calls * (call_s + commit_s)), 2),
        "peak_mib": memory.peaks(),
    }


def _replay(data: Path) -> dict[str, Any]:
    bare_s = _bare_read_s(data)
    output = subprocess.run(
        [*KEPT, "replay", "--verify", "--data", str(data), "--json", "--quiet"],
        stdout=subprocess.PIPE,
        check=True,
        cwd=ROOT,
    ).stdout
    verdict = json.loads(output)
    return {
        "replay_s": verdict["seconds"],
        "replayed_events_per_s": verdict["events_per_s"],
        # 1 would be: as fast as reading, parsing and hashing each record once.
        "replay_to_yardstick": round(verdict["seconds"] / bare_s, 2),
    }


def _bare_read_s(data: Path) -> float:
    started = time.perf_counter()
    with SQLite(data / "log.db").read() as session:
        position = 0
        sql = "SELECT position, recorded_at, record FROM log WHERE position > ? ORDER BY position LIMIT ?"
        while rows := session.execute(sql, (position, READ)).fetchall():
            for position, recorded_at, record in rows:
                Record.FromString(record)
                leaf_hash(position, recorded_at, record)
    return time.perf_counter() - started


class _Memory:
    """The largest resident size of each process of the cell and of the importer, in MiB, by name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._peaks: dict[str, int] = {}

    def watching(self, importer: int) -> "_Watch":
        return _Watch(self, importer)

    def look(self, importer: int) -> None:
        cell = running_cell(self._settings) or {"processes": {}}
        for name, pid in {"importer": importer, **cell["processes"]}.items():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
            except OSError:
                continue  # it has just ended
            for line in status.splitlines():
                if line.startswith("VmHWM:"):
                    self._peaks[name] = max(self._peaks.get(name, 0), int(line.split()[1]) // 1024)

    def peaks(self) -> dict[str, int]:
        return dict(self._peaks)


class _Watch:
    def __init__(self, memory: _Memory, importer: int) -> None:
        self._memory = memory
        self._importer = importer
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.wait(2.0):
            self._memory.look(self._importer)


if __name__ == "__main__":
    sys.exit(main())
