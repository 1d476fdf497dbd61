"""Partners and work orders as people look for them: shown, listed, paged, rebuilt, and opened only here."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kept.partner_network.v1 import events_pb2 as e
from kept.partner_network.v1 import service_pb2 as m

from services.kernel import views as kernel_views
from services.kernel.errors import Invalid
from services.kernel.events import event_classes
from services.kernel.house import House
from services.kernel.paging import make_token
from services.partner_network import views
from services.partner_network.domain import offer_id
from tests.partner_network.network import (
    ADMITTED,
    PROBATION,
    SUSPENDED,
    TECHNICIAN,
    Network,
    accept,
    agreement,
    decline,
    hours,
    offer,
    place,
    reoffer,
    window,
)
from tests.scene import UNKNOWN, Scene, Told, at, edited, follow, rows

PARTS = {"Place", "Hours", "Agreement", "VisitWindow"}


@pytest.fixture
def network(sqlite_house: House) -> Network:
    return Network(Scene(sqlite_house))


@pytest.fixture
def both(house: House) -> Network:
    """On SQLite and on PostgreSQL."""
    return Network(Scene(house))


def expire(network: Network, order_id: str, number: int = 1) -> None:
    """What the offer policy says."""
    expired = e.OfferExpired(work_order_id=order_id, round=number)
    network.scene.append(Told(offer_id(UUID(order_id), number), [expired]), minutes=120)


# Partners


def shown(network: Network, partner_id: str) -> m.GetPartnerResponse:
    network.scene.drain()
    answer = network.scene.send(m.GetPartnerRequest(partner_id=partner_id))
    assert isinstance(answer, m.GetPartnerResponse)
    return answer


def test_a_partner_is_shown_with_what_it_has_taken_on_and_where_it_comes_from(both: Network) -> None:
    network, copper = both, agreement(skills=["copper"], valid_until=None)
    partner_id = network.registered()
    first = shown(network, partner_id)
    network.admit(partner_id)
    network.sign(partner_id, "C-9")
    network.sign(partner_id, "C-1", skills=["copper"], valid_until=None)
    south = network.open_point(partner_id, place("330122", 29.8, 119.7), "South yard")
    north = network.open_point(partner_id)
    closed = network.open_point(partner_id, name="Old yard")
    network.tell(m.CloseServicePointRequest(service_point_id=closed, reason="sold"))

    assert first == m.GetPartnerResponse(partner=m.PartnerSummary(partner_id=partner_id, name="Fast Repairs"))
    assert shown(network, partner_id) == m.GetPartnerResponse(
        partner=m.PartnerSummary(partner_id=partner_id, name="Fast Repairs", state=ADMITTED),
        agreements=[
            m.SignedAgreement(number="C-9", agreement=agreement()),
            m.SignedAgreement(number="C-1", agreement=copper),
        ],
        service_points=[
            m.ServicePoint(service_point_id=north, partner_id=partner_id, name="North yard", place=place()),
            m.ServicePoint(
                service_point_id=south, partner_id=partner_id, name="South yard", place=place("330122", 29.8, 119.7)
            ),
        ],
    )


def test_each_admission_shows(network: Network) -> None:
    partner_id = network.registered()
    for state in (PROBATION, SUSPENDED, ADMITTED):
        network.admit(partner_id, state)
        assert shown(network, partner_id).partner.state == state


@pytest.mark.parametrize(
    ("until", "minutes", "expected"), [(at(100), 50, at(50)), (at(100), 200, at(100)), (None, 50, at(50))]
)
def test_an_ended_agreement_is_valid_until_then_and_no_longer(
    network: Network, until: Timestamp | None, minutes: float, expected: Timestamp
) -> None:
    partner_id = network.partner(valid_until=until)
    end = m.EndAgreementRequest(partner_id=partner_id, number="C-1", reason="moved")
    network.tell(end, minutes=minutes)

    (signed,) = shown(network, partner_id).agreements
    assert signed.agreement == agreement(valid_until=expected)


def test_a_partner_of_another_company_is_not_found(network: Network) -> None:
    partner_id = network.partner()
    network.scene.drain()
    south = Scene(network.scene.house, tenant="south")

    south.refused_read(m.GetPartnerRequest(partner_id=partner_id), "partner-not-found")
    network.scene.refused_read(m.GetPartnerRequest(partner_id=UNKNOWN), "partner-not-found")
    assert list(south.send(m.ListPartnersRequest()).partners) == []


def pages(network: Network, request: Any, field: str) -> Iterator[list[Any]]:
    while True:
        answer = network.scene.send(request)
        yield list(getattr(answer, field))
        if not answer.next_page_token:
            return
        request = edited(request, {"page_token": answer.next_page_token})


def test_partners_are_listed_by_name_on_pages_of_every_size(both: Network) -> None:
    names = ["Öst", "杭州速修", "a", "B", "b", "a", "ä", "杭州", "Z"]
    ids = {both.registered(name): name for name in names}
    both.scene.drain()
    wanted = sorted((name.encode(), UUID(partner_id)) for partner_id, name in ids.items())
    for size in range(1, len(names) + 2):
        got = list(pages(both, m.ListPartnersRequest(page_size=size), "partners"))
        assert [(one.name.encode(), UUID(one.partner_id)) for page in got for one in page] == wanted
        assert all(len(page) == size for page in got[:-1])
        assert 0 < len(got[-1]) <= size


def test_a_partners_open_work_is_counted(both: Network) -> None:
    fast, slow = both.partner(), both.partner("Slow Repairs")
    first, second, third, fourth, fifth = (both.offered(fast, slow) for _ in range(5))
    both.tell(accept(first, fast))
    both.tell(decline(second, fast))
    both.tell(accept(third, slow))
    both.tell(m.ReportArrivalRequest(work_order_id=third))
    both.tell(m.CancelWorkOrderRequest(work_order_id=fourth, reason="sold"))
    counted = counts(both)
    both.tell(m.CompleteWorkOrderRequest(work_order_id=first, outcome="done"))
    expire(both, fifth)

    assert counted == {"Fast Repairs": (1, 1), "Slow Repairs": (2, 1)}
    assert counts(both) == {"Fast Repairs": (0, 0), "Slow Repairs": (1, 1)}


def counts(network: Network) -> dict[str, tuple[int, int]]:
    network.scene.drain()
    listed = network.scene.send(m.ListPartnersRequest()).partners
    assert list(listed) == [shown(network, one.partner_id).partner for one in listed]
    return {one.name: (one.offered, one.accepted) for one in listed}


# Work orders


def test_each_change_of_a_work_order_shows(both: Network) -> None:
    fast, slow = both.partner(), both.partner("Slow Repairs")
    customer_id = both.scene.customer()
    case_id = both.scene.case(customer_id)
    order_id = both.tell(offer(case_id, slow, fast))
    expected = m.WorkOrder(
        work_order_id=order_id,
        case_id=case_id,
        customer_id=customer_id,
        product="router",
        skill="fibre",
        region="330106",
        state=m.WORK_ORDER_STATE_OFFERED,
        round=1,
        partner_ids=[slow, fast],
        window=window(240, 480),
        expires_at=at(120),
        offered_at=at(10),
        version=1,
    )
    again = {"partner_ids": [fast], "declined_by": [], "window": window(600, 720), "expires_at": at(300)}
    taken = {"partner_id": fast, "technician": TECHNICIAN, "arrival": window(610, 640)}
    late = edited(accept(order_id, fast, 140), {"arrival": taken["arrival"]})
    steps: list[tuple[Message, dict[str, Any]]] = [
        (decline(order_id, fast), {"declined_by": [fast]}),
        (decline(order_id, slow), {"declined_by": [fast, slow], "state": m.WORK_ORDER_STATE_DECLINED}),
        (
            reoffer(order_id, fast),
            {**again, "round": 2, "offered_at": at(130), "state": m.WORK_ORDER_STATE_OFFERED},
        ),
        (late, {**taken, "state": m.WORK_ORDER_STATE_ACCEPTED}),
        (m.ReportArrivalRequest(work_order_id=order_id), {"state": m.WORK_ORDER_STATE_ARRIVED}),
        (
            m.CompleteWorkOrderRequest(work_order_id=order_id, outcome="replaced", occurred_at=at(700)),
            {"state": m.WORK_ORDER_STATE_COMPLETED, "outcome": "replaced", "completed_at": at(700)},
        ),
    ]
    assert both.shown() == [expected]
    for version, (request, changes) in enumerate(steps, 2):
        both.tell(request)
        expected = edited(expected, {**changes, "version": version})
        assert both.shown() == [expected], request


def test_a_cancelled_and_an_expired_work_order_show_as_such(network: Network) -> None:
    fast = network.partner()
    first, second = network.offered(fast), network.offered(fast)
    network.tell(m.CancelWorkOrderRequest(work_order_id=first, reason="sold"))
    expire(network, second)

    states = {order.work_order_id: (order.state, order.version) for order in network.shown()}
    assert states == {first: (m.WORK_ORDER_STATE_CANCELLED, 2), second: (m.WORK_ORDER_STATE_EXPIRED, 1)}


def test_an_acceptance_stands_whether_the_expiry_is_read_before_or_after_it(network: Network) -> None:
    fast = network.partner()
    first, second, third = (network.offered(fast) for _ in range(3))
    expire(network, first)
    network.tell(accept(first, fast))
    network.tell(accept(second, fast))
    expire(network, second)
    network.tell(decline(third, fast))
    network.tell(reoffer(third, fast))
    expire(network, third, 1)

    states = {order.work_order_id: order.state for order in network.shown()}
    accepted, offered = m.WORK_ORDER_STATE_ACCEPTED, m.WORK_ORDER_STATE_OFFERED
    assert states == {first: accepted, second: accepted, third: offered}


def test_a_technician_that_was_erased_is_shown_as_nobody(network: Network) -> None:
    fast = network.partner()
    order_id = network.offered(fast)
    network.tell(accept(order_id, fast))
    network.scene.house.keys.destroy(UUID(fast))

    (order,) = network.shown()
    assert (order.technician, order.partner_id) == ("", fast)


class Board:
    """Seven work orders, in the order in which something happens next."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.fast, self.slow = fast, slow = network.partner(), network.partner("Slow Repairs")
        self.case_id = network.case()
        soon = network.offered(fast, slow, expires_at=at(60))
        offered = network.tell(offer(self.case_id, fast, slow))
        expired = network.offered(slow, window=window(200, 300))
        accepted = network.offered(fast)
        declined = network.offered(fast, window=window(300, 400))
        completed, cancelled = network.offered(fast), network.offered(slow)
        expire(network, expired)
        network.tell(edited(accept(accepted, fast), {"arrival": window(250, 260)}))
        network.tell(decline(declined, fast))
        network.tell(accept(completed, fast))
        network.tell(m.CompleteWorkOrderRequest(work_order_id=completed, outcome="done"))
        network.tell(m.CancelWorkOrderRequest(work_order_id=cancelled, reason="sold"))
        self.orders = [soon, offered, expired, accepted, declined, *sorted((completed, cancelled), key=UUID)]
        self.completed, self.cancelled = completed, cancelled
        network.scene.drain()

    def indexes(self, **wanted: Any) -> list[int]:
        answer = self.network.scene.send(m.ListWorkOrdersRequest(**wanted))
        assert answer.next_page_token == ""
        return [self.orders.index(order.work_order_id) for order in answer.work_orders]


