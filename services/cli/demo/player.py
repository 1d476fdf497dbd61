"""Plays scripts into a cell in history mode: the clock is moved once for all that happens at one moment.

Every command has a request id of seed, script and place, so a play that was interrupted goes on when it is played again:
what was done is answered as before, and made once.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import cached_property
from typing import Any, Protocol

from google.protobuf.timestamp_pb2 import Timestamp
from kept.cell.v1 import service_pb2 as cell

from services.cli.client import Interrupted
from services.cli.demo.company import HQ
from services.cli.demo.script import FIRST_DAY, Part, Step, Wait

DIRECTOR = "service:demo"  # who moves the clock
CALLERS = 8  # as many as an API process has threads


class Call(Protocol):
    """Sends a step's request as its actor, and gives the response. From several threads.

    Raises: RefusedError, CellError, Interrupted.
    """

    def __call__(self, step: Step) -> Any: ...


class Player:
    def __init__(
        self,
        call: Call,
        *,
        seed: int,
        stopping: Callable[[], bool] = lambda: False,
        progress: Callable[[datetime], None] = lambda _: None,
    ) -> None:
        self._call, self._seed = call, seed
        self._stopping, self._progress = stopping, progress

    def prepare(self, parts: Iterable[Part], now: datetime) -> None:
        """Plays what was true before `now`, each script on its own and several at a time.

        No policy may decide on any of it: what is on one stream keeps its order, what is on several does not.
        """
        self._advance(now)
        with ThreadPoolExecutor(CALLERS, "demo") as pool:
            for told in [pool.submit(self._tell_all, part) for part in parts]:
                told.result()
        self._advance(now)

    def play(self, parts: Sequence[Part], until: datetime) -> None:
        """Plays all scripts together in the order of time, up to `until`."""
        # The number decides between those of one moment, so that their order is the same every time.
        waiting = [(part.at, number, _Playing(part)) for number, part in enumerate(parts)]
        heapq.heapify(waiting)
        with ThreadPoolExecutor(CALLERS, "demo") as pool:
            while waiting and waiting[0][0] <= until:
                at = waiting[0][0]
                self._pause_to_stop()
                self._progress(at)
                self._advance(at)
                now = list(_due(waiting, at))
                self._tell_moment(at, [playing for _, playing in now], pool)
                for number, playing in now:
                    if playing.step is not None:
                        heapq.heappush(waiting, (playing.step.at, number, playing))
        self._advance(until)

    def _tell_moment(self, at: datetime, now: Sequence["_Playing"], pool: ThreadPoolExecutor) -> None:
        """All that happens at one moment: what has no lane alone and first, then lane beside lane."""
        lanes: dict[int | None, list[_Playing]] = {None: []}
        for playing in now:
            lanes.setdefault(playing.part.lane, []).append(playing)
        self._tell(at, lanes.pop(None))
        mine, *others = lanes.values() or ([],)
        told = [pool.submit(self._tell, at, lane) for lane in others]
        self._tell(at, mine)
        for one in told:
            one.result()

    def _tell(self, at: datetime, lane: Sequence["_Playing"]) -> None:
        """One command after the other."""
        for playing in lane:
            while playing.step is not None and playing.step.at == at:
                playing.told(self._answer(playing, playing.step))
            assert playing.step is None or playing.step.at > at, f"{playing.part.name} goes back in time"

    def _tell_all(self, part: Part) -> None:
        playing = _Playing(part)
        while playing.step is not None:
            self._pause_to_stop()
            playing.told(self._answer(playing, playing.step))

    def _answer(self, playing: "_Playing", step: Step | Wait) -> Any:
        """A change's receipt; a read's response, once the view has read all that was decided."""
        if isinstance(step, Wait):
            return None
        fields = step.request.DESCRIPTOR.fields_by_name
        if "request_id" not in fields:
            step.request.after_position = self.head()
            return self._call(step)
        step.request.request_id = f"demo:{self._seed}:{playing.part.name}:{playing.place}"
        step.request.occurred_at.CopyFrom(_told(step.at))
        return self._call(step).receipt

    def head(self) -> int:
        """The log's last position."""
        return int(self._direct(cell.GetCellRequest()).position)

    def _advance(self, to: datetime) -> None:
        request_id = f"demo:{self._seed}:advance:{to.timestamp():.0f}"
        self._direct(cell.AdvanceTimeRequest(request_id=request_id, to=_told(to)))

    def _direct(self, request: Any) -> Any:
        return self._call(Step(FIRST_DAY, HQ, DIRECTOR, "cell", request))

    def _pause_to_stop(self) -> None:
        if self._stopping():
            raise Interrupted


class _Playing:
    """A script, the step that it waits with, and how many it has had."""

    def __init__(self, part: Part) -> None:
        self.part, self.place = part, 0

    @cached_property
    def step(self) -> Step | Wait | None:
        """What it waits with; it begins when it is asked for the first time."""
        return next(self.part.script, None)

    def told(self, answer: Any) -> None:
        """What became of the step that it waited with."""
        self.place += 1
        try:
            self.step = self.part.script.send(answer)
        except StopIteration:
            self.step = None


def _due(waiting: list[tuple[datetime, int, _Playing]], at: datetime) -> Iterator[tuple[int, _Playing]]:
    while waiting and waiting[0][0] == at:
        _, number, playing = heapq.heappop(waiting)
        yield number, playing


def _told(at: datetime) -> Timestamp:
    return Timestamp(seconds=int(at.timestamp()))
