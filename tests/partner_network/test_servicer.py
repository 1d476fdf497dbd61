"""The partner network through a real gRPC server on a Unix socket, and its followers in a cell that is played."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from kept.cell.v1 import service_pb2 as cell
from kept.partner_network.v1 import events_pb2 as e
from kept.partner_network.v1 import service_pb2 as m
from kept.partner_network.v1.service_pb2_grpc import PartnerNetworkServiceStub

from services.kernel.clock import FixedClock, micros_of
from services.kernel.errors import Misconfigured
from services.kernel.events import LogEvent, log_event
from services.kernel.house import House
from services.kernel.rpc.interceptors import PRINCIPAL, TENANT, Guard
from services.partner_network import api
from tests.history import Played, played, verified
from tests.partner_network.network import Network, accept, decline, offer, reoffer
from tests.scene import START, UNKNOWN, Scene, at, edited, open_case, register_customer

ANA = ((PRINCIPAL, "user:ana"), (TENANT, "main"))


@pytest.fixture
def stub(sqlite_house: House) -> Iterator[PartnerNetworkServiceStub]:
    Scene(sqlite_house)  # makes the views' tables
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[Guard()])
    assert api.register(server, sqlite_house) == "kept.partner_network.v1.PartnerNetworkService"
    address = f"unix:{sqlite_house.settings.run / 'test.sock'}"
    server.add_insecure_port(address)
    server.start()
    with grpc.insecure_channel(address) as channel:
        yield PartnerNetworkServiceStub(channel)
    server.stop(None).wait()


def test_an_api_process_does_not_start_without_its_views(sqlite_house: House) -> None:
    with pytest.raises(Misconfigured):
        api.register(grpc.server(ThreadPoolExecutor(1)), sqlite_house)


def test_a_partner_is_registered_over_the_wire(stub: PartnerNetworkServiceStub) -> None:
    receipt = stub.RegisterPartner(m.RegisterPartnerRequest(request_id="r", name="Fast"), metadata=ANA).receipt

    assert (receipt.version, receipt.position) == (1, 1)
    assert stub.ListPartners(m.ListPartnersRequest(), metadata=ANA).partners == []  # nobody has read it yet


@pytest.mark.parametrize(
    ("method", "request_", "code"),
    [
        ("RegisterPartner", m.RegisterPartnerRequest(request_id="r"), grpc.StatusCode.INVALID_ARGUMENT),
        ("ReportArrival", m.ReportArrivalRequest(request_id="r", work_order_id=UNKNOWN), grpc.StatusCode.NOT_FOUND),
        (
            "ReportArrival",
            m.ReportArrivalRequest(request_id="r", work_order_id="x" * 20_000),
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        ("GetPartner", m.GetPartnerRequest(partner_id=UNKNOWN), grpc.StatusCode.NOT_FOUND),
    ],
)
def test_a_refusal_has_its_status(
    stub: PartnerNetworkServiceStub, method: str, request_: Message, code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, method)(request_, metadata=ANA)
    assert caught.value.code() == code


# A played cell: every follower reads, and the log is verified by playing it again


class Told(Network):
    """The network as told to a played cell, at moments that the cell's clock has reached."""

    def __init__(self, cell: Played) -> None:
        self._cell = cell
        self._said = 0

    def tell(self, request: Message, minutes: float = 0) -> str:
        self._said += 1
        _, service, *_ = request.DESCRIPTOR.file.package.split(".")
        changes: dict[str, Any] = {"request_id": f"r-{self._said}"}
        if not request.HasField("occurred_at"):
            changes["occurred_at"] = at(minutes)
        name = request.DESCRIPTOR.name.removesuffix("Request")
        return str(self._cell.call(service, name, edited(request, changes)).receipt.id)

    def case(self) -> str:
        return self.tell(open_case(self.tell(register_customer())))

    def passes(self, minutes: float) -> None:
        if self._cell.now is not None:
            self._cell.passes(START + timedelta(minutes=minutes))
            return
        self._said += 1
        advance = cell.AdvanceTimeRequest(request_id=f"r-{self._said}", to=at(minutes))
        self._cell.call("cell", "AdvanceTime", advance)


def history(network: Told) -> list[str]:
    """Four work orders: one that nobody takes, in two rounds; one taken; one declined by all; one called off too late."""
    network.passes(10)
    fast, slow = network.partner(), network.partner("Slow Repairs")
    network.open_point(fast)
    orders = [network.tell(offer(network.case(), fast, slow)) for _ in range(4)]
    network.passes(100)
    network.tell(accept(orders[1], slow, 90))
    network.tell(decline(orders[2], slow, 90))
    network.tell(decline(orders[2], fast, 91))
    network.passes(150)
    network.tell(reoffer(orders[0], fast, minutes=140))
    network.tell(m.CancelWorkOrderRequest(work_order_id=orders[3], reason="sold", occurred_at=at(150)))
    network.passes(310)
    return orders


def expiries(cell: Played) -> list[LogEvent]:
    events = [log_event(one) for one in cell.house.log.read(0, 1000)]
    return [event for event in events if isinstance(event.body, e.OfferExpired)]


@pytest.mark.parametrize("live", [False, True])
def test_an_untaken_offer_expires_at_its_moment_and_replay_finds_the_same(tmp_path: Path, *, live: bool) -> None:
    with played(tmp_path, FixedClock(START) if live else None) as cell:
        first, _, _, fourth = history(Told(cell))
        cell.drain()
        found = expiries(cell)

    assert sorted((str(event.body), event.occurred_at) for event in found) == sorted(
        (str(e.OfferExpired(work_order_id=order_id, round=number)), micros_of(at(minutes)))
        for order_id, number, minutes in ((first, 1, 120), (fourth, 1, 120), (first, 2, 300))
    )
    assert {event.record.actor for event in found} == {"policy:partner_network@1"}
    verdict = verified(tmp_path)
    assert (verdict.findings.first, verdict.older) == ({}, {})
    assert verdict.decisions == 3
