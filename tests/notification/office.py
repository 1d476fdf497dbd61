"""A cell in this process whose notices go to channels that one can look into, and have fail."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

from google.protobuf.message import Message
from kept.case.v1 import service_pb2 as case
from kept.common.v1.record_pb2 import Receipt
from kept.customer.v1 import events_pb2 as customer_events
from kept.notification.v1 import events_pb2 as e
from kept.notification.v1 import service_pb2 as m

from services.kernel.clock import FixedClock
from services.kernel.events import log_event
from services.kernel.house import House
from services.notification.outgoing import Outgoing
from services.notification.sender import Channels, SenderFollower
from tests.databases import Cell
from tests.history import Played
from tests.notification.desk import DEFAULT
from tests.scene import edited, install_item, open_case, register_customer

SHANGHAI = ZoneInfo("Asia/Shanghai")
NINE = datetime(2024, 5, 6, 9, 0, tzinfo=SHANGHAI).astimezone(UTC)
NIGHT = datetime(2024, 5, 6, 23, 30, tzinfo=SHANGHAI).astimezone(UTC)
MORNING = datetime(2024, 5, 7, 8, 0, tzinfo=SHANGHAI).astimezone(UTC)


class Line:
    """A channel: what came through it, and what it fails with next, oldest first."""

    def __init__(self) -> None:
        self.out: list[Outgoing] = []
        self.troubles: list[Exception] = []

    def deliver(self, message: Outgoing) -> None:
        if self.troubles:
            raise self.troubles.pop(0)
        self.out.append(message)


class Office:
    """With the default rules published, and one customer who has a router."""

    def __init__(self, cell: Cell, now: datetime = NINE) -> None:
        self.clock = FixedClock(NINE - timedelta(days=1))
        self.played = Played(cell.settings, self.clock)
        self.lines = {channel: Line() for channel in customer_events.Channel.values() if channel}
        self.in_history = Line()
        self.sender = self.make_sender(self.house)
        followers = self.played.followers
        followers[[type(one) for one in followers].index(SenderFollower)] = self.sender
        self._numbers = count(1)
        self.tell(m.PublishRuleSetRequest(name="standard", source=DEFAULT))
        registered = self.tell(register_customer())
        self.customer_id = registered.id
        self.item_id = self.tell(install_item(self.customer_id)).id
        self.clock.set(now)

    @property
    def house(self) -> House:
        return self.played.house

    def make_sender(self, house: House) -> SenderFollower:
        return SenderFollower(house.log, house.clock, house.sealer, Channels(self.lines, self.in_history))

    def ask(self, request: Message) -> Any:
        service = request.DESCRIPTOR.file.package.split(".")[1]
        return self.played.call(service, request.DESCRIPTOR.name.removesuffix("Request"), request)

    def tell(self, request: Message) -> Receipt:
        answer: Receipt = self.ask(edited(request, {"request_id": f"r-{next(self._numbers)}"})).receipt
        return answer

    def open_case(self) -> str:
        """Its id; the notice is planned, and sent where it is due."""
        case_id = self.tell(edited(open_case(self.customer_id), {"item_id": self.item_id})).id
        self.played.drain()
        return case_id

    def resolve(self, case_id: str) -> None:
        self.tell(case.ResolveRequest(case_id=case_id, reason="done"))
        self.played.drain()

    def party_id(self) -> str:
        (planned,) = {one.body.party_id for one in self.events(e.NoticePlanned)}
        return str(planned)

    def passes(self, to: datetime) -> None:
        self.played.passes(to)

    def events(self, *kinds: type[Message]) -> list[Any]:
        found = [log_event(one) for one in self.house.log.read(0, 10_000)]
        return [one for one in found if isinstance(one.body, kinds)]

    def out(self) -> list[Outgoing]:
        """Everything that went out, whatever the channel."""
        return [message for line in self.lines.values() for message in line.out]

    def notices(self) -> list[m.Notice]:
        self.played.drain()
        return list(self.ask(m.ListNoticesRequest()).notices)


@contextmanager
def office(cell: Cell, now: datetime = NINE) -> Iterator[Office]:
    made = Office(cell, now)
    try:
        yield made
    finally:
        made.played.close()
