"""The offer policy at its desk, without a log: what happens to work orders is told to it, and one looks at what expires.

Moments are minutes after an offer at nought, which expires at 60 where nothing else is said.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self
from uuid import UUID, uuid5

from google.protobuf.message import Message
from kept.cell.v1.events_pb2 import TimeAdvanced
from kept.partner_network.v1 import events_pb2 as e

from services.kernel.clock import micros, timestamp_of
from services.kernel.database import SQLite
from services.kernel.events import DomainEvent, LogEvent, ProtobufMapper, Stamp, log_event
from services.kernel.log.port import Recorded
from services.kernel.log.schema import migrate
from services.kernel.policy import Aggregates, Work
from services.partner_network.domain import offer_id
from services.partner_network.policies import OfferPolicy
from tests.scene import START

NAMES = UUID("5d0b5b0e-8f0e-4f57-9d0a-6f0f0d6f7a12")
MINUTE = 60_000_000
FAST, SLOW = (str(uuid5(NAMES, name)) for name in ("fast", "slow"))
CUSTOMER = str(uuid5(NAMES, "customer"))


def at(minutes: float) -> int:
    return micros(START) + round(minutes * MINUTE)


def order_of(name: str) -> UUID:
    return uuid5(NAMES, f"order {name}")


class Told(NamedTuple):
    body: Message
    at: int
    order: str = "A"


def offered(
    minutes: float = 0, name: str = "A", *, expires: float = 60, partner_ids: Sequence[str] = (FAST, SLOW)
) -> Told:
    body = e.WorkOrderOffered(customer_id=CUSTOMER, partner_ids=partner_ids, expires_at=timestamp_of(at(expires)))
    return Told(body, at(minutes), name)


def reoffered(minutes: float, number: int = 2, name: str = "A", *, expires: float) -> Told:
    body = e.WorkOrderReoffered(round=number, partner_ids=[FAST], expires_at=timestamp_of(at(expires)))
    return Told(body, at(minutes), name)


def accepted(minutes: float, name: str = "A", partner_id: str = FAST, number: int = 1) -> Told:
    return Told(e.WorkOrderAccepted(partner_id=partner_id, round=number), at(minutes), name)


def declined(minutes: float, name: str = "A", partner_id: str = FAST, number: int = 1) -> Told:
    return Told(e.WorkOrderDeclined(partner_id=partner_id, round=number), at(minutes), name)


def cancelled(minutes: float, name: str = "A") -> Told:
    return Told(e.WorkOrderCancelled(reason="sold"), at(minutes), name)


def passed(minutes: float) -> Told:
    """The cell's clock moved to that moment."""
    return Told(TimeAdvanced(now=timestamp_of(at(minutes))), at(minutes), "")


class Expired(NamedTuple):
    """`at` is when it occurred."""

    at: int
    order: str = "A"
    round: int = 1


def expired(minutes: float, name: str = "A", number: int = 1) -> Expired:
    return Expired(at(minutes), name, number)


class Desk:
    """A policy with its table in memory."""

    def __init__(self) -> None:
        self.policy = OfferPolicy()
        self._database = SQLite(":memory:", durable=False)
        tables = [sql for table in OfferPolicy.tables for sql in table.statements(self._database.dialect)]
        migrate(self._database, "partner network", [tables])
        self._streams: dict[UUID, list[DomainEvent]] = {}
        self._aggregates = Aggregates(lambda stream: self._streams.get(stream, []))
        self._position = 0
        self._expired: list[Expired] = []
        self.records: list[LogEvent] = []

    def given(self, *told: Told) -> Self:
        self._tell(told)
        return self

    def when(self, *told: Told, tenant: str = "main") -> Self:
        self._expired = self._tell(told, tenant)
        return self

    def then(self, *expected: Expired) -> None:
        assert self._expired == list(expected)

    def then_nothing(self) -> None:
        self.then()

    def due(self) -> int | None:
        with self._database.read() as session:
            return self.policy.next_due(session)

    def _tell(self, told: Sequence[Told], tenant: str = "main") -> list[Expired]:
        found = []
        for one in told:
            event = self._logged(one, tenant)
            with self._database.write() as session:
                work = Work(session, self._aggregates)
                self.policy.decide(work, event)
            for entry in work.decided:
                mapped = ProtobufMapper().to_domain_event(entry)
                self._streams.setdefault(mapped.originator_id, []).append(mapped)
                logged = log_event(Recorded(0, entry.topic, 0, entry.state))
                self.records.append(logged)
                found.append(_expired(logged))
        return found

    def _logged(self, told: Told, tenant: str) -> LogEvent:
        stream = order_of(told.order)
        events = self._streams.setdefault(stream, [])
        stamp = Stamp(tenant, "user:ana", told.at, correlation_id=f"because of {told.order}")
        events.append(DomainEvent(stream, len(events) + 1, told.body, stamp, CUSTOMER if told.order else ""))
        entry = ProtobufMapper().to_stored_event(events[-1])
        self._position += 1
        return log_event(Recorded(self._position, entry.topic, told.at, entry.state))


def _expired(logged: LogEvent) -> Expired:
    assert isinstance(logged.body, e.OfferExpired)
    (name,) = (name for name in "ABC" if str(order_of(name)) == logged.body.work_order_id)
    assert logged.record.stream == str(offer_id(order_of(name), logged.body.round))
    assert logged.record.version == 1
    return Expired(logged.occurred_at, name, logged.body.round)
