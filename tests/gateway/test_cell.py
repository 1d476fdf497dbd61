"""The gateway beside a real cell: what is written through it is read through it, and heard."""

import json
from collections.abc import Iterator

import grpc
import httpx
import pytest
from kept.case.v1 import events_pb2 as e
from kept.case.v1.service_pb2 import OpenRequest
from kept.case.v1.service_pb2_grpc import CaseServiceStub
from kept.customer.v1 import events_pb2 as customer
from kept.customer.v1.service_pb2 import ContactInput, PartyInput, RegisterCustomerRequest
from kept.customer.v1.service_pb2_grpc import CustomerServiceStub

from services.cli.up import running_cell
from services.kernel.config import read_settings
from tests.gateway.process import gateway_up
from tests.kept import cell_up

WHO = (("kept-principal", "user:ana"), ("kept-tenant", "main"))
KEY = {"idempotency-key": "once"}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cell with one case in it, and a gateway beside it."""
    data = tmp_path_factory.mktemp("cell")
    with cell_up(data):
        running = running_cell(read_settings({}, data))
        assert running is not None
        _open_case(running["targets"]["case"])
        with gateway_up(running["targets"]) as (_, found):
            yield found


def test_what_is_written_is_read_and_heard_once(address: str) -> None:
    with httpx.Client(base_url=address, timeout=20) as client:
        position = int(client.get("/api/cell").json()["position"])
        (case,) = client.get("/api/cases", params={"after_position": position}).json()["cases"]
        path = f"/api/cases/{case['case_id']}"
        assert case["state"] == "CASE_STATE_ACKNOWLEDGED"

        first = client.post(f"{path}/acknowledge", headers=KEY).json()["receipt"]
        again = client.post(f"{path}/acknowledge", headers=KEY).json()["receipt"]
        reused = client.post(f"{path}/notes", headers=KEY, json={"audience": "NOTE_AUDIENCE_INTERNAL", "text": "hello"})
        assert first == again
        assert reused.status_code == 200  # another method, so another request

        found = client.get(path, params={"after_position": reused.json()["receipt"]["position"]}).json()
        assert found["case"]["state"] == "CASE_STATE_IN_PROGRESS"
        assert [note["text"] for note in found["notes"]] == ["hello"]
        assert found["need"] == "no hot water"

        refused = client.post(f"{path}/close", json={"customer_confirmed": True})
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:kept:case-not-resolved")
        assert heard(client, case["case_id"], after=0, until="kept.case.v1.NoteAdded") == [
            "kept.case.v1.CaseOpened", "kept.case.v1.CaseAcknowledged", "kept.case.v1.NoteAdded",
        ]  # fmt: skip


def test_every_page_of_the_api_is_there(address: str) -> None:
    with httpx.Client(base_url=address, timeout=20) as client:
        for path in ("cases", "cases/counts", "customers", "problems", "partners", "work-orders", "notices", "notices/counts",
                     "verdicts/counts", "cell"):  # fmt: skip
            assert client.get(f"/api/{path}").status_code == 200, path
        strange = client.get("/api/cases/7d444840-9dc0-11d1-b245-5ffdce74fad2")
        assert (strange.status_code, strange.json()["type"]) == (404, "urn:kept:case-not-found")


def heard(client: httpx.Client, case_id: str, *, after: int, until: str) -> list[str]:
    """The types of the case's own events that a listener hears, up to this one."""
    types: list[str] = []
    with client.stream("GET", "/api/changes", params={"after": after}) as answer:
        for line in answer.iter_lines():
            change = json.loads(line.removeprefix("data:").strip() or "{}") if line.startswith("data:") else {}
            if change.get("case_id") == case_id and change["type"].startswith("kept.case."):
                types.append(change["type"])
            if types and types[-1] == until:
                break
    return types


def _open_case(target: str) -> None:
    with grpc.insecure_channel(target) as channel:
        registered = CustomerServiceStub(channel).RegisterCustomer(
            RegisterCustomerRequest(
                request_id="register",
                party=PartyInput(
                    kind=customer.PARTY_KIND_INDIVIDUAL,
                    contact=ContactInput(name="Wang Fang", phones=["1"], email="wang@example.com"),
                    preferences=customer.Preferences(language="en", time_zone="Asia/Shanghai", region="330122"),
                ),
                stage=customer.CUSTOMER_STAGE_ACTIVE,
            ),
            metadata=WHO,
        )
        CaseServiceStub(channel).Open(
            OpenRequest(
                request_id="open",
                customer_id=registered.receipt.id,
                classification=e.Classification(kind=e.CASE_KIND_INCIDENT),
                priority=e.PRIORITY_HIGH,
                need="no hot water",
                channel=customer.CHANNEL_PHONE,
                region="330122",
            ),
            metadata=WHO,
        )
