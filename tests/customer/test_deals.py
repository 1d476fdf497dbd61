"""Lost deals and the promises that cost them; lists of customers with their names."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid5

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kept.common.v1.money_pb2 import Money
from kept.customer.v1 import events_pb2 as e
from kept.customer.v1 import service_pb2 as m
from kept.sla.v1 import events_pb2 as sla

from services.kernel.errors import Invalid, RequestIdReused
from services.kernel.house import House
from services.kernel.paging import make_token
from tests.scene import UNKNOWN, Scene, Told, at, edited, lost_deal

NAMES = uuid5(UUID(UNKNOWN), "deals")
ARMED = sla.ClockArmed(case_id=UNKNOWN, target=sla.TARGET_KIND_TIME_TO_OWN)
BROKEN = sla.VerdictReached(outcome=sla.OUTCOME_BROKEN)
KEPT = sla.VerdictReached(outcome=sla.OUTCOME_KEPT)
CORRECTED = sla.VerdictCorrected(outcome=sla.OUTCOME_KEPT)
REPLANNED = sla.ClockReplanned()


@pytest.fixture
def scene(sqlite_house: House) -> Scene:
    return Scene(sqlite_house)


@pytest.fixture
def both(house: House) -> Scene:
    """On SQLite and on PostgreSQL."""
    return Scene(house)


def clock(scene: Scene, customer_id: str, *history: Message) -> str:
    stream = uuid5(NAMES, f"{customer_id} {len(scene.recorded())}")
    scene.append(Told(stream, [ARMED, *history], customer_id))
    return str(stream)


def deals(scene: Scene, customer_id: str) -> list[m.LostDeal]:
    scene.drain()
    return list(scene.send(m.GetCustomerRequest(customer_id=customer_id)).lost_deals)


# Recording


def test_a_lost_deal_is_recorded_with_the_promises_that_cost_it(both: Scene) -> None:
    customer_id = both.customer()
    clocks = [clock(both, customer_id, BROKEN), clock(both, customer_id, KEPT, REPLANNED, BROKEN)]
    receipt = both.tell(lost_deal(customer_id, *clocks), minutes=5)
    last = both.recorded()[-1]
    assert (receipt.id, receipt.version, last.record.customer_id) == (last.record.stream, 1, customer_id)
    assert (last.record.type, last.record.occurred_at) == ("kept.customer.v1.DealLost", at(5))
    said = lost_deal(customer_id, *clocks)
    assert last.body == e.DealLost(
        customer_id=customer_id, subject=said.subject, sum=said.sum, reason=said.reason, clock_ids=clocks
    )


def test_the_same_request_again_is_recorded_once(scene: Scene) -> None:
    request = edited(lost_deal(scene.customer()), {"request_id": "r-1"})
    first = scene.send(request)
    assert scene.send(request) == first
    with pytest.raises(RequestIdReused):
        scene.send(edited(request, {"sum.minor_units": 1}))
    assert len(scene.recorded()) == 3


@pytest.mark.parametrize(
    "history",
    [(), (KEPT,), (BROKEN, CORRECTED), (BROKEN, REPLANNED), (sla.VerdictReached(outcome=sla.OUTCOME_RELEASED),)],
)
def test_a_promise_that_is_not_broken_as_we_know_now_is_refused(scene: Scene, history: tuple[Message, ...]) -> None:
    customer_id = scene.customer()
    good, wrong = clock(scene, customer_id, BROKEN), clock(scene, customer_id, *history)
    refusal = scene.refused(lost_deal(customer_id, good, wrong), "promise-not-broken")
    assert (refusal.status, refusal.facts) == ("FAILED_PRECONDITION", {"clock": wrong})


def test_a_promise_to_nobody_or_to_somebody_else_is_not_found(scene: Scene) -> None:
    customer_id, other = scene.customer(), scene.customer()
    theirs = clock(scene, other, BROKEN)
    for wrong in (UNKNOWN, theirs, customer_id):
        assert scene.refused(lost_deal(customer_id, wrong), "clock-not-found").status == "NOT_FOUND"
    south = Scene(scene.house, tenant="south")
    south.refused(lost_deal(south.customer(), clock(scene, customer_id, BROKEN)), "clock-not-found")


def test_only_a_customer_of_the_company_can_be_lost(scene: Scene) -> None:
    customer_id = scene.customer()
    scene.refused(lost_deal(UNKNOWN), "customer-not-found")
    Scene(scene.house, tenant="south").refused(lost_deal(customer_id), "customer-not-found")


BAD: dict[str, list[Any]] = {
    "request_id": ["", "x" * 129],
    "occurred_at": [at(60 * 24 * 365 * 200), Timestamp(seconds=-1)],
    "customer_id": ["", "x", UNKNOWN.upper()],
    "subject": ["", " ", "x" * 201, "a\0b"],
    "sum": [None],
    "sum.currency": ["", "cny", "CNYY", "CN", "C1Y", "人民币"],
    "sum.minor_units": [0, -1],
    "reason": [0, 99],
    "clock_ids": [["x"], [""], [UNKNOWN, UNKNOWN], [UNKNOWN] * 21],
}


@pytest.mark.parametrize("path", BAD)
def test_bad_input_names_its_field_and_leaves_no_trace(scene: Scene, path: str) -> None:
    good = edited(lost_deal(scene.customer()), {"request_id": "r", "occurred_at": at(0)})
    before = scene.trace()
    for value in BAD[path]:
        with pytest.raises(Invalid) as caught:
            scene.send(edited(good, {path: value}))
        assert caught.value.field.startswith(path), value
    assert scene.trace() == before


# What is shown


def test_lost_deals_are_shown_newest_first_at_most_a_page(both: Scene) -> None:
    customer_id, other = both.customer(), both.customer()
    clocks = [clock(both, customer_id, BROKEN), clock(both, customer_id, BROKEN)]
    early = both.tell(lost_deal(customer_id), minutes=1).id
    late = both.tell(lost_deal(customer_id, *clocks), minutes=9).id
    both.tell(lost_deal(other), minutes=5)
    said = lost_deal("")
    shown = deals(both, customer_id)
    assert [deal.deal_id for deal in shown] == [late, early]
    assert shown[0] == m.LostDeal(
        deal_id=late, subject=said.subject, sum=said.sum, reason=said.reason, clock_ids=clocks, lost_at=at(9)
    )
    many = [e.DealLost(customer_id=other, sum=Money(currency="CNY", minor_units=n)) for n in range(1, 101)]
    both.append(*(Told(uuid5(NAMES, str(n)), [body], other) for n, body in enumerate(many)), minutes=7)
    assert len(deals(both, other)) == 100
    both.drain()
    timeline = both.send(m.GetTimelineRequest(customer_id=customer_id))
    assert timeline.items[0].facts["sum.minor_units"] == "12345600"


# Lists of customers


def listed(scene: Scene, **wanted: Any) -> list[m.CustomerSummary]:
    answer = scene.send(m.ListCustomersRequest(**wanted))
    assert answer.next_page_token == ""
    return list(answer.customers)


def pages(scene: Scene, request: m.ListCustomersRequest) -> Iterator[list[str]]:
    while True:
        answer = scene.send(request)
        yield [one.customer_id for one in answer.customers]
        if not answer.next_page_token:
            return
        request = edited(request, {"page_token": answer.next_page_token})


def test_customers_are_listed_by_id_with_their_names_opened(both: Scene) -> None:
    ids = sorted(both.customer() for _ in range(3))
    Scene(both.house, tenant="south").customer()
    both.drain()
    assert [one.customer_id for one in listed(both)] == ids
    assert listed(both)[0] == m.CustomerSummary(
        customer_id=ids[0],
        name="Ana Fantinato",
        stage=e.CUSTOMER_STAGE_ACTIVE,
        region="310000",
        language="zh-CN",
    )
    assert [one.customer_id for one in listed(both, customer_ids=[ids[2], ids[0], UNKNOWN])] == [ids[0], ids[2]]


def test_customers_of_another_company_are_not_listed(scene: Scene) -> None:
    customer_id = scene.customer()
    scene.drain()
    assert listed(Scene(scene.house, tenant="south"), customer_ids=[customer_id]) == []


def test_an_erased_name_is_listed_as_erased(scene: Scene) -> None:
    scene.customer()
    scene.house.keys.destroy(UUID(scene.recorded()[0].record.stream))
    scene.drain()
    assert [(one.name, one.erased) for one in listed(scene)] == [("", True)]


def test_pages_of_every_size_hold_every_customer_once_and_in_order(both: Scene) -> None:
    ids = sorted(both.customer() for _ in range(5))
    both.drain()
    for size in range(1, 7):
        for wanted in (dict[str, Any](), {"customer_ids": ids}):
            got = list(pages(both, m.ListCustomersRequest(page_size=size, **wanted)))
            assert [one for page in got for one in page] == ids
            assert all(len(page) == size for page in got[:-1])


def test_a_bad_list_request_names_its_field(both: Scene) -> None:
    bad: dict[str, list[Any]] = {
        "page_size": [-1, 101],
        "page_token": ["x", make_token(1), make_token("x"), make_token(UNKNOWN, 1)],
        "customer_ids": [["x"], [UNKNOWN, ""], [UNKNOWN] * 101],
    }
    for path, values in bad.items():
        for value in values:
            with pytest.raises(Invalid) as caught:
                both.send(edited(m.ListCustomersRequest(), {path: value}))
            assert caught.value.field.startswith(path)
