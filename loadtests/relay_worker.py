"""The relay's side of loadtests.relay, in a process set up as a worker is: prints the seconds that it took to the head."""

import warnings

warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated")

import eventlet  # noqa: E402 - eventlet patches before anything else is imported

eventlet.monkey_patch()

import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

from services.kernel.config import read_settings  # noqa: E402
from services.kernel.copy.relay import Relay  # noqa: E402
from services.kernel.house import House  # noqa: E402


def main() -> int:
    os.environ["PSYCOPG_WAIT_FUNC"] = "wait_selector"
    settings = read_settings(os.environ)
    house = House(settings)
    head = house.log.position()
    started = time.perf_counter()
    relay = Relay(house.log, settings.broker)
    while relay.step():
        pass
    seconds = time.perf_counter() - started
    if relay.position() != head:
        print(f"stands at {relay.position()} of {head}", file=sys.stderr)
        return 1
    relay.close()
    house.close()
    print(seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
