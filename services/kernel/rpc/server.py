"""A sync gRPC server: health, graceful drain, and one clear error where it cannot listen."""

import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.kernel.errors import Misconfigured
from services.kernel.ready import announce_ready
from services.kernel.rpc.interceptors import Guard

# While one thread waits for the log, the others fill the batch that is committed next.
THREADS = 16
STOPS = frozenset({signal.SIGTERM, signal.SIGINT})
DRAIN_S = 3.0
# Calls that are served or wait for a thread. Beyond them callers are told when to come again; beyond twice as many gRPC itself
# turns them away without a word, so that nothing grows without end.
MOST_CALLS = 512
MOST_REQUEST_BYTES = 256 * 1024
OPTIONS = (
    ("grpc.so_reuseport", 0),  # a busy port is an error, not a share
    ("grpc.max_receive_message_length", MOST_REQUEST_BYTES),
)


class Threads(ThreadPoolExecutor):
    """Counts the calls that are not finished."""

    def __init__(self, most: int) -> None:
        super().__init__(most, "rpc")
        self._counting = threading.Lock()
        self._unfinished = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        self._count(1)
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(lambda _: self._count(-1))
        return future

    def _count(self, by: int) -> None:
        with self._counting:
            self._unfinished += by

    def are_overloaded(self) -> bool:
        return self._unfinished >= MOST_CALLS


def new_server(threads: Threads) -> grpc.Server:
    """A guarded server whose calls are bounded in number."""
    guard = Guard(threads.are_overloaded)
    return grpc.server(threads, interceptors=[guard], options=OPTIONS, maximum_concurrent_rpcs=2 * MOST_CALLS)


def serve(register: Callable[[grpc.Server], Sequence[str]], address: str, *, development: bool) -> None:
    """Serves until SIGTERM or SIGINT, then lets running calls finish.

    `register` adds servicers and returns their full names. `address` is unix:PATH, which only its owner can open, or
    HOST:PORT. Raises Misconfigured when it is taken.
    """
    # Blocked in every thread made from here on, and waited for: a handler could only set an event, which deadlocks when
    # it interrupts the wait for that very event.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    server = new_server(Threads(THREADS))
    names = register(server)
    alive = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(alive, server)
    if development:
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
    listen(server, address)
    server.start()
    for name in ("", *names):
        alive.set(name, health_pb2.HealthCheckResponse.SERVING)
    announce_ready()
    signal.sigwait(STOPS)
    alive.enter_graceful_shutdown()
    server.stop(DRAIN_S).wait()


class Listens(Protocol):
    """A server, sync or aio."""

    def add_insecure_port(self, address: str) -> int: ...


def listen(server: Listens, address: str) -> None:
    """Raises Misconfigured when it cannot."""
    before = os.umask(0o177)
    try:
        if address.startswith("unix:"):
            Path(address.removeprefix("unix:")).unlink(missing_ok=True)  # left behind by a process that was killed
        bound = server.add_insecure_port(address)
    except RuntimeError:
        bound = 0
    finally:
        os.umask(before)
    if not bound:
        raise Misconfigured(f"{address} is taken or cannot be listened on; stop what uses it or choose another")
