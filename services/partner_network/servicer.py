"""PartnerNetworkService over gRPC."""

from datetime import datetime
from typing import Any
from uuid import UUID

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from kept.partner_network.v1 import service_pb2 as m
from kept.partner_network.v1.service_pb2_grpc import PartnerNetworkServiceServicer

from services.kernel.application import Command
from services.kernel.errors import Invalid
from services.kernel.house import House
from services.kernel.privacy import opened
from services.kernel.rpc.interceptors import current_caller
from services.kernel.validation import check_enum, check_moment, check_text, check_uuid
from services.kernel.views import ViewReader
from services.partner_network import views, work_orders
from services.partner_network.application import PartnerNetworkApplication
from services.partner_network.checks import check_place
from services.partner_network.domain import Partner
from services.partner_network.help import Wanted, find_help

LAST_YEAR = 9998  # working hours are laid out that far


class PartnerNetworkServicer(PartnerNetworkServiceServicer):
    def __init__(self, house: House) -> None:
        self._application = PartnerNetworkApplication(house)
        self._reader = ViewReader.of(views.VIEWS, house)
        self._sealer = house.sealer
        self._clock = house.clock

    def RegisterPartner(
        self, request: m.RegisterPartnerRequest, context: grpc.ServicerContext
    ) -> m.RegisterPartnerResponse:
        receipt = self._application.register_partner(self._command(request), name=request.name)
        return m.RegisterPartnerResponse(receipt=receipt)

    def DecideAdmission(
        self, request: m.DecideAdmissionRequest, context: grpc.ServicerContext
    ) -> m.DecideAdmissionResponse:
        receipt = self._application.decide_admission(
            self._command(request), request.partner_id, state=request.state, reason=request.reason
        )
        return m.DecideAdmissionResponse(receipt=receipt)

    def SignAgreement(self, request: m.SignAgreementRequest, context: grpc.ServicerContext) -> m.SignAgreementResponse:
        receipt = self._application.sign_agreement(
            self._command(request), request.partner_id, number=request.number, agreement=request.agreement
        )
        return m.SignAgreementResponse(receipt=receipt)

    def EndAgreement(self, request: m.EndAgreementRequest, context: grpc.ServicerContext) -> m.EndAgreementResponse:
        receipt = self._application.end_agreement(
            self._command(request), request.partner_id, number=request.number, reason=request.reason
        )
        return m.EndAgreementResponse(receipt=receipt)

    def OpenServicePoint(
        self, request: m.OpenServicePointRequest, context: grpc.ServicerContext
    ) -> m.OpenServicePointResponse:
        receipt = self._application.open_service_point(self._command(request), request)
        return m.OpenServicePointResponse(receipt=receipt)

    def CloseServicePoint(
        self, request: m.CloseServicePointRequest, context: grpc.ServicerContext
    ) -> m.CloseServicePointResponse:
        receipt = self._application.close_service_point(
            self._command(request), request.service_point_id, reason=request.reason
        )
        return m.CloseServicePointResponse(receipt=receipt)

    def OfferWorkOrder(
        self, request: m.OfferWorkOrderRequest, context: grpc.ServicerContext
    ) -> m.OfferWorkOrderResponse:
        receipt = self._application.offer_work_order(self._command(request), request)
        return m.OfferWorkOrderResponse(receipt=receipt)

    def ReofferWorkOrder(
        self, request: m.ReofferWorkOrderRequest, context: grpc.ServicerContext
    ) -> m.ReofferWorkOrderResponse:
        receipt = self._application.reoffer_work_order(self._command(request), request)
        return m.ReofferWorkOrderResponse(receipt=receipt)

    def AcceptWorkOrder(
        self, request: m.AcceptWorkOrderRequest, context: grpc.ServicerContext
    ) -> m.AcceptWorkOrderResponse:
        receipt = self._application.accept_work_order(self._command(request), request)
        return m.AcceptWorkOrderResponse(receipt=receipt)

    def DeclineWorkOrder(
        self, request: m.DeclineWorkOrderRequest, context: grpc.ServicerContext
    ) -> m.DeclineWorkOrderResponse:
        receipt = self._application.decline_work_order(
            self._command(request), request.work_order_id, partner_id=request.partner_id, reason=request.reason
        )
        return m.DeclineWorkOrderResponse(receipt=receipt)

    def ReportArrival(self, request: m.ReportArrivalRequest, context: grpc.ServicerContext) -> m.ReportArrivalResponse:
        receipt = self._application.report_arrival(self._command(request), request.work_order_id)
        return m.ReportArrivalResponse(receipt=receipt)

    def CompleteWorkOrder(
        self, request: m.CompleteWorkOrderRequest, context: grpc.ServicerContext
    ) -> m.CompleteWorkOrderResponse:
        receipt = self._application.complete_work_order(
            self._command(request), request.work_order_id, outcome=request.outcome
        )
        return m.CompleteWorkOrderResponse(receipt=receipt)

    def CancelWorkOrder(
        self, request: m.CancelWorkOrderRequest, context: grpc.ServicerContext
    ) -> m.CancelWorkOrderResponse:
        receipt = self._application.cancel_work_order(
            self._command(request), request.work_order_id, reason=request.reason
        )
        return m.CancelWorkOrderResponse(receipt=receipt)

    def FindHelp(self, request: m.FindHelpRequest, context: grpc.ServicerContext) -> m.FindHelpResponse:
        check_place("place", request.place)
        check_text("product", request.product)
        check_text("skill", request.skill)
        at = _check_at(request.at) if request.HasField("at") else self._clock.now()
        with self._reader.read(request.after_position) as session:
            candidates = views.candidates(session, current_caller().tenant)
        return find_help(candidates, Wanted(request.place, request.product, request.skill, at))

    def GetPartner(self, request: m.GetPartnerRequest, context: grpc.ServicerContext) -> m.GetPartnerResponse:
        partner_id = check_uuid("partner_id", request.partner_id)
        with self._reader.read(request.after_position) as session:
            found = views.find(session, current_caller().tenant, partner_id)
        if found is None:
            raise Partner.not_found(partner_id)
        return found

    def ListPartners(self, request: m.ListPartnersRequest, context: grpc.ServicerContext) -> m.ListPartnersResponse:
        with self._reader.read(request.after_position) as session:
            partners, token = views.page(session, current_caller().tenant, request)
        return m.ListPartnersResponse(partners=partners, next_page_token=token)

    def ListWorkOrders(
        self, request: m.ListWorkOrdersRequest, context: grpc.ServicerContext
    ) -> m.ListWorkOrdersResponse:
        for at, state in enumerate(request.states):
            check_enum(f"states[{at}]", state, m.WorkOrderState)
        with self._reader.read(request.after_position) as session:
            orders, token = work_orders.page(session, current_caller().tenant, request)
        return m.ListWorkOrdersResponse(
            work_orders=[self._opened(order, technician) for order, technician in orders], next_page_token=token
        )

    def _command(self, request: Any) -> Command:
        return self._application.command(current_caller(), request)

    def _opened(self, order: m.WorkOrder, technician: bytes) -> m.WorkOrder:
        order.technician, _ = opened(self._sealer, technician, UUID(order.work_order_id), "technician")
        return order


def _check_at(at: Timestamp) -> datetime:
    moment = check_moment("at", at)
    if moment.year > LAST_YEAR:
        raise Invalid("at", f"lies after the year {LAST_YEAR}")
    return moment
