"""Commands in a second through an Application on PostgreSQL, by one process and by two, beside the stock library.

    python -m loadtests.commands [--json] [--seconds 5] [--repetitions 3]

Each process has 32 threads; there are 2,000 cases. Two processes have a half of them each, as behind a proxy that routes by
the case; and beside it, for what that saves, any case each: half of what one has in memory the other has then changed. The
database is one of our own on the server that KEPT_TEST_POSTGRES names, with the server's own fsync and synchronous_commit.
Each side gets new tables once, and the cases' streams grow a little with each repetition, on both sides.
"""

import json
import sys
from collections.abc import Sequence

from loadtests.case_commands import CASES
from loadtests.cells import bench_cell, postgres_database, sqlite_folder
from loadtests.crew import jobs_per_s, require_peer
from loadtests.measure import Ratio, command, measure, tell

THREADS = 32
RATIOS = (
    Ratio("one process to stock", "kept, one process", "stock, one process", 6.0),
    Ratio("two processes to one", "kept, two processes", "kept, one process", 1.7),
    Ratio("two processes with the same cases to one", "kept, the same cases", "kept, one process", 1.0),
)


def main() -> int:
    parser = command(__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each side runs")
    arguments = parser.parse_args()
    with (
        postgres_database() as ours,
        postgres_database() as theirs,
        sqlite_folder() as folder,
        bench_cell(ours) as cell,
    ):
        (cell.folder / CASES).write_text(json.dumps(cell.cases))
        kept = ["loadtests.case_commands", str(cell.folder), ours, str(THREADS)]
        stock = ["loadtests.stock", "postgres", theirs, str(folder / CASES), str(THREADS)]
        sides = {
            "kept, one process": lambda: jobs_per_s(kept, processes=1, seconds=arguments.seconds),
            "kept, two processes": lambda: jobs_per_s([*kept, "{member}", "2"], processes=2, seconds=arguments.seconds),
            "kept, the same cases": lambda: jobs_per_s(kept, processes=2, seconds=arguments.seconds),
            "stock, one process": lambda: _stock(stock, arguments.seconds),
            "stock, cached": lambda: _stock([*stock, "--cached"], arguments.seconds),
        }
        result = measure(sides, RATIOS, unit="commands/s", repetitions=arguments.repetitions)
    tell(result, as_json=arguments.json)
    return 0


def _stock(argv: Sequence[str], seconds: float) -> float:
    require_peer("psycopg_pool", "psycopg-pool")
    return jobs_per_s(argv, processes=1, seconds=seconds)


if __name__ == "__main__":
    sys.exit(main())
