"""The guard of an aio server does for short calls and for streams what the sync one does."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from kept.cell.v1.service_pb2 import GetCellResponse

from services.kernel.errors import Invalid, Misconfigured, NotFound
from services.kernel.house import House
from services.kernel.rpc.interceptors import current_caller
from services.kernel.rpc.streams import StreamGuard
from tests.kernel.serving import SERVICE
from tests.kernel.test_rpc import ANA, SECRET, Refusal
from tests.kernel.toys import JarRequest


async def who(request: Any, context: Any) -> Any:
    await asyncio.to_thread(lambda: None)
    return _told()


async def invalid(request: Any, context: Any) -> Any:
    raise Invalid("label", "is missing")


async def many(request: Any, context: Any) -> AsyncIterator[Any]:
    """As many as the id says, then what the label says."""
    try:
        for _ in range(int(request.id)):
            yield _told()
        if request.label == "missing":
            raise NotFound("jar-not-found", "there is no such jar", jar="7")
        if request.label == "misconfigured":
            raise Misconfigured("/srv/kept/log.db: is not a sound SQLite database")
        if request.label == "endless":
            await asyncio.Event().wait()
        if request.label:
            raise ZeroDivisionError(request.label)
    finally:
        _CLOSED.set()


_CLOSED = threading.Event()


def _told() -> Any:
    caller = current_caller()
    return GetCellResponse(cell=f"{caller.principal} {caller.tenant} {caller.method}")


@pytest.fixture
def channel(sqlite_house: House) -> Iterator[grpc.Channel]:
    target = f"unix:{sqlite_house.settings.run / 'toy.sock'}"
    ready, loops, stop = threading.Event(), [], asyncio.Event()

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        server = grpc.aio.server(interceptors=[StreamGuard()])
        codec: Any = {
            "request_deserializer": JarRequest.FromString,
            "response_serializer": GetCellResponse.SerializeToString,
        }
        handlers = {
            "Who": grpc.unary_unary_rpc_method_handler(who, **codec),
            "Invalid": grpc.unary_unary_rpc_method_handler(invalid, **codec),
            "Many": grpc.unary_stream_rpc_method_handler(many, **codec),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        server.add_insecure_port(target)
        await server.start()
        ready.set()
        await stop.wait()
        await server.stop(None)

    _CLOSED.clear()
    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert ready.wait(60)
    with grpc.insecure_channel(target) as made:
        yield made
    loops[0].call_soon_threadsafe(stop.set)
    thread.join()


def called(channel: grpc.Channel, method: str, metadata: Any = ANA, **fields: str) -> Any:
    make = channel.unary_stream if method == "Many" else channel.unary_unary
    stub: Any = make(
        f"/{SERVICE}/{method}",
        request_serializer=JarRequest.SerializeToString,
        response_deserializer=GetCellResponse.FromString,
    )
    return stub(JarRequest(**fields), metadata=metadata, timeout=60)


def refused(call: Any) -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        list(call())
    return Refusal(caught.value)


def test_the_caller_is_known_to_a_call_and_to_a_stream(channel: grpc.Channel) -> None:
    assert called(channel, "Who").cell == "user:ana main /toy.Jars/Who"
    assert [one.cell for one in called(channel, "Many", id="2")] == ["user:ana main /toy.Jars/Many"] * 2


@pytest.mark.parametrize("method", ["Who", "Many"])
def test_a_caller_who_does_not_say_who_is_refused(channel: grpc.Channel, method: str) -> None:
    refusal = refused(lambda: called(channel, method, metadata=(), id="1"))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, ("kept", "principal-missing"))


def test_an_invalid_argument_names_its_field(channel: grpc.Channel) -> None:
    refusal = refused(lambda: called(channel, "Invalid"))

    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [one.field for one in refusal.details["BadRequest"].field_violations] == ["label"]


def test_a_stream_that_is_refused_in_its_course_says_why_after_what_it_gave(channel: grpc.Channel) -> None:
    stream = called(channel, "Many", id="3", label="missing")

    assert len([next(stream) for _ in range(3)]) == 3
    refusal = refused(lambda: stream)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, ("kept", "jar-not-found"))
    assert dict(refusal.details["ErrorInfo"].metadata) == {"jar": "7"}


def test_an_error_of_ours_is_told_without_detail_and_logged_without_what_it_held(
    channel: grpc.Channel, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        refusal = refused(lambda: called(channel, "Many", id="1", label=SECRET))

    assert (refusal.code, refusal.details) == (grpc.StatusCode.INTERNAL, {})
    assert "ZeroDivisionError at " in caplog.text
    for text in (refusal.everything, caplog.text, *capfd.readouterr()):
        assert "555-0199" not in text


def test_a_mistake_in_our_set_up_is_not_for_the_caller(channel: grpc.Channel) -> None:
    refusal = refused(lambda: called(channel, "Many", id="0", label="misconfigured"))

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, ("kept", "unavailable"))
    assert "/srv/kept" not in refusal.everything


def test_a_stream_that_nobody_reads_any_more_is_closed(channel: grpc.Channel) -> None:
    stream = called(channel, "Many", id="1", label="endless")
    next(stream)
    assert not _CLOSED.is_set()

    stream.cancel()

    assert _CLOSED.wait(60)
