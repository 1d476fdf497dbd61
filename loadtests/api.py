"""The case service's API process with another number of threads: `python -m loadtests.api THREADS ADDRESS`."""

import os
import sys

from services.cli.api import run_api
from services.kernel.config import read_settings
from services.kernel.rpc import server

if __name__ == "__main__":
    server.THREADS = int(sys.argv[1])
    run_api(read_settings(os.environ), ("case",), sys.argv[2])
