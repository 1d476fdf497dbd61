"""One stream of events: what is there already, and then, for those who follow, what comes."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from kept.audit.v1.service_pb2 import StreamEventsResponse
from kept.common.v1.record_pb2 import Record

from services.audit.feed import BATCH, Feed
from services.audit.selection import matches
from services.kernel.clock import timestamp_of
from services.kernel.errors import Invalid
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Recorded, Selection

# How many positions are looked through at once for a filter that no index knows.
WINDOW = 5000


async def events_after(
    log: EventLog, feed: Feed, which: Selection, after: int, *, follow: bool
) -> AsyncIterator[StreamEventsResponse]:
    """Every selected event after a position, once, in order; where the last ones read were not, how far it has read.

    Raises Invalid for a position that the log does not have yet.
    """
    upto = await asyncio.to_thread(log.position)
    if after > upto:
        raise Invalid("after_position", f"is {after}, but the log ends at {upto}; has it lost its end?")
    while True:
        while after < upto:
            if feed.closed is not None:
                raise feed.closed
            events, after = await asyncio.to_thread(_read, log, which, after, upto)
            for message in _messages(events, after):
                yield message
        if not follow:
            return
        if not feed.behind(after):
            break
        upto = await asyncio.to_thread(log.position)
    with feed.following(after) as mine:
        async for batch in mine.batches():
            new = [event for event in batch if event.position > after]
            if not new:
                continue
            after = new[-1].position
            for message in _messages(_matching(which, new), after):
                yield message


def _read(log: EventLog, which: Selection, after: int, upto: int) -> tuple[list[Recorded], int]:
    """A batch of selected events, and the position up to which that is all."""
    if not which.streams and not which.customers:
        upto = min(upto, after + (WINDOW if which else BATCH))
    events = log.select(which, after, upto, BATCH)
    return events, events[-1].position if len(events) == BATCH else upto


def _matching(which: Selection, events: Sequence[Recorded]) -> Sequence[Recorded]:
    return [event for event in events if matches(which, Record.FromString(event.record))] if which else events


def _messages(events: Sequence[Recorded], read_to: int) -> list[StreamEventsResponse]:
    messages = [
        StreamEventsResponse(
            position=event.position, recorded_at=timestamp_of(event.recorded_at), record=bytes(event.record)
        )
        for event in events
    ]
    if not events or events[-1].position < read_to:
        messages.append(StreamEventsResponse(position=read_to))
    return messages
