"""Callers of a running cell who never give up: each sends the same request again until it is acknowledged."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import uuid5

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from kept.case.v1 import events_pb2 as case_events
from kept.case.v1 import service_pb2 as case
from kept.common.v1.record_pb2 import Receipt

from services.cli.client import OPTIONS, STUBS
from services.kernel.application import REQUESTS
from tests.scene import edited, open_case, register_customer

TENANT, PRINCIPAL = "main", "user:ana"
METADATA = (("kept-principal", PRINCIPAL), ("kept-tenant", TENANT))
DEADLINE_S = 30.0
NOTES = 5
WITHIN_S = 60.0


@dataclass(frozen=True)
class Acknowledged:
    """What a caller was told: its request is done, and where. `key` as the log has it."""

    method: str
    key: str
    receipt: Receipt


class Trouble(NamedTuple):
    """Why a call was not answered, as its caller was told."""

    status: str
    slug: str
    says_when_to_retry: bool


class Callers:
    """Each in a thread of its own: a customer, a case, some notes, and again. Used as a context manager."""

    def __init__(self, targets: Mapping[str, str], count: int = 6) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.troubles: Counter[Trouble] = Counter()
        self._targets = targets
        self._changed = threading.Condition()
        self._stopping = False
        self._failure: BaseException | None = None
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping = True
        self._failure = self._failure or error  # then nobody need be patient any more
        for thread in self._threads:
            thread.join()
        if self._failure is not None and error is None:
            raise self._failure

    def wait_for_more(self, count: int) -> None:
        """Until that many more are acknowledged."""
        with self._changed:
            wanted = len(self.acknowledged) + count
            enough = self._changed.wait_for(lambda: self._failure or len(self.acknowledged) >= wanted, WITHIN_S)
        assert self._failure is None, self._failure
        assert enough, f"nobody is served any more: {self.troubles}"

    def wait_for_trouble(self) -> None:
        """Until a call more has failed."""
        with self._changed:
            before = self.troubles.total()
            assert self._changed.wait_for(lambda: self.troubles.total() > before, WITHIN_S), "nobody noticed"

    def _run(self, number: int) -> None:
        try:
            with ExitStack() as stack:
                stubs = {}
                for service in ("customer", "case"):
                    channel = stack.enter_context(grpc.insecure_channel(self._targets[service], options=OPTIONS))
                    stubs[service] = STUBS[service](channel)
                round_ = 0
                while not self._stopping:
                    round_ += 1
                    self._round(stubs, f"{number}.{round_}")
        except BaseException as failure:
            with self._changed:
                self._failure = self._failure or failure
                self._changed.notify_all()

    def _round(self, stubs: Mapping[str, Any], name: str) -> None:
        """A caller who is to stop ends its round: what was asked for is asked for until it is known."""
        customer = self._tell(stubs["customer"].RegisterCustomer, register_customer(), f"{name} customer")
        opened = self._tell(stubs["case"].Open, open_case(customer.id), f"{name} case")
        for count in range(NOTES):
            note = case.AddNoteRequest(
                case_id=opened.id, audience=case_events.NOTE_AUDIENCE_INTERNAL, text=f"{name} note {count}"
            )
            self._tell(stubs["case"].AddNote, note, note.text)
        self._call(stubs["case"].GetCase, case.GetCaseRequest(case_id=opened.id, after_position=opened.position))

    def _tell(self, rpc: Any, request: Message, request_id: str) -> Receipt:
        receipt: Receipt = self._call(rpc, edited(request, {"request_id": request_id})).receipt
        method = rpc._method.decode()
        key = str(uuid5(REQUESTS, "\0".join((TENANT, PRINCIPAL, method, request_id))))
        with self._changed:
            self.acknowledged.append(Acknowledged(method, key, receipt))
            self._changed.notify_all()
        return receipt

    def _call(self, rpc: Any, request: Message) -> Any:
        """Sends it again as long as the cell says that it may be sent again. Raises whatever else the cell says."""
        pause, until = threading.Event(), time.monotonic() + WITHIN_S
        while True:
            try:
                return rpc(request, timeout=DEADLINE_S, metadata=METADATA)
            except grpc.RpcError as error:
                trouble, retry_after_s = _told(error)
                if not trouble.says_when_to_retry or self._failure is not None or time.monotonic() > until:
                    raise
            with self._changed:
                self.troubles[trouble] += 1
                self._changed.notify_all()
            pause.wait(retry_after_s)  # nobody sets it


def _told(error: Any) -> tuple[Trouble, float]:
    slug, retry = "", error_details_pb2.RetryInfo()
    status = rpc_status.from_call(error)
    says_when = False
    for detail in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            slug = info.reason
        says_when |= detail.Unpack(retry)
    return Trouble(error.code().name, slug, says_when), retry.retry_delay.ToMilliseconds() / 1000
