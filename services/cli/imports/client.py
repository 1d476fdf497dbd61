"""A lean gRPC client of a cell: the calls an importer makes, retried while the cell is being restarted."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from kept.case.v1.service_pb2_grpc import CaseServiceStub
from kept.cell.v1.service_pb2_grpc import CellServiceStub
from kept.customer.v1.service_pb2_grpc import CustomerServiceStub
from kept.sla.v1.service_pb2_grpc import SlaServiceStub

STUBS: dict[str, Callable[[grpc.Channel], Any]] = {
    "cell": CellServiceStub,
    "customer": CustomerServiceStub,
    "case": CaseServiceStub,
    "sla": SlaServiceStub,
}
PRINCIPAL = "service:importer"
DEADLINE_S = 30.0
PATIENCE_S = 120.0
VIEW_PATIENCE_S = 900.0  # views may be far behind a fast import when it ends
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
OPTIONS = (
    ("grpc.enable_retries", 0),  # we retry ourselves, for longer
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
_RETRIED = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,  # by a server that drains; we never cancel
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
_REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.OUT_OF_RANGE,
}
# A busy cell says so in a slug of its own; without one, gRPC itself found the request too large.
_TOO_LARGE = "resource-exhausted"


class RefusedError(Exception):
    """The cell refused this one request. `slug` is stable; sending it again is of no use."""

    def __init__(self, slug: str, message: str) -> None:
        self.slug, self.message = slug, message
        super().__init__(f"{slug}: {message}")


class CellError(Exception):
    """The cell cannot be worked with: not reached for too long, or broken; the text says what it last said."""


class Call(Protocol):
    """Makes one call and gives the response. Raises: RefusedError, CellError, InterruptedImportError."""

    def __call__(self, service: str, method: str, request: Message) -> Any: ...


class InterruptedImportError(Exception):
    """The person asked to stop; between two commands, so that the same import resumes."""


@dataclass(frozen=True)
class Connection:
    """Where a cell answers: service name (cell, customer, case, sla) -> gRPC target such as `unix:/path`.

    `alive` tells whether anybody keeps that cell running, so that nobody waits for one that will not come back.
    """

    targets: Mapping[str, str]
    tenant: str = "main"
    principal: str = PRINCIPAL
    alive: Callable[[], bool] = lambda: True


class Client:
    """Calls over one channel for each target. Use it as a context manager; from one thread.

    `stopping` is asked before waiting to retry, so that nobody waits for a cell that is gone.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        stopping: Callable[[], bool] = lambda: False,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        missing = [service for service in STUBS if service not in connection.targets]
        if missing:
            raise CellError(f"the connection names no target for {', '.join(missing)}")
        targets = {connection.targets[service] for service in STUBS}
        self._channels = {target: grpc.insecure_channel(target, options=OPTIONS) for target in targets}
        self._stubs = {name: stub(self._channels[connection.targets[name]]) for name, stub in STUBS.items()}
        self._metadata = (("kept-principal", connection.principal), ("kept-tenant", connection.tenant))
        self._alive = connection.alive
        self._stopping, self._sleep, self._monotonic = stopping, sleep, monotonic

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for channel in self._channels.values():
            channel.close()

    def call(self, service: str, method: str, request: Message) -> Any:
        """The response; the same request is sent again, for a bounded time, while the cell or its view is not there.

        Raises: RefusedError, CellError, InterruptedImportError.
        """
        rpc = getattr(self._stubs[service], method)
        pause, since = FIRST_PAUSE_S, 0.0
        while True:
            try:
                return rpc(request, timeout=DEADLINE_S, metadata=self._metadata)
            except grpc.RpcError as error:
                problem = error
            code = problem.code()
            slug, message = _told(problem)
            if code in _REFUSED or slug == _TOO_LARGE:
                raise RefusedError(slug, message) from problem
            if not self._alive():
                raise CellError("the cell has stopped; the same command starts it again and goes on") from problem
            since = since or self._monotonic()
            patience = VIEW_PATIENCE_S if slug == "view-behind" else PATIENCE_S
            if code not in _RETRIED or self._monotonic() + pause > since + patience:
                waited = f" (tried for {patience:g} s)" if code in _RETRIED else ""
                raise CellError(f"{service} {method}: {slug}: {message}{waited}") from problem
            if self._stopping():
                raise InterruptedImportError from problem
            self._sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)


def _told(error: Any) -> tuple[str, str]:
    """Slug and message of a failed call: its ErrorInfo and field violations, else the code's name."""
    slug, fields = error.code().name.lower().replace("_", "-"), []
    for detail in _details(error):
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            slug = info.reason
        elif detail.Unpack(bad):
            fields = [f"{violation.field}: {violation.description}" for violation in bad.field_violations]
    message = error.details() or ""
    return slug, "; ".join([message, *(field for field in fields if field not in message)]).removeprefix("; ")


def _details(error: Any) -> list[Any]:
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # details that contradict the code
        return []
    return list(status.details) if status is not None else []
