"""SlaService over gRPC."""

from typing import Any

import grpc
from kept.sla.v1 import service_pb2 as m
from kept.sla.v1.service_pb2_grpc import SlaServiceServicer

from services.kernel.application import Command
from services.kernel.errors import Invalid
from services.kernel.house import House
from services.kernel.log.positions import Positions
from services.kernel.paging import MOST
from services.kernel.rpc.interceptors import current_caller
from services.kernel.validation import check_uuid
from services.kernel.views import ViewReader
from services.sla import views
from services.sla.application import SlaApplication
from services.sla.domain import Clock
from services.sla.explain import explain, records


class SlaServicer(SlaServiceServicer):
    def __init__(self, house: House) -> None:
        self._application = SlaApplication(house)
        self._reader = ViewReader.of(views.VIEWS, house)
        self._log = house.log

    def PublishCalendar(
        self, request: m.PublishCalendarRequest, context: grpc.ServicerContext
    ) -> m.PublishCalendarResponse:
        receipt = self._application.publish_calendar(self._command(request), request.name, request.definition)
        return m.PublishCalendarResponse(receipt=receipt)

    def PublishPolicy(self, request: m.PublishPolicyRequest, context: grpc.ServicerContext) -> m.PublishPolicyResponse:
        receipt = self._application.publish_policy(self._command(request), request.name, request.definition)
        return m.PublishPolicyResponse(receipt=receipt)

    def ListClocks(self, request: m.ListClocksRequest, context: grpc.ServicerContext) -> m.ListClocksResponse:
        if not 0 < len(request.case_ids) <= MOST:
            raise Invalid("case_ids", f"give 1 to {MOST} cases")
        case_ids = [check_uuid(f"case_ids[{at}]", case_id) for at, case_id in enumerate(request.case_ids)]
        with self._reader.read(request.after_position) as session:
            return m.ListClocksResponse(clocks=views.clocks(session, current_caller().tenant, case_ids))

    def ExplainClock(self, request: m.ExplainClockRequest, context: grpc.ServicerContext) -> m.ExplainClockResponse:
        clock_id = check_uuid("clock_id", request.clock_id)
        tenant = current_caller().tenant
        with self._reader.read(request.after_position) as session:
            clock = views.find(session, tenant, clock_id)
            if clock is None:
                raise Clock.not_found(clock_id)
            # As far as the view has read: what came later may go by editions that the view does not have yet.
            upto = Positions(session).get(views.VIEWS.follower)
            own, of_case = (
                records(self._log, stream, upto) for stream in (clock_id, check_uuid("case_id", clock.case_id))
            )
            return explain(session, tenant, clock, own, of_case)

    def CountVerdicts(self, request: m.CountVerdictsRequest, context: grpc.ServicerContext) -> m.CountVerdictsResponse:
        with self._reader.read(request.after_position) as session:
            return m.CountVerdictsResponse(counts=views.count(session, current_caller().tenant))

    def _command(self, request: Any) -> Command:
        return self._application.command(current_caller(), request)
