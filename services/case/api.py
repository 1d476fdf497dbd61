"""The case service's part of an API process."""

import grpc
from kept.case.v1.service_pb2 import DESCRIPTOR
from kept.case.v1.service_pb2_grpc import add_CaseServiceServicer_to_server

from services.case.servicer import CaseServicer
from services.case.views import VIEWS
from services.kernel.house import House


def register(server: grpc.Server, house: House) -> str:
    """Adds the servicer; returns its full name."""
    VIEWS.require(house.views_database(VIEWS.name))
    add_CaseServiceServicer_to_server(CaseServicer(house), server)
    return DESCRIPTOR.services_by_name["CaseService"].full_name
