"""Cases and their customers through a real gRPC server on a Unix socket, as any client would call them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, cast

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from kept.case.v1 import events_pb2 as e
from kept.case.v1 import service_pb2 as m
from kept.case.v1.service_pb2_grpc import CaseServiceStub
from kept.customer.v1 import events_pb2 as customer_events
from kept.customer.v1 import service_pb2 as customer
from kept.customer.v1.service_pb2_grpc import CustomerServiceStub

from services.case import api as case_api
from services.customer import api as customer_api
from services.kernel import views
from services.kernel.errors import Misconfigured
from services.kernel.house import House
from services.kernel.rpc.interceptors import PRINCIPAL, TENANT, Guard
from tests.scene import UNKNOWN, Scene, at, edited, install_item, lost_deal, open_case, party, register_customer

ANA = ((PRINCIPAL, "user:ana"), (TENANT, "main"))
SOUTH = ((PRINCIPAL, "user:ana"), (TENANT, "south"))
STUBS = {"case": CaseServiceStub, "customer": CustomerServiceStub}


class Client:
    """One channel to a cell's API; requests find their own method."""

    def __init__(self, scene: Scene, channel: grpc.Channel) -> None:
        self.scene = scene
        self._stubs = {name: stub(channel) for name, stub in STUBS.items()}
        self._said = 0

    def call(self, request: Message, metadata: Any = ANA) -> Any:
        service = request.DESCRIPTOR.file.package.split(".")[1]
        method = getattr(self._stubs[service], request.DESCRIPTOR.name.removesuffix("Request"))
        return method(request, metadata=metadata, timeout=10)

    def tell(self, request: Message, minutes: float = 0) -> Any:
        """The receipt of a change under a new request id."""
        self._said += 1
        told = edited(request, {"request_id": f"r-{self._said}", "occurred_at": at(minutes)})
        return self.call(told).receipt

    def ask(self, request: Message) -> Any:
        """A reading of the views as they are once all was read."""
        self.scene.drain()
        return self.call(request)

    def refused(self, request: Message, metadata: Any = ANA) -> tuple[grpc.StatusCode, dict[str, Any]]:
        """The status code, and the details by type."""
        with pytest.raises(grpc.RpcError) as caught:
            self.call(request, metadata)
        status = rpc_status.from_call(cast(grpc.Call, caught.value))
        details = {}
        for packed in status.details if status else ():
            kind = getattr(error_details_pb2, packed.TypeName().rpartition(".")[2])
            detail = kind()
            packed.Unpack(detail)
            details[kind.__name__] = detail
        return caught.value.code(), details


@pytest.fixture
def client(sqlite_house: House) -> Iterator[Client]:
    scene = Scene(sqlite_house)
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[Guard()])
    names = [api.register(server, sqlite_house) for api in (case_api, customer_api)]
    assert names == ["kept.case.v1.CaseService", "kept.customer.v1.CustomerService"]
    address = f"unix:{sqlite_house.settings.run / 'test.sock'}"
    server.add_insecure_port(address)
    server.start()
    with grpc.insecure_channel(address) as channel:
        yield Client(scene, channel)
    server.stop(None).wait()


def test_an_api_process_does_not_start_without_its_views(sqlite_house: House) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    for api in (case_api, customer_api):
        with pytest.raises(Misconfigured):
            api.register(server, sqlite_house)


