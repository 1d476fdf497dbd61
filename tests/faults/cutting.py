"""A way to a PostgreSQL server that breaks within any message wanted, in either direction."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

import psycopg
from psycopg.conninfo import make_conninfo

CHUNK = 65_536
TO_SERVER, TO_CLIENT = 0, 1


class CutConnection:
    """Listens for one client after another, and passes on what they and the server say. Used as a context manager.

    `passed` counts the messages each way since the last `cut` or `mend`: what one side said before the other answered.
    """

    def __init__(self, address: str) -> None:
        with psycopg.connect(address) as asked:
            info = asked.info
            self._server: str | tuple[str, int] = (info.host, info.port)
            if info.host.startswith("/"):
                self._server = f"{info.host}/.s.PGSQL.{info.port}"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._open: list[tuple[socket.socket, socket.socket]] = []
        self._cuts: dict[tuple[int, int], float] = {}
        self.passed = [0, 0]
        port = self._listener.getsockname()[1]
        self.address = make_conninfo(address, host="127.0.0.1", hostaddr="", port=port, sslmode="disable")

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self._break()

    def cut(self, way: int, message: int, share: float) -> None:
        """Of that message, counted from 0 from now on, this share still passes; then every connection breaks."""
        with self._lock:
            self._cuts = {(way, message): share}
            self.passed = [0, 0]

    def mend(self) -> None:
        """Nothing is to break."""
        with self._lock:
            self._cuts = {}
            self.passed = [0, 0]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            server = socket.socket(socket.AF_UNIX if isinstance(self._server, str) else socket.AF_INET)
            server.connect(self._server)
            for end in (client, server):
                if end.family != socket.AF_UNIX:
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.append((client, server))
            for source, target, way in ((client, server, TO_SERVER), (server, client, TO_CLIENT)):
                threading.Thread(target=self._pass_on, args=(source, target, way), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, way: int) -> None:
        with suppress(OSError):  # one of both is gone, and so the other goes
            while data := source.recv(CHUNK):
                with self._lock:
                    share = self._cuts.pop((way, self.passed[way]), None)
                    self.passed[way] += 1
                if share is None:
                    target.sendall(data)
                    continue
                target.sendall(data[: int(share * len(data))])
                self._break()
                return
        for end in (source, target):
            _close(end)

    def _break(self) -> None:
        with self._lock:
            ends = [end for pair in self._open for end in pair]
            self._open.clear()
        for end in ends:
            _close(end)


def _close(end: socket.socket) -> None:
    with suppress(OSError):  # closed already, from either side
        end.shutdown(socket.SHUT_RDWR)  # wakes the thread that reads from it
    end.close()
