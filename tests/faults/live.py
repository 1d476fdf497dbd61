"""A cell that runs, and people who keep telling it things, whatever happens to it."""

import subprocess
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from uuid import uuid5

from google.protobuf.message import Message
from kept.common.v1.record_pb2 import Record
from kept.customer.v1 import events_pb2 as customer_events
from kept.customer.v1 import service_pb2 as customer

from services.cli.client import Client, Connection
from services.cli.table import SERVICES
from services.cli.up import running_cell
from services.kernel.application import REQUESTS
from services.kernel.cell import wait_until
from services.kernel.config import read_settings
from services.kernel.house import House
from services.kernel.log.positions import Positions
from tests.history import verified
from tests.kept import KEPT, READY_WITHIN_S, ROOT
from tests.scene import edited, install_item, open_case, register_customer

CATCH_UP_WITHIN = timedelta(seconds=60)
ACKNOWLEDGED_WITHIN_S = 60
ALL = 1_000_000


class LiveCell:
    """`kept up` on a folder; started again after a kill of its supervisor."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data, self._options = data, options
        self.acknowledged: dict[str, Acknowledged] = {}
        self.start()

    def start(self) -> None:
        self.supervisor = subprocess.Popen(
            [*KEPT, "up", "--no-console", "--data", str(self.data), *self._options],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        assert self.supervisor.stderr is not None
        lines = iter(self.supervisor.stderr)
        assert any(line.startswith(b"the cell is up") for line in lines)
        # What it says from now on is read, so that it never waits for us.
        threading.Thread(target=lambda: [None for _ in lines], daemon=True).start()
        told = running_cell(read_settings({}, self.data))
        assert told is not None
        self.targets: dict[str, str] = told["targets"]

    def stop(self) -> None:
        self.supervisor.terminate()
        self.supervisor.wait(READY_WITHIN_S)


@contextmanager
def live_cell(data: Path, *options: str) -> Iterator[LiveCell]:
    cell = LiveCell(data, *options)
    try:
        yield cell
    finally:
        cell.stop()


@dataclass(frozen=True)
class Acknowledged:
    """What somebody asked for, and the receipt: the aggregate, its version, and the position of its last event."""

    method: str
    stream: str
    version: int
    position: int


class People:
    """So many at once, each telling of one customer after another; a call is made again until it is answered."""

    def __init__(self, cell: LiveCell, number: int) -> None:
        self._cell = cell
        self._stopping = False
        self._news = threading.Condition()
        self._errors: list[BaseException] = []
        self.refusals = 0
        self.acknowledged = cell.acknowledged
        names = [f"{len(cell.acknowledged)}-{person}" for person in range(number)]
        self._threads = [threading.Thread(target=self._work, args=(name,)) for name in names]

    def __enter__(self) -> "People":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]

    def wait_for(self, more: int) -> None:
        """Returns when so many more are acknowledged."""
        until = len(self.acknowledged) + more
        self._wait(lambda: len(self.acknowledged) >= until)

    def wait_for_refusals(self, more: int) -> None:
        """Returns when calls were refused so many more times; they are made again."""
        until = self.refusals + more
        self._wait(lambda: self.refusals >= until)

    def _wait(self, reached: Callable[[], bool]) -> None:
        with self._news:
            there = self._news.wait_for(lambda: self._errors or reached(), ACKNOWLEDGED_WITHIN_S)
            assert not self._errors, self._errors
            assert there, f"{len(self.acknowledged)} were acknowledged, {self.refusals} refused"

    def _refused(self) -> bool:
        """Whether to give up: never. A client asks that each time before it waits to make its call again."""
        with self._news:
            self.refusals += 1
            self._news.notify_all()
        return False

    def _work(self, person: str) -> None:
        try:
            connection = Connection(self._cell.targets, principal="user:ana")
            with Client(connection, stopping=self._refused) as client:
                for number in count():
                    if self._stopping:
                        return
                    self._serve_one(client, f"{person}-{number}")
        except BaseException as error:
            with self._news:
                self._errors.append(error)
                self._news.notify_all()

    def _serve_one(self, client: Client, name: str) -> None:
        customer_id = self._tell(client, "customer", name, register_customer())
        consent = customer.GiveConsentRequest(customer_id=customer_id, purpose=customer_events.CONSENT_PURPOSE_SERVICE)
        self._tell(client, "customer", name, consent)
        self._tell(client, "customer", name, edited(install_item(customer_id), {"warranty_until": None}))
        self._tell(client, "case", name, edited(open_case(customer_id), {"external_reference": name}))

    def _tell(self, client: Client, service: str, name: str, request: Message) -> str:
        method = request.DESCRIPTOR.name.removesuffix("Request")
        request = edited(request, {"request_id": f"{name}-{method}"})
        receipt = client.call(service, method, request).receipt
        full_method = f"/{request.DESCRIPTOR.file.package}.{service.title()}Service/{method}"
        key = str(uuid5(REQUESTS, "\0".join(("main", "user:ana", full_method, f"{name}-{method}"))))
        with self._news:
            assert key not in self.acknowledged
            self.acknowledged[key] = Acknowledged(method, receipt.id, receipt.version, receipt.position)
            self._news.notify_all()
        return str(receipt.id)


def wait_until_all_is_read(cell: LiveCell, but: str = "") -> int:
    """Returns when every service's views have read what is in the log now, which is where it stands; one may be left out."""
    with closing(House(read_settings({}, cell.data))) as house:
        head = house.log.position()
        names = {service.name for service in SERVICES} - {but}
        wait_until(
            house.view_bell, lambda: all(_stands(house, name) >= head for name in names), CATCH_UP_WITHIN, "behind"
        )
        return head


def stands(cell: LiveCell, service: str) -> int:
    """How far the service's views have read."""
    with closing(House(read_settings({}, cell.data))) as house:
        return _stands(house, service)


def _stands(house: House, service: str) -> int:
    with house.views_database(service).read() as session:
        return Positions(session).get(f"{service}-views")


def assert_each_is_there_once(cell: LiveCell) -> int:
    """To be asked when nobody calls the cell any more: every request that was acknowledged had its effect once, at the
    place that its receipt names, and no other had one.

    Positions are dense, nothing is parked, and a replay finds nothing that differs. Returns how many events there are.
    """
    events = assert_every_effect_once(cell)
    assert verified(cell.data).findings.first == {}
    return events


def assert_every_effect_once(cell: LiveCell) -> int:
    """The same without the replay."""
    with closing(House(read_settings({}, cell.data))) as house:
        events = [(event.position, Record.FromString(event.record)) for event in house.log.read(0, ALL)]
    assert [position for position, _ in events] == list(range(1, len(events) + 1))
    effects: dict[str, list[tuple[int, Record]]] = defaultdict(list)
    for position, record in events:
        if record.request_key:
            effects[record.request_key].append((position, record))
    assert effects.keys() == cell.acknowledged.keys()
    shapes = defaultdict(set)
    for key, receipt in cell.acknowledged.items():
        positions = [position for position, _ in effects[key]]
        _, last = effects[key][-1]
        assert positions == list(range(positions[0], receipt.position + 1))
        assert (last.stream, last.version) == (receipt.stream, receipt.version)
        shapes[receipt.method].add(tuple(record.type for _, record in effects[key]))
    assert {method: len(found) for method, found in shapes.items()} == dict.fromkeys(shapes, 1)
    return len(events)
