"""NotificationService over gRPC."""

from typing import Any

import grpc
from kept.notification.v1 import service_pb2 as m
from kept.notification.v1.service_pb2_grpc import NotificationServiceServicer

from services.kernel.application import Command
from services.kernel.errors import Invalid
from services.kernel.house import House
from services.kernel.rpc.interceptors import current_caller
from services.kernel.validation import check_uuid
from services.kernel.views import ViewReader
from services.notification import views
from services.notification.application import NotificationApplication
from services.notification.reproduce import reproduce


class NotificationServicer(NotificationServiceServicer):
    def __init__(self, house: House) -> None:
        self._house = house
        self._application = NotificationApplication(house)
        self._reader = ViewReader.of(views.VIEWS, house)

    def PublishRuleSet(
        self, request: m.PublishRuleSetRequest, context: grpc.ServicerContext
    ) -> m.PublishRuleSetResponse:
        if request.check_only:
            self._application.check_rule_set(request.name, request.source)
            return m.PublishRuleSetResponse()
        receipt = self._application.publish_rule_set(self._command(request), request.name, request.source)
        return m.PublishRuleSetResponse(receipt=receipt)

    def GetRuleSet(self, request: m.GetRuleSetRequest, context: grpc.ServicerContext) -> m.GetRuleSetResponse:
        found = self._application.rule_set(current_caller().tenant, request.name, request.version)
        return m.GetRuleSetResponse(name=found.name, version=found.version, source=found.source)

    def ListNotices(self, request: m.ListNoticesRequest, context: grpc.ServicerContext) -> m.ListNoticesResponse:
        named = [name for name in ("customer_id", "case_id", "problem_id") if getattr(request, name)]
        for name in named:
            check_uuid(name, getattr(request, name))
        if len(named) > 1:
            raise Invalid(named[1], f"is given beside {named[0]}; give one of them, or none")
        with self._reader.read(request.after_position) as session:
            rows, token = views.page(session, current_caller().tenant, request)
        notices = [views.notice(row, self._house.sealer) for row in rows]
        return m.ListNoticesResponse(notices=notices, next_page_token=token)

    def CountNotices(self, request: m.CountNoticesRequest, context: grpc.ServicerContext) -> m.CountNoticesResponse:
        with self._reader.read(request.after_position) as session:
            return m.CountNoticesResponse(counts=views.count(session, current_caller().tenant))

    def ReproduceNotice(
        self, request: m.ReproduceNoticeRequest, context: grpc.ServicerContext
    ) -> m.ReproduceNoticeResponse:
        return reproduce(self._house, current_caller().tenant, check_uuid("notice_id", request.notice_id))

    def _command(self, request: Any) -> Command:
        return self._application.command(current_caller(), request)
