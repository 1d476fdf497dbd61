"""What changed, as server-sent events: places and ids, never what a record holds."""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import Descriptor
from google.protobuf.message_factory import GetMessageClass
from kept.audit.v1 import service_pb2 as audit
from kept.cell.v1 import service_pb2 as cell
from kept.common.v1.record_pb2 import Record
from litestar import Request, get
from litestar.response import ServerSentEvent, ServerSentEventMessage
from litestar.serialization import encode_json

from gateway.handlers import tenant_of
from gateway.problems import invalid
from gateway.rpc import Backends, rpc

STREAM_EVENTS, GET_CELL = rpc(audit, "StreamEvents"), rpc(cell, "GetCell")
HEARTBEAT_S = 15.0
POLL_EVERY_S = 2.0
RETRY_MS = 2000
_POSITION = re.compile(r"[0-9]{1,18}")
_OF_PROBLEMS = re.compile(r"kept\.case\.v1\.(Problem\w+|RootCauseFound|CaseLinked)")
_OF_CASES = re.compile(r"kept\.case\.v1\.(Case\w+|NoteAdded)")

Change = dict[str, Any]


@get("/changes", include_in_schema=False)
async def changes(request: Request[Any, Any, Any]) -> ServerSentEvent:
    """From `Last-Event-ID` or `after` on, without gap or repetition; else from now on."""
    backends: Backends = request.app.state.backends
    tenant = tenant_of(request)
    after = request.headers.get("last-event-id") or request.query_params.get("after")
    if after is not None and not _POSITION.fullmatch(after):
        raise invalid("Last-Event-ID", "is not a position such as 1024")
    position = int(after) if after is not None else await _head(backends, tenant)
    told = _with_heartbeat(_follow(backends, tenant, position), request.app.state.stopping)
    return ServerSentEvent(told, headers={"x-accel-buffering": "no"})


async def _follow(backends: Backends, tenant: str, position: int) -> AsyncIterator[ServerSentEventMessage]:
    """The audit service's stream; where the cell has none yet, the head as it moves."""
    yield ServerSentEventMessage(comment="listening", id=str(position), retry=RETRY_MS)
    if backends.has("audit"):
        try:
            async for message in _stream(backends, tenant, position):
                yield message
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                async for message in _poll(backends, tenant, position):
                    yield message
        return  # the service went away; the browser comes again, from where it was
    async for message in _poll(backends, tenant, position):
        yield message


# Whose events are those of the cell as such: that its time moved.
CELL_ITSELF = "cell"


async def _stream(backends: Backends, tenant: str, position: int) -> AsyncIterator[ServerSentEventMessage]:
    asked = audit.StreamEventsRequest(after_position=position, tenants=[tenant, CELL_ITSELF], follow=True)
    call = backends.stream(STREAM_EVENTS, asked, tenant)
    try:
        async for answer in call:
            if answer.record:
                yield _message(answer.position, change_of(answer.position, Record.FromString(answer.record)))
            else:
                yield ServerSentEventMessage(id=str(answer.position), data="")
    finally:
        call.cancel()


async def _poll(backends: Backends, tenant: str, position: int) -> AsyncIterator[ServerSentEventMessage]:
    """Without the events nobody knows what changed: an empty type stands for anything."""
    while True:
        try:
            head = await _head(backends, tenant)
        except grpc.aio.AioRpcError:
            return  # the cell went away; the browser comes again
        if head > position:
            position = head
            yield _message(position, {"position": position, "type": ""})
        await asyncio.sleep(POLL_EVERY_S)


def change_of(position: int, record: Record) -> Change:
    """Which case, customer or problem it concerns; of what it says only ids."""
    change: Change = {"position": position, "type": record.type}
    if record.customer_id:
        change["customer_id"] = record.customer_id
    body = _body(record)
    for name in ("case_id", "problem_id", "work_order_id", "notice_id"):
        found = getattr(body, name, "") or getattr(getattr(body, "about", None), name, "")
        if found:
            change[name] = found
    if _OF_PROBLEMS.fullmatch(record.type):
        change["problem_id"] = record.stream
    elif _OF_CASES.fullmatch(record.type):
        change["case_id"] = record.stream
    return change


def _body(record: Record) -> object:
    """None for a type that only a newer Kept knows."""
    try:
        descriptor: Descriptor = descriptor_pool.Default().FindMessageTypeByName(record.type)
    except KeyError:
        return None
    return GetMessageClass(descriptor).FromString(record.data)


def _message(position: int, change: Change) -> ServerSentEventMessage:
    return ServerSentEventMessage(data=encode_json(change).decode(), id=str(position))


async def _head(backends: Backends, tenant: str) -> int:
    answer = await backends.call(GET_CELL, cell.GetCellRequest(), tenant)
    assert isinstance(answer, cell.GetCellResponse)
    return answer.position


async def _with_heartbeat(
    messages: AsyncIterator[ServerSentEventMessage], stopping: asyncio.Event
) -> AsyncIterator[ServerSentEventMessage]:
    """A comment now and then, so that a listener that left is noticed; and an end when the gateway stops."""
    stop = asyncio.ensure_future(stopping.wait())
    pending = asyncio.ensure_future(anext(messages, None))
    try:
        while True:
            done, _ = await asyncio.wait({stop, pending}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            if stop in done:
                return
            if not done:
                yield ServerSentEventMessage(comment="still here")
                continue
            message = pending.result()
            if message is None:
                return
            yield message
            pending = asyncio.ensure_future(anext(messages, None))
    finally:
        stop.cancel()
        pending.cancel()
