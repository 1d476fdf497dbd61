"""Commands in a second through an Application on SQLite files that sync every commit, beside the stock library on the same.

    python -m loadtests.embedded [--json] [--seconds 5] [--repetitions 3]

One process, 32 threads, 2,000 cases. The files are where temporary files are, which has to be a disk.
"""

import json
import sys

from loadtests.case_commands import CASES
from loadtests.cells import bench_cell, sqlite_folder
from loadtests.crew import jobs_per_s
from loadtests.measure import Ratio, command, measure, tell

THREADS = 32
RATIOS = (Ratio("to stock", "kept", "stock", 5.0),)


def main() -> int:
    parser = command(__doc__)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each side runs")
    arguments = parser.parse_args()
    with sqlite_folder() as folder, bench_cell() as cell:
        (cell.folder / CASES).write_text(json.dumps(cell.cases))
        kept = ["loadtests.case_commands", str(cell.folder), "", str(THREADS)]
        stock = ["loadtests.stock", "sqlite", str(folder / "stock.db"), str(folder / CASES), str(THREADS)]
        sides = {
            "kept": lambda: jobs_per_s(kept, processes=1, seconds=arguments.seconds),
            "stock": lambda: jobs_per_s(stock, processes=1, seconds=arguments.seconds),
            "stock, cached": lambda: jobs_per_s([*stock, "--cached"], processes=1, seconds=arguments.seconds),
        }
        result = measure(sides, RATIOS, unit="commands/s", repetitions=arguments.repetitions)
    tell(result, as_json=arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
