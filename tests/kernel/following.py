"""Two followers under one nameko runner, as a process of its own, until SIGTERM. Never imports grpc (I8)."""

import os
import warnings

warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated")

import eventlet  # noqa: E402

eventlet.monkey_patch()
os.environ["PSYCOPG_WAIT_FUNC"] = "wait_selector"

import logging  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from kept.cell.v1.events_pb2 import PolicyDeployed  # noqa: E402
from nameko.runners import ServiceRunner  # noqa: E402

from services.kernel import follow as follow_module  # noqa: E402
from services.kernel.config import read_settings  # noqa: E402
from services.kernel.database import Session  # noqa: E402
from services.kernel.errors import Unavailable  # noqa: E402
from services.kernel.events import LogEvent  # noqa: E402
from services.kernel.follow import follow, one_batch  # noqa: E402
from services.kernel.follower import Follower  # noqa: E402
from services.kernel.house import House  # noqa: E402
from services.kernel.policy import PolicyFollower  # noqa: E402
from services.kernel.ready import announce_ready  # noqa: E402
from services.kernel.telemetry import start_telemetry  # noqa: E402
from services.kernel.views import ViewFollower  # noqa: E402
from tests.kernel.signals import signalled  # noqa: E402
from tests.kernel.toys import Tally, Trouble, jar_views  # noqa: E402

FAULTY, SLOW = "faulty", "slow "


class Hindered(Trouble):
    """`faulty` fails once; `slow PATH` tells at PATH that the batch is under way, and waits there for a word."""

    def __init__(self) -> None:
        super().__init__()
        self.once[FAULTY] = Unavailable("x")

    def strike(self, session: Session, event: LogEvent) -> None:
        super().strike(session, event)
        if isinstance(event.body, PolicyDeployed) and event.body.name.startswith(SLOW):
            path = event.body.name.removeprefix(SLOW)
            Path(path + ".begun").write_text("")  # opening a pipe waits for its other end
            Path(path + ".go").read_text()


class Closing(ViewFollower):
    """Says when it is closed."""

    def close(self) -> None:
        sys.stderr.write(f"{self.name} is closed\n")
        super().close()


def views(house: House) -> Follower:
    made = Closing(jar_views(Hindered()), house.log, house.views_database("jars"), house.view_bell)
    made._limit = 1
    return made


def tally(house: House) -> Follower:
    return PolicyFollower(Tally(), house.log, house.clock)


class JarsWorker:
    name = "jars"
    house: House

    @follow(views)
    def keep_views(self, follower: Follower) -> bool:
        return one_batch(follower)

    @follow(tally)
    def tell(self, follower: Follower) -> bool:
        return one_batch(follower)


def main() -> int:
    logging.basicConfig(level=logging.WARNING)
    setattr(follow_module, "LONGEST_WAIT_S", float(sys.argv[1]))  # noqa: B010 - not exported
    settings = read_settings(os.environ)
    start_telemetry("jars", settings.otlp_endpoint)
    house = House(settings)
    house.require()
    JarsWorker.house = house
    runner = ServiceRunner()
    runner.add_service(JarsWorker)
    asked = signalled(signal.SIGTERM)
    runner.start()
    announce_ready()
    asked()
    runner.stop()
    runner.wait()
    house.close()
    return 1 if "grpc" in sys.modules else 0


if __name__ == "__main__":
    sys.exit(main())
