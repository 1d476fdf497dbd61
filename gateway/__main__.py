"""`python -m gateway`: serves until SIGTERM or SIGINT; exit code 78 and one line where it cannot work as set up."""

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from types import FrameType

import uvicorn

from gateway.app import make_gateway
from gateway.settings import Misconfigured, Settings, read_settings

READY_FD = "KEPT_READY_FD"
DRAIN_S = 2


def main() -> int:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        settings = read_settings(os.environ)
        listening = _listen(settings)
    except Misconfigured as mistake:
        sys.stderr.write(f"gateway: {mistake}\n")
        return Misconfigured.exit_code
    _Server(settings).run(sockets=[listening])
    return 0


def _listen(settings: Settings) -> socket.socket:
    """Raises Misconfigured when the address is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
        listening.listen()
    except OSError as error:
        listening.close()
        where = f"{settings.host}:{settings.port}"
        raise Misconfigured(f"KEPT_LISTEN={where} cannot be listened on ({error.strerror}); choose another") from error
    return listening


class _Server(uvicorn.Server):
    """Says when it is ready, and lets listeners go as soon as it is to stop."""

    def __init__(self, settings: Settings) -> None:
        self._gateway = make_gateway(settings)
        super().__init__(
            uvicorn.Config(
                self._gateway.app,
                access_log=False,
                log_level="warning",
                ws="none",
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._loop = asyncio.get_running_loop()
            _announce_ready()

    def handle_exit(self, sig: int, _: FrameType | None) -> None:
        # Not uvicorn's own way: that ends a stopped process with the signal's code, as if it had been killed.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._gateway.stopping.set)


def _announce_ready() -> None:
    number = os.environ.pop(READY_FD, None)
    if number is not None:
        # A supervisor that died ends us soon.
        with suppress(BrokenPipeError), open(int(number), "wb", buffering=0) as pipe:
            pipe.write(b"ready\n")


if __name__ == "__main__":
    sys.exit(main())
