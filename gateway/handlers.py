"""A route is an RPC under an address: `read` for GET, `change` for POST. Messages and JSON are proto3's own mapping."""

import re
from typing import Any
from uuid import uuid4

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import Message
from litestar import Request, Response, get, post
from litestar.exceptions import SerializationException
from litestar.handlers import HTTPRouteHandler

from gateway.openapi import operation
from gateway.problems import Problem, invalid
from gateway.rpc import Rpc
from gateway.settings import TENANT

KEY = "idempotency-key"
TENANT_COOKIE = "kept-tenant"
MOST_BODY_BYTES = 256 * 1024
_KEY = re.compile(r"[\x20-\x7e]{1,128}")
_SEE = "is not what this address takes; see /schema/openapi.json"
_WHOLE = (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64)

AnyRequest = Request[Any, Any, Any]


def read(path: str, rpc: Rpc, summary: str) -> HTTPRouteHandler:
    """GET: the request's fields come from the path and the query (`place.region=330122` for one within another)."""

    @get(
        path,
        operation_id=rpc.method.name,
        operation_class=operation(rpc, path),
        summary=summary,
        tags=[rpc.service],
        rpc=rpc,
    )
    async def handler(request: AnyRequest) -> Response[Any]:
        return await _answered(request, rpc, {**_query(request, rpc), **request.path_params})

    return handler


def change(path: str, rpc: Rpc, summary: str) -> HTTPRouteHandler:
    """POST: fields come from the path and the JSON body; the Idempotency-Key is the request id, else a new one is."""

    @post(
        path,
        operation_id=rpc.method.name,
        operation_class=operation(rpc, path),
        summary=summary,
        tags=[rpc.service],
        status_code=200,
        rpc=rpc,
        request_max_body_size=MOST_BODY_BYTES,
    )
    async def handler(request: AnyRequest) -> Response[Any]:
        body = await _body(request)
        for given in ("request_id", *request.path_params):
            if given in body:
                raise invalid(given, "comes from the Idempotency-Key header or the address; leave it out of the body")
        return await _answered(request, rpc, {**body, **request.path_params, "request_id": _request_id(request)})

    return handler


async def _answered(request: AnyRequest, rpc: Rpc, fields: dict[str, Any]) -> Response[Any]:
    asked = _message(rpc, fields)
    answer = await request.app.state.backends.call(rpc, asked, tenant_of(request))
    return Response(as_json(answer))


def tenant_of(request: AnyRequest) -> str:
    """The company that is asked for by query, or chosen by cookie; the first that is offered when none is.

    A cookie may be left from another cell that had the same port: one that is not offered counts for nothing.
    """
    offered: tuple[str, ...] = request.app.state.settings.tenants
    chosen = request.cookies.get(TENANT_COOKIE)
    tenant = request.query_params.get("tenant") or (chosen if chosen in offered else offered[0])
    if not TENANT.fullmatch(tenant):
        raise invalid("tenant", "use 1 to 63 lower-case letters, digits and hyphens")
    if tenant not in offered:
        raise Problem(403, "tenant-not-offered", f"tenant: this gateway offers {', '.join(offered)}")
    return str(tenant)


def as_json(message: Message) -> dict[str, Any]:
    """Names as in the protos; a field without presence is there even when it is empty."""
    return MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _message(rpc: Rpc, fields: dict[str, Any]) -> Message:
    try:
        return ParseDict(fields, rpc.request())
    except ParseError as error:
        raise invalid(*_mistake(str(error), rpc.method.input_type)) from None


def _mistake(said: str, message: Descriptor) -> tuple[str, str]:
    """The field that does not fit, and what would."""
    unknown = re.search(r'has no field named "([^"]*)"', said)
    if unknown:
        return unknown[1], f"is not known here; known are {', '.join(message.fields_by_name)}"
    name = re.search(r"Failed to parse (\w+) field", said)
    field = message.fields_by_name.get(name[1]) if name else None
    return (field.name, _expected(field)) if field is not None else ("body", _SEE)


def _expected(field: FieldDescriptor) -> str:
    if field.enum_type is not None:
        return "must be one of " + ", ".join(value.name for value in field.enum_type.values if value.number)
    if field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp":
        return "is not a time such as 2026-01-31T08:00:00Z"
    return "is not a whole number" if field.type in _WHOLE else _SEE


def _request_id(request: AnyRequest) -> str:
    key: str | None = request.headers.get(KEY)
    if key is None:
        return str(uuid4())
    if not _KEY.fullmatch(key):
        raise invalid("Idempotency-Key", "use 1 to 128 printable ASCII characters")
    return key


async def _body(request: AnyRequest) -> dict[str, Any]:
    if not await request.body():
        return {}
    if request.content_type[0] != "application/json":
        raise Problem(415, "not-json", "send the fields as application/json")
    try:
        body = await request.json()
    except SerializationException:
        body = None
    if not isinstance(body, dict):
        raise invalid("body", "is not a JSON object")
    return body


def _query(request: AnyRequest, rpc: Rpc) -> dict[str, Any]:
    """The query as proto3's JSON: `a.b=1` is b within a; a list is the same name again and again."""
    found: dict[str, Any] = {}
    for name in request.query_params:
        if name == "tenant":
            continue
        field, within = _field(rpc, name, found)
        values = [_value(field, name, text) for text in request.query_params.getall(name)]
        if len(values) > 1 and not field.is_repeated:
            raise invalid(name, "is given more than once")
        within[field.name] = values if field.is_repeated else values[0]
    return found


def _field(rpc: Rpc, name: str, found: dict[str, Any]) -> tuple[FieldDescriptor, dict[str, Any]]:
    """The field of that dotted name, and the part of `found` that it belongs into."""
    at: Descriptor | None = rpc.method.input_type
    field = None
    for part in name.split("."):
        if field is not None:
            found = found.setdefault(field.name, {})
        field = at.fields_by_name.get(part) if at is not None else None
        if field is None:
            known = ", ".join(rpc.method.input_type.fields_by_name)
            raise invalid(name, f"is not known here; known are {known}")
        at = field.message_type
    assert field is not None
    return field, found


def _value(field: FieldDescriptor, name: str, text: str) -> object:
    if field.type != FieldDescriptor.TYPE_BOOL:
        return text  # numbers may be strings in proto3's JSON
    if text not in ("true", "false"):
        raise invalid(name, "is true or false")
    return text == "true"
