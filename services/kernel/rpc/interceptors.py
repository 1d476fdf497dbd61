"""What stands around every unary call: trace, refusals, deadline, identity."""

from __future__ import annotations  # the stubs make grpc's handler generic, its code does not

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import grpc
from opentelemetry import trace

from services.kernel.application import Caller
from services.kernel.errors import Overloaded, Unauthenticated, Unavailable
from services.kernel.rpc.errors import abort
from services.kernel.telemetry import call_duration, context_of, span

PRINCIPAL, TENANT, TRACEPARENT = "kept-principal", "kept-tenant", "traceparent"
_PRINCIPAL = re.compile(r"(user|service|partner|auditor):[a-z0-9][a-z0-9._@-]{0,98}")
_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
OPEN_TO_ALL = ("/grpc.health.", "/grpc.reflection.")

_caller: ContextVar[Caller] = ContextVar("caller")

Method = Callable[[Any, grpc.ServicerContext], Any]


def current_caller() -> Caller:
    """Who makes the call that this thread serves."""
    return _caller.get()


class Guard(grpc.ServerInterceptor):
    """Wraps every method of ours, once; health and reflection pass as they are. While the server `is_overloaded`, callers are
    told so, and nothing else is done for them."""

    def __init__(self, is_overloaded: Callable[[], bool] = lambda: False) -> None:
        self._is_overloaded = is_overloaded
        self._guarded: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        name = handler_call_details.method
        if self._is_overloaded() and not name.startswith(OPEN_TO_ALL):
            return _TURNED_AWAY
        if name in self._guarded:
            return self._guarded[name]
        handler = continuation(handler_call_details)
        if handler is None or name.startswith(OPEN_TO_ALL) or handler.unary_unary is None:
            return handler
        self._guarded[name] = grpc.unary_unary_rpc_method_handler(
            _guarded(name, handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return self._guarded[name]


def _turn_away(_request: Any, context: grpc.ServicerContext) -> Any:
    abort(context, Overloaded("server-overloaded", "too many calls wait; try again later", retry_after_s=1.0))


_TURNED_AWAY: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(_turn_away)


def _guarded(name: str, method: Method) -> Method:
    def call(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            with measured(name, context):
                return method(request, context)
        except Exception as error:
            abort(context, error)
            raise AssertionError("abort raises") from error

    return call


@contextmanager
def measured(name: str, context: Any) -> Iterator[None]:
    """Around one call: traced, timed, and made only by a caller who is known and still waits."""
    started = time.monotonic()
    metadata = {key: value for key, value in context.invocation_metadata()}  # noqa: C416 - pairs of its own type
    parent = context_of(str(metadata.get(TRACEPARENT, "")))
    try:
        with span(name, parent, trace.SpanKind.SERVER):
            _refuse_expired(context)
            _caller.set(identify(name, str(metadata.get(PRINCIPAL, "")), str(metadata.get(TENANT, ""))))
            yield
    finally:
        call_duration.record(time.monotonic() - started, {"rpc.method": name})


def _refuse_expired(context: Any) -> None:
    left = context.time_remaining()
    if left is not None and left <= 0:
        raise Unavailable("deadline-passed", "the caller no longer waits for this")


@lru_cache(maxsize=4096)
def identify(method: str, principal: str, tenant: str) -> Caller:
    """Raises principal-missing and tenant-missing, also for names that could be nobody's."""
    if not _PRINCIPAL.fullmatch(principal):
        raise Unauthenticated("principal-missing", f"say who calls in metadata {PRINCIPAL}, for example user:ana")
    if not _TENANT.fullmatch(tenant):
        raise Unauthenticated("tenant-missing", f"say for which company in metadata {TENANT}, for example main")
    return Caller(principal, tenant, method)
