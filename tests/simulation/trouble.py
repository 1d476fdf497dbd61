"""One event that one view cannot handle before it is repaired: its key is parked, until an operator releases it."""

from random import Random

from services.cli.table import SERVICES
from tests.simulation.scheduler import Scheduler

NAMES = tuple(service.views.follower for service in SERVICES)


class CannotHandleError(Exception):
    """What the code of that view makes of that event."""


class Trouble:
    """Half of the runs have some. `struck` is the event's position, 0 as long as it has not come."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._random: Random = scheduler.random
        self._follower = self._random.choice((*NAMES, *[""] * len(NAMES)))
        self.struck = 0
        self.repaired = False

    def strike(self, follower: str, position: int) -> None:
        """Raises CannotHandleError."""
        if self.repaired or follower != self._follower:
            return
        if not self.struck and self._random.random() < 0.1:
            self.struck = position
        if position == self.struck:
            self._scheduler.note(f"{follower} cannot handle position {position}", counts_as="parked")
            raise CannotHandleError
