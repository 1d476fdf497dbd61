"""The stream process's server in a thread of this process, and events of several companies and customers."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid5

import grpc
from google.protobuf.message import Message
from kept.audit.v1 import service_pb2 as m
from kept.audit.v1.service_pb2_grpc import AuditServiceStub, add_AuditServiceServicer_to_server
from kept.cell.v1.events_pb2 import HistoryStarted, ParkedKeyReleased, PolicyDeployed

from services.audit.feed import Feed
from services.audit.servicer import AuditServicer
from services.kernel.clock import micros
from services.kernel.events import DomainEvent, ProtobufMapper, Stamp
from services.kernel.house import House
from services.kernel.log.event_log import EventLog
from services.kernel.rpc.streams import StreamGuard
from tests.kernel.toys import NAMES, NOW, save

AUDITOR = (("kept-principal", "auditor:ada"), ("kept-tenant", "main"))
DEADLINE_S = 60
STREAMS = [uuid5(NAMES, f"stream {number}") for number in range(4)]
CUSTOMERS = [uuid5(NAMES, f"customer {number}") for number in range(3)]
TENANTS = ["main", "north"]
BODIES: list[Message] = [PolicyDeployed(name="a"), HistoryStarted(), ParkedKeyReleased(key="k")]
TYPES = [body.DESCRIPTOR.full_name for body in BODIES]

# Which stream, body, tenant and customer (None for none) an event has, by their places above.
Kind = tuple[int, int, int, int | None]


class Auditor:
    """A client of the server."""

    def __init__(self, target: str, metadata: Any = AUDITOR) -> None:
        self._channel = grpc.insecure_channel(target)
        self._stub = AuditServiceStub(self._channel)
        self._metadata = metadata

    def stream(self, after: int = 0, *, follow: bool = False, **filters: list[str]) -> Any:
        request = m.StreamEventsRequest(after_position=after, follow=follow, **filters)
        return self._stub.StreamEvents(request, metadata=self._metadata, timeout=DEADLINE_S)

    def positions(self, after: int = 0, **filters: Any) -> list[int]:
        return [message.position for message in self.stream(after, **filters) if message.record]

    def checkpoint(self) -> m.GetCheckpointResponse:
        return self._stub.GetCheckpoint(m.GetCheckpointRequest(), metadata=self._metadata, timeout=DEADLINE_S)

    def inclusion(self, position: int, size: int = 0) -> m.GetInclusionProofResponse:
        request = m.GetInclusionProofRequest(position=position, size=size)
        return self._stub.GetInclusionProof(request, metadata=self._metadata, timeout=DEADLINE_S)

    def consistency(self, from_size: int, size: int = 0) -> m.GetConsistencyProofResponse:
        request = m.GetConsistencyProofRequest(from_size=from_size, size=size)
        return self._stub.GetConsistencyProof(request, metadata=self._metadata, timeout=DEADLINE_S)

    def close(self) -> None:
        self._channel.close()


class Served:
    """What a test may look at, or end."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.feed: Any = None
        self._thread: Any = None
        self._loop: Any = None
        self._stopped: Any = None

    def start(self, house: House) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(house, ready)))
        self._thread.start()
        assert ready.wait(DEADLINE_S)

    async def _run(self, house: House, ready: threading.Event) -> None:
        self._loop, self._stopped, self.feed = asyncio.get_running_loop(), asyncio.Event(), Feed(house.log)
        server = grpc.aio.server(interceptors=[StreamGuard()])
        add_AuditServiceServicer_to_server(AuditServicer(house, self.feed), server)
        server.add_insecure_port(self.target)
        await server.start()
        ready.set()
        await self._stopped.wait()
        await self.feed.close()
        await server.stop(DEADLINE_S)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopped.set)

    def join(self) -> None:
        self._thread.join()


@contextmanager
def served(house: House) -> Iterator[Served]:
    server = Served(f"unix:{house.settings.run / 'streams.sock'}")
    server.start(house)
    try:
        yield server
    finally:
        server.stop()
        server.join()


class Writer:
    """Appends events of any kind."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._versions: dict[UUID, int] = {}
        self.kinds: list[Kind] = []

    def write(self, *kinds: Kind) -> None:
        """In one commit each."""
        outcomes = self._log.append([save(self._entry(kind)) for kind in kinds])
        assert all(isinstance(outcome, int) for outcome in outcomes)

    def write_plain(self, count: int, label: str = "a") -> None:
        for _ in range(count):
            self._log.append([save(self._entry((0, 0, 0, None), PolicyDeployed(name=label)))])

    def _version(self, stream: UUID) -> int:
        return self._versions.get(stream) or self._log.version(stream)

    def _entry(self, kind: Kind, body: Message | None = None) -> Any:
        stream, type_, tenant, customer = kind
        version = self._versions[STREAMS[stream]] = self._version(STREAMS[stream]) + 1
        stamp = Stamp(TENANTS[tenant], "user:ana", micros(NOW), correlation_id="")
        whose = "" if customer is None else str(CUSTOMERS[customer])
        self.kinds.append(kind)
        event = DomainEvent(STREAMS[stream], version, body or BODIES[type_], stamp, whose)
        return ProtobufMapper().to_stored_event(event)
