"""Commands on partners, service points and work orders: check, seal, decide, append."""

from collections.abc import Sequence

from kept.case.v1.events_pb2 import CaseOpened
from kept.common.v1.record_pb2 import Receipt
from kept.common.v1.sealed_pb2 import Sealed
from kept.partner_network.v1 import events_pb2 as e
from kept.partner_network.v1 import service_pb2 as m

from services.kernel.application import Application, Command
from services.kernel.clock import timestamp_of
from services.kernel.events import full_name
from services.kernel.house import House
from services.kernel.privacy import Place
from services.kernel.regions import check_region
from services.kernel.validation import TEXT_MOST, check_enum, check_text, check_uuid
from services.partner_network.checks import (
    check_agreement,
    check_expiry,
    check_partner_ids,
    check_place,
    check_window,
)
from services.partner_network.coverage import Need
from services.partner_network.domain import Partner, ServicePoint, WorkOrder

PURPOSE = "technician"


class PartnerNetworkApplication(Application):
    """Raises, beside what each command says: invalid-argument, partner-not-found, work-order-not-found,
    request-id-reused, version-conflict. What was so already is answered and not recorded again."""

    def __init__(self, house: House) -> None:
        super().__init__(house.recorder, house.keys, house.clock, house.aggregates)
        self._sealer = house.sealer

    # Partners

    def register_partner(self, command: Command, *, name: str) -> Receipt:
        """Records PartnerRegistered."""
        check_text("name", name)

        def make() -> Sequence[Partner]:
            partner = Partner(command.new_id("partner"))
            partner.stamp = command.stamp
            partner.register(name=name)
            return (partner,)

        return self.create(command, make)

    def decide_admission(
        self, command: Command, partner_id: str, *, state: e.AdmissionState.ValueType, reason: str
    ) -> Receipt:
        """Records PartnerAdmitted, PartnerPutOnProbation or PartnerSuspended."""
        check_enum("state", state, e.AdmissionState)
        check_text("reason", reason)
        return self.change(command, Partner, partner_id, lambda partner: partner.decide_admission(state, reason=reason))

    def sign_agreement(self, command: Command, partner_id: str, *, number: str, agreement: e.Agreement) -> Receipt:
        """Records AgreementSigned, valid from `occurred_at` where it says nothing else. Raises agreement-exists,
        agreement-overlaps."""
        check_text("number", number, most=100)
        signed = e.AgreementSigned(number=number, agreement=agreement)
        if not agreement.HasField("valid_from"):
            signed.agreement.valid_from.CopyFrom(timestamp_of(command.stamp.occurred_at))

        def sign(partner: Partner) -> None:
            check_agreement("agreement", signed.agreement)  # by now; a repeated request keeps its answer later too
            partner.sign(signed)

        return self.change(command, Partner, partner_id, sign)

    def end_agreement(self, command: Command, partner_id: str, *, number: str, reason: str) -> Receipt:
        """Records AgreementEnded. Raises agreement-not-found, agreement-ended."""
        check_text("number", number, most=100)
        check_text("reason", reason)
        return self.change(command, Partner, partner_id, lambda partner: partner.end_agreement(number, reason=reason))

    # Service points

    def open_service_point(self, command: Command, request: m.OpenServicePointRequest) -> Receipt:
        """Records ServicePointOpened."""
        check_uuid("partner_id", request.partner_id)
        check_text("name", request.name)
        check_place("place", request.place)

        def make() -> Sequence[ServicePoint]:
            self.load(Partner, request.partner_id, tenant=command.stamp.tenant)
            point = ServicePoint(command.new_id("service point"))
            point.stamp = command.stamp
            opened = e.ServicePointOpened(partner_id=request.partner_id, name=request.name, place=request.place)
            point.open(opened)
            return (point,)

        return self.create(command, make)

    def close_service_point(self, command: Command, service_point_id: str, *, reason: str) -> Receipt:
        """Records ServicePointClosed. Raises service-point-not-found, service-point-closed."""
        check_text("reason", reason)
        return self.change(command, ServicePoint, service_point_id, lambda point: point.close(reason=reason))

    # Work orders

    def offer_work_order(self, command: Command, request: m.OfferWorkOrderRequest) -> Receipt:
        """Records WorkOrderOffered. Raises case-not-found, partner-not-eligible."""
        check_uuid("case_id", request.case_id)
        check_text("product", request.product)
        check_text("skill", request.skill)
        check_region("region", request.region)
        _check_round(request)

        def make() -> Sequence[WorkOrder]:
            check_expiry(request, after=command.stamp.occurred_at)
            opened = self.require_stream("case", request.case_id, CaseOpened, command)
            offered = e.WorkOrderOffered(
                case_id=request.case_id,
                customer_id=opened.customer_id,
                product=request.product,
                skill=request.skill,
                region=request.region,
                partner_ids=request.partner_ids,
                window=request.window,
                expires_at=request.expires_at,
            )
            self._require_eligible(command, offered, request.partner_ids)
            order = WorkOrder(command.new_id("work order"))
            order.stamp = command.stamp
            order.offer(offered)
            return (order,)

        return self.create(command, make)

    def reoffer_work_order(self, command: Command, request: m.ReofferWorkOrderRequest) -> Receipt:
        """Records WorkOrderReoffered. Raises work-order-taken, offer-still-open, work-order-ended,
        partner-not-eligible."""
        _check_round(request)
        again = e.WorkOrderReoffered(
            partner_ids=request.partner_ids, window=request.window, expires_at=request.expires_at
        )

        def reoffer(order: WorkOrder) -> None:
            check_expiry(request, after=command.stamp.occurred_at)
            order.require_reofferable(now=command.stamp.occurred_at)
            self._require_eligible(command, order.offered, request.partner_ids)
            order.reoffer(again, now=command.stamp.occurred_at)

        return self.change(command, WorkOrder, request.work_order_id, reoffer)

    def accept_work_order(self, command: Command, request: m.AcceptWorkOrderRequest) -> Receipt:
        """Records WorkOrderAccepted. Exactly one partner gets a receipt; the others are refused with work-order-taken.
        Raises also offer-expired, not-offered, already-declined, work-order-ended, subject-erased."""
        check_uuid("partner_id", request.partner_id)
        check_text("technician", request.technician)
        arrival = request.arrival if request.HasField("arrival") else None
        if arrival is not None:
            check_window("arrival", arrival)

        def accept(order: WorkOrder) -> None:
            partner = self.load(Partner, request.partner_id, tenant=command.stamp.tenant)
            now = command.stamp.occurred_at
            partner.require_in_service()
            order.require_answerable(request.partner_id, arrival, now=now)  # a refusal seals nothing
            accepted = e.WorkOrderAccepted(
                partner_id=request.partner_id,
                partner_name=partner.name,
                technician=self._seal(request.technician, partner, order),
                arrival=arrival,
            )
            order.accept(accepted, now=now)

        return self.change(command, WorkOrder, request.work_order_id, accept)

    def decline_work_order(self, command: Command, work_order_id: str, *, partner_id: str, reason: str) -> Receipt:
        """Records WorkOrderDeclined. Raises as accept_work_order does."""
        check_uuid("partner_id", partner_id)
        check_text("reason", reason)

        def decline(order: WorkOrder) -> None:
            self.load(Partner, partner_id, tenant=command.stamp.tenant)
            order.decline(partner_id, reason=reason, now=command.stamp.occurred_at)

        return self.change(command, WorkOrder, work_order_id, decline)

    def report_arrival(self, command: Command, work_order_id: str) -> Receipt:
        """Records TechnicianArrived. Raises work-order-not-accepted."""
        return self.change(command, WorkOrder, work_order_id, WorkOrder.arrive)

    def complete_work_order(self, command: Command, work_order_id: str, *, outcome: str) -> Receipt:
        """Records WorkOrderCompleted. Raises work-order-not-accepted."""
        check_text("outcome", outcome, most=TEXT_MOST)
        return self.change(command, WorkOrder, work_order_id, lambda order: order.complete(outcome=outcome))

    def cancel_work_order(self, command: Command, work_order_id: str, *, reason: str) -> Receipt:
        """Records WorkOrderCancelled. Raises work-order-ended."""
        check_text("reason", reason)
        return self.change(command, WorkOrder, work_order_id, lambda order: order.cancel(reason=reason))

    def _require_eligible(self, command: Command, order: e.WorkOrderOffered, partner_ids: Sequence[str]) -> None:
        """Asks the partners' own streams, not the view. Raises partner-not-found, partner-not-eligible."""
        need = Need(order.region, order.product, order.skill, command.stamp.occurred_at)
        for partner_id in partner_ids:
            self.load(Partner, partner_id, tenant=command.stamp.tenant).require_eligible(need)

    def _seal(self, text: str, partner: Partner, order: WorkOrder) -> Sealed:
        place = Place(partner.id, PURPOSE, order.id, full_name(e.WorkOrderAccepted), "technician")
        return self._sealer.seal(text, place)


def _check_round(request: m.OfferWorkOrderRequest | m.ReofferWorkOrderRequest) -> None:
    """What both give, whatever the time: who may accept, and when the visit is to be."""
    check_partner_ids("partner_ids", request.partner_ids)
    check_window("window", request.window)
