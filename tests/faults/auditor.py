"""Somebody who follows the whole log as it grows, through whatever happens to the cell."""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from kept.audit.v1.service_pb2 import StreamEventsRequest

from services.cli.audit_check import events_after
from services.cli.client import CellError, Client, Connection, Interrupted

WITHIN_S = 60.0


class Auditor:
    """Reads in a thread of its own, with the client that auditors have. Used as a context manager."""

    def __init__(self, targets: Mapping[str, str]) -> None:
        self.seen: list[tuple[int, bytes]] = []  # position and record, as they came
        self._changed = threading.Condition()
        self._stopping = False
        self._failure: CellError | None = None
        self._client = Client(Connection(targets, principal="auditor:zhou"), stopping=lambda: self._stopping)
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._client.__exit__(kind, error, trace)
        self._thread.join()

    def wait_for(self, position: int) -> None:
        """Until that event came."""
        with self._changed:
            there = self._changed.wait_for(
                lambda: self._failure or (self.seen and self.seen[-1][0] >= position), WITHIN_S
            )
        assert self._failure is None, self._failure
        assert there, f"the stream brought {len(self.seen)} events, the log has {position}"

    def _read(self) -> None:
        try:
            for event in events_after(self._client, StreamEventsRequest(follow=True)):
                with self._changed:
                    self.seen.append((event.position, event.record))
                    self._changed.notify_all()
        except Interrupted:
            return  # by us
        except CellError as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()
