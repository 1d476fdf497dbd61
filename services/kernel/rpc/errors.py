"""Refusals as gRPC statuses with google.rpc details; nothing else of an error reaches a caller."""

import logging

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.kernel.errors import Invalid, KeptError, Misconfigured, Unavailable

DOMAIN = "kept"
LONGEST_TEXT = 300
_log = logging.getLogger(__name__)


# What is wrong with this process's own set-up is for its operator: the caller learns that it may come back.
_OURS = Unavailable("unavailable", "this cannot be done now; try again later", retry_after_s=1.0)


def abort(context: grpc.ServicerContext, error: Exception) -> None:
    """Ends the call with what `told` gives."""
    context.abort_with_status(told(error))


def told(error: Exception) -> grpc.Status:
    """What a caller is told. An error that is no refusal is logged by its type and place, and told as `internal`."""
    if not isinstance(error, KeptError):
        # The message may hold personal data, so only the type and the place go to the log.
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else "?"
        _log.error("%s at %s", type(error).__name__, where)
        message = "an error of ours; it was logged. Sent again, the same request id is done once at most"
        return rpc_status.to_status(status_pb2.Status(code=code_pb2.Code.INTERNAL, message=message))
    if isinstance(error, Misconfigured):
        _log.error("%s", error)
        error = _OURS
    return rpc_status.to_status(_status(error))


def _status(error: KeptError) -> status_pb2.Status:
    facts = {name: _short(value) for name, value in error.facts.items()}
    details = [error_details_pb2.ErrorInfo(reason=error.slug, domain=DOMAIN, metadata=facts)]
    packed = [_packed(detail) for detail in details]
    if isinstance(error, Invalid):
        violation = error_details_pb2.BadRequest.FieldViolation(field=error.field, description=error.description)
        packed.append(_packed(error_details_pb2.BadRequest(field_violations=[violation])))
    if isinstance(error, Unavailable):
        delay = Duration()
        delay.FromMilliseconds(int(error.retry_after_s * 1000))
        packed.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=code_pb2.Code.Value(error.status), message=_short(str(error)), details=packed)


def _short(text: str) -> str:
    """An error travels in trailers, which have little room; what it repeats of a request may be of any length."""
    return text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"


def _packed(
    detail: error_details_pb2.ErrorInfo | error_details_pb2.BadRequest | error_details_pb2.RetryInfo,
) -> Any:
    packed = Any()
    packed.Pack(detail)
    return packed
