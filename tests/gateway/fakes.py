"""Services that answer what a test says: gRPC servers in this process, on the generated base classes."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from threading import Event
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

SERVICES = ("cell", "customer", "case", "sla", "partner_network", "notification", "audit")


class Open:
    """A stream that says these, and stays open until the listener leaves."""

    def __init__(self, *messages: Message) -> None:
        self._messages = messages

    def until_left(self, context: grpc.ServicerContext) -> Iterator[Message]:
        left = Event()
        if context.add_callback(left.set):  # else they have left already
            yield from self._messages
            left.wait()


Answer = Message | list[Message] | Open | Callable[[Any], Any]


class Refusal(Exception):
    """A status with google.rpc details, as the services give it; without a slug, a bare one."""

    def __init__(
        self, code: str, message: str, *, slug: str = "", field: str = "", retry_ms: int = 0, **facts: str
    ) -> None:
        details: list[Message] = []
        if slug:
            details.append(error_details_pb2.ErrorInfo(reason=slug, domain="kept", metadata=facts))
        if field:
            violation = error_details_pb2.BadRequest.FieldViolation(field=field, description="is missing")
            details.append(error_details_pb2.BadRequest(field_violations=[violation]))
        if retry_ms:
            delay = Duration()
            delay.FromMilliseconds(retry_ms)
            details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        packed = [AnyMessage() for _ in details]
        for target, detail in zip(packed, details, strict=True):
            target.Pack(detail)
        self.status = status_pb2.Status(code=code_pb2.Code.Value(code), message=message, details=packed)


@dataclass
class Call:
    method: str
    request: Any
    metadata: dict[str, str]
    time_remaining: float | None


@dataclass
class FakeCell:
    """`answers` by method name: a message, a list for a stream, or what a function makes of the request."""

    answers: dict[str, Answer] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    target: str = ""

    def called(self, method: str) -> Call:
        """The last call of it."""
        return [call for call in self.calls if call.method == method][-1]

    def targets(self, *without: str) -> dict[str, str]:
        return {name: self.target for name in SERVICES if name not in without}

    def answer(self, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        metadata = {str(key): str(value) for key, value in context.invocation_metadata()}
        self.calls.append(Call(method, request, metadata, context.time_remaining()))
        found = self.answers.get(method)
        if found is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not implemented!")
        try:
            made = found(request) if callable(found) else found
            if isinstance(made, Open):
                return made.until_left(context)
            return iter(made) if isinstance(made, list) else made
        except Refusal as refusal:
            context.abort_with_status(rpc_status.to_status(refusal.status))


@contextmanager
def serving(cell: FakeCell) -> Iterator[FakeCell]:
    server = grpc.server(ThreadPoolExecutor(32))
    for name in SERVICES:
        _add(server, name, cell)
    cell.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield cell
    finally:
        server.stop(None).wait()


def _add(server: grpc.Server, name: str, cell: FakeCell) -> None:
    messages = import_module(f"kept.{name}.v1.service_pb2")
    generated = import_module(f"kept.{name}.v1.service_pb2_grpc")
    (service,) = messages.DESCRIPTOR.services_by_name.values()
    methods = {method.name: _method(cell, method.name) for method in service.methods}
    servicer = type(f"Fake{service.name}", (getattr(generated, f"{service.name}Servicer"),), methods)
    getattr(generated, f"add_{service.name}Servicer_to_server")(servicer(), server)


def _method(cell: FakeCell, name: str) -> Callable[..., Any]:
    def method(_: object, request: Any, context: grpc.ServicerContext) -> Any:
        return cell.answer(name, request, context)

    return method