def test_a_case_from_its_first_word_to_its_closing(client: Client) -> None:
    customer_id = client.tell(register_customer()).id
    case_id = client.tell(open_case(customer_id), 1).id
    for minutes, request in enumerate(
        [
            m.AcknowledgeRequest(case_id=case_id),
            m.AssignRequest(case_id=case_id, team="north", assignee="li"),
            m.HoldRequest(case_id=case_id, waiting_for=e.WAITING_FOR_PARTS, reason="fuse"),
            m.ResumeRequest(case_id=case_id, reason="it came"),
            m.PrioritizeRequest(case_id=case_id, priority=e.PRIORITY_CRITICAL, reason="hospital"),
            m.ClassifyRequest(case_id=case_id, classification=e.Classification(kind=e.CASE_KIND_CLAIM)),
            m.AddNoteRequest(case_id=case_id, audience=e.NOTE_AUDIENCE_CUSTOMER, text="We are on our way"),
            m.ResolveRequest(case_id=case_id, reason="replaced"),
            m.ReopenRequest(case_id=case_id, reason="off again"),
            m.ResolveRequest(case_id=case_id, reason="replaced again"),
            m.CloseRequest(case_id=case_id, customer_confirmed=True),
        ],
        2,
    ):
        receipt = client.tell(request, minutes)
        assert (receipt.id, receipt.version) == (case_id, minutes)
    shown = client.ask(m.GetCaseRequest(case_id=case_id, after_position=receipt.position))
    said = open_case(customer_id)
    assert (shown.need, shown.urgency, shown.erased) == (said.need, said.urgency, False)
    assert [(note.text, note.actor) for note in shown.notes] == [("We are on our way", "user:ana")]
    assert shown.case == m.CaseSummary(
        case_id=case_id,
        customer_id=customer_id,
        classification=e.Classification(kind=e.CASE_KIND_CLAIM),
        priority=e.PRIORITY_CRITICAL,
        state=e.CASE_STATE_CLOSED,
        team="north",
        assignee="li",
        region=said.region,
        opened_at=at(1),
        reopen_count=1,
        external_reference=said.external_reference,
        version=12,
    )
    assert client.ask(m.ListCasesRequest(customer_id=customer_id)).cases == [shown.case]
    assert client.ask(m.CountCasesRequest()).counts == [m.StateCount(state=e.CASE_STATE_CLOSED, cases=1)]
    told = client.ask(customer.GetTimelineRequest(customer_id=customer_id, page_size=2)).items
    assert [(item.type, dict(item.facts)) for item in told] == [
        ("kept.case.v1.CaseClosed", {"customer_confirmed": "true"}),
        ("kept.case.v1.CaseResolved", {"reason": "replaced again"}),
    ]


def test_a_problem_from_its_opening_to_its_closing(client: Client) -> None:
    customer_id = client.tell(register_customer()).id
    case_id = client.tell(open_case(customer_id)).id
    scope = e.Scope(product="Router R-1", regions=["310000"])
    opened = m.OpenProblemRequest(title="Restarts", scope=scope, priority=e.PRIORITY_HIGH)
    problem_id = client.tell(opened, 1).id
    for minutes, request in enumerate(
        [
            m.FindRootCauseRequest(problem_id=problem_id, cause="Firmware 2.1", scope=scope),
            m.LinkCaseRequest(problem_id=problem_id, case_id=case_id),
            m.ResolveProblemRequest(problem_id=problem_id, remedy="Firmware 2.2"),
            m.CloseProblemRequest(problem_id=problem_id, reason="It holds"),
        ],
        2,
    ):
        receipt = client.tell(request, minutes)
        assert (receipt.id, receipt.version) == (problem_id, minutes)
    shown = client.ask(m.GetProblemRequest(problem_id=problem_id, after_position=receipt.position))
    assert (shown.problem.state, shown.problem.cause, shown.problem.remedy) == (
        m.PROBLEM_STATE_CLOSED,
        "Firmware 2.1",
        "Firmware 2.2",
    )
    assert (shown.problem.scope.began_at, shown.problem.resolved_at, list(shown.case_ids)) == (at(1), at(4), [case_id])
    assert client.ask(m.ListProblemsRequest()).problems == [shown.problem]
    assert client.ask(m.ListAffectedRequest(problem_id=problem_id)) == m.ListAffectedResponse()
    told = client.ask(m.GetCaseTimelineRequest(case_id=case_id)).items
    assert [(item.type, dict(item.texts)) for item in told] == [
        ("kept.case.v1.CaseLinked", {}),
        ("kept.case.v1.CaseOpened", {"need": open_case("").need, "urgency": open_case("").urgency}),
    ]


