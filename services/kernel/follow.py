"""The nameko entrypoint for every follower: woken by the bell or a due moment, one batch at a time, stops between batches."""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from eventlet.event import Event
from nameko.exceptions import ContainerBeingKilled
from nameko.extensions import Entrypoint

from services.kernel.clock import micros
from services.kernel.decider import Decider
from services.kernel.follower import Follower
from services.kernel.house import House
from services.kernel.log.bell import LONGEST_WAIT_S, Listener
from services.kernel.telemetry import batch_duration, span

FIRST_BACKOFF_S, MOST_BACKOFF_S = 0.1, 5.0
# In history mode nobody waits for views between two minutes, so they gather events for larger batches.
SETTLE_S = 0.05
F = TypeVar("F", bound=Callable[..., Any])
_log = logging.getLogger(__name__)


class Follow(Entrypoint):  # type: ignore[misc]  # nameko has no types
    """`make` builds the follower from the house; the decorated method is called once a batch, and returns `step()`."""

    def __init__(self, make: Callable[[House], Follower], **kwargs: Any) -> None:
        self._make = make
        self._stopping = False
        self._thread: Any = None
        self._ear: Listener | None = None
        super().__init__(expected_exceptions=(), sensitive_arguments=(), **kwargs)

    def setup(self) -> None:
        self._house = self.container.service_cls.house
        self._follower = self._make(self._house)
        self._follower.source = self._house.source
        self._ear = self._house.log.bell.listen()

    def start(self) -> None:
        self._thread = self.container.spawn_managed_thread(self._run, identifier=f"follow:{self._follower.name}")

    def stop(self) -> None:
        self._stopping = True
        assert self._ear is not None
        self._ear.poke()
        self._thread.wait()
        self._ear.close()

    def kill(self) -> None:
        # The greenlet is not killed: it may be inside a transaction. It leaves by itself after this batch.
        self._stopping = True

    def _run(self) -> None:
        backoff = FIRST_BACKOFF_S
        while not self._stopping:
            try:
                if not self._one_batch():
                    self._wait_for_more()
            except ContainerBeingKilled:
                return
            except Exception as error:
                _log.warning("%s: %s; trying again in %.1f s", self._follower.name, type(error).__name__, backoff)
                self._wait(backoff)
                backoff = min(backoff * 2, MOST_BACKOFF_S)
                continue
            backoff = FIRST_BACKOFF_S

    def _wait_for_more(self) -> None:
        if self._stopping:
            return
        self._wait(self._until_due())
        if not isinstance(self._follower, Decider) and self._house.clock.history_now() is not None:
            time.sleep(SETTLE_S)

    def _one_batch(self) -> bool:
        done = Event()
        self.container.spawn_worker(self, (self._follower,), {}, handle_result=partial(self._handled, done))
        worked, exc_info = done.wait()
        if exc_info is not None:
            raise exc_info[1]
        return bool(worked)

    @staticmethod
    def _handled(done: Event, _context: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
        done.send((result, exc_info))
        return result, exc_info

    def _wait(self, seconds: float) -> None:
        assert self._ear is not None
        self._ear.wait(seconds)

    def _until_due(self) -> float:
        if not isinstance(self._follower, Decider):
            return LONGEST_WAIT_S
        due = self._follower.next_due()
        if due is None:
            return LONGEST_WAIT_S
        return min(LONGEST_WAIT_S, max(0.001, (due - micros(self._house.clock.now())) / 1_000_000))


def one_batch(follower: Follower) -> bool:
    """The body of every followed method: one batch, traced and measured."""
    started = time.monotonic()
    with span(f"follow {follower.name}"):
        worked = follower.step()
    if worked:
        batch_duration.record(time.monotonic() - started, {"follower": follower.name})
    return worked


def follow(make: Callable[[House], Follower]) -> Callable[[F], F]:
    """Marks a service's method as the one that `make`'s follower calls, once a batch."""
    return cast(Callable[[F], F], Follow.decorator(make=make))
