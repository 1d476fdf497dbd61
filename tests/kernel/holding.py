"""Takes the lease of the follower that is named, as a process of its own, says so, and holds it for as long as it lives."""

import os
import signal
import sys

from services.kernel.config import read_settings
from services.kernel.house import House
from services.kernel.ready import announce_ready


def main(follower: str) -> int:
    lease = House(read_settings(os.environ)).leases.take(follower)
    if lease is None:
        return 1
    announce_ready()
    signal.pause()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