def test_a_lost_deal_and_a_list_of_customers(client: Client) -> None:
    customer_id = client.tell(register_customer()).id
    deal_id = client.tell(lost_deal(customer_id), 1).id
    shown = client.ask(customer.GetCustomerRequest(customer_id=customer_id))
    assert [(deal.deal_id, deal.sum.minor_units) for deal in shown.lost_deals] == [(deal_id, 12_345_600)]
    (listed,) = client.ask(customer.ListCustomersRequest(customer_ids=[customer_id])).customers
    assert (listed.customer_id, listed.name, listed.erased) == (customer_id, party().contact.name, False)
    code, details = client.refused(edited(lost_deal(customer_id, UNKNOWN), {"request_id": "r"}))
    assert (code, info(details)[1]) == (grpc.StatusCode.NOT_FOUND, "clock-not-found")


def test_a_case_that_is_not_for_us_and_one_that_is_no_longer_wanted(client: Client) -> None:
    customer_id = client.tell(register_customer()).id
    ids = [client.tell(open_case(customer_id)).id for _ in range(2)]
    client.tell(m.RejectRequest(case_id=ids[0], reason="not ours"))
    client.tell(m.CancelRequest(case_id=ids[1], reason="sold"))
    states = {case.case_id: case.state for case in client.ask(m.ListCasesRequest()).cases}
    assert states == {ids[0]: e.CASE_STATE_REJECTED, ids[1]: e.CASE_STATE_CANCELLED}


def test_a_customer_with_all_that_can_change(client: Client) -> None:
    party_id = client.tell(customer.RegisterPartyRequest(party=party())).id
    prospect = customer_events.CUSTOMER_STAGE_PROSPECT
    customer_id = client.tell(customer.RegisterCustomerRequest(party_id=party_id, stage=prospect)).id
    item_id, sold = (client.tell(install_item(customer_id)).id for _ in range(2))
    contact = customer.ContactInput(name="Bo Li", email="bo@example.com")
    preferences = customer_events.Preferences(language="de", time_zone="Europe/Berlin")
    active, declined = customer_events.CUSTOMER_STAGE_ACTIVE, customer_events.PRODUCT_STAGE_DECLINE
    safety, marketing = customer_events.CONSENT_PURPOSE_SAFETY, customer_events.CONSENT_PURPOSE_MARKETING
    for request in (
        customer.ChangeContactRequest(party_id=party_id, contact=contact),
        customer.ChangePreferencesRequest(party_id=party_id, preferences=preferences),
        customer.EnterStageRequest(customer_id=customer_id, stage=active, reason="bought"),
        customer.GiveConsentRequest(customer_id=customer_id, purpose=safety),
        customer.GiveConsentRequest(customer_id=customer_id, purpose=marketing),
        customer.WithdrawConsentRequest(customer_id=customer_id, purpose=marketing),
        customer.EnterItemStageRequest(item_id=item_id, product_stage=declined),
        customer.RemoveItemRequest(item_id=sold, reason="sold"),
    ):
        client.tell(request)
    shown = client.ask(customer.GetCustomerRequest(customer_id=customer_id))
    (item,) = shown.items
    assert (item.item_id, item.site, item.product_stage) == (item_id, install_item("").site, declined)
    del shown.items[:]
    assert shown == customer.GetCustomerResponse(
        customer_id=customer_id,
        party_id=party_id,
        kind=customer_events.PARTY_KIND_INDIVIDUAL,
        stage=active,
        contact=contact,
        preferences=preferences,
        consents=[safety],
    )


# Refusals as a client sees them


