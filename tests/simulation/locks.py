"""Locks for tasks: whoever waits for one lets the others go on, and gives up by the simulation's steps."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

from tests.simulation.scheduler import Killed, Scheduler

LONGEST_WAIT = 400  # steps; so long is the patience of a thread, whatever its seconds


class SimulatedLock:
    """What threading.Lock is to threads. Outside of all tasks nobody waits, since nobody else goes on."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._held = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._held and blocking:
            self._wait(lambda: not self._held, timeout)
        if self._held:
            return False
        self._held = True
        return True

    def _wait(self, ready: Callable[[], bool], timeout: float) -> None:
        scheduler = self._scheduler
        deadline = scheduler.tick + scheduler.random.randint(1, LONGEST_WAIT) if timeout >= 0 else None
        scheduler.wait(lambda: ready() or (deadline is not None and scheduler.tick >= deadline))

    def release(self) -> None:
        if not self._held:
            raise RuntimeError("release unlocked lock")
        self._held = False

    def locked(self) -> bool:
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class SimulatedCondition(SimulatedLock):
    """What threading.Condition is to threads that wait for something to be so."""

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        """Lets go of the lock meanwhile."""
        if not predicate():
            self.release()
            try:
                self._wait(predicate, -1 if timeout is None else timeout)
            except Killed:
                self._held = True  # for whoever lets go of it on the way out; the lock dies with its process
                raise
            self.acquire()
        return predicate()

    def notify_all(self) -> None:
        """The scheduler asks the predicates by itself."""


@contextmanager
def waiting_by(scheduler: Scheduler) -> Iterator[None]:
    """Within, the kernel's waiting is the scheduler's, so that its group commit is simulated as it is."""
    simulated = SimpleNamespace(**vars(threading))
    simulated.Lock = lambda: SimulatedLock(scheduler)
    simulated.Condition = lambda: SimulatedCondition(scheduler)
    with ExitStack() as stack:
        for module in _waiting():
            stack.enter_context(patch.object(module, "threading", simulated))
        yield


def _waiting() -> list[ModuleType]:
    """The kernel's modules that share something among threads."""
    loaded = [module for name, module in sys.modules.items() if name.startswith("services.kernel.")]
    return [module for module in loaded if hasattr(module, "threading")]
