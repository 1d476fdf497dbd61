"""A TCP proxy in threads of the test's own process: between us and a server, to be cut, stalled and opened again."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

AT_ONCE = 65536


class Proxy:
    """`cut`: connections end, and no new one lives. `stall`: all stay open and nothing passes. `open`: as it should be."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._flows = threading.Event()
        self._answers_flow = threading.Event()
        self._is_cut = False
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self.accepted = 0
        self._flow()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def living(self) -> int:
        """How many connections go through it now."""
        with self._lock:
            return len(self._sockets) // 2

    def cut(self) -> None:
        with self._lock:
            self._is_cut = True
            for one in self._sockets:
                _shut(one)
            self._sockets.clear()
        self._flow()

    def stall(self, *, answers_only: bool = False) -> None:
        self._answers_flow.clear()
        if not answers_only:
            self._flows.clear()

    def open(self) -> None:
        with self._lock:
            self._is_cut = False
        self._flow()

    def close(self) -> None:
        self.cut()
        _shut(self._listener)

    def _flow(self) -> None:
        self._flows.set()
        self._answers_flow.set()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # closed
            self.accepted += 1
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        far = socket.create_connection(self._target)
        with self._lock:
            if self._is_cut:
                _shut(near)
                _shut(far)
                return
            self._sockets |= {near, far}
        for way in ((near, far, self._flows), (far, near, self._answers_flow)):
            threading.Thread(target=self._pump, args=way, daemon=True).start()

    def _pump(self, here: socket.socket, there: socket.socket, flows: threading.Event) -> None:
        with suppress(OSError):
            while data := here.recv(AT_ONCE):
                flows.wait()
                there.sendall(data)
        _shut(here)
        _shut(there)
        with self._lock:
            self._sockets -= {here, there}


def _shut(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()


@contextmanager
def proxy_to(address: str) -> Iterator[Proxy]:
    """In front of the server of a URL."""
    url = urlsplit(address)
    assert url.hostname is not None
    assert url.port is not None
    proxy = Proxy(url.hostname, url.port)
    try:
        yield proxy
    finally:
        proxy.close()
