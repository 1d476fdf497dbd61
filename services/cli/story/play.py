"""What every act uses: calls as a dispatcher of headquarters, the cell's clock, and the log as it grows."""

from collections.abc import Callable, Iterable
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kept.audit.v1.service_pb2 import StreamEventsResponse
from kept.cell.v1 import service_pb2 as cell
from kept.common.v1.record_pb2 import Receipt, Record

from services.cli.story.teller import Teller

# The events after a position, up to the head, as auditors get them.
EventsAfter = Callable[[int], Iterable[StreamEventsResponse]]


HOUR_S, HOURLY_S = 3600, 48 * 3600


class Play:
    """`call` makes one unary call."""

    def __init__(self, call: Callable[[str, str, Message], Any], events_after: EventsAfter, teller: Teller) -> None:
        self.call, self._events_after, self.teller = call, events_after, teller
        self._number = 0
        self._heard = 0
        self.position = 0
        self.now = Timestamp()

    def tell(self, service: str, method: str, request: Message) -> Receipt:
        """A change, under a request id that follows from its place in the story, now in the story's time."""
        self._number += 1
        command: Any = request
        command.request_id = f"story:{self._number}"
        if "occurred_at" in request.DESCRIPTOR.fields_by_name and not command.HasField("occurred_at"):
            command.occurred_at.CopyFrom(self.now)
        receipt: Receipt = self.call(service, method, request).receipt
        self.position = max(self.position, receipt.position)
        return receipt

    def ask(self, service: str, method: str, request: Any) -> Any:
        """A read that knows everything told so far."""
        request.after_position = self.position
        return self.call(service, method, request)

    def until(self, moment: Timestamp) -> None:
        """Time passes, hour by hour at first; what follows from it is decided, and told."""
        last = moment.seconds
        for seconds in range(self.now.seconds + HOUR_S, min(last, self.now.seconds + HOURLY_S), HOUR_S):
            self._advance(seconds)
        self._advance(last)

    def _advance(self, seconds: int) -> None:
        self.now = Timestamp(seconds=seconds)
        self.settle()

    def settle(self) -> None:
        """Lets the followers work on what was told, and tells what the log holds then."""
        self.tell("cell", "AdvanceTime", cell.AdvanceTimeRequest(to=self.now))
        self.position = self.call("cell", "GetCell", cell.GetCellRequest()).position
        for event in self._events_after(self._heard):
            self._heard = event.position
            self.teller.hear(Record.FromString(event.record))
        self.teller.tell_crowd()
