"""What this machine can do at best, measured in the same run, so that a result means the same on a slower one."""

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

CALLS, COMMITS, ROUNDS = 2000, 1000, 3


def bare_call_s(folder: Path) -> float:
    """Seconds of one sequential unary call that does nothing, over a Unix socket; the median of three rounds."""
    address = f"unix:{folder / 'yard.sock'}"
    server = grpc.server(ThreadPoolExecutor(8))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_insecure_port(address)
    server.start()
    try:
        with grpc.insecure_channel(address) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            return median(_timed(lambda: stub.Check(health_pb2.HealthCheckRequest()), CALLS) for _ in range(ROUNDS))
    finally:
        server.stop(None).wait()


def bare_commit_s(folder: Path) -> float:
    """Seconds of one synced SQLite commit of 400 bytes; the median of three rounds."""
    connection = sqlite3.connect(folder / "yard.db", isolation_level=None)
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma synchronous=full")
    connection.execute("create table row (body blob)")

    def commit() -> None:
        connection.execute("begin immediate")
        connection.execute("insert into row values (?)", (b"x" * 400,))
        connection.execute("commit")

    try:
        return median(_timed(commit, COMMITS) for _ in range(ROUNDS))
    finally:
        connection.close()


def _timed(action: Callable[[], object], times: int) -> float:

    started = time.perf_counter()
    for _ in range(times):
        action()
    return (time.perf_counter() - started) / times
