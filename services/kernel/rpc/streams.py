"""A server for long streams, on grpc.aio: the same guard, health and drain as `server` has for short calls."""

from __future__ import annotations  # the stubs make grpc's handler generic, its code does not

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.kernel.ready import announce_ready
from services.kernel.rpc.errors import told
from services.kernel.rpc.interceptors import OPEN_TO_ALL, measured
from services.kernel.rpc.server import DRAIN_S, OPTIONS, listen

READING_THREADS = 4

Register = Callable[[grpc.aio.Server], Awaitable[Sequence[str]]]


async def serve_streams(
    register: Register, address: str, *, development: bool, on_stop: Callable[[], Awaitable[None]]
) -> None:
    """Serves until SIGTERM or SIGINT, then awaits `on_stop`, which has to end the endless streams, and lets calls finish.

    `register` adds servicers and returns their full names; `address` and Raises as in `server.serve`.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with ThreadPoolExecutor(READING_THREADS, "read") as threads:
        loop.set_default_executor(threads)
        server = grpc.aio.server(interceptors=[StreamGuard()], options=OPTIONS)
        names = await register(server)
        alive = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(alive, server)
        if development:
            reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
        listen(server, address)
        await server.start()
        for name in ("", *names):
            await alive.set(name, health_pb2.HealthCheckResponse.SERVING)
        announce_ready()
        await stop.wait()
        await alive.enter_graceful_shutdown()
        await on_stop()
        await server.stop(DRAIN_S)


class StreamGuard(grpc.aio.ServerInterceptor):
    """What `Guard` is for a sync server, for methods that answer once and for those that answer with a stream."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        name = handler_call_details.method
        handler = await continuation(handler_call_details)
        if handler is None or name.startswith(OPEN_TO_ALL):
            return handler
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(_answering(name, handler.unary_unary), **codec)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(_streaming(name, handler.unary_stream), **codec)
        return handler


def _answering(name: str, method: Any) -> Any:
    async def call(request: Any, context: Any) -> Any:
        try:
            with measured(name, context):
                return await method(request, context)
        except Exception as error:
            await _abort(context, error)

    return call


def _streaming(name: str, method: Any) -> Any:
    # Written by us, not yielded: the span then begins and ends in the call's own task, even where the caller goes away.
    async def call(request: Any, context: Any) -> None:
        try:
            with measured(name, context):
                async with aclosing(method(request, context)) as messages:
                    async for message in messages:
                        await context.write(message)
        except grpc.aio.InternalError:
            return  # of grpc itself, from `write`: the caller is gone, and there is nobody to tell
        except Exception as error:
            await _abort(context, error)

    return call


async def _abort(context: Any, error: Exception) -> None:
    status = told(error)
    await context.abort(status.code, status.details, tuple(status.trailing_metadata or ()))
