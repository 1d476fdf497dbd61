"""The operator: sees what is parked, has it repaired, and releases the key; sometimes too early."""

from google.protobuf.message import Message
from kept.cell.v1.service_pb2 import ReleaseParkedRequest

from services.cli.table import SERVICES
from services.kernel.house import House
from services.kernel.log.positions import Parked, Positions
from tests.simulation.network import Network
from tests.simulation.scheduler import Scheduler
from tests.simulation.trouble import Trouble

NAME = "user:operator"


class Operator:
    def __init__(self, scheduler: Scheduler, house: House, trouble: Trouble, network: Network) -> None:
        self._scheduler = scheduler
        self._house = house
        self._trouble = trouble
        self._network = network
        self._released = 0

    def work(self) -> None:
        """A task."""
        self._scheduler.wait(lambda: self._trouble.struck > 0)
        while not self._trouble.repaired or self.parked():
            self._rest()
            if self._scheduler.chance(0.6):
                self._trouble.repaired = True
            for key in self.parked_keys():
                self._network.ask(self.release(*key), NAME)

    def parked(self) -> list[Parked]:
        """Of the views, which keep it beside their rows."""
        found: list[Parked] = []
        for service in SERVICES:
            with self._house.views_database(service.name).read() as session:
                found += Positions(session).parked()
        return found

    def parked_keys(self) -> list[tuple[str, str]]:
        return sorted({(one.follower, one.key) for one in self.parked()})

    def release(self, follower: str, key: str) -> Message:
        self._released += 1
        return ReleaseParkedRequest(
            request_id=f"release-{self._released}", follower=follower, key=key, reason="repaired"
        )

    def _rest(self) -> None:
        until = self._scheduler.tick + self._scheduler.random.randint(5, 60)
        self._scheduler.wait(lambda: self._scheduler.tick >= until)