@pytest.fixture
def board(both: Network) -> Board:
    return Board(both)


def test_what_expires_or_begins_soonest_comes_first_and_what_has_ended_last(board: Board) -> None:
    assert board.indexes() == [0, 1, 2, 3, 4, 5, 6]


def test_work_orders_are_listed_by_partner_state_and_case(board: Board) -> None:
    ended = [board.orders.index(order) for order in (board.completed, board.cancelled)]

    assert board.indexes(partner_id=board.slow) == [0, 1, 2, ended[1]]
    assert board.indexes(partner_id=board.fast) == [0, 1, 3, 4, ended[0]]
    assert board.indexes(partner_id=UNKNOWN) == []
    assert board.indexes(states=[m.WORK_ORDER_STATE_OFFERED]) == [0, 1]
    assert board.indexes(states=[m.WORK_ORDER_STATE_ACCEPTED, m.WORK_ORDER_STATE_EXPIRED] * 2) == [2, 3]
    assert board.indexes(states=[m.WORK_ORDER_STATE_OFFERED], case_id=board.case_id) == [1]
    assert board.indexes(partner_id=board.fast, states=[m.WORK_ORDER_STATE_CANCELLED]) == []


def test_pages_of_every_size_hold_every_work_order_once_and_in_order(board: Board) -> None:
    for size in range(1, 9):
        got = list(pages(board.network, m.ListWorkOrdersRequest(page_size=size), "work_orders"))
        assert [order.work_order_id for page in got for order in page] == board.orders
        assert all(len(page) == size for page in got[:-1])
        assert 0 < len(got[-1]) <= size


