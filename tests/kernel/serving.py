"""A toy service over gRPC: in this process for most tests, and as a process of its own, run as a module."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from kept.cell.v1.service_pb2 import GetCellResponse

from services.kernel.errors import Invalid, Misconfigured, NotFound, Unavailable
from services.kernel.rpc.interceptors import current_caller
from services.kernel.rpc.server import serve
from tests.kernel.toys import JarRequest

SERVICE = "toy.Jars"
Method = Callable[[Any, grpc.ServicerContext], Any]


def who(request: Any, context: grpc.ServicerContext) -> Any:
    caller = current_caller()
    return GetCellResponse(cell=f"{caller.principal} {caller.tenant} {caller.method}")


def invalid(request: Any, context: grpc.ServicerContext) -> Any:
    raise Invalid("label", "is missing")


def missing(request: Any, context: grpc.ServicerContext) -> Any:
    raise NotFound("jar-not-found", f"there is no jar {request.id}", jar=request.id)


def later(request: Any, context: grpc.ServicerContext) -> Any:
    raise Unavailable("storage-busy", "another process writes; try again", retry_after_s=1.5)


def broken(request: Any, context: grpc.ServicerContext) -> Any:
    raise ZeroDivisionError(f"while serving {request.label}")


def misconfigured(request: Any, context: grpc.ServicerContext) -> Any:
    raise Misconfigured("/srv/kept/log.db: is not a sound SQLite database; restore it from a copy")


def add(server: grpc.Server, **methods: Method) -> str:
    """Adds the toy service with these methods; returns its name."""
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            method, request_deserializer=JarRequest.FromString, response_serializer=GetCellResponse.SerializeToString
        )
        for name, method in methods.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    return SERVICE


def slow(request: Any, context: grpc.ServicerContext) -> Any:
    """Tells on standard output that it runs, and ends when it gets a line on standard input."""
    print("running", flush=True)  # noqa: T201
    sys.stdin.readline()
    return GetCellResponse(cell="done")


def register(server: grpc.Server) -> Sequence[str]:
    return [add(server, Who=who, Slow=slow)]


def main(address: str, mode: str) -> int:
    try:
        serve(register, address, development=mode == "development")
    except Misconfigured as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
