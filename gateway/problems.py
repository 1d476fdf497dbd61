"""What went wrong, as RFC 9457 has it: made from a service's status, never from a stack trace."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2
from litestar import Request, Response
from litestar.exceptions import HTTPException

_DETAILS = "grpc-status-details-bin"
MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)

# The one table from a gRPC code to an HTTP status; what is not in it is an error of ours.
STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.FAILED_PRECONDITION: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
# Where a service said nothing of its own: grpc's words name addresses, which are nobody's business.
_WITHOUT_DETAILS = {
    501: ("not-available", "this cell does not have that service yet"),
    503: ("unavailable", "the service cannot be reached now; try again"),
    504: ("deadline-passed", "the service did not answer in time; try again"),
}
_OURS = ("internal", "an error of ours; it was logged. Sent again, the same request id is done once at most")


class Problem(Exception):
    """A refusal. `slug` is stable; `fields` says what is wrong with which field; the detail says what to do."""

    def __init__(
        self,
        status: int,
        slug: str,
        detail: str,
        *,
        fields: Sequence[tuple[str, str]] = (),
        facts: dict[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.slug, self.detail = status, slug, detail
        self.fields, self.facts, self.retry_after_s = fields, facts or {}, retry_after_s

    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "type": f"urn:kept:{self.slug}",
            "title": self.slug.replace("-", " "),
            "status": self.status,
            "detail": self.detail,
        }
        if self.fields:
            found["errors"] = [{"field": field, "detail": detail} for field, detail in self.fields]
        return {**found, "facts": self.facts} if self.facts else found


def invalid(field: str, description: str, status: int = 400) -> Problem:
    return Problem(status, "invalid-argument", f"{field}: {description}", fields=[(field, description)])


def problem_of(error: grpc.aio.AioRpcError) -> Problem:
    """What a service's status says, by its google.rpc details."""
    status = STATUSES.get(error.code(), 500)
    info, fields, retry_after_s = _details(error)
    if info is None:
        slug, detail = _WITHOUT_DETAILS.get(status, _OURS if status == 500 else ("refused", "the service refused it"))
        return Problem(status, slug, detail)
    return Problem(
        status,
        info.reason,
        error.details() or info.reason.replace("-", " "),
        fields=fields,
        facts=dict(info.metadata),
        retry_after_s=retry_after_s,
    )


def _details(
    error: grpc.aio.AioRpcError,
) -> tuple[error_details_pb2.ErrorInfo | None, list[tuple[str, str]], float | None]:
    info: error_details_pb2.ErrorInfo | None = None
    fields: list[tuple[str, str]] = []
    retry_after_s: float | None = None
    for packed in _status(error).details:
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            packed.Unpack(info)
        elif packed.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            packed.Unpack(bad)
            fields += [(one.field, one.description) for one in bad.field_violations]
        elif packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            packed.Unpack(retry)
            retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
    return info, fields, retry_after_s


def _status(error: grpc.aio.AioRpcError) -> Any:
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS:
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()


# Handlers, one for each kind of error that can reach the edge


def on_problem(_: Request[Any, Any, Any], problem: Problem) -> Response[dict[str, Any]]:
    headers = {}
    if problem.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(problem.retry_after_s)))
    return Response(problem.document(), status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)


def on_rpc_error(request: Request[Any, Any, Any], error: grpc.aio.AioRpcError) -> Response[dict[str, Any]]:
    return on_problem(request, problem_of(error))


def on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    """What the framework refused before a route was reached."""
    slug = {404: "no-such-address", 405: "method-not-allowed", 413: "too-large"}.get(error.status_code, "bad-request")
    if error.status_code >= 500:
        return on_error(request, error)
    return on_problem(request, Problem(error.status_code, slug, error.detail))


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """Anything else: its message may hold personal data, so only the type and the place go to the log."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
    _log.error("%s at %s", type(error).__name__, where)
    return on_problem(request, Problem(500, *_OURS))


HANDLERS: dict[int | type[Exception], Any] = {
    Problem: on_problem,
    grpc.aio.AioRpcError: on_rpc_error,
    HTTPException: on_http_error,
    Exception: on_error,
}
