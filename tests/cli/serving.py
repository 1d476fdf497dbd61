"""A gRPC server in this process, in front of any function that answers calls; for the importer's client and command."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.cli.client import STUBS, Connection, RefusedError
from tests.cli.importing import MODULES

Answer = Callable[[str, str, Any], Message]


class Failure(Exception):
    def __init__(self, code: str, message: str = "", *, slug: str = "", field: str = "") -> None:
        details: list[Message] = []
        if slug:
            details.append(error_details_pb2.ErrorInfo(reason=slug, domain="kept"))
        if field:
            violation = error_details_pb2.BadRequest.FieldViolation(field=field, description="is too long")
            details.append(error_details_pb2.BadRequest(field_violations=[violation]))
        packed = [AnyMessage() for _ in details]
        for target, detail in zip(packed, details, strict=True):
            target.Pack(detail)
        self.status = status_pb2.Status(code=code_pb2.Code.Value(code), message=message, details=packed)


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, answer: Answer, seen: list[dict[str, Any]]) -> None:
        self._answer, self._seen = answer, seen

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any]":
        _, package, method = handler_call_details.method.split("/")
        service = package.split(".")[1]
        self._seen.append(dict(handler_call_details.invocation_metadata))
        request_type = getattr(MODULES[service], f"{method}Request")

        def call(request: Any, context: grpc.ServicerContext) -> Message:
            try:
                return self._answer(service, method, request)
            except RefusedError as refused:
                failure = Failure("FAILED_PRECONDITION", refused.message, slug=refused.slug)
            except Failure as error:
                failure = error
            context.abort_with_status(rpc_status.to_status(failure.status))
            raise AssertionError("abort raises")

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=request_type.FromString,
            response_serializer=lambda reply: reply.SerializeToString(),
        )


@contextmanager
def serving(answer: Answer, seen: list[dict[str, Any]] | None = None) -> Iterator[Connection]:
    """A connection to a server that answers so; `seen` gets each call's metadata."""
    server = grpc.server(ThreadPoolExecutor(1), handlers=[_Handler(answer, [] if seen is None else seen)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield Connection(dict.fromkeys(STUBS, f"127.0.0.1:{port}"))
    finally:
        server.stop(None).wait()
