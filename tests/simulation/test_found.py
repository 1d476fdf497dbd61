"""What seeds have found, each as a case of its own.

A client in doubt sends the same request again, and time does not stand still meanwhile: the clock was set back, an offer has
expired. What is recorded keeps its answer all the same (I6); checks against the time are for new requests alone.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from google.protobuf.message import Message
from kept.case.v1 import events_pb2 as case_events
from kept.case.v1 import service_pb2 as case
from kept.common.v1.record_pb2 import Receipt
from kept.partner_network.v1 import service_pb2 as partner_network

from services.kernel.clock import FixedClock, timestamp
from services.kernel.errors import Invalid
from tests.databases import Cell
from tests.history import Played
from tests.partner_network.network import ADMITTED, agreement, window
from tests.scene import START, edited, install_item, open_case, register_customer

LATER, EARLIER = START + timedelta(hours=3), START - timedelta(hours=1)


class Desk:
    """A live cell whose clock can be set."""

    def __init__(self, cell: Cell) -> None:
        self.clock = FixedClock(START)
        self.played = Played(cell.settings, self.clock)
        self._number = 0

    def new(self, request: Message) -> Message:
        """With a request id of its own."""
        self._number += 1
        return edited(request, {"request_id": f"r-{self._number}"})

    def send(self, request: Message) -> Receipt:
        service = request.DESCRIPTOR.file.package.split(".")[1]
        receipt: Receipt = self.played.call(service, request.DESCRIPTOR.name.removesuffix("Request"), request).receipt
        return receipt

    def tell(self, request: Message) -> str:
        return self.send(self.new(request)).id

    def answers_the_same_at(self, now: datetime, request: Message) -> None:
        """Recorded now and repeated then; as a new request it would be refused then."""
        first = self.send(request)
        self.clock.set(now)

        assert self.send(request) == first
        with pytest.raises(Invalid):
            self.send(self.new(request))


@pytest.fixture
def desk(sqlite_cell: Cell) -> Iterator[Desk]:
    made = Desk(sqlite_cell)
    yield made
    made.played.close()


def test_the_clock_was_set_back(desk: Desk) -> None:
    request = edited(desk.new(register_customer()), {"occurred_at": timestamp(START)})

    desk.answers_the_same_at(EARLIER, request)


def test_the_offer_has_expired(desk: Desk) -> None:
    partner_id = desk.tell(partner_network.RegisterPartnerRequest(name="Fast Repairs"))
    admission = partner_network.DecideAdmissionRequest(partner_id=partner_id, state=ADMITTED, reason="fits")
    desk.tell(admission)
    desk.tell(partner_network.SignAgreementRequest(partner_id=partner_id, number="1", agreement=agreement()))
    offer = partner_network.OfferWorkOrderRequest(
        case_id=desk.tell(open_case(desk.tell(register_customer()))),
        product="router",
        skill="fibre",
        region="330106",
        partner_ids=[partner_id],
        window=window(240, 480),
        expires_at=timestamp(START + timedelta(hours=1)),
    )

    desk.answers_the_same_at(LATER, desk.new(offer))


def test_the_warranty_has_ended(desk: Desk) -> None:
    install = install_item(desk.tell(register_customer()))
    until = timestamp(START + timedelta(hours=1))

    desk.answers_the_same_at(LATER, desk.new(edited(install, {"warranty_until": until})))


def test_the_problem_begins_later_than_the_clock_says_now(desk: Desk) -> None:
    scope = case_events.Scope(product="router", regions=["330100"], began_at=timestamp(START))
    request = case.OpenProblemRequest(title="no light", scope=scope, priority=case_events.PRIORITY_HIGH)

    desk.answers_the_same_at(EARLIER, desk.new(request))


def test_the_agreement_has_ended(desk: Desk) -> None:
    partner_id = desk.tell(partner_network.RegisterPartnerRequest(name="Fast Repairs"))
    short = agreement(valid_from=None, valid_until=timestamp(START + timedelta(hours=1)))
    request = partner_network.SignAgreementRequest(partner_id=partner_id, number="1", agreement=short)

    desk.answers_the_same_at(LATER, desk.new(request))
