"""A real server on a socket: what callers must say, and what they are told."""

import logging
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from kept.cell.v1 import service_pb2 as m
from kept.cell.v1.service_pb2 import GetCellResponse
from kept.cell.v1.service_pb2_grpc import CellServiceStub
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.kernel import telemetry
from services.kernel.clock import FixedClock
from services.kernel.house import House
from services.kernel.ready import READY, READY_FD, announce_ready
from services.kernel.rpc.cell_servicer import register as register_cell
from services.kernel.rpc.interceptors import Guard, current_caller
from services.kernel.rpc.server import Threads, new_server
from tests.kernel import serving
from tests.kernel.toys import NOW, JarRequest, Jars, events, given, labelled

ANA = (("kept-principal", "user:ana"), ("kept-tenant", "main"))
SECRET = "Ana Lòpez 555-0199"


class Client:
    """A channel to the toy service and to the cell's own."""

    def __init__(self, path: Path) -> None:
        self.channel = grpc.insecure_channel(f"unix:{path}")
        self.cell = CellServiceStub(self.channel)

    def call(self, method: str, metadata: Sequence[tuple[str, str]] = ANA, **fields: Any) -> Any:
        timeout = fields.pop("timeout", 60)
        return self._stub(method)(JarRequest(**fields), metadata=metadata, timeout=timeout)

    def future(self, method: str, **fields: Any) -> Any:
        return self._stub(method).future(JarRequest(**fields), metadata=ANA, timeout=60)

    def refused(self, method: str, metadata: Sequence[tuple[str, str]] = ANA, **fields: Any) -> "Refusal":
        with pytest.raises(grpc.RpcError) as caught:
            self.call(method, metadata, **fields)
        return Refusal(caught.value)

    def health(self, service: str = "") -> Any:
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        return stub.Check(health_pb2.HealthCheckRequest(service=service), wait_for_ready=True, timeout=60)

    def _stub(self, method: str) -> Any:
        return self.channel.unary_unary(
            f"/{serving.SERVICE}/{method}",
            request_serializer=JarRequest.SerializeToString,
            response_deserializer=GetCellResponse.FromString,
        )


class Refusal:
    """A call's error, with its google.rpc details by type."""

    def __init__(self, error: Any) -> None:
        self.code: grpc.StatusCode = error.code()
        self.message: str = error.details()
        self.everything = repr(error.trailing_metadata()) + repr(error)
        status = rpc_status.from_call(error)
        self.details: dict[str, Any] = {}
        for packed in status.details if status else ():
            name = packed.TypeName().removeprefix("google.rpc.")
            detail = getattr(error_details_pb2, name)()
            assert packed.Unpack(detail)
            self.details[name] = detail

    @property
    def reason(self) -> tuple[str, str]:
        info = self.details["ErrorInfo"]
        return info.domain, info.reason


@pytest.fixture
def server() -> Iterator[grpc.Server]:
    made = grpc.server(ThreadPoolExecutor(1), interceptors=[Guard()])
    yield made
    made.stop(None).wait()


@pytest.fixture
def client(server: grpc.Server, sqlite_house: House) -> Iterator[Client]:
    """Methods may be added until the first call."""
    path = sqlite_house.settings.run / "toy.sock"
    server.add_insecure_port(f"unix:{path}")
    register_cell(server, sqlite_house)
    serving.add(
        server,
        Who=serving.who,
        Invalid=serving.invalid,
        Missing=serving.missing,
        Later=serving.later,
        Broken=serving.broken,
        Misconfigured=serving.misconfigured,
    )
    server.start()
    made = Client(path)
    yield made
    made.channel.close()


# Too many calls


class Submitted(Threads):
    """Tells when a call has come."""

    def __init__(self) -> None:
        super().__init__(1)
        self.calls = threading.Semaphore(0)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future = super().submit(fn, *args, **kwargs)
        self.calls.release()
        return future


