"""The cell's processes: each with a house of its own, and nothing but the disks in common with the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from google.protobuf.message import Message
from kept.common.v1.record_pb2 import Receipt

from services.cli.table import SERVICES
from services.kernel.database import Session
from services.kernel.errors import KeptError
from services.kernel.events import LogEvent
from services.kernel.follower import TRANSIENT, Follower
from services.kernel.house import House
from services.kernel.policy import PolicyFollower
from services.notification.sender import SenderFollower
from tests.simulation.bugs import Bug, WatchedViews
from tests.simulation.ledger import Ledger
from tests.simulation.outside import Outside
from tests.simulation.prelude import Servicers, served
from tests.simulation.scheduler import Process, Scheduler
from tests.simulation.trouble import Trouble


class Api(Process):
    """Serves what arrives, several requests at a time."""

    def __init__(self, name: str, house: House) -> None:
        super().__init__(name)
        house.require()
        self._servicers = Servicers(house)

    def serve(self, request: Message, principal: str) -> Receipt | KeptError:
        """The receipt of a change, or why there is none."""
        try:
            receipt: Receipt = served(self._servicers, request, principal).receipt
        except KeptError as refusal:
            return refusal
        return receipt


class WatchedPolicy(PolicyFollower):
    ledger: Ledger

    def handle(self, session: Session, event: LogEvent) -> None:
        self.ledger.handles(self.name, event.position)
        super().handle(session, event)


class WatchedSender(SenderFollower):
    """Tells the outside when it was interrupted between sending and recording."""

    ledger: Ledger
    outside: Outside

    def handle(self, session: Session, event: LogEvent) -> None:
        self.ledger.handles(self.name, event.position)
        super().handle(session, event)

    def step(self) -> bool:
        before = self.outside.arrived.copy()
        try:
            return super().step()
        except BaseException:
            self.outside.interrupted += self.outside.arrived - before
            raise


@dataclass(frozen=True)
class Surroundings:
    """What followers meet: who counts what they do, the world outside, an event that they cannot handle, and a bug."""

    ledger: Ledger
    outside: Outside
    trouble: Trouble
    bug: Bug

    def followers(self, house: House) -> list[Follower]:
        """One holder of each."""
        policies = [
            WatchedPolicy(policy(), house.log, house.clock) for service in SERVICES for policy in service.policies
        ]
        sender = WatchedSender(house.log, house.clock, house.sealer, self.outside.channels())
        sender.outside = self.outside
        views = [self.bug.view_follower.of(service.views, house) for service in SERVICES]
        for view in views:
            view.trouble = self.trouble
        watched: list[WatchedPolicy | WatchedSender | WatchedViews] = [*policies, sender, *views]
        for follower in watched:
            follower.ledger = self.ledger
            follower.source = house.source
        return list(watched)


class Worker(Process):
    """Follows, each follower on its own; other workers may hold the same ones, since leases only save work."""

    def __init__(self, name: str, held: Sequence[Follower]) -> None:
        super().__init__(name)
        self.held = held

    def start(self, scheduler: Scheduler, news: Callable[[], int]) -> None:
        for follower in self.held:
            body = _Following(follower, scheduler, news).run
            scheduler.spawn(f"{self.name} {follower.name}", self, body, patient=True)


class _Following:
    """What nameko's entrypoint does: batch after batch; when there is none, until the bell rings or time has passed."""

    def __init__(self, follower: Follower, scheduler: Scheduler, news: Callable[[], int]) -> None:
        self._follower = follower
        self._scheduler = scheduler
        self._news = news

    def run(self) -> None:
        while True:
            seen = self._news()
            try:
                worked = self._follower.step()
            except TRANSIENT as trouble:
                self._scheduler.note(f"{trouble.slug}, tries again", counts_as=trouble.slug)
                self._until(self._scheduler.tick + self._scheduler.random.randint(1, 10))
                continue
            if worked:
                self._scheduler.note("handled a batch")
                self._scheduler.pause()
            else:
                self._until_news(seen)

    def _until(self, tick: int) -> None:
        self._scheduler.wait(lambda: self._scheduler.tick >= tick)

    def _until_news(self, seen: int) -> None:
        self._scheduler.wait(lambda: self._news() != seen)


def some(of: Sequence[Follower], random: Random, most: int) -> list[Follower]:
    return random.sample(of, random.randint(0, most))
