"""A worker process: one nameko runner with the followers of the named services, or of all. Never imports grpc (I8).

Run as a module, so that eventlet patches the standard library before anything else is imported.
"""

import os
import warnings

# nameko is prescribed and stands on eventlet, whose maintainers advise new projects against it: known, and not news.
warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated")

import eventlet

eventlet.monkey_patch()
# psycopg waits in C unless told otherwise, which would stop the hub.
os.environ["PSYCOPG_WAIT_FUNC"] = "wait_selector"

import logging
import signal
import sys

from eventlet.event import Event
from nameko.runners import ServiceRunner

from services.cli.table import deploy_policies, workers
from services.kernel.config import read_settings
from services.kernel.copy.source import CopySource
from services.kernel.errors import Misconfigured
from services.kernel.house import House
from services.kernel.ready import announce_ready
from services.kernel.telemetry import start_telemetry


def main(names: tuple[str, ...]) -> int:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # nameko logs a failed batch with its whole message, which may hold personal data; follow tells the type alone.
    logging.getLogger("nameko.containers").setLevel(logging.CRITICAL)
    try:
        settings = read_settings(os.environ)
        start_telemetry("-".join(("worker", *names)), settings.otlp_endpoint)
        house = House(settings)
        house.require()
        if settings.follows_copy:
            house.read_from(CopySource(house.log, settings.broker))
        deploy_policies(house, names)
        run(house, names)
    except Misconfigured as error:
        print(f"kept worker: {error}", file=sys.stderr)
        return Misconfigured.exit_code
    house.close()
    return 0


def run(house: House, names: tuple[str, ...]) -> None:
    """Follows until SIGTERM; batches that are under way are finished."""
    runner = ServiceRunner()
    for worker in workers(names):
        worker.house = house
        runner.add_service(worker)
    told = Event()

    def stop(*_: object) -> None:
        if not told.ready():
            told.send()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    runner.start()
    announce_ready()
    # A container that fails ends the process; the supervisor starts it again.
    failed = eventlet.spawn(runner.wait)
    failed.link(stop)
    told.wait()
    runner.stop()
    failed.wait()


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:])))
