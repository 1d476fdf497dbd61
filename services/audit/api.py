"""The stream process. It has no aggregates and no views, so it has no worker; the log is all that it reads."""

import asyncio
from collections.abc import Sequence

import grpc
from kept.audit.v1.service_pb2 import DESCRIPTOR
from kept.audit.v1.service_pb2_grpc import add_AuditServiceServicer_to_server

from services.audit.feed import Feed
from services.audit.servicer import AuditServicer
from services.kernel.config import Settings
from services.kernel.house import House
from services.kernel.rpc.streams import serve_streams
from services.kernel.telemetry import start_telemetry


def run_stream(settings: Settings, address: str) -> None:
    """Serves until it is told to stop. Raises Misconfigured."""
    start_telemetry("streams", settings.otlp_endpoint)
    house = House(settings)
    house.require()
    asyncio.run(_serve(house, address))
    house.close()


async def _serve(house: House, address: str) -> None:
    feed = Feed(house.log)

    async def register(server: grpc.aio.Server) -> Sequence[str]:
        add_AuditServiceServicer_to_server(AuditServicer(house, feed), server)
        return [DESCRIPTOR.services_by_name["AuditService"].full_name]

    await serve_streams(register, address, development=house.settings.development, on_stop=feed.close)