def test_beyond_what_may_wait_callers_are_told_when_to_come_again(
    sqlite_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.kernel.rpc.server.MOST_CALLS", 2)
    go_on, threads = threading.Event(), Submitted()

    def wait(request: Any, context: grpc.ServicerContext) -> Any:
        assert go_on.wait(30)
        return GetCellResponse()

    server = new_server(threads)
    path = sqlite_house.settings.run / "toy.sock"
    server.add_insecure_port(f"unix:{path}")
    serving.add(server, Wait=wait)
    server.start()
    client = Client(path)

    allowed = [client.future("Wait") for _ in range(2)]
    for _ in allowed:
        assert threads.calls.acquire(timeout=30)
    beyond = client.future("Wait")
    assert threads.calls.acquire(timeout=30)
    go_on.set()

    assert [call.result() for call in allowed] == [GetCellResponse()] * 2
    refusal = Refusal(beyond.exception())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, ("kept", "server-overloaded"))
    assert refusal.details["RetryInfo"].retry_delay.ToMilliseconds() == 1000
    assert client.call("Wait") == GetCellResponse()
    client.channel.close()
    server.stop(None).wait()


# Who calls


def test_a_caller_is_known_to_the_method(client: Client) -> None:
    assert client.call("Who").cell == "user:ana main /toy.Jars/Who"


@pytest.mark.parametrize("principal", ["user:ana", "service:gateway", "partner:p-1", "auditor:x@y.z"])
def test_every_kind_of_principal_may_call(client: Client, principal: str) -> None:
    metadata = (("kept-principal", principal), ("kept-tenant", "a-1"))

    assert client.call("Who", metadata).cell == f"{principal} a-1 /toy.Jars/Who"


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "principal-missing"),
        ((("kept-tenant", "main"),), "principal-missing"),
        ((("kept-principal", "ana"), ("kept-tenant", "main")), "principal-missing"),
        ((("kept-principal", "policy:sla@1"), ("kept-tenant", "main")), "principal-missing"),
        ((("kept-principal", "user:" + "x" * 100), ("kept-tenant", "main")), "principal-missing"),
        ((("kept-principal", "user:ana"),), "tenant-missing"),
        ((("kept-principal", "user:ana"), ("kept-tenant", "Main")), "tenant-missing"),
        ((("kept-principal", "user:ana"), ("kept-tenant", "x" * 64)), "tenant-missing"),
    ],
)
def test_a_caller_who_does_not_say_who_is_refused(
    client: Client, metadata: tuple[tuple[str, str], ...], reason: str
) -> None:
    refusal = client.refused("Who", metadata)

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, ("kept", reason))


def test_one_callers_name_is_not_left_for_the_next(client: Client) -> None:
    client.call("Who")

    assert client.refused("Who", ()).code is grpc.StatusCode.UNAUTHENTICATED


# What callers are told


def test_an_invalid_argument_names_its_field(client: Client) -> None:
    refusal = client.refused("Invalid")

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, ("kept", "invalid-argument"))
    (violation,) = refusal.details["BadRequest"].field_violations
    assert (violation.field, violation.description) == ("label", "is missing")
    assert refusal.message == "label: is missing"


def test_what_is_missing_is_named(client: Client) -> None:
    refusal = client.refused("Missing", id="7")

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, ("kept", "jar-not-found"))
    assert dict(refusal.details["ErrorInfo"].metadata) == {"jar": "7"}


@pytest.mark.parametrize("id", ["x" * 200_000, "é" * 50_000, "安" * 50_000, "\0\n"])
def test_an_absurd_argument_gets_the_same_answer_as_a_plain_one(client: Client, id: str) -> None:
    refusal = client.refused("Missing", id=id)

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, ("kept", "jar-not-found"))


def test_what_is_unavailable_says_when_to_come_again(client: Client) -> None:
    refusal = client.refused("Later")

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, ("kept", "storage-busy"))
    assert refusal.details["RetryInfo"].retry_delay.ToMilliseconds() == 1500


def test_an_error_of_ours_is_told_without_detail_and_logged_without_what_it_held(
    client: Client, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], spans: InMemorySpanExporter
) -> None:
    with caplog.at_level(logging.DEBUG):
        refusal = client.refused("Broken", label=SECRET)

    assert (refusal.code, refusal.details) == (grpc.StatusCode.INTERNAL, {})
    assert refusal.message.startswith("an error of ours")
    assert "ZeroDivisionError at " in caplog.text
    assert "serving.py:" in caplog.text
    told = [refusal.everything, caplog.text, *capfd.readouterr(), *(repr(whole(span)) for span in ended(spans))]
    for text in told:
        assert "Ana" not in text
        assert "555-0199" not in text
    assert "ZeroDivision" not in refusal.everything
    assert "Traceback" not in refusal.everything