def info(details: dict[str, Any]) -> tuple[str, str, dict[str, str]]:
    found = details["ErrorInfo"]
    return found.domain, found.reason, dict(found.metadata)


def test_bad_input_names_its_field(client: Client) -> None:
    bad = edited(open_case(UNKNOWN), {"request_id": "r", "classification.kind": 99})
    code, details = client.refused(bad)
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert info(details) == ("kept", "invalid-argument", {"field": "classification.kind"})
    (violation,) = details["BadRequest"].field_violations
    assert violation.field == "classification.kind"
    assert violation.description.startswith("must be one of CASE_KIND_INQUIRY")


def test_what_is_not_there_is_not_found(client: Client) -> None:
    request = m.ResolveRequest(request_id="r", case_id=UNKNOWN, reason="done")
    code, details = client.refused(request)
    assert (code, info(details)) == (grpc.StatusCode.NOT_FOUND, ("kept", "case-not-found", {"case": UNKNOWN}))


def test_what_the_state_does_not_allow_says_which_state_it_is(client: Client) -> None:
    case_id = client.tell(open_case(client.tell(register_customer()).id)).id
    code, details = client.refused(m.ResumeRequest(request_id="r", case_id=case_id, reason="go on"))
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert info(details) == ("kept", "case-not-held", {"case": case_id, "state": "acknowledged"})


def test_another_body_under_a_request_id_is_refused(client: Client) -> None:
    request = edited(register_customer(), {"request_id": "same"})
    assert client.call(request) == client.call(request)
    code, details = client.refused(edited(request, {"party.contact.name": "Another"}))
    assert code == grpc.StatusCode.ALREADY_EXISTS
    assert info(details) == ("kept", "request-id-reused", {"request_id": "same"})


def test_a_view_that_is_behind_says_when_to_ask_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "WAIT_WITHIN", timedelta(0))
    position = client.tell(register_customer()).position
    for request in (
        m.ListCasesRequest(after_position=position),
        customer.GetCustomerRequest(customer_id=UNKNOWN, after_position=position),
    ):
        code, details = client.refused(request)
        assert (code, info(details)[1]) == (grpc.StatusCode.UNAVAILABLE, "view-behind")
        assert details["RetryInfo"].retry_delay.ToTimedelta() > timedelta(0)
    client.scene.drain()
    assert client.call(m.ListCasesRequest(after_position=position)).cases == []


def test_nobody_and_nowhere_are_refused(client: Client) -> None:
    for metadata, slug in ((ANA[1:], "principal-missing"), (ANA[:1], "tenant-missing"), ((), "principal-missing")):
        code, details = client.refused(m.CountCasesRequest(), metadata)
        assert (code, info(details)[1]) == (grpc.StatusCode.UNAUTHENTICATED, slug)


def test_another_company_finds_nothing(client: Client) -> None:
    customer_id = client.tell(register_customer()).id
    case_id = client.tell(open_case(customer_id)).id
    client.scene.drain()
    for request in (
        m.GetCaseRequest(case_id=case_id),
        m.CancelRequest(request_id="r", case_id=case_id, reason="not mine"),
        customer.GetCustomerRequest(customer_id=customer_id),
        customer.GetTimelineRequest(customer_id=customer_id),
    ):
        assert client.refused(request, SOUTH)[0] == grpc.StatusCode.NOT_FOUND
    assert client.call(m.ListCasesRequest(), SOUTH).cases == []


@pytest.mark.parametrize("size", [100, 20_000, 200_000])
def test_an_absurd_id_gets_one_clear_error(client: Client, size: int) -> None:
    for request in (
        m.ResolveRequest(request_id="r", case_id="x" * size, reason="done"),
        customer.GiveConsentRequest(
            request_id="r", customer_id="x" * size, purpose=customer_events.CONSENT_PURPOSE_SAFETY
        ),
    ):
        code, _ = client.refused(request)
        assert code == grpc.StatusCode.INVALID_ARGUMENT
