"""CellService: the log's head, history mode, and what followers have parked."""

from typing import Any

import grpc
from kept.cell.v1 import service_pb2 as m
from kept.cell.v1.service_pb2_grpc import CellServiceServicer, add_CellServiceServicer_to_server
from kept.common.v1.record_pb2 import Receipt

from services.kernel.application import Caller, Command
from services.kernel.cell import CellApplication
from services.kernel.clock import timestamp
from services.kernel.house import House
from services.kernel.log.positions import Positions
from services.kernel.paging import MOST
from services.kernel.rpc.interceptors import current_caller
from services.kernel.validation import check_moment, check_text


class CellServicer(CellServiceServicer):
    def __init__(self, house: House) -> None:
        self._house = house
        self._application = CellApplication(house.recorder, house.keys, house.clock)

    def GetCell(self, request: m.GetCellRequest, context: grpc.ServicerContext) -> m.GetCellResponse:
        head = self._house.log.head()
        history = self._house.clock.history_now()
        return m.GetCellResponse(
            cell=self._house.settings.cell,
            mode=m.CELL_MODE_LIVE if history is None else m.CELL_MODE_HISTORY,
            now=timestamp(self._house.clock.now()),
            position=head.position,
            root=head.root,
        )

    def StartHistory(self, request: m.StartHistoryRequest, context: grpc.ServicerContext) -> m.StartHistoryResponse:
        return m.StartHistoryResponse(receipt=self._application.start_history(self._command(request)))

    def AdvanceTime(self, request: m.AdvanceTimeRequest, context: grpc.ServicerContext) -> m.AdvanceTimeResponse:
        to = check_moment("to", request.to)
        return m.AdvanceTimeResponse(receipt=self._application.advance(self._command(request), to))

    def ListParked(self, request: m.ListParkedRequest, context: grpc.ServicerContext) -> m.ListParkedResponse:
        with self._house.log.database.read() as session:
            parked = Positions(session).parked()[:MOST]
        return m.ListParkedResponse(
            parked=[
                m.ParkedEvent(follower=one.follower, position=one.position, key=one.key, reason=one.reason)
                for one in parked
            ]
        )

    def ReleaseParked(self, request: m.ReleaseParkedRequest, context: grpc.ServicerContext) -> m.ReleaseParkedResponse:
        return m.ReleaseParkedResponse(receipt=released(self._application, current_caller(), request))

    def _command(self, request: Any) -> Command:
        return self._application.command(current_caller(), request)


def released(application: CellApplication, caller: Caller, request: m.ReleaseParkedRequest) -> Receipt:
    """Records what the request asks for. Raises what `CellApplication.release_parked` does, and invalid-argument."""
    for field in ("follower", "key"):
        check_text(field, getattr(request, field))
    check_text("reason", request.reason, most=500)
    return application.release_parked(
        application.command(caller, request),
        follower=request.follower,
        key=request.key,
        skip_first=request.skip_first,
        reason=request.reason,
        position=request.position,
    )


def register(server: grpc.Server, house: House) -> str:
    """Adds the servicer; returns its full name."""
    add_CellServiceServicer_to_server(CellServicer(house), server)
    return m.DESCRIPTOR.services_by_name["CellService"].full_name
