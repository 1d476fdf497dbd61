"""The customer service's part of an API process."""

import grpc
from kept.customer.v1.service_pb2 import DESCRIPTOR
from kept.customer.v1.service_pb2_grpc import add_CustomerServiceServicer_to_server

from services.customer.servicer import CustomerServicer
from services.customer.views import VIEWS
from services.kernel.house import House


def register(server: grpc.Server, house: House) -> str:
    """Adds the servicer; returns its full name."""
    VIEWS.require(house.views_database(VIEWS.name))
    add_CustomerServiceServicer_to_server(CustomerServicer(house), server)
    return DESCRIPTOR.services_by_name["CustomerService"].full_name