def test_companies_do_not_see_each_others_work_orders(board: Board) -> None:
    south = Scene(board.network.scene.house, tenant="south")

    for wanted in ({}, {"partner_id": board.fast}, {"case_id": board.case_id}):
        assert list(south.send(m.ListWorkOrdersRequest(**wanted)).work_orders) == []  # type: ignore[arg-type]


# Who can help


HELP = m.FindHelpRequest(place=place("330106", 30.25, 120.17), product="router", skill="fibre", at=at(60))


def test_help_is_found_in_what_was_recorded(both: Network) -> None:
    fast = both.partner(hours=hours(9, 17))
    late = both.partner("Late Repairs", PROBATION, hours=hours(12, 23))
    gone, none, new = both.partner("Gone", SUSPENDED), both.partner("None"), both.registered("New")
    fast_point = both.open_point(fast, place("330122", 29.8, 119.7))
    late_point = both.open_point(late, place("330106"))
    both.tell(m.CloseServicePointRequest(service_point_id=both.open_point(none), reason="sold"))
    both.scene.drain()

    answer = both.scene.send(HELP)
    # It is five o'clock in Shanghai, on a Monday.
    assert [(one.partner_id, one.service_point_id, one.state, one.open) for one in answer.helpers] == [
        (late, late_point, PROBATION, True),
        (fast, fast_point, ADMITTED, False),
    ]
    assert answer.helpers[1].opens_at == at(17 * 60)
    assert answer.helpers[1].distance_km == pytest.approx(67.5, abs=0.1)
    assert not answer.helpers[0].HasField("distance_km")
    assert [(one.partner_id, one.why) for one in answer.others] == [
        (gone, m.WHY_NOT_SUSPENDED),
        (new, m.WHY_NOT_NOT_ADMITTED),
        (none, m.WHY_NOT_NO_SERVICE_POINT),
    ]
    assert not answer.HasField("nearest")
    nowhere = both.scene.send(edited(HELP, {"place.region": "310000"}))
    assert (len(nowhere.helpers), nowhere.nearest.partner_id) == (0, fast)
    # Whoever was offered it is who was found.
    both.offered(*(one.partner_id for one in answer.helpers))


