"""The stream copy as a transport: a relay that starts again and repeats itself, and readers that see it late."""

from collections.abc import Sequence
from random import Random

from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Recorded, Source
from tests.simulation.scheduler import Scheduler


class Stream:
    """What was published, in that order: by several relays, each from where it thought that the last had stopped."""

    def __init__(self) -> None:
        self.messages: list[Recorded] = []
        self.confirmed = 0  # the last position that a relay knows to be in the stream

    def publish(self, events: Sequence[Recorded]) -> None:
        self.messages.extend(events)


class Relay:
    """One incarnation. It resumes from what was confirmed, or from somewhere before where it forgot."""

    def __init__(self, log: EventLog, stream: Stream, scheduler: Scheduler, *, first: int) -> None:
        self._log = log
        self._stream = stream
        self._scheduler = scheduler
        random = scheduler.random
        self._position = random.randint(first, stream.confirmed) if random.random() < 0.5 else stream.confirmed

    def step(self) -> bool:
        events = self._log.read(self._position, self._scheduler.random.randint(1, 20))
        if not events:
            return False
        self._stream.publish(events)
        self._position = events[-1].position
        self._scheduler.pause()  # published, and not confirmed yet
        self._stream.confirmed = max(self._stream.confirmed, self._position)
        return True


class CopySource:
    """A reader's connection to the stream; without the broker it reads the log. What it gives is dense and in order."""

    def __init__(self, stream: Stream, log: Source, random: Random) -> None:
        self._stream = stream
        self._log = log
        self._random = random
        self._arrived = 0  # so many messages, repeated ones too

    def read(self, after: int, limit: int) -> Sequence[Recorded]:
        if self._random.random() < 0.1:  # the broker is away
            return self._log.read(after, limit)
        if self._random.random() < 0.1:  # connected anew: all is delivered again
            self._arrived = 0
        self._arrived = self._random.randint(self._arrived, len(self._stream.messages))  # the rest is on its way
        found: list[Recorded] = []
        for message in self._stream.messages[: self._arrived]:
            if message.position == after + len(found) + 1 and len(found) < limit:
                found.append(message)
        return found
