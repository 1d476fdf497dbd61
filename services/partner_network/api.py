"""The partner network's part of an API process."""

import grpc
from kept.partner_network.v1.service_pb2 import DESCRIPTOR
from kept.partner_network.v1.service_pb2_grpc import add_PartnerNetworkServiceServicer_to_server

from services.kernel.house import House
from services.partner_network.servicer import PartnerNetworkServicer
from services.partner_network.views import VIEWS


def register(server: grpc.Server, house: House) -> str:
    """Adds the servicer; returns its full name."""
    VIEWS.require(house.views_database(VIEWS.name))
    add_PartnerNetworkServiceServicer_to_server(PartnerNetworkServicer(house), server)
    return DESCRIPTOR.services_by_name["PartnerNetworkService"].full_name
