"""The notification service's part of an API process."""

import grpc
from kept.notification.v1.service_pb2 import DESCRIPTOR
from kept.notification.v1.service_pb2_grpc import add_NotificationServiceServicer_to_server

from services.kernel.house import House
from services.notification.servicer import NotificationServicer
from services.notification.views import VIEWS


def register(server: grpc.Server, house: House) -> str:
    """Adds the servicer; returns its full name."""
    VIEWS.require(house.views_database(VIEWS.name))
    add_NotificationServiceServicer_to_server(NotificationServicer(house), server)
    return DESCRIPTOR.services_by_name["NotificationService"].full_name