def test_help_is_asked_for_now_unless_a_moment_is_named(network: Network) -> None:
    network.open_point(network.partner())
    network.scene.drain()

    assert len(network.scene.send(HELP).helpers) == 1
    assert len(network.scene.send(edited(HELP, {"at": None})).helpers) == 0  # the agreement was for a year
    assert len(Scene(network.scene.house, "south").send(HELP).others) == 0


def test_what_is_not_yet_read_is_said_to_be_behind(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_views, "WAIT_WITHIN", timedelta(0))
    position = network.scene.tell(m.RegisterPartnerRequest(name="New")).position
    reads: list[Message] = [
        HELP,
        m.GetPartnerRequest(partner_id=UNKNOWN),
        m.ListPartnersRequest(),
        m.ListWorkOrdersRequest(),
    ]
    for read in reads:
        network.scene.refused_read(edited(read, {"after_position": position}), "view-behind")


# Bad input of the reads


BAD: list[tuple[Message, str, list[Any]]] = [
    (m.ListWorkOrdersRequest(), "page_size", [-1, 101]),
    (
        m.ListWorkOrdersRequest(),
        "page_token",
        ["x", make_token(1), make_token("a", UNKNOWN), make_token(1, "b"), make_token(2**70, UNKNOWN)],
    ),
    (m.ListWorkOrdersRequest(), "states", [[0], [8], [m.WORK_ORDER_STATE_OFFERED, -1]]),
    *((m.ListWorkOrdersRequest(), field, ["x", UNKNOWN.upper(), "a\0"]) for field in ("partner_id", "case_id")),
    (m.ListPartnersRequest(), "page_size", [-1, 101]),
    (m.ListPartnersRequest(), "page_token", ["x", make_token("a"), make_token(1, UNKNOWN), make_token("a", "b")]),
    (m.GetPartnerRequest(), "partner_id", ["", "x", UNKNOWN.upper(), "a\0"]),
    (HELP, "place", [None]),
    (HELP, "place.region", ["990000", "x" * 65, "a\0"]),
    (HELP, "place.latitude_deg", [None, 91, float("nan")]),
    (HELP, "place.longitude_deg", [None, -181]),
    *((HELP, field, ["", " ", "x" * 201, "a\0"]) for field in ("product", "skill")),
    (HELP, "at", [Timestamp(seconds=-1), Timestamp(seconds=2**62), Timestamp(seconds=253402300799)]),
]


def test_a_bad_read_names_its_field(both: Network) -> None:
    both.open_point(both.partner(valid_until=None))
    both.scene.drain()
    for request, path, values in BAD:
        for value in values:
            with pytest.raises(Invalid) as caught:
                both.scene.send(edited(request, {path: value}))
            assert caught.value.field.startswith(path)


# Rebuilding


def test_rebuilt_rows_equal_the_live_ones_in_batches_of_any_size(board: Board) -> None:
    scene, network = board.network.scene, board.network
    network.open_point(board.fast)
    network.tell(m.EndAgreementRequest(partner_id=board.slow, number="C-1", reason="moved"))
    scene.drain()
    live = rows(views.VIEWS, scene.house.views_database("partner_network"))
    sizes = {name: len(found) for name, found in live.items()}
    assert sizes == {
        "partner": 2, "partner_agreement": 2, "service_point": 1, "work_order": 7, "work_order_partner": 9,
    }  # fmt: skip
    for batch in (1, 3, 500):
        fresh = scene.house.database(f"views_rebuilt_{batch}")
        views.VIEWS.migrate(fresh)
        follow(scene.house, views.VIEWS, fresh, batch)
        assert rows(views.VIEWS, fresh) == live


def test_every_event_of_the_network_is_read() -> None:
    prefix = "kept.partner_network.v1."
    own = {name for name in event_classes() if name.startswith(prefix)}

    assert own - {prefix + part for part in PARTS} == views.VIEWS.reads
