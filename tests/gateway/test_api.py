"""The API: JSON to messages and back, request ids, tenants, positions; each refusal as a problem document."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from kept.case.v1 import events_pb2 as e
from kept.case.v1 import service_pb2 as case
from kept.common.v1.record_pb2 import Receipt
from kept.partner_network.v1 import service_pb2 as partner

from gateway.problems import MEDIA_TYPE
from gateway.routes import ROUTES
from tests.gateway.conftest import Client
from tests.gateway.fakes import FakeCell, Refusal
from tests.gateway.sample import CASE, answers

HELD = case.HoldResponse(receipt=Receipt(id=CASE, version=3, position=41))


def test_an_answer_has_the_names_of_the_protos_and_every_field_that_it_may_lack(client: Client, fake: FakeCell) -> None:
    summary = case.CaseSummary(case_id=CASE, state=e.CASE_STATE_HELD)
    summary.opened_at.FromJsonString("2026-03-10T01:30:00Z")
    fake.answers["ListCases"] = case.ListCasesResponse(cases=[summary])

    found = client.get("/api/cases").json()

    assert found["next_page_token"] == ""
    assert found["cases"][0]["state"] == "CASE_STATE_HELD"
    assert found["cases"][0]["opened_at"] == "2026-03-10T01:30:00Z"
    assert found["cases"][0]["team"] == ""
    assert "deadline_at" not in found["cases"][0]


def test_a_query_becomes_the_request(client: Client, fake: FakeCell) -> None:
    fake.answers["ListCases"] = case.ListCasesResponse()

    client.get(
        "/api/cases?states=CASE_STATE_HELD&states=CASE_STATE_PENDING&team=north&page_size=7&after_position=40"
        "&deadline_until=2026-03-10T03:30:00Z"
    )

    asked = fake.called("ListCases").request
    assert list(asked.states) == [e.CASE_STATE_HELD, e.CASE_STATE_PENDING]
    assert (asked.team, asked.page_size, asked.after_position) == ("north", 7, 40)
    assert asked.deadline_until.ToJsonString() == "2026-03-10T03:30:00Z"


def test_a_field_within_another_has_a_dotted_name(client: Client, fake: FakeCell) -> None:
    fake.answers["FindHelp"] = partner.FindHelpResponse()

    client.get("/api/help?place.region=330122&place.latitude_deg=29.8&product=boiler&skill=gas-fitter")

    asked = fake.called("FindHelp").request
    assert (asked.place.region, asked.place.latitude_deg, asked.skill) == ("330122", 29.8, "gas-fitter")


@pytest.mark.parametrize(
    ("address", "field", "told"),
    [
        ("/api/cases?colour=red", "colour", "known are states"),
        ("/api/help?place.colour=red", "place.colour", "known are place"),
        ("/api/cases?states=OPEN", "states", "must be one of CASE_STATE_ACKNOWLEDGED"),
        ("/api/cases?page_size=many", "page_size", "whole number"),
        ("/api/cases?deadline_until=noon", "deadline_until", "2026-01-31T08:00:00Z"),
        ("/api/cases?team=a&team=b", "team", "more than once"),
    ],
)
def test_a_query_that_does_not_fit_is_refused_by_field(client: Client, address: str, field: str, told: str) -> None:
    problem = refused(client.get(address), 400, "invalid-argument")

    assert problem["errors"][0]["field"] == field
    assert told in problem["errors"][0]["detail"]


def test_every_call_has_a_principal_a_tenant_and_a_deadline(client: Client, fake: FakeCell) -> None:
    fake.answers["ListCases"] = case.ListCasesResponse()

    client.get("/api/cases")

    call = fake.called("ListCases")
    assert (call.metadata["kept-principal"], call.metadata["kept-tenant"]) == ("user:console", "main")
    assert call.time_remaining is not None
    assert 4 < call.time_remaining < 5.5  # five, but for the two clocks' rounding


def test_the_tenant_is_the_one_chosen_by_cookie_or_query(client: Client, fake: FakeCell) -> None:
    fake.answers["ListCases"] = case.ListCasesResponse()

    client.get("/api/cases", headers={"cookie": "kept-tenant=north"})
    assert fake.called("ListCases").metadata["kept-tenant"] == "north"

    client.get("/api/cases?tenant=main", headers={"cookie": "kept-tenant=north"})
    assert fake.called("ListCases").metadata["kept-tenant"] == "main"


def test_a_cookie_of_another_cell_counts_for_nothing(client: Client, fake: FakeCell) -> None:
    fake.answers["ListCases"] = case.ListCasesResponse()

    client.get("/api/cases", headers={"cookie": "kept-tenant=elsewhere"})

    assert fake.called("ListCases").metadata["kept-tenant"] == "main"


def test_a_tenant_that_is_no_name_or_not_offered_is_refused(client: Client, fake: FakeCell) -> None:
    refused(client.get("/api/cases?tenant=North%20Ltd"), 400, "invalid-argument")
    refused(client.get("/api/cases?tenant=south"), 403, "tenant-not-offered")

    assert fake.calls == []


def test_a_change_is_sent_with_its_idempotency_key(client: Client, fake: FakeCell) -> None:
    fake.answers["Hold"] = HELD

    body = {"waiting_for": "WAITING_FOR_PARTS", "reason": "a valve", "occurred_at": "2026-03-10T01:00:00Z"}
    found = client.post(f"/api/cases/{CASE}/hold", json=body, headers={"idempotency-key": "key-1"})

    asked = fake.called("Hold").request
    assert (asked.request_id, asked.case_id, asked.reason) == ("key-1", CASE, "a valve")
    assert asked.waiting_for == e.WAITING_FOR_PARTS
    assert found.json() == {"receipt": {"id": CASE, "version": 3, "position": "41"}}


def test_without_a_key_each_change_gets_one_of_its_own(client: Client, fake: FakeCell) -> None:
    fake.answers["Acknowledge"] = case.AcknowledgeResponse()

    for _ in range(2):
        assert client.post(f"/api/cases/{CASE}/acknowledge").status_code == 200

    first, second = (UUID(call.request.request_id) for call in fake.calls)
    assert first != second


@pytest.mark.parametrize(
    ("sent", "status", "slug", "field"),
    [
        ({"json": {"request_id": "mine"}}, 400, "invalid-argument", "request_id"),
        ({"json": {"case_id": CASE}}, 400, "invalid-argument", "case_id"),
        ({"json": {"colour": "red"}}, 400, "invalid-argument", "colour"),
        ({"json": {"waiting_for": "GODOT"}}, 400, "invalid-argument", "waiting_for"),
        ({"json": ["a"]}, 400, "invalid-argument", "body"),
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "invalid-argument", "body"),
        ({"content": b"reason=x"}, 415, "not-json", None),
        ({"headers": {"idempotency-key": "x" * 129}}, 400, "invalid-argument", "Idempotency-Key"),
        ({"json": {"reason": "x" * 300_000}}, 413, "too-large", None),
    ],
)
def test_a_body_that_does_not_fit_reaches_no_service(
    client: Client, fake: FakeCell, sent: dict[str, Any], status: int, slug: str, field: str | None
) -> None:
    problem = refused(client.post(f"/api/cases/{CASE}/hold", **sent), status, slug)

    assert [one["field"] for one in problem.get("errors", [])] == ([field] if field else [])
    assert fake.calls == []


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("INVALID_ARGUMENT", 400), ("OUT_OF_RANGE", 400), ("UNAUTHENTICATED", 401), ("PERMISSION_DENIED", 403),
        ("NOT_FOUND", 404), ("ALREADY_EXISTS", 409), ("ABORTED", 409), ("FAILED_PRECONDITION", 409),
        ("RESOURCE_EXHAUSTED", 429), ("UNIMPLEMENTED", 501), ("UNAVAILABLE", 503), ("DEADLINE_EXCEEDED", 504),
        ("INTERNAL", 500), ("UNKNOWN", 500), ("DATA_LOSS", 500), ("CANCELLED", 500),
    ],
)  # fmt: skip
def test_a_refusal_becomes_a_problem_by_its_code(client: Client, fake: FakeCell, code: str, status: int) -> None:
    fake.answers["GetCase"] = refusing(Refusal(code, "the case sleeps", slug="case-asleep", case=CASE))

    problem = refused(client.get(f"/api/cases/{CASE}"), status, "case-asleep")

    assert problem["title"] == "case asleep"
    assert problem["detail"] == "the case sleeps"
    assert problem["facts"] == {"case": CASE}


def test_field_violations_and_the_time_to_wait_are_told(client: Client, fake: FakeCell) -> None:
    fake.answers["Hold"] = refusing(
        Refusal("INVALID_ARGUMENT", "reason: is missing", slug="invalid-argument", field="reason")
    )
    fake.answers["GetCase"] = refusing(Refusal("UNAVAILABLE", "not read yet", slug="view-behind", retry_ms=200))

    problem = refused(client.post(f"/api/cases/{CASE}/hold", json={}), 400, "invalid-argument")
    behind = client.get(f"/api/cases/{CASE}")

    assert problem["errors"] == [{"field": "reason", "detail": "is missing"}]
    refused(behind, 503, "view-behind")
    assert behind.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("code", "status", "slug"),
    [
        ("UNAVAILABLE", 503, "unavailable"), ("DEADLINE_EXCEEDED", 504, "deadline-passed"), ("INTERNAL", 500, "internal"),
        ("UNKNOWN", 500, "internal"), ("PERMISSION_DENIED", 403, "refused"),
    ],
)  # fmt: skip
def test_what_has_no_details_of_ours_is_told_in_our_words(
    client: Client, fake: FakeCell, code: str, status: int, slug: str
) -> None:
    fake.answers["GetCase"] = refusing(Refusal(code, "Traceback: unix:/run/secret.sock of Wang Fang"))

    answer = client.get(f"/api/cases/{CASE}")

    refused(answer, status, slug)
    assert "secret" not in answer.text
    assert "Wang" not in answer.text


def test_an_rpc_that_a_service_does_not_have_yet_is_not_available(client: Client) -> None:
    refused(client.get("/api/problems"), 501, "not-available")


def test_a_service_without_a_target_is_named(connect: Callable[..., Client], fake: FakeCell) -> None:
    problem = refused(connect("partner_network").get("/api/partners"), 503, "service-not-connected")

    assert "partner_network" in problem["detail"]
    assert fake.calls == []


def test_an_error_of_the_gateway_itself_shows_no_trace(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gateway.handlers.as_json", lambda _: 1 / 0)
    monkeypatch.setattr("gateway.rpc.Backends.call", answering_none)

    answer = client.get("/api/cell")

    refused(answer, 500, "internal")
    assert "ZeroDivision" not in answer.text
    assert "ZeroDivisionError at " in caplog.text


@pytest.mark.parametrize("address", ["/api/nothing", "/api/cases/1/2/3/4"])
def test_an_address_that_is_not_there_is_a_problem_too(client: Client, address: str) -> None:
    refused(client.get(address), 404, "no-such-address")


def test_a_method_that_an_address_does_not_take_is_refused(client: Client) -> None:
    refused(client.delete("/api/cases"), 405, "method-not-allowed")


@pytest.mark.parametrize("route", [one for one in ROUTES if "GET" in one.http_methods], ids=lambda one: one.name)
def test_every_read_answers_what_its_service_says(client: Client, fake: FakeCell, route: Any) -> None:
    fake.answers = answers()
    (path,) = route.paths

    answer = client.get("/api" + path.replace(":str", "").format(**dict.fromkeys(("case_id", "clock_id"), CASE), **IDS))

    assert answer.status_code == 200, answer.text
    assert fake.called(route.opt["rpc"].method.name)


def test_the_description_says_what_the_protos_say(client: Client) -> None:
    described = client.get("/schema/openapi.json").json()
    hold = described["paths"]["/api/cases/{case_id}/hold"]["post"]

    assert len(described["paths"]) >= 30
    assert "request_id" not in hold["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert [one["name"] for one in hold["parameters"]] == ["case_id", "Idempotency-Key"]
    assert (
        described["components"]["schemas"]["kept.case.v1.CaseSummary"]["properties"]["deadline_at"]["format"]
        == "date-time"
    )
    names = {reference.removeprefix("#/components/schemas/") for reference in references(described)}
    assert names - described["components"]["schemas"].keys() == set()


def test_the_description_needs_nobody_elses_page(client: Client) -> None:
    for address in ("/schema", "/schema/openapi.json", "/schema/openapi.yaml"):
        answer = client.get(address)
        assert answer.status_code == 200
        assert "html" not in answer.headers["content-type"]


IDS = {"customer_id": CASE, "partner_id": CASE, "problem_id": CASE}


def refused(answer: Any, status: int, slug: str) -> dict[str, Any]:
    """The problem document."""
    assert answer.headers["content-type"] == MEDIA_TYPE, answer.text
    assert answer.headers["cache-control"] == "no-store"
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["status"], problem["type"]) == (status, status, f"urn:kept:{slug}")
    return problem


def refusing(refusal: Refusal) -> Callable[[Any], Any]:
    def refuse(_: Any) -> Any:
        raise refusal

    return refuse


async def answering_none(*_: Any) -> None:
    return None


def references(document: Any) -> list[str]:
    return [part.split('"')[0] for part in json.dumps(document).split('"$ref": "')[1:]]
