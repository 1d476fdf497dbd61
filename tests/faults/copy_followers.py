"""The jars' followers in a process of their own, as `services.cli.worker` would run them; tells what it read from where."""

import os
import warnings

warnings.filterwarnings("ignore", message="(?s).*Eventlet is deprecated")

import eventlet  # noqa: E402 - eventlet patches before anything else is imported

eventlet.monkey_patch()

import logging  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402

from nameko.runners import ServiceRunner  # noqa: E402

from services.kernel.config import read_settings  # noqa: E402
from services.kernel.copy.source import CopySource  # noqa: E402
from services.kernel.follow import follow, one_batch  # noqa: E402
from services.kernel.follower import Follower  # noqa: E402
from services.kernel.house import House  # noqa: E402
from services.kernel.log.port import Recorded  # noqa: E402
from services.kernel.policy import PolicyFollower  # noqa: E402
from services.kernel.ready import announce_ready  # noqa: E402
from services.kernel.views import ViewFollower  # noqa: E402
from tests.kernel.signals import signalled  # noqa: E402
from tests.kernel.toys import Tally, jar_views  # noqa: E402


class Counting(CopySource):
    """Counts the events that the copy gave."""

    given = 0

    def _from_copy(self, after: int, limit: int) -> Sequence[Recorded]:
        found = super()._from_copy(after, limit)
        self.given += len(found)
        return found


def views(house: House) -> Follower:
    return ViewFollower(jar_views(), house.log, house.views_database("jars"), house.view_bell)


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
    settings = read_settings(os.environ)
    house = House(settings)
    house.require()
    source = Counting(house.log, settings.broker)
    house.read_from(source)
    JarsWorker.house = house
    runner = ServiceRunner()
    runner.add_service(JarsWorker)
    asked = signalled(signal.SIGTERM, signal.SIGUSR1)
    runner.start()
    announce_ready()
    told = 0
    while asked() != signal.SIGTERM:
        sys.stderr.write(f"lately from the copy: {source.given - told}\n")
        told = source.given
    runner.stop()
    runner.wait()
    house.close()
    return 1 if "grpc" in sys.modules else 0


if __name__ == "__main__":
    sys.exit(main())
