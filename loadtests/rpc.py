"""Commands in a second over gRPC by one server process that is pinned to one core, beside a bare echo pinned to the same.

    python -m loadtests.rpc [--json] [--seconds 5] [--repetitions 3] [--threads 8]

The server is the case service's API process as `kept up --separate` starts it, on PostgreSQL (a database of our own with the
server's own fsync and synchronous_commit) and on SQLite files that sync every commit; the echo has as many threads. 32
callers in 4 processes on the next core assign 2,000 cases. Where the server uses less than its core, callers or database
were the limit; so each side's share of the core is told too, and what a whole core of it would serve.
"""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from loadtests.case_commands import CASES
from loadtests.cells import BenchCell, bench_cell, postgres_database
from loadtests.crew import ROOT, jobs_per_s
from loadtests.measure import Ratio, command, measure, tell
from services.kernel.ready import READY_FD
from services.kernel.rpc.server import THREADS

CORE = 0
CALLERS, CALLING_PROCESSES = 32, 4
START_WITHIN_S = 30
RATIOS = (
    Ratio("PostgreSQL to echo", "kept on PostgreSQL", "echo", 0.35),
    Ratio("SQLite to echo", "kept on SQLite", "echo", 0.35),
)


def main() -> int:
    parser = command(__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each side runs")
    parser.add_argument(
        "--threads", type=int, default=THREADS, help="of each server; by default as many as an API process has"
    )
    arguments = parser.parse_args()
    with postgres_database() as address, bench_cell(address) as on_postgres, bench_cell() as on_sqlite:
        for cell in (on_postgres, on_sqlite):
            (cell.folder / CASES).write_text(json.dumps(cell.cases))
        where = f"unix:{on_sqlite.folder / 'bench.sock'}"
        threads = str(arguments.threads)
        api = ["loadtests.api", threads, where]

        used: dict[str, list[float]] = {}

        def called(name: str, what: str, cases: Path, server: int) -> float:
            calls = ["loadtests.calls", where, what, str(cases), str(CALLERS // CALLING_PROCESSES)]
            argv = ["loadtests.pinned", str(CORE + 1), *calls] if (os.cpu_count() or 1) > 1 else calls
            before = _cpu_s(server)
            found = jobs_per_s(argv, processes=CALLING_PROCESSES, seconds=arguments.seconds)
            used.setdefault(name, []).append((_cpu_s(server) - before) / arguments.seconds)
            return found

        def echo() -> float:
            with _pinned(["loadtests.echo", where, threads], {}) as server:
                return called("echo", "echo", on_sqlite.folder / CASES, server)

        def kept(name: str, cell: BenchCell) -> float:
            with _pinned(api, cell.settings.environment()) as server:
                return called(name, "assign", cell.folder / CASES, server)

        sides = {
            "echo": echo,
            "kept on PostgreSQL": lambda: kept("kept on PostgreSQL", on_postgres),
            "kept on SQLite": lambda: kept("kept on SQLite", on_sqlite),
        }
        result = measure(sides, RATIOS, unit="calls/s", repetitions=arguments.repetitions)
        shares = {name: round(median(found), 2) for name, found in used.items()}
        result["share_of_core"] = shares
        by_core = {name: round(result["medians"][name] / share) for name, share in shares.items()}
        result["by_whole_core"] = by_core
        result["ratios_by_whole_core"] = {name: round(rate / by_core["echo"], 3) for name, rate in by_core.items()}
    tell(result, as_json=arguments.json)
    return 0


@contextmanager
def _pinned(argv: Sequence[str], environment: dict[str, str]) -> Iterator[int]:
    """The process id of a server that is ready; ended afterwards."""
    ready, announce = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-m", "loadtests.pinned", str(CORE), *argv],
        env={**os.environ, **environment, READY_FD: str(announce)},
        pass_fds=(announce,),
        cwd=ROOT,
    )
    os.close(announce)
    try:
        with os.fdopen(ready, "rb") as pipe:
            if not select.select([pipe], [], [], START_WITHIN_S)[0] or not pipe.read(1):
                raise subprocess.CalledProcessError(child.poll() or 1, argv)
        yield child.pid
    finally:
        child.terminate()
        child.wait()


def _cpu_s(process: int) -> float:
    """Seconds of its core that it has used; of all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())
