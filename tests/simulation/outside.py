"""The world outside: where notices go, and what arrived there."""

from collections import Counter
from uuid import UUID

from kept.customer.v1 import events_pb2 as customer

from services.notification.outgoing import Outgoing, PermanentFailure, TemporaryFailure
from services.notification.sender import Channels
from tests.simulation.scheduler import Killed, Scheduler
from tests.simulation.store import Faults


class Outside:
    """Remembers what came, whatever becomes of who sent it."""

    def __init__(self, scheduler: Scheduler, faults: Faults) -> None:
        self.arrived: Counter[UUID] = Counter()
        # Sent, and then the sender died, lost its connection or was fenced before that was recorded.
        self.interrupted: Counter[UUID] = Counter()
        self._scheduler = scheduler
        self._faults = faults

    def channels(self) -> Channels:
        return Channels({channel: self for channel in customer.Channel.values() if channel}, in_history=self)

    def deliver(self, message: Outgoing) -> None:
        self._scheduler.pause()
        if self._scheduler.current is not None:
            self._perhaps_fail()
        self.arrived[message.notice_id] += 1
        again = self.arrived[message.notice_id] > 1
        self._scheduler.note(f"notice {message.notice_id} arrives", counts_as="notice twice" if again else "notice")
        self._scheduler.pause()

    def _perhaps_fail(self) -> None:
        scheduler, faults, task = self._scheduler, self._faults, self._scheduler.current
        if scheduler.chance(faults.crash_at_delivery / 1000):
            assert task is not None
            scheduler.note(f"{task.process} dies before it delivers", counts_as="died before it delivers")
            task.process.alive = False
            raise Killed
        if scheduler.chance(faults.refused_delivery / 1000):
            raise TemporaryFailure("busy") if scheduler.chance(0.7) else PermanentFailure("unknown-address")
