"""The services as the gateway sees them: each method from its descriptor, called with a deadline and in a name."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gateway.problems import Problem

DEADLINE_S = 5.0
PRINCIPAL = "user:console"  # until people sign in
_OPTIONS = (
    # A service that was restarted is found again at once, not after grpc's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


@dataclass(frozen=True)
class Rpc:
    """One method of one service, by its full name; routes are copied, descriptors cannot be."""

    full_name: str

    @property
    def service(self) -> str:
        """Its name among the targets."""
        return self.full_name.split(".")[1]

    @property
    def method(self) -> MethodDescriptor:
        return descriptor_pool.Default().FindMethodByName(self.full_name)

    @property
    def path(self) -> str:
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    @property
    def request(self) -> type[Message]:
        return GetMessageClass(self.method.input_type)

    @property
    def response(self) -> type[Message]:
        return GetMessageClass(self.method.output_type)


def rpc(module: ModuleType, method: str) -> Rpc:
    """The method of the one service that a generated service_pb2 declares."""
    (service,) = module.DESCRIPTOR.services_by_name.values()
    return Rpc(service.methods_by_name[method].full_name)


class Backends:
    """A channel to each target. Make and use it in one event loop."""

    def __init__(self, targets: Mapping[str, str]) -> None:
        opened = {target: grpc.aio.insecure_channel(target, _OPTIONS) for target in set(targets.values())}
        self._channels = {service: opened[target] for service, target in targets.items()}

    def has(self, service: str) -> bool:
        return service in self._channels

    async def call(self, rpc: Rpc, request: Message, tenant: str) -> Message:
        """The answer. Raises Problem where the target is not known, AioRpcError where the call failed."""
        method: Any = self._channel(rpc).unary_unary(
            rpc.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=rpc.response.FromString,
        )
        answer: Message = await method(request, metadata=_metadata(tenant), timeout=DEADLINE_S)
        return answer

    def stream(self, rpc: Rpc, request: Message, tenant: str) -> Any:
        """A call that answers as long as it lasts; iterate it, and cancel it when you leave."""
        method: Any = self._channel(rpc).unary_stream(
            rpc.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=rpc.response.FromString,
        )
        return method(request, metadata=_metadata(tenant))

    async def close(self) -> None:
        for channel in set(self._channels.values()):
            await channel.close()

    def _channel(self, rpc: Rpc) -> grpc.aio.Channel:
        if rpc.service not in self._channels:
            raise Problem(
                503, "service-not-connected", f"the gateway was not told where {rpc.service} answers: see KEPT_TARGETS"
            )
        return self._channels[rpc.service]


@asynccontextmanager
async def backends(targets: Mapping[str, str]) -> AsyncIterator[Backends]:
    opened = Backends(targets)
    try:
        yield opened
    finally:
        await opened.close()


def _metadata(tenant: str) -> tuple[tuple[str, str], ...]:
    return (("kept-principal", PRINCIPAL), ("kept-tenant", tenant))