def test_a_mistake_in_our_set_up_is_for_the_operator_and_not_for_the_caller(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = client.refused("Misconfigured")

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, ("kept", "unavailable"))
    assert "/srv/kept/log.db" not in refusal.everything
    assert "/srv/kept/log.db" in caplog.text


def test_bytes_that_are_no_request_are_refused(client: Client) -> None:
    raw: Any = client.channel.unary_unary(f"/{serving.SERVICE}/Who")

    with pytest.raises(grpc.RpcError) as caught:
        raw(b"\xff\xff\xff", metadata=ANA, timeout=60)

    assert Refusal(caught.value).code is grpc.StatusCode.INTERNAL


def test_an_unknown_method_is_unimplemented(client: Client) -> None:
    assert client.refused("Nothing").code is grpc.StatusCode.UNIMPLEMENTED


# Deadlines


def test_a_call_that_nobody_waits_for_any_more_is_not_made(server: grpc.Server, sqlite_house: House) -> None:
    running, gate, served = threading.Semaphore(0), threading.Event(), []

    def slow(request: Any, context: grpc.ServicerContext) -> Any:
        running.release()
        assert gate.wait(60)
        return GetCellResponse()

    def note(request: Any, context: grpc.ServicerContext) -> Any:
        served.append(request.label)
        return GetCellResponse()

    path = sqlite_house.settings.run / "toy.sock"
    server.add_insecure_port(f"unix:{path}")
    serving.add(server, Slow=slow, Note=note)
    server.start()
    client = Client(path)
    first = client.future("Slow")
    running.acquire()

    refusal = client.refused("Note", label="given up", timeout=0.1)
    gate.set()
    first.result()
    client.call("Note", label="in time")

    assert refusal.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert served == ["in time"]
    client.channel.close()


def test_a_call_whose_deadline_passed_in_the_queue_is_refused(server: grpc.Server) -> None:
    served: list[object] = []
    handler: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: served.append(request))
    details: Any = HandlerCallDetails("/toy.Jars/Note", ())
    guarded = Guard().intercept_service(lambda _: handler, details)
    assert guarded is not None
    assert guarded.unary_unary is not None
    context: Any = LateContext()

    with pytest.raises(Aborted) as caught:
        guarded.unary_unary("request", context)

    assert caught.value.args == (grpc.StatusCode.UNAVAILABLE, "the caller no longer waits for this")
    assert served == []


class Aborted(Exception):
    pass


class LateContext:
    """A call that nobody waits for any more."""

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        return ANA

    def time_remaining(self) -> float:
        return 0.0

    def abort_with_status(self, status: Any) -> None:
        raise Aborted(status.code, status.details)


class HandlerCallDetails(NamedTuple):
    method: str
    invocation_metadata: Sequence[tuple[str, str]]


# Traces


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(telemetry, "tracer", provider.get_tracer("test"))
    return exporter


def ended(spans: InMemorySpanExporter) -> tuple[ReadableSpan, ...]:
    return spans.get_finished_spans()


def whole(span: ReadableSpan) -> object:
    return span.to_json()


def test_a_trace_goes_from_the_caller_into_the_record(
    server: grpc.Server, sqlite_house: House, spans: InMemorySpanExporter
) -> None:
    jars = Jars(sqlite_house.recorder, sqlite_house.keys, FixedClock(NOW))

    def make(request: Any, context: grpc.ServicerContext) -> Any:
        jars.make(current_caller(), request)
        return GetCellResponse()

    path = sqlite_house.settings.run / "toy.sock"
    server.add_insecure_port(f"unix:{path}")
    serving.add(server, Make=make)
    server.start()
    client = Client(path)
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"

    client.call("Make", (*ANA, ("traceparent", f"00-{trace_id}-00f067aa0ba902b7-01")), request_id="r", label="plums")
    client.channel.close()
    server.stop(None).wait()

    assert trace_id in events(sqlite_house.log)[0].record.traceparent
    names = {span.name: format(span.context.trace_id, "032x") for span in ended(spans) if span.context}
    assert names == {"/toy.Jars/Make": trace_id, "log.append": trace_id}


# The cell's own service


def test_the_cell_tells_its_head_and_its_time(client: Client, sqlite_house: House) -> None:
    given(sqlite_house.log, labelled("a", 1))

    told = client.cell.GetCell(m.GetCellRequest(), metadata=ANA)

    assert (told.cell, told.mode, told.position) == (sqlite_house.settings.cell, m.CELL_MODE_LIVE, 1)
    assert told.root == sqlite_house.log.head().root


