"""The OpenAPI description, made from the protos' own descriptors, so that it cannot say anything else than they do."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    RequestBody,
    Schema,
)

from gateway.rpc import Rpc

PROBLEM = "Problem"
_TEXT = Schema(type=OpenAPIType.STRING)
_WHOLE = Schema(type=OpenAPIType.INTEGER)
_LONG = Schema(type=OpenAPIType.STRING, description="a whole number; proto3 writes 64 bits as a string")
_SCALARS = {
    FieldDescriptor.TYPE_BOOL: Schema(type=OpenAPIType.BOOLEAN),
    FieldDescriptor.TYPE_DOUBLE: Schema(type=OpenAPIType.NUMBER),
    FieldDescriptor.TYPE_INT32: _WHOLE,
    FieldDescriptor.TYPE_INT64: _LONG,
    FieldDescriptor.TYPE_STRING: _TEXT,
    FieldDescriptor.TYPE_BYTES: Schema(type=OpenAPIType.STRING, description="base64"),
}
_MOMENT = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME)


def operation(rpc: Rpc, path: str) -> type[Operation]:
    """The description of one route, put in the place of what the framework reads off the handler."""
    in_path = re.findall(r"{(\w+):str}", path)

    @dataclass
    class Described(Operation):
        def __post_init__(self) -> None:
            fields = [field for field in rpc.method.input_type.fields if field.name not in in_path]
            changes = bool(fields) and fields[0].name == "request_id"
            self.parameters = [Parameter(name, "path", required=True, schema=_TEXT) for name in in_path]
            if changes:
                self.parameters.append(Parameter("Idempotency-Key", "header", schema=_TEXT))
                self.request_body = RequestBody({"application/json": OpenAPIMediaType(_object(fields[1:]))})
            else:
                self.parameters += [
                    Parameter(name, "query", schema=schema) for field in fields for name, schema in _in_query(field)
                ]
            self.responses = {
                "200": _response("the answer", "application/json", _reference(rpc.method.output_type)),
                "default": _response("a problem", "application/problem+json", Reference(_address(PROBLEM))),
            }

    return Described


def config(version: str) -> OpenAPIConfig:
    """Plain JSON and YAML below /schema; no page of somebody else's."""
    return OpenAPIConfig(
        title="Kept",
        version=version,
        path="/schema",
        render_plugins=[JsonRenderPlugin(path=["/", "/openapi.json"]), YamlRenderPlugin()],
    )


def schemas(rpcs: Iterable[Rpc]) -> dict[str, Schema]:
    """Every message that the routes take or give, by its full name. The framework has no place for schemas of one's
    own: add them to what it made."""
    found: dict[str, Schema] = {PROBLEM: _problem()}
    for rpc in rpcs:
        for message in (rpc.method.input_type, rpc.method.output_type):
            _collect(message, found)
    return found


def _collect(message: Descriptor, schemas: dict[str, Schema]) -> None:
    if message.full_name in schemas or message.full_name == "google.protobuf.Timestamp":
        return
    if not message.GetOptions().map_entry:
        schemas[message.full_name] = _object(list(message.fields))
    for field in message.fields:
        if field.message_type is not None:
            _collect(field.message_type, schemas)


def _object(fields: list[FieldDescriptor]) -> Schema:
    return Schema(type=OpenAPIType.OBJECT, properties={field.name: _of_field(field) for field in fields})


def _of_field(field: FieldDescriptor) -> Schema | Reference:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        value = _one(message.fields_by_name["value"])
        return Schema(type=OpenAPIType.OBJECT, additional_properties=value)
    return Schema(type=OpenAPIType.ARRAY, items=_one(field)) if field.is_repeated else _one(field)


def _one(field: FieldDescriptor) -> Schema | Reference:
    if field.message_type is not None:
        return _reference(field.message_type)
    if field.enum_type is not None:
        return Schema(type=OpenAPIType.STRING, enum=[value.name for value in field.enum_type.values])
    return _SCALARS[field.type]


def _in_query(field: FieldDescriptor) -> list[tuple[str, Schema | Reference]]:
    within = field.message_type
    if within is None or within.full_name == "google.protobuf.Timestamp":
        return [(field.name, _of_field(field))]
    return [(f"{field.name}.{inner.name}", _of_field(inner)) for inner in within.fields]


def _reference(message: Descriptor) -> Schema | Reference:
    return _MOMENT if message.full_name == "google.protobuf.Timestamp" else Reference(_address(message.full_name))


def _address(name: str) -> str:
    return f"#/components/schemas/{name}"


def _response(description: str, media_type: str, schema: Schema | Reference) -> OpenAPIResponse:
    return OpenAPIResponse(description, content={media_type: OpenAPIMediaType(schema)})


def _problem() -> Schema:
    """RFC 9457."""
    wrong = Schema(type=OpenAPIType.OBJECT, properties={"field": _TEXT, "detail": _TEXT})
    return Schema(
        type=OpenAPIType.OBJECT,
        required=["type", "title", "status", "detail"],
        properties={
            "type": Schema(type=OpenAPIType.STRING, description="urn:kept:SLUG; the slug is stable"),
            "title": _TEXT,
            "status": _WHOLE,
            "detail": _TEXT,
            "errors": Schema(type=OpenAPIType.ARRAY, items=wrong),
            "facts": Schema(type=OpenAPIType.OBJECT, additional_properties=_TEXT),
        },
    )
