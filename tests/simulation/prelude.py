"""What was there before each run: a live cell with its rules published, partners under contract, customers and routers."""

from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from google.protobuf.message import Message
from kept.common.v1.record_pb2 import Receipt
from kept.customer.v1 import events_pb2 as customer_events
from kept.notification.v1 import service_pb2 as notification
from kept.partner_network.v1 import events_pb2 as partner_events
from kept.partner_network.v1 import service_pb2 as partner_network
from kept.sla.v1 import events_pb2 as sla_events
from kept.sla.v1 import service_pb2 as sla

from services.case.servicer import CaseServicer
from services.cli.table import SERVICES, deploy_policies, migrate
from services.customer.servicer import CustomerServicer
from services.kernel.application import Caller
from services.kernel.clock import timestamp
from services.kernel.follower import Follower
from services.kernel.house import House
from services.kernel.policy import PolicyFollower
from services.kernel.rpc import interceptors
from services.kernel.rpc.cell_servicer import CellServicer
from services.kernel.views import ViewFollower
from services.notification import rules as rules_module
from services.notification.outgoing import Outgoing
from services.notification.sender import Channels, SenderFollower
from services.notification.servicer import NotificationServicer
from services.partner_network.servicer import PartnerNetworkServicer
from services.sla.servicer import SlaServicer
from tests.scene import edited, install_item, register_customer
from tests.simulation.house import SimulatedClock, SimulatedHouse
from tests.simulation.randomness import drawn_from
from tests.simulation.store import Disks
from tests.sla.desk import ALWAYS, OFFICE, rule

START = datetime(2024, 5, 6, 1, 0, tzinfo=UTC)  # nine o'clock on a Monday, where the customers live
RULES = (Path(rules_module.__file__).parent / "default_rules.yaml").read_text(encoding="utf-8")
TENANT = "main"
SERVICERS = {
    "cell": CellServicer,
    "customer": CustomerServicer,
    "case": CaseServicer,
    "sla": SlaServicer,
    "partner_network": PartnerNetworkServicer,
    "notification": NotificationServicer,
}


class Servicers(dict[str, Any]):
    """A process's, by service; each made when it is asked for, since many a process dies before."""

    def __init__(self, house: House) -> None:
        super().__init__()
        self._house = house

    def __missing__(self, name: str) -> Any:
        made = self[name] = SERVICERS[name](self._house)
        return made


def served(by: Servicers, request: Message, principal: str) -> Any:
    """The response. Raises what the servicer raises."""
    service = request.DESCRIPTOR.file.package.split(".")[1]
    method = request.DESCRIPTOR.name.removesuffix("Request")
    interceptors._caller.set(Caller(principal, TENANT, f"/kept.{service}.v1/{method}"))
    return getattr(by[service], method)(request, None)


@dataclass(frozen=True)
class Prelude:
    """The disks as each run finds them, the ids that clients know then, and the log's last position."""

    disks: Disks
    customers: tuple[str, ...]
    items: tuple[str, ...]
    partners: tuple[str, ...]
    position: int


@cache
def prelude() -> Prelude:
    """Made once for each process that runs simulations; the same in all of them."""
    disks = Disks()
    house = SimulatedHouse(lambda namespace: disks.of(namespace).opened(), SimulatedClock(START - timedelta(hours=1)))
    with drawn_from(Random(0)):  # noqa: S311 - to be drawn again is what it is for
        migrate(house)
        deploy_policies(house, ())
        made = copy_context().run(_Making(house).made, disks)
    disks.keep()
    return made


class _NoChannel:
    def deliver(self, message: Outgoing) -> None:
        raise NotImplementedError("the prelude sends nothing")


class _Making:
    def __init__(self, house: House) -> None:
        self._house = house
        self._servicers = Servicers(house)
        self._number = 0

    def made(self, disks: Disks) -> Prelude:
        self._tell(notification.PublishRuleSetRequest(name="standard", source=RULES))
        for name, hours in (("office", OFFICE), ("always", ALWAYS)):
            self._tell(sla.PublishCalendarRequest(name=name, definition=hours))
        self._tell(sla.PublishPolicyRequest(name="standard", definition=policy(90, 240)))
        partners = tuple(self._partner(name) for name in ("North Repairs", "South Repairs"))
        customers = tuple(self._tell(registration(number)).id for number in range(3))
        items = tuple(self._tell(installation(customer)).id for customer in customers)
        self._drain()
        return Prelude(disks, customers, items, partners, self._house.log.position())

    def _partner(self, name: str) -> str:
        partner_id = self._tell(partner_network.RegisterPartnerRequest(name=name)).id
        self._tell(
            partner_network.DecideAdmissionRequest(
                partner_id=partner_id, state=partner_events.ADMISSION_STATE_ADMITTED, reason="fits"
            )
        )
        agreement = partner_events.Agreement(
            regions=["330100"],
            products=["router"],
            skills=["fibre"],
            hours=partner_events.Hours(time_zone="Asia/Shanghai", weekdays=ALWAYS.weekdays),
            valid_from=timestamp(START - timedelta(days=1)),
        )
        self._tell(partner_network.SignAgreementRequest(partner_id=partner_id, number="1", agreement=agreement))
        return partner_id

    def _drain(self) -> None:
        """Everybody has read all of it, and nothing follows from it."""
        house, position = self._house, self._house.log.position()
        held: list[Follower] = [ViewFollower.of(service.views, house) for service in SERVICES]
        held += [
            PolicyFollower(policy(), house.log, house.clock) for service in SERVICES for policy in service.policies
        ]
        held.append(SenderFollower(house.log, house.clock, house.sealer, Channels({}, in_history=_NoChannel())))
        for follower in held:
            while follower.step():
                pass
        assert house.log.position() == position, "the prelude has consequences"

    def _tell(self, request: Message) -> Receipt:
        self._number += 1
        told = edited(request, {"request_id": f"prelude-{self._number}"})
        receipt: Receipt = served(self._servicers, told, "user:prelude").receipt
        return receipt


def policy(own: int, resolve: int) -> sla_events.PolicyDefinition:
    """Minutes to own and to resolve a case."""
    rules = [
        rule(own * 60, target=sla_events.TARGET_KIND_TIME_TO_OWN, calendar="always"),
        rule(resolve * 60, calendar="always", warn_percents=[50, 75], boundary=sla_events.BOUNDARY_CLOSING_TIME),
    ]
    return sla_events.PolicyDefinition(rules=rules)


def registration(number: int) -> Message:
    """Another customer each time."""
    channels = [customer_events.CHANNEL_WECHAT, customer_events.CHANNEL_SMS, customer_events.CHANNEL_EMAIL]
    return edited(
        register_customer(),
        {
            "party.contact.name": f"Customer {number}",
            "party.preferences.channels": channels[number % 3 :] + channels[: number % 3],
        },
    )


def installation(customer_id: str) -> Message:
    return edited(install_item(customer_id), {"product": "router", "region": "330106", "warranty_until": None})
