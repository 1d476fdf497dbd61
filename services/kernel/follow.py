"""The nameko entrypoint for every follower: one process holds its lease and works, batch by batch, woken by the bell or a
due moment, and stops between batches; the others stand by, and one of them goes on within seconds."""

import logging
import random
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
from services.kernel.lease import Lease
from services.kernel.log.bell import LONGEST_WAIT_S, Listener
from services.kernel.standing import Standing, standing_of
from services.kernel.telemetry import batch_duration, followers, span

FIRST_BACKOFF_S, MOST_BACKOFF_S = 0.1, 5.0
# About: those that stand by for the same follower do not all ask at the same moment.
STAND_BY_S = 1.0
# In history mode nobody waits for views between two minutes, so they gather events for larger batches.
SETTLE_S = 0.05
F = TypeVar("F", bound=Callable[..., Any])
_log = logging.getLogger(__name__)


class Follow(Entrypoint):  # type: ignore[misc]  # nameko has no types
    """`make` builds the follower from the house; the decorated method is called once a batch, and returns `step()`."""

    def __init__(self, make: Callable[[House], Follower], **kwargs: Any) -> None:
        self._make = make
        self._asked_to_stop = Event()
        self._thread: Any = None
        self._lease: Lease | None = None
        # Only of who holds the lease: a standby would let what it is not reading pile up.
        self._ear: Listener | None = None
        super().__init__(expected_exceptions=(), sensitive_arguments=(), **kwargs)

    def setup(self) -> None:
        self._house = self.container.service_cls.house
        self._follower = self._built()
        followers.watch(self._follower.name, self._standing)

    def start(self) -> None:
        self._thread = self.container.spawn_managed_thread(self._run, identifier=f"follow:{self._follower.name}")

    def stop(self) -> None:
        self.kill()
        if self._ear is not None:
            self._ear.poke()
        self._thread.wait()
        followers.forget(self._follower.name)

    def kill(self) -> None:
        # The greenlet is not killed: it may be inside a transaction. It leaves by itself after this batch.
        if not self._stopping:
            self._asked_to_stop.send()

    @property
    def _stopping(self) -> bool:
        return bool(self._asked_to_stop.ready())

    def _run(self) -> None:
        try:
            self._work()
        finally:
            self._let_go()

    def _work(self) -> None:
        backoff = FIRST_BACKOFF_S
        while not self._stopping:
            try:
                if not self._holds_lease():
                    self._wait(STAND_BY_S * random.uniform(0.8, 1.2))  # noqa: S311 - no secret
                elif not self._one_batch():
                    self._wait_for_more()
            except ContainerBeingKilled:
                return
            except Exception as error:
                _log.warning("%s: %s; trying again in %.1f s", self._follower.name, type(error).__name__, backoff)
                self._wait(backoff)
                backoff = min(backoff * 2, MOST_BACKOFF_S)
                continue
            backoff = FIRST_BACKOFF_S

    def _holds_lease(self) -> bool:
        if self._lease is None or not self._lease.held:
            self._take_lease()
        if self._lease is not None and self._ear is None:
            self._ear = self._house.log.bell.listen()
        return self._lease is not None

    def _take_lease(self) -> None:
        if self._lease is not None:
            _log.warning("%s: its lease was lost", self._follower.name)
            self._let_go()
        self._lease = self._house.leases.take(self._follower.name)
        if self._lease is not None:
            # What it remembers of an earlier lease may be old.
            self._follower = self._built()

    def _let_go(self) -> None:
        ear, self._ear = self._ear, None
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release()
        if ear is not None:
            ear.close()
        self._follower.close()

    def _built(self) -> Follower:
        follower = self._make(self._house)
        follower.source = self._house.source
        return follower

    def _standing(self) -> Standing:
        return standing_of(self._follower.name, self._house.log, self._follower.database)

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
        """Until it rings, where we listen; until we are to stop, or the time is over."""
        if self._ear is None:
            self._asked_to_stop.wait(seconds)
        else:
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
