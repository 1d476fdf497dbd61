"""The gateway as a process of its own, as a supervisor starts it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
STOPS_WITHIN_S = 10


def start(**environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "gateway"],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def gateway_up(targets: Mapping[str, str], **environment: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The process and its address, once it has said that it is ready."""
    reading, writing = os.pipe()
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway"],
        cwd=ROOT,
        env={
            **os.environ,
            "KEPT_TARGETS": json.dumps(targets),
            "KEPT_LISTEN": f"127.0.0.1:{port}",
            "KEPT_READY_FD": str(writing),
            **environment,
        },
        pass_fds=(writing,),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.close(writing)
    try:
        with open(reading) as ready:
            assert ready.read() == "ready\n", process.communicate(timeout=STOPS_WITHIN_S)[0]
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate(timeout=STOPS_WITHIN_S)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
