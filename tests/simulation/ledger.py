"""What followers have handled, counted when it is committed: each event once, and none left out."""

from collections import defaultdict

from tests.simulation.scheduler import Scheduler, Task


class HandledAgainError(AssertionError):
    """An effect was committed twice, or by a holder that was stale."""


class Ledger:
    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._open: dict[Task | None, list[tuple[str, int]]] = {}
        self.handled: dict[str, set[int]] = defaultdict(set)
        self.commits = 0

    def begin(self) -> None:
        self._open.setdefault(self._scheduler.current, []).clear()

    def handles(self, follower: str, position: int) -> None:
        self._open[self._scheduler.current].append((follower, position))

    def commit(self) -> None:
        self.commits += 1
        for follower, position in self._open[self._scheduler.current]:
            before = self.handled[follower]
            if position in before:
                raise HandledAgainError(f"{follower} commits the effect of position {position} again")
            before.add(position)
        self._open[self._scheduler.current].clear()
