"""A cell under load is backed up, moved to PostgreSQL and restored, through the real processes; nothing is lost."""

import os
import threading
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
from kept.common.v1.record_pb2 import Receipt
from kept.customer.v1.service_pb2_grpc import CustomerServiceStub

from services.cli.up import running_cell
from services.kernel.config import Settings, read_settings
from tests.cli.keeping import differences, digest, records, run_json
from tests.kept import cell_up, kept_json
from tests.scene import register_customer

WRITERS = 3
WAITS_S = 60
# A cell that stops refuses what is new, and cuts off what it cannot finish in time.
STOPPING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
METADATA = (("kept-principal", "user:ana"), ("kept-tenant", "main"))
# A cell that has stopped is back within seconds: look for it often.
OPTIONS = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200))


class Writer(threading.Thread):
    """Sends one command after another, each until it is acknowledged, with one request id."""

    def __init__(self, target: str, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._target, self._ended = target, threading.Event()
        self._acknowledged = threading.Condition()
        self.receipts: dict[str, Receipt] = {}

    def run(self) -> None:
        with grpc.insecure_channel(self._target, options=OPTIONS) as channel:
            stub = CustomerServiceStub(channel)
            while not self._ended.is_set():
                request_id = f"{self.name} {len(self.receipts)}"
                receipt = self._sent(stub, request_id)
                with self._acknowledged:
                    self.receipts[request_id] = receipt
                    self._acknowledged.notify_all()

    def _sent(self, stub: CustomerServiceStub, request_id: str) -> Receipt:
        request = register_customer()
        request.request_id = request_id
        while True:
            try:
                answer = stub.RegisterCustomer(request, metadata=METADATA, timeout=WAITS_S, wait_for_ready=True)
            except grpc.RpcError as error:
                if not isinstance(error, grpc.Call) or error.code() not in STOPPING:
                    raise
            else:
                return answer.receipt

    def wait_for_more(self, count: int) -> None:
        """Acknowledged from now on."""
        with self._acknowledged:
            wanted = len(self.receipts) + count
            assert self._acknowledged.wait_for(lambda: len(self.receipts) >= wanted, WAITS_S), self.name

    def end(self) -> None:
        self._ended.set()
        self.join(WAITS_S)
        assert not self.is_alive()


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """Of a cell whose name nobody else has in the database."""
    monkeypatch.setenv("KEPT_CELL", f"m{uuid4().hex[:12]}")
    return read_settings(os.environ, tmp_path / "cell")


def test_a_cell_under_load_moves_and_every_acknowledged_command_is_there_once(
    settings: Settings, postgres: str, tmp_path: Path
) -> None:
    live, later, data = tmp_path / "live", tmp_path / "later", settings.data
    with cell_up(data):
        running = running_cell(settings)
        assert running is not None
        writers = [Writer(running["targets"]["customer"], f"writer {number}") for number in range(WRITERS)]
        for writer in writers:
            writer.start()
            writer.wait_for_more(10)
        backed_up = kept_json("backup", live, "--data", data)
        moved = kept_json("move", "--to", postgres, "--data", data)

    with cell_up(data):  # the folder says that it lives on PostgreSQL
        for writer in writers:
            writer.wait_for_more(10)
        on_postgres = run_json("backup", later, settings=replace(settings, database=postgres))
        for writer in writers:
            writer.end()

    receipts = [receipt for writer in writers for receipt in writer.receipts.values()]
    moved_settings = replace(settings, database=postgres)
    assert moved["ran"]
    assert backed_up["position"] < moved["events"] < on_postgres["position"]
    assert customers(moved_settings) == {receipt.id: receipt.position for receipt in receipts}
    assert differences(moved_settings) == {}

    again = replace(settings, data=tmp_path / "again", database="")
    restored = run_json("restore", live, settings=again, KEPT_RESTORE_OLD=postgres)

    assert restored["published_to"] >= on_postgres["position"]
    known = {receipt.id: receipt.position for receipt in receipts if receipt.position <= backed_up["position"]}
    assert customers(again) == known
    assert digest(again)  # opens every value that is sealed in it


def customers(settings: Settings) -> dict[str, int]:
    """Of a cell's log, each with the position of its registration."""
    places = [
        (record.stream, position)
        for position, record in enumerate(records(settings), 1)
        if record.type == "kept.customer.v1.CustomerRegistered"
    ]
    assert len(places) == len(dict(places))
    return dict(places)
