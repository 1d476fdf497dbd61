"""New events as they come, read once in a process and handed to every stream that follows the log."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager

from services.kernel.errors import KeptError, Overloaded, Unavailable
from services.kernel.log.bell import LONGEST_WAIT_S
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Recorded

BATCH = 500
MOST_WAITING = 20  # batches of one stream
_log = logging.getLogger(__name__)


class Following:
    """One stream's queue. What it holds is bounded: whoever is too slow for it is ended, and resumes later."""

    def __init__(self) -> None:
        self._batches: asyncio.Queue[Sequence[Recorded]] = asyncio.Queue(MOST_WAITING)
        self._ended = asyncio.Event()
        self._why: KeptError | None = None

    def offer(self, events: Sequence[Recorded]) -> bool:
        """False when this stream is too slow."""
        try:
            self._batches.put_nowait(events)
        except asyncio.QueueFull:
            self.end(Overloaded("stream-too-slow", "resume with the last position", retry_after_s=1.0))
            return False
        return True

    def end(self, why: KeptError) -> None:
        self._why = why
        self._ended.set()

    async def batches(self) -> AsyncIterator[Sequence[Recorded]]:
        """Each batch as it comes. Raises why it was ended: at once, whatever waits."""
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            while True:
                batch = asyncio.ensure_future(self._batches.get())
                try:
                    await asyncio.wait((batch, ended), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    batch.cancel()
                if self._why is not None:
                    raise self._why
                yield batch.result()
        finally:
            ended.cancel()


class Feed:
    """Of one process and its event loop. It reads only while somebody follows."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._following: set[Following] = set()
        self._rung = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ear = log.bell.listen()
        self._listener = threading.Thread(target=self._listen, name="bell", daemon=True)
        self.position = 0
        self.closed: KeptError | None = None
        self._listener.start()
        self._reader = asyncio.ensure_future(self._read())

    @contextmanager
    def following(self, after: int) -> Iterator[Following]:
        """From whoever has read up to `after`, which is where the feed stands or later. Raises why it was closed."""
        if self.closed is not None:
            raise self.closed
        if not self._following:
            self.position = after
        mine = Following()
        self._following.add(mine)
        self._rung.set()
        try:
            yield mine
        finally:
            self._following.discard(mine)

    def behind(self, after: int) -> bool:
        """Whether the feed has gone past `after`, so that its follower has to read on by itself first."""
        return bool(self._following) and self.position > after

    async def close(self) -> None:
        """Ends every stream, and reads no more."""
        self.closed = Unavailable("stream-ended", "this process stops; resume with the last position", retry_after_s=1)
        self._end_all(self.closed)
        self._rung.set()
        await self._reader
        self._ear.poke()
        await asyncio.to_thread(self._listener.join)
        self._ear.close()

    def _listen(self) -> None:
        while self.closed is None:
            self._ear.wait(LONGEST_WAIT_S)
            self._loop.call_soon_threadsafe(self._rung.set)

    async def _read(self) -> None:
        while self.closed is None:
            await self._rung.wait()
            self._rung.clear()
            try:
                while self._following and await self._one_batch():
                    pass
            except Exception as error:
                # Whoever follows is told to come again; the next ring tries anew.
                _log.warning("the feed: %s", type(error).__name__)
                self._end_all(Unavailable("stream-ended", "the log cannot be read now; resume with the last position"))

    async def _one_batch(self) -> bool:
        before = self.position
        events = await asyncio.to_thread(self._log.read, before, BATCH)
        if self.position != before or not events:  # meanwhile nobody followed, and then somebody from elsewhere
            return self.position != before
        self.position = events[-1].position
        for one in tuple(self._following):
            if not one.offer(events):
                self._following.discard(one)
        return True

    def _end_all(self, why: KeptError) -> None:
        for one in self._following:
            one.end(why)
        self._following.clear()
