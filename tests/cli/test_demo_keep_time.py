"""After the demo its time goes on: soon after something was told, else once a minute, at the pace of a real clock."""

from collections.abc import Iterator
from typing import Any, cast

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kept.cell.v1 import service_pb2 as cell

from services.cli.cell import Stop
from services.cli.demo.keep_time import IDLE_S, LOOKS_EVERY_S, keep_time

BEGAN = 1_777_000_000


class Standing:
    """A cell in history mode; its log grows by one when time is advanced, and by what is told at these looks."""

    def __init__(self, told_at: set[float]) -> None:
        self.position, self.now, self.told_at = 7, BEGAN, told_at
        self.elapsed = 0.0
        self.advanced: list[tuple[float, int]] = []

    def call(self, service: str, method: str, request: Message) -> Any:
        if isinstance(request, cell.AdvanceTimeRequest):
            self.advanced.append((self.elapsed, request.to.seconds - BEGAN))
            self.position += 1
            return cell.AdvanceTimeResponse()
        return cell.GetCellResponse(now=Timestamp(seconds=self.now), position=self.position)

    def looks(self, until_s: float) -> Iterator[bool]:
        while self.elapsed < until_s:
            self.elapsed += LOOKS_EVERY_S
            self.position += self.elapsed in self.told_at
            yield False
        yield True


def played(told_at: set[float], until_s: float) -> list[tuple[float, int]]:
    """When time was advanced, in seconds since the beginning, and to what."""
    standing = Standing(told_at)
    looks = standing.looks(until_s)

    class Stopping:
        def wait(self, timeout_s: float) -> bool:
            assert timeout_s == LOOKS_EVERY_S
            return next(looks)

    keep_time(standing.call, cast(Stop, Stopping()), lambda: standing.elapsed)
    return standing.advanced


def test_without_news_time_moves_once_a_minute() -> None:
    assert played(set(), 2 * IDLE_S + 10) == [(LOOKS_EVERY_S, 0), (60.5, 60), (120.5, 120)]


def test_what_was_told_is_answered_at_the_next_look() -> None:
    assert played({5.0, 5.5, 40.0}, 50) == [(LOOKS_EVERY_S, 0), (5.0, 5), (5.5, 5), (40.0, 40)]
