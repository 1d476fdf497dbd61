"""A cell as its callers see it, in this process: requests go to the servicers, followers are stepped by hand."""

from collections.abc import Iterable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, TypeVar, cast
from uuid import UUID

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kept.case.v1 import events_pb2 as case_events
from kept.case.v1 import service_pb2 as case
from kept.common.v1.money_pb2 import Money
from kept.common.v1.record_pb2 import Receipt
from kept.customer.v1 import events_pb2 as customer_events
from kept.customer.v1 import service_pb2 as customer

from services.case import views as case_views
from services.case.servicer import CaseServicer
from services.customer import views as customer_views
from services.customer.servicer import CustomerServicer
from services.kernel.application import Caller
from services.kernel.clock import micros, timestamp
from services.kernel.database import Database, Row
from services.kernel.errors import KeptError
from services.kernel.events import DomainEvent, LogEvent, ProtobufMapper, Stamp, log_event
from services.kernel.house import House
from services.kernel.log.port import Recorded, Save
from services.kernel.rpc import interceptors
from services.kernel.views import ViewFollower, ViewSet
from services.partner_network import views as partner_network_views
from services.partner_network.servicer import PartnerNetworkServicer

START = datetime(2024, 5, 6, 8, 0, tzinfo=UTC)
SERVICERS = {"customer": CustomerServicer, "case": CaseServicer, "partner_network": PartnerNetworkServicer}
VIEWS = (customer_views.VIEWS, case_views.VIEWS, partner_network_views.VIEWS)
UNKNOWN = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
M = TypeVar("M", bound=Message)


def at(minutes: float) -> Timestamp:
    return timestamp(START + timedelta(minutes=minutes))


@dataclass(frozen=True)
class Told:
    """Events of one stream, after a version."""

    stream: UUID
    bodies: Sequence[Message]
    customer_id: str = ""
    after: int = 0


class Scene:
    def __init__(self, house: House, tenant: str = "main") -> None:
        for views in VIEWS:
            views.migrate(house.views_database(views.name))
        self.house = house
        self.tenant = tenant
        self._servicers = {name: servicer(house) for name, servicer in SERVICERS.items()}
        self._numbers = count(1)

    def send(self, request: Message) -> Any:
        """The response to a request as it is. Raises the servicer's refusal."""
        service = request.DESCRIPTOR.file.package.split(".")[1]
        method = request.DESCRIPTOR.name.removesuffix("Request")

        def call() -> Any:
            interceptors._caller.set(Caller("user:ana", self.tenant, method))
            return getattr(self._servicers[service], method)(request, None)

        return copy_context().run(call)

    def tell(self, request: Message, minutes: float = 0) -> Receipt:
        """The receipt of a change, which gets a request id of its own, and this time unless it has one."""
        request = edited(request, {"request_id": f"{self.tenant}-{next(self._numbers)}"})
        if not request.HasField("occurred_at"):
            cast(Any, request).occurred_at.CopyFrom(at(minutes))
        return cast(Receipt, self.send(request).receipt)

    def refused(self, request: Message, slug: str) -> KeptError:
        """The refusal; asserts that it left nothing behind."""
        before = self.trace()
        with pytest.raises(KeptError) as caught:
            self.tell(request)
        assert caught.value.slug == slug
        assert self.trace() == before
        return caught.value

    def refused_read(self, request: Message, slug: str) -> None:
        with pytest.raises(KeptError) as caught:
            self.send(request)
        assert caught.value.slug == slug

    def trace(self) -> tuple[object, ...]:
        """Whatever a command could leave behind, in the log and in the key store."""
        counts = []
        for namespace, table in (("log", "log"), ("log", "stream"), ("log", "request"), ("keys", "data_key")):
            with self.house.database(namespace).read() as session:
                counts.append(session.execute(f"SELECT count(*) FROM {table}").fetchone())  # noqa: S608
        return self.house.log.head(), *counts

    def recorded(self) -> list[LogEvent]:
        return [log_event(one) for one in self.house.log.read(0, 1000)]

    def found_in_files(self, texts: Iterable[str]) -> set[str]:
        """Which of these some file of the cell holds in the clear."""
        contents = [path.read_bytes() for path in self.house.settings.data.rglob("*") if path.is_file()]
        assert len(contents) > 3
        return {text for text in texts if any(text.encode() in content for content in contents)}

    def customer(self, minutes: float = 0) -> str:
        return self.tell(register_customer(), minutes).id

    def case(self, customer_id: str, minutes: float = 0) -> str:
        return self.tell(open_case(customer_id), minutes).id

    def append(self, *told: Told, minutes: float = 0) -> None:
        """Events in one commit, past the commands: another service's, or many at once."""
        stamp = Stamp(self.tenant, "policy:test@1", micros(START + timedelta(minutes=minutes)), correlation_id="")
        entries = [
            ProtobufMapper().to_stored_event(DomainEvent(one.stream, version, body, stamp, one.customer_id))
            for one in told
            for version, body in enumerate(one.bodies, one.after + 1)
        ]
        (outcome,) = self.house.log.append([Save(tuple(entries))])
        assert isinstance(outcome, int), outcome

    def drain(self) -> None:
        for views in VIEWS:
            follow(self.house, views, self.house.views_database(views.name))


