"""The sla service's part of an API process."""

import grpc
from kept.sla.v1.service_pb2 import DESCRIPTOR
from kept.sla.v1.service_pb2_grpc import add_SlaServiceServicer_to_server

from services.kernel.house import House
from services.sla.servicer import SlaServicer
from services.sla.views import VIEWS


def register(server: grpc.Server, house: House) -> str:
    """Adds the servicer; returns its full name."""
    VIEWS.require(house.views_database(VIEWS.name))
    add_SlaServiceServicer_to_server(SlaServicer(house), server)
    return DESCRIPTOR.services_by_name["SlaService"].full_name
