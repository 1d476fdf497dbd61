"""A small network of partners, as requests: one company that repairs routers in Hangzhou, and what may happen to it."""

from typing import Any

from google.protobuf.message import Message
from kept.partner_network.v1 import events_pb2 as e
from kept.partner_network.v1 import service_pb2 as m
from kept.sla.v1.events_pb2 import Span, Weekday

from tests.scene import Scene, at, edited

TECHNICIAN = "Wei Zhang, 138 0013 8000"
DAY = 60 * 24  # minutes
ADMITTED, PROBATION = e.ADMISSION_STATE_ADMITTED, e.ADMISSION_STATE_PROBATION
SUSPENDED = e.ADMISSION_STATE_SUSPENDED


def window(since: float, until: float) -> e.VisitWindow:
    """Minutes from the scene's start."""
    return e.VisitWindow(**{"from": at(since), "until": at(until)})  # `from` is a word of the language


def hours(opens: int = 9, closes: int = 17, days: Any = range(1, 6)) -> e.Hours:
    """By the clock of Shanghai; Monday to Friday, nine to five."""
    spans = [Span(from_s=opens * 3600, until_s=closes * 3600)]
    return e.Hours(time_zone="Asia/Shanghai", weekdays=[Weekday(weekday=day, spans=spans) for day in days])


def agreement(**fields: Any) -> e.Agreement:
    """Routers and fibre in Hangzhou, for a year from the scene's start."""
    usual: dict[str, Any] = {
        "regions": ["330100"],
        "products": ["router"],
        "skills": ["fibre"],
        "hours": hours(),
        "valid_from": at(0),
        "valid_until": at(365 * DAY),
    }
    return e.Agreement(**(usual | fields))


def place(region: str = "330106", latitude: float | None = None, longitude: float | None = None) -> e.Place:
    return e.Place(region=region, latitude_deg=latitude, longitude_deg=longitude)


def offer(case_id: str, *partner_ids: str) -> m.OfferWorkOrderRequest:
    """At ten minutes, for a visit from four to eight hours later, to be accepted within two."""
    return m.OfferWorkOrderRequest(
        occurred_at=at(10),
        case_id=case_id,
        product="router",
        skill="fibre",
        region="330106",
        partner_ids=partner_ids,
        window=window(240, 480),
        expires_at=at(120),
    )


def reoffer(order_id: str, *partner_ids: str, minutes: float = 130) -> m.ReofferWorkOrderRequest:
    return m.ReofferWorkOrderRequest(
        occurred_at=at(minutes),
        work_order_id=order_id,
        partner_ids=partner_ids,
        window=window(600, 720),
        expires_at=at(300),
    )


def accept(order_id: str, partner_id: str, minutes: float = 20) -> m.AcceptWorkOrderRequest:
    return m.AcceptWorkOrderRequest(
        occurred_at=at(minutes), work_order_id=order_id, partner_id=partner_id, technician=TECHNICIAN
    )


def decline(order_id: str, partner_id: str, minutes: float = 20) -> m.DeclineWorkOrderRequest:
    return m.DeclineWorkOrderRequest(
        occurred_at=at(minutes), work_order_id=order_id, partner_id=partner_id, reason="busy"
    )


class Network:
    """What callers of one company do."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def tell(self, request: Message, minutes: float = 0) -> str:
        return self.scene.tell(request, minutes).id

    def registered(self, name: str = "Fast Repairs") -> str:
        return self.tell(m.RegisterPartnerRequest(name=name))

    def admit(self, partner_id: str, state: e.AdmissionState.ValueType = ADMITTED) -> None:
        self.tell(m.DecideAdmissionRequest(partner_id=partner_id, state=state, reason="fits"))

    def sign(self, partner_id: str, number: str = "C-1", **fields: Any) -> None:
        self.tell(m.SignAgreementRequest(partner_id=partner_id, number=number, agreement=agreement(**fields)))

    def open_point(self, partner_id: str, where: e.Place | None = None, name: str = "North yard") -> str:
        return self.tell(m.OpenServicePointRequest(partner_id=partner_id, name=name, place=where or place()))

    def partner(self, name: str = "Fast Repairs", state: e.AdmissionState.ValueType = ADMITTED, **fields: Any) -> str:
        """In service, with an agreement."""
        partner_id = self.registered(name)
        self.admit(partner_id, state)
        self.sign(partner_id, **fields)
        return partner_id

    def case(self) -> str:
        return self.scene.case(self.scene.customer())

    def offered(self, *partner_ids: str, **changes: Any) -> str:
        """A work order, in its first round."""
        return self.tell(edited(offer(self.case(), *partner_ids), changes))

    def shown(self, **wanted: Any) -> list[m.WorkOrder]:
        """The list as it is once all was read."""
        self.scene.drain()
        answer = self.scene.send(m.ListWorkOrdersRequest(**wanted))
        return list(answer.work_orders)