def test_a_cell_is_put_into_history_mode_and_advanced(client: Client) -> None:
    started = client.cell.StartHistory(m.StartHistoryRequest(request_id="start"), metadata=ANA)
    advance = m.AdvanceTimeRequest(request_id="to")
    advance.to.FromDatetime(NOW)
    advanced = client.cell.AdvanceTime(advance, metadata=ANA)

    assert (started.receipt.position, advanced.receipt.position) == (1, 2)
    told = client.cell.GetCell(m.GetCellRequest(), metadata=ANA)
    assert (told.mode, told.now.ToDatetime(NOW.tzinfo)) == (m.CELL_MODE_HISTORY, NOW)


def test_a_request_without_an_id_changes_nothing(client: Client, sqlite_house: House) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        client.cell.StartHistory(m.StartHistoryRequest(), metadata=ANA)

    assert Refusal(caught.value).details["BadRequest"].field_violations[0].field == "request_id"
    assert sqlite_house.log.position() == 0


# The server as a process


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="kept-") as made:
        yield Path(made)


def started(address: str, mode: str = "production", **options: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.kernel.serving", address, mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_sigterm_lets_a_running_call_finish(folder: Path) -> None:
    path = folder / "api.sock"
    read, write = os.pipe()
    server = started(f"unix:{path}", pass_fds=(write,), env={**os.environ, READY_FD: str(write)})
    os.close(write)
    with os.fdopen(read, "rb") as ready:
        assert ready.read() == READY, "announced once, and then closed"
    client = Client(path)
    assert client.health().status == client.health(serving.SERVICE).status == health_pb2.HealthCheckResponse.SERVING
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert server.stdin is not None
    assert server.stdout is not None

    running = client.future("Slow")
    assert server.stdout.readline() == "running\n"
    server.send_signal(signal.SIGTERM)
    while still_accepts(client):
        pass
    server.stdin.write("go on\n")
    server.stdin.flush()

    assert running.result().cell == "done"
    assert server.wait() == 0
    client.channel.close()


def still_accepts(client: Client) -> bool:
    try:
        return bool(client.call("Who", timeout=1))  # who connects as it closes is not told; it ends with its deadline
    except grpc.RpcError:
        return False


def test_a_socket_left_behind_is_replaced_and_development_has_reflection(folder: Path) -> None:
    path = folder / "api.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    server = started(f"unix:{path}", "development")
    client = Client(path)
    assert client.health().status == health_pb2.HealthCheckResponse.SERVING

    listed = reflected(client)

    assert serving.SERVICE in listed
    server.send_signal(signal.SIGINT)
    assert server.wait() == 0
    client.channel.close()


def test_production_has_no_reflection(folder: Path) -> None:
    path = folder / "api.sock"
    server = started(f"unix:{path}")
    client = Client(path)
    client.health()

    with pytest.raises(grpc.RpcError) as caught:
        reflected(client)

    assert Refusal(caught.value).code is grpc.StatusCode.UNIMPLEMENTED
    server.terminate()
    assert server.wait() == 0
    client.channel.close()


def reflected(client: Client) -> list[str]:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(client.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (response,) = stub.ServerReflectionInfo(iter([request]), timeout=60)
    return [service.name for service in response.list_services_response.service]


def test_a_busy_port_is_told_as_such(folder: Path) -> None:
    with socket.socket() as busy:
        busy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # another of ours would share it, if we let it
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        address = f"127.0.0.1:{busy.getsockname()[1]}"

        server = started(address)
        _, told = server.communicate()

    assert server.returncode == 78
    assert f"{address} is taken" in told


def test_a_socket_that_cannot_be_made_is_told_as_such(folder: Path) -> None:
    server = started(f"unix:{folder / 'nowhere' / 'api.sock'}")
    _, told = server.communicate()

    assert server.returncode == 78
    assert "cannot be listened on" in told


def test_readiness_is_announced_once_and_not_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    monkeypatch.setenv(READY_FD, str(write))

    announce_ready()
    announce_ready()

    assert READY_FD not in os.environ
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == READY


def test_a_supervisor_that_is_gone_fails_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    monkeypatch.setenv(READY_FD, str(write))

    announce_ready()
