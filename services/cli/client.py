"""A lean gRPC client of a cell, for commands that tell it something: calls are made again while it is being restarted."""

import time
from collections.abc import Callable, Generator, Mapping
from copy import copy
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc.experimental import ChannelOptions
from grpc_status import rpc_status
from kept.audit.v1.service_pb2_grpc import AuditServiceStub
from kept.case.v1.service_pb2_grpc import CaseServiceStub
from kept.cell.v1.service_pb2_grpc import CellServiceStub
from kept.customer.v1.service_pb2_grpc import CustomerServiceStub
from kept.notification.v1.service_pb2_grpc import NotificationServiceStub
from kept.partner_network.v1.service_pb2_grpc import PartnerNetworkServiceStub
from kept.sla.v1.service_pb2_grpc import SlaServiceStub

STUBS: dict[str, Callable[[grpc.Channel], Any]] = {
    "cell": CellServiceStub,
    "customer": CustomerServiceStub,
    "case": CaseServiceStub,
    "sla": SlaServiceStub,
    "partner_network": PartnerNetworkServiceStub,
    "notification": NotificationServiceStub,
    "audit": AuditServiceStub,
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
    (ChannelOptions.SingleThreadedUnaryStream, 1),  # else every message of a stream goes from one thread to another
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
    """Makes one call and gives the response. Raises: RefusedError, CellError, Interrupted."""

    def __call__(self, service: str, method: str, request: Message) -> Any: ...


class Interrupted(Exception):
    """The person asked to stop; between two calls, so that the same command resumes."""


@dataclass(frozen=True)
class Connection:
    """Where a cell answers: service name (a key of STUBS) -> gRPC target such as `unix:/path`.

    `alive` tells whether anybody keeps that cell running, so that nobody waits for one that will not come back.
    """

    targets: Mapping[str, str]
    tenant: str = "main"
    principal: str = PRINCIPAL
    alive: Callable[[], bool] = lambda: True
    # Where its console is, for people; None where it has none.
    console: str | None = None


class Client:
    """Calls over one channel for each target, from any thread. Use it as a context manager.

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
        self._targets = connection.targets
        self._channels: dict[str, grpc.Channel] = {}
        self._stubs: dict[str, Any] = {}
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

    def speaking(self, *, tenant: str, principal: str) -> "Client":
        """A client in another's name, over the same channels; whoever made this one closes them."""
        other = copy(self)
        other._metadata = (("kept-principal", principal), ("kept-tenant", tenant))
        return other

    def call(self, service: str, method: str, request: Message) -> Any:
        """The response; the same request is sent again, for a bounded time, while the cell or its view is not there.

        Raises: RefusedError, CellError, Interrupted.
        """
        rpc, patience = self._rpc(service, method), _Patience(self, f"{service} {method}")
        while True:
            try:
                return rpc(request, timeout=DEADLINE_S, metadata=self._metadata)
            except grpc.RpcError as error:
                patience.after(error)

    def stream(
        self, service: str, method: str, request: Message, resume: Callable[[Any, Any], None]
    ) -> Generator[Any, None, None]:
        """The messages of a stream. Where it breaks it is asked for again, as `resume(request, last message)` has made it.

        Raises as `call`. Whoever leaves off early closes it.
        """
        rpc, patience = self._rpc(service, method), _Patience(self, f"{service} {method}")
        while True:
            messages = rpc(request, metadata=self._metadata)
            try:
                for message in messages:
                    resume(request, message)
                    patience.renew()
                    yield message
            except grpc.RpcError as error:
                patience.after(error)
            else:
                return
            finally:
                messages.cancel()

    def _rpc(self, service: str, method: str) -> Any:
        if service not in self._targets:
            raise CellError(f"the connection names no target for {service}")
        target = self._targets[service]
        if target not in self._channels:
            self._channels[target] = grpc.insecure_channel(target, options=OPTIONS)
        if service not in self._stubs:
            self._stubs[service] = STUBS[service](self._channels[target])
        return getattr(self._stubs[service], method)


class _Patience:
    """Of one call: waits before it is made again, a little longer each time, as long as there is hope."""

    def __init__(self, client: Client, what: str) -> None:
        self._client, self._what = client, what
        self.renew()

    def renew(self) -> None:
        self._pause, self._since = FIRST_PAUSE_S, 0.0

    def after(self, problem: Any) -> None:
        """Raises what the caller is to be told, unless the call is to be made again."""
        client, code = self._client, problem.code()
        slug, message = _told(problem)
        if code in _REFUSED or slug == _TOO_LARGE:
            raise RefusedError(slug, message) from problem
        if not client._alive():
            raise CellError("the cell has stopped; the same command starts it again and goes on") from problem
        self._since = self._since or client._monotonic()
        patience = VIEW_PATIENCE_S if slug == "view-behind" else PATIENCE_S
        if code not in _RETRIED or client._monotonic() + self._pause > self._since + patience:
            waited = f" (tried for {patience:g} s)" if code in _RETRIED else ""
            raise CellError(f"{self._what}: {slug}: {message}{waited}") from problem
        if client._stopping():
            raise Interrupted from problem
        client._sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S)


def _told(error: Any) -> tuple[str, str]:
    """Slug and message of a failed call: its ErrorInfo and field violations, else the code's name."""
    slug, fields = error.code().name.lower().replace("_", "-"), []
    for detail in _details(error):
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            slug = info.reason
        elif detail.Unpack(bad):
            fields = [f"{violation.field}: {violation.description}" for violation in bad.field_violations]
    return slug, "; ".join(fields) or error.details() or ""


def _details(error: Any) -> list[Any]:
    try:
        status = rpc_status.from_call(error)
    except ValueError:  # details that contradict the code
        return []
    return list(status.details) if status is not None else []
