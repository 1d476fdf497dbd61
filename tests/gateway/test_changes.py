"""What changed, as server-sent events: ids only, resumed without gap or repetition."""

import json
from collections.abc import Callable, Iterator
from threading import Event
from typing import Any

import pytest
from google.protobuf.message import Message
from kept.audit.v1 import service_pb2 as audit
from kept.case.v1 import events_pb2 as case
from kept.cell.v1 import service_pb2 as cell
from kept.common.v1.record_pb2 import Record
from kept.common.v1.sealed_pb2 import Sealed
from kept.notification.v1 import events_pb2 as notification
from kept.sla.v1 import events_pb2 as sla
from litestar.response import ServerSentEventMessage

from tests.gateway.conftest import Client
from tests.gateway.fakes import FakeCell, Refusal
from tests.gateway.sample import CASE, CUSTOMER, PROBLEM


def test_a_change_tells_where_and_what_it_concerns_and_nothing_that_was_said(client: Client, fake: FakeCell) -> None:
    note = case.NoteAdded(text=Sealed(ciphertext=b"SEALED"))
    fake.answers["StreamEvents"] = [
        recorded(41, note), recorded(42, sla.ClockArmed(case_id=CASE), stream="clock"),
        recorded(43, notification.NoticeSent(notice_id="n", about=notification.About(problem_id=PROBLEM)), stream="d"),
        recorded(44, case.ProblemOpened(title="Frost"), stream=PROBLEM, customer=""),
        recorded(45, case.CaseLinked(case_id=CASE), stream=PROBLEM, customer=""),
    ]  # fmt: skip

    answer = client.get("/api/changes", headers={"last-event-id": "40"})

    assert [json.loads(one["data"]) for one in events(answer.text)] == [
        {"position": 41, "type": "kept.case.v1.NoteAdded", "customer_id": CUSTOMER, "case_id": CASE},
        {"position": 42, "type": "kept.sla.v1.ClockArmed", "customer_id": CUSTOMER, "case_id": CASE},
        {
            "position": 43,
            "type": "kept.notification.v1.NoticeSent",
            "customer_id": CUSTOMER,
            "problem_id": PROBLEM,
            "notice_id": "n",
        },
        {"position": 44, "type": "kept.case.v1.ProblemOpened", "problem_id": PROBLEM},
        {"position": 45, "type": "kept.case.v1.CaseLinked", "case_id": CASE, "problem_id": PROBLEM},
    ]
    assert [one["id"] for one in events(answer.text)] == ["41", "42", "43", "44", "45"]
    assert "SEALED" not in answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] in ("no-store", "no-cache")


def test_listening_goes_on_after_the_last_event_that_was_received(client: Client, fake: FakeCell) -> None:
    fake.answers["StreamEvents"] = lambda asked: [recorded(asked.after_position + 1, case.CaseAcknowledged())]

    by_header = client.get("/api/changes?after=7", headers={"last-event-id": "99"})
    by_query = client.get("/api/changes?after=7")

    assert [one["id"] for one in events(by_header.text)] == ["100"]
    assert [one["id"] for one in events(by_query.text)] == ["8"]


def test_a_new_listener_hears_from_now_on_and_of_its_own_company_only(client: Client, fake: FakeCell) -> None:
    fake.answers["GetCell"] = cell.GetCellResponse(position=40)
    fake.answers["StreamEvents"] = []

    client.get("/api/changes?tenant=north")

    asked = fake.called("StreamEvents")
    assert (asked.request.after_position, list(asked.request.tenants), asked.request.follow) == (
        40,
        ["north", "cell"],
        True,
    )
    assert asked.metadata["kept-tenant"] == "north"


def test_how_far_was_read_is_remembered_and_tells_nothing(client: Client, fake: FakeCell) -> None:
    fake.answers["StreamEvents"] = [audit.StreamEventsResponse(position=500)]

    answer = client.get("/api/changes?after=40")

    assert "id: 500" in answer.text
    assert events(answer.text) == []


def test_a_type_that_only_a_newer_kept_knows_is_told_by_name(client: Client, fake: FakeCell) -> None:
    record = Record(type="kept.future.v1.SomethingNew", customer_id=CUSTOMER, data=b"\xff\xff")
    fake.answers["StreamEvents"] = [audit.StreamEventsResponse(position=41, record=record.SerializeToString())]

    (change,) = events(client.get("/api/changes?after=40").text)

    assert json.loads(change["data"])["type"] == "kept.future.v1.SomethingNew"


@pytest.mark.parametrize("after", ["-1", "x", "1" * 19, "1.5", "١"])
def test_a_position_that_is_none_is_refused(client: Client, after: str) -> None:
    answer = client.get("/api/changes", params={"after": after})

    assert (answer.status_code, answer.json()["type"]) == (400, "urn:kept:invalid-argument")


@pytest.mark.parametrize("without", [("audit",), ()])
def test_without_an_audit_service_the_head_is_watched(
    connect: Callable[..., Client], fake: FakeCell, monkeypatch: pytest.MonkeyPatch, without: tuple[str, ...]
) -> None:
    heads = iter([40, 40, 42])  # then the cell goes away, and the stream ends

    def head(_: Any) -> Message:
        position = next(heads, None)
        if position is None:
            raise Refusal("UNAVAILABLE", "gone")
        return cell.GetCellResponse(position=position)

    fake.answers["GetCell"] = head
    monkeypatch.setattr("gateway.changes.POLL_EVERY_S", 0)

    answer = connect(*without).get("/api/changes")

    assert [json.loads(one["data"]) for one in events(answer.text)] == [{"position": 42, "type": ""}]


def test_a_listener_that_hears_nothing_gets_a_heartbeat(
    client: Client, fake: FakeCell, monkeypatch: pytest.MonkeyPatch
) -> None:
    beaten = Event()

    class Beat(ServerSentEventMessage):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            if self.comment == "still here":
                beaten.set()

    monkeypatch.setattr("gateway.changes.ServerSentEventMessage", Beat)
    monkeypatch.setattr("gateway.changes.HEARTBEAT_S", 0.01)

    def slowly(_: Any) -> Iterator[Message]:
        beaten.wait()
        yield recorded(41, case.CaseAcknowledged())

    fake.answers["StreamEvents"] = slowly

    answer = client.get("/api/changes?after=40")

    assert ": still here" in answer.text
    assert [one["id"] for one in events(answer.text)] == ["41"]


def test_a_stream_that_breaks_ends_quietly(client: Client, fake: FakeCell, caplog: pytest.LogCaptureFixture) -> None:
    def breaking(_: Any) -> Iterator[Message]:
        raise Refusal("UNAVAILABLE", "the stream process restarts")

    fake.answers["StreamEvents"] = breaking

    answer = client.get("/api/changes?after=40")

    assert answer.status_code == 200
    assert "retry: " in answer.text
    assert caplog.text == ""


def recorded(
    position: int, body: Message, *, stream: str = CASE, customer: str = CUSTOMER
) -> audit.StreamEventsResponse:
    record = Record(type=body.DESCRIPTOR.full_name, stream=stream, customer_id=customer, data=body.SerializeToString())
    return audit.StreamEventsResponse(position=position, record=record.SerializeToString())


def events(text: str) -> list[dict[str, str]]:
    """The dispatched ones, by the standard's own rule: without data there is no event."""
    blocks = [block.splitlines() for block in text.replace("\r\n", "\n").split("\n\n")]
    found = [dict(line.split(": ", 1) for line in block if ": " in line and line[0] != ":") for block in blocks]
    return [block for block in found if block.get("data")]