def follow(house: House, views: ViewSet, database: Database, batch: int = 500) -> None:
    follower = ViewFollower(views, house.log, database, house.view_bell)
    follower._limit = batch
    follower.register()
    while follower.step():
        pass
    with database.read() as session:
        assert session.execute("SELECT * FROM parked").fetchall() == []


def logged(stream: UUID, body: Message, *, position: int = 1, customer_id: str = "", minutes: float = 0) -> LogEvent:
    """An event as a follower gets it, the first of its stream, without a log."""
    stamp = Stamp("main", "user:ana", micros(START + timedelta(minutes=minutes)), correlation_id="")
    entry = ProtobufMapper().to_stored_event(DomainEvent(stream, 1, body, stamp, customer_id))
    return log_event(Recorded(position, entry.topic, stamp.occurred_at, entry.state))


def rows(views: ViewSet, database: Database) -> dict[str, list[Row]]:
    with database.read() as session:
        return {
            table.name: session.execute(f"SELECT * FROM {table.name} ORDER BY {', '.join(table.key)}").fetchall()  # noqa: S608
            for table in views.tables
        }


def edited(request: M, changes: Mapping[str, Any]) -> M:
    """A copy with other values at these paths; None takes a message away."""
    copy = type(request).FromString(request.SerializeToString())
    for path, value in changes.items():
        *outer, name = path.split(".")
        target: Any = copy
        for step in outer:
            target = getattr(target, step)
        target.ClearField(name)
        if isinstance(value, list):
            getattr(target, name).extend(value)
        elif isinstance(value, Message):
            getattr(target, name).CopyFrom(value)
        elif value is not None:
            setattr(target, name, value)
    return copy


def party() -> customer.PartyInput:
    return customer.PartyInput(
        kind=customer_events.PARTY_KIND_INDIVIDUAL,
        contact=customer.ContactInput(
            name="Ana Fantinato", phones=["+86 10 6552 9988", "(021) 555-0134"], email="ana@example.com"
        ),
        preferences=customer_events.Preferences(
            language="zh-CN",
            time_zone="Asia/Shanghai",
            region="310000",
            channels=[customer_events.CHANNEL_WECHAT, customer_events.CHANNEL_PHONE],
        ),
    )


def register_customer() -> customer.RegisterCustomerRequest:
    return customer.RegisterCustomerRequest(party=party(), stage=customer_events.CUSTOMER_STAGE_ACTIVE)


def install_item(customer_id: str) -> customer.InstallItemRequest:
    return customer.InstallItemRequest(
        customer_id=customer_id,
        product="Router R-1",
        serial="SN-0001",
        site="12 Zhongshan Road, third floor",
        region="310000",
        product_stage=customer_events.PRODUCT_STAGE_GROWTH,
        warranty_until=at(60 * 24 * 730),
    )


def lost_deal(customer_id: str, *clock_ids: str) -> customer.RecordLostDealRequest:
    return customer.RecordLostDealRequest(
        customer_id=customer_id,
        subject="maintenance 2027, Tonglu",
        sum=Money(currency="CNY", minor_units=12_345_600),
        reason=customer_events.LOSS_REASON_SERVICE,
        clock_ids=clock_ids,
    )


def open_case(customer_id: str) -> case.OpenRequest:
    return case.OpenRequest(
        customer_id=customer_id,
        classification=case_events.Classification(
            kind=case_events.CASE_KIND_INCIDENT, category="network", subcategory="router", symptom="no light"
        ),
        priority=case_events.PRIORITY_HIGH,
        need="A line that works again",
        urgency="The shop cannot take payments",
        channel=customer_events.CHANNEL_PHONE,
        region="310000",
        entitlement="gold",
        product_stage=customer_events.PRODUCT_STAGE_GROWTH,
        external_reference="INC0000045",
    )
