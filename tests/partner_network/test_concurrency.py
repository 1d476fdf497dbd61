"""Several partners accept at once: exactly one has the work order."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest
from kept.common.v1.record_pb2 import Receipt
from kept.partner_network.v1 import events_pb2 as e
from kept.partner_network.v1 import service_pb2 as m

from services.kernel import aggregate_cache
from services.kernel.aggregate import Aggregate
from services.kernel.application import Caller, Checkout
from services.kernel.errors import Refused
from services.kernel.house import House
from services.partner_network.application import PartnerNetworkApplication
from services.partner_network.domain import WorkOrder
from tests.partner_network.network import Network, accept, decline
from tests.scene import Scene, edited

PARTNERS = 8
A = TypeVar("A", bound=Aggregate)


class AtOnce(PartnerNetworkApplication):
    """Nobody decides before everybody has seen the work order as it was."""

    def __init__(self, house: House, parties: int) -> None:
        super().__init__(house)
        self._everybody_looked = threading.Barrier(parties, timeout=30)
        self._mine = threading.local()

    def checkout(self, kind: type[A], id: str, *, tenant: str) -> Checkout[A]:
        held = super().checkout(kind, id, tenant=tenant)
        if kind is WorkOrder and not hasattr(self._mine, "looked"):
            self._mine.looked = True
            self._everybody_looked.wait()
        return held


@pytest.fixture
def network(house: House, monkeypatch: pytest.MonkeyPatch) -> Network:
    monkeypatch.setattr(aggregate_cache, "TURN_WITHIN_S", 0)  # as processes do, they don't wait for one another
    return Network(Scene(house))


Request = m.AcceptWorkOrderRequest | m.DeclineWorkOrderRequest


def answers(network: Network, *requests: Request) -> list[Receipt | Refused]:
    """What each of them gets, when all are sent at once by threads of their own."""
    application = AtOnce(network.scene.house, len(requests))

    def send(request: Request) -> Receipt | Refused:
        told = edited(request, {"request_id": f"{type(request).__name__} {request.partner_id}"})
        command = application.command(Caller("user:ana", "main", type(told).__name__), told)
        try:
            if isinstance(told, m.AcceptWorkOrderRequest):
                return application.accept_work_order(command, told)
            return application.decline_work_order(
                command, told.work_order_id, partner_id=told.partner_id, reason=told.reason
            )
        except Refused as refusal:
            return refusal

    with ThreadPoolExecutor(len(requests)) as threads:
        return list(threads.map(send, requests))


def taken(network: Network) -> list[e.WorkOrderAccepted]:
    return [event.body for event in network.scene.recorded() if isinstance(event.body, e.WorkOrderAccepted)]


def test_of_partners_that_accept_at_once_one_gets_a_receipt_and_the_others_learn_who(network: Network) -> None:
    partner_ids = [network.partner(f"P{number}") for number in range(PARTNERS)]
    order_id = network.offered(*partner_ids)

    got = answers(network, *(accept(order_id, partner_id) for partner_id in partner_ids))

    (winner,) = taken(network)
    (receipt,) = (one for one in got if isinstance(one, Receipt))
    assert got.index(receipt) == partner_ids.index(winner.partner_id)
    assert (receipt.id, receipt.version) == (order_id, 2)
    refusals = [one for one in got if isinstance(one, Refused)]
    assert {one.slug for one in refusals} == {"work-order-taken"}
    assert {one.facts["partner"] for one in refusals} == {winner.partner_id}
    assert len(refusals) == PARTNERS - 1


def test_of_an_acceptance_and_a_declining_of_the_same_partner_one_is_recorded(network: Network) -> None:
    fast = network.partner()
    order_id = network.offered(fast)

    got = answers(network, accept(order_id, fast), decline(order_id, fast))

    (refusal,) = (one for one in got if isinstance(one, Refused))
    assert refusal.slug == ("work-order-taken" if taken(network) else "already-declined")


def test_an_acceptance_stands_whoever_declines_at_the_same_time(network: Network) -> None:
    fast, slow = network.partner(), network.partner("Slow Repairs")
    order_id = network.offered(fast, slow)

    answers(network, accept(order_id, fast), decline(order_id, slow))

    assert [one.partner_id for one in taken(network)] == [fast]
