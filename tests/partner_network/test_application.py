"""Commands on partners and work orders against a real log: sealed, exactly once, refused without a trace."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kept.partner_network.v1 import events_pb2 as e
from kept.partner_network.v1 import service_pb2 as m
from kept.sla.v1.events_pb2 import Span, Weekday

from services.kernel.config import read_settings
from services.kernel.errors import Invalid, KeptError, RequestIdReused
from services.kernel.house import House
from tests.partner_network.network import (
    DAY,
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
from tests.scene import UNKNOWN, Scene, at, edited

MEGABYTE = "x" * 1_000_000
NUL = "a\0b"


@pytest.fixture
def network(sqlite_house: House) -> Network:
    return Network(Scene(sqlite_house))


def bodies(network: Network) -> list[Message]:
    return [event.body for event in network.scene.recorded() if ".partner_network." in event.record.type]


# What is recorded


def test_a_partner_and_what_it_takes_on_are_recorded_on_its_stream(network: Network) -> None:
    partner_id = network.partner()
    network.tell(m.EndAgreementRequest(partner_id=partner_id, number="C-1", reason="moved"))
    network.admit(partner_id, PROBATION)
    network.admit(partner_id, SUSPENDED)

    assert bodies(network) == [
        e.PartnerRegistered(name="Fast Repairs"),
        e.PartnerAdmitted(reason="fits"),
        e.AgreementSigned(number="C-1", agreement=agreement()),
        e.AgreementEnded(number="C-1", reason="moved"),
        e.PartnerPutOnProbation(reason="fits"),
        e.PartnerSuspended(reason="fits"),
    ]
    assert {event.record.stream for event in network.scene.recorded()} == {partner_id}


def test_an_agreement_is_valid_from_when_it_was_signed_unless_it_says_otherwise(network: Network) -> None:
    partner_id = network.registered()
    said = edited(agreement(), {"valid_from": None})
    network.tell(m.SignAgreementRequest(partner_id=partner_id, number="C-1", agreement=said), minutes=7)

    (signed,) = bodies(network)[1:]
    assert isinstance(signed, e.AgreementSigned)
    assert signed.agreement == agreement(valid_from=at(7))


def test_a_service_point_is_a_stream_of_its_own(network: Network) -> None:
    partner_id = network.registered()
    point_id = network.open_point(partner_id, place("330106", 30.27, 120.16))
    network.tell(m.CloseServicePointRequest(service_point_id=point_id, reason="sold"))

    opened = e.ServicePointOpened(partner_id=partner_id, name="North yard", place=place("330106", 30.27, 120.16))
    assert bodies(network)[1:] == [opened, e.ServicePointClosed(reason="sold")]
    network.scene.refused(m.CloseServicePointRequest(service_point_id=point_id, reason="sold"), "service-point-closed")


def test_a_work_order_from_its_offer_to_its_end(network: Network) -> None:
    fast, slow = network.partner(), network.partner("Slow Repairs")
    customer_id = network.scene.customer()
    case_id = network.scene.case(customer_id)
    order_id = network.tell(offer(case_id, fast, slow))
    network.tell(decline(order_id, fast))
    network.tell(reoffer(order_id, slow))
    network.tell(accept(order_id, slow, minutes=140))
    network.tell(m.ReportArrivalRequest(work_order_id=order_id))
    network.tell(m.CompleteWorkOrderRequest(work_order_id=order_id, outcome="replaced"))

    events = [event for event in network.scene.recorded() if event.record.stream == order_id]
    offered, declined, again, taken, *rest = (event.body for event in events)
    said, later = offer(case_id, fast, slow), reoffer(order_id, slow)
    assert offered == e.WorkOrderOffered(
        case_id=case_id,
        customer_id=customer_id,
        product="router",
        skill="fibre",
        region="330106",
        partner_ids=[fast, slow],
        window=said.window,
        expires_at=said.expires_at,
    )
    assert declined == e.WorkOrderDeclined(partner_id=fast, reason="busy", round=1)
    assert again == e.WorkOrderReoffered(round=2, partner_ids=[slow], window=later.window, expires_at=later.expires_at)
    assert isinstance(taken, e.WorkOrderAccepted)
    assert (taken.partner_id, taken.partner_name, taken.round) == (slow, "Slow Repairs", 2)
    assert taken.arrival == later.window
    assert rest == [e.TechnicianArrived(), e.WorkOrderCompleted(outcome="replaced")]
    assert {event.record.customer_id for event in events} == {customer_id}


def test_the_same_request_again_gets_the_same_answer_and_is_recorded_once(network: Network) -> None:
    fast = network.partner()
    order_id = network.offered(fast)
    request = edited(accept(order_id, fast), {"request_id": "r-1"})
    first = network.scene.send(request)
    before = network.scene.trace()

    assert network.scene.send(request) == first
    assert network.scene.trace() == before
    with pytest.raises(RequestIdReused):
        network.scene.send(edited(request, {"technician": "Somebody else"}))
    # A second acceptance is another thing, which is why it needs a request id of its own; and it comes too late.
    network.scene.refused(accept(order_id, fast), "work-order-taken")


def test_what_is_so_already_is_answered_and_not_recorded(network: Network) -> None:
    partner_id = network.partner()
    before = len(network.scene.recorded())
    network.sign(partner_id)
    network.admit(partner_id)

    assert len(network.scene.recorded()) == before


# Who may be asked


@pytest.mark.parametrize(
    ("why", "fields", "changes"),
    [
        ("region", {"regions": ["310000"]}, {}),
        ("product", {"products": ["modem"]}, {}),
        ("skill", {"skills": ["copper"]}, {}),
        ("no-agreement", {"valid_until": at(10)}, {}),
        ("no-agreement", {"valid_from": at(11)}, {}),
        ("region", {}, {"region": "330200"}),
        ("product", {}, {"product": "modem"}),
        ("skill", {}, {"skill": "copper"}),
        ("no-agreement", {}, {"occurred_at": at(-1)}),
    ],
)
def test_nothing_is_dispatched_outside_an_agreement_that_is_valid_then(
    network: Network, why: str, fields: dict[str, Any], changes: dict[str, Any]
) -> None:
    good, other = network.partner(), network.partner("Slow Repairs", **fields)
    request = edited(offer(network.case(), *([other] if changes else [good, other])), changes)

    refusal = network.scene.refused(request, "partner-not-eligible")
    assert refusal.facts == {"partner": other, "why": why}
    assert "Slow Repairs" in str(refusal)


@pytest.mark.parametrize("state", [None, SUSPENDED])
def test_who_is_not_admitted_or_suspended_gets_no_offer_from_that_instant(network: Network, state: Any) -> None:
    asked = network.partner()
    other = network.registered("Slow Repairs")
    network.sign(other)
    order_id = network.offered(asked)
    if state is not None:
        network.admit(other)
        network.admit(other, state)

    # The views have read nothing of it.
    why = "suspended" if state else "not-admitted"
    for request in (offer(network.case(), asked, other), reoffer(order_id, other)):
        assert network.scene.refused(request, "partner-not-eligible").facts["why"] == why


def test_who_was_suspended_after_the_offer_cannot_take_it(network: Network) -> None:
    fast = network.partner()
    order_id = network.offered(fast)
    network.admit(fast, SUSPENDED)

    assert network.scene.refused(accept(order_id, fast), "partner-not-eligible").facts["why"] == "suspended"


def test_who_is_on_probation_or_admitted_again_gets_offers(network: Network) -> None:
    tried = network.partner(state=PROBATION)
    back = network.partner("Back Again", SUSPENDED)
    network.admit(back)

    network.offered(tried, back)


def test_partners_and_cases_are_of_the_same_company(network: Network) -> None:
    fast = network.partner()
    order_id, case_id = network.offered(fast), network.case()
    south = Scene(network.scene.house, tenant="south")

    network.scene.refused(offer(case_id, fast, UNKNOWN), "partner-not-found")
    network.scene.refused(offer(UNKNOWN, fast), "case-not-found")
    network.scene.refused(accept(order_id, UNKNOWN), "partner-not-found")
    network.scene.refused(accept(UNKNOWN, fast), "work-order-not-found")
    network.scene.refused(reoffer(order_id, UNKNOWN), "partner-not-found")
    for request in (accept(order_id, fast), decline(order_id, fast), reoffer(order_id, fast)):
        south.refused(request, "work-order-not-found")
    south.refused(offer(case_id, fast), "case-not-found")
    south.refused(m.EndAgreementRequest(partner_id=fast, number="C-1", reason="r"), "partner-not-found")


# Sealing


def test_who_comes_is_sealed_for_the_partner_and_opens_there(network: Network) -> None:
    fast = network.partner()
    order_id = network.offered(fast)
    network.tell(accept(order_id, fast))

    taken = bodies(network)[-1]
    assert isinstance(taken, e.WorkOrderAccepted)
    sealed = taken.technician
    assert (sealed.subject, sealed.purpose, sealed.stream, sealed.type, sealed.field) == (
        fast,
        "technician",
        order_id,
        "kept.partner_network.v1.WorkOrderAccepted",
        "technician",
    )
    assert network.scene.house.sealer.open(sealed, stream=UUID(order_id)) == TECHNICIAN
    network.scene.drain()
    assert network.scene.found_in_files([TECHNICIAN, "Fast Repairs"]) == {"Fast Repairs"}


def test_a_refused_acceptance_makes_no_key(network: Network) -> None:
    fast, slow = network.partner(), network.partner("Slow Repairs")
    order_id = network.offered(fast)

    network.scene.refused(accept(order_id, slow), "not-offered")
    network.scene.refused(accept(order_id, fast, minutes=120), "offer-expired")
    network.scene.refused(edited(accept(order_id, fast), {"arrival": window(1, 2)}), "invalid-argument")


def test_an_acceptance_that_was_made_in_time_and_told_late_is_taken(network: Network) -> None:
    fast = network.partner()
    order_id = network.offered(fast)

    network.scene.refused(edited(accept(order_id, fast), {"occurred_at": at(120)}), "offer-expired")
    network.tell(edited(accept(order_id, fast), {"occurred_at": at(119.9)}))


# Refusals leave no trace


class Settled:
    """A partner in service with a service point and a work order, and good requests that nobody has sent."""

    def __init__(self, network: Network) -> None:
        self.scene = network.scene
        self.partner_id = fast = network.partner()
        other = network.partner("Slow Repairs")
        point_id = network.open_point(fast)
        case_id = network.case()
        taken = network.offered(fast)
        network.tell(accept(taken, fast))
        order_id = network.offered(fast)
        self.taken, self.order_id = taken, order_id
        elsewhere = agreement(regions=["310000"])
        self.good: dict[str, Message] = {
            "register": m.RegisterPartnerRequest(name="Third"),
            "admit": m.DecideAdmissionRequest(partner_id=fast, state=PROBATION, reason="late"),
            "sign": m.SignAgreementRequest(partner_id=fast, number="C-2", agreement=elsewhere),
            "end": m.EndAgreementRequest(partner_id=fast, number="C-1", reason="moved"),
            "open": m.OpenServicePointRequest(partner_id=fast, name="South yard", place=place("330106", 30.0, 120.0)),
            "close": m.CloseServicePointRequest(service_point_id=point_id, reason="sold"),
            "offer": offer(case_id, fast, other),
            "reoffer": reoffer(order_id, fast, other),
            "accept": edited(accept(order_id, fast), {"arrival": window(250, 300)}),
            "decline": decline(order_id, fast),
            "arrive": m.ReportArrivalRequest(work_order_id=taken),
            "complete": m.CompleteWorkOrderRequest(work_order_id=taken, outcome="replaced"),
            "cancel": m.CancelWorkOrderRequest(work_order_id=order_id, reason="sold"),
        }


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settled]:
    """Shared, since every test that takes it leaves no trace."""
    house = House(read_settings({}, tmp_path_factory.mktemp("cell")))
    house.make()
    yield Settled(Network(Scene(house)))
    house.close()


ALL = (
    "register", "admit", "sign", "end", "open", "close", "offer", "reoffer", "accept", "decline", "arrive", "complete",
    "cancel",
)  # fmt: skip
TEXTS: list[Any] = ["", "  ", "x" * 201, MEGABYTE, NUL]
NUMBERS: list[Any] = ["", "  ", "x" * 101, NUL]
IDS: list[Any] = ["", "x", UNKNOWN.upper(), f"{{{UNKNOWN}}}", MEGABYTE, NUL]
REGIONS: list[Any] = ["", "x" * 65, "990000", NUL]
MOMENTS: list[Any] = [None, Timestamp(seconds=-1), Timestamp(seconds=2**40)]
NAN, INFINITE = float("nan"), float("inf")
LATITUDES: list[Any] = [90.001, -90.001, NAN, INFINITE, None]
LONGITUDES: list[Any] = [180.001, -180.001, NAN, -INFINITE, None]
PARTNERS: list[Any] = [[], [UNKNOWN] * 2, ["x"], [f"{number:08}-0000-4000-8000-000000000000" for number in range(21)]]
MONDAY = Weekday(weekday=1, spans=[Span(from_s=0, until_s=60)])
HOURS: list[tuple[str, list[Any]]] = [
    ("agreement.hours", [None]),
    ("agreement.hours.time_zone", ["", "Mars/Base", MEGABYTE, NUL]),
    ("agreement.hours.weekdays", [[], [Weekday(weekday=1)], [MONDAY, MONDAY], [Weekday(weekday=8)]]),
]
BAD: list[tuple[str, str, list[Any]]] = [
    *((name, "request_id", ["", " ", "x" * 129, MEGABYTE, NUL]) for name in ALL),
    *((name, "occurred_at", [at(DAY * 365 * 200), *MOMENTS[1:]]) for name in ALL),
    ("register", "name", TEXTS),
    *((name, "partner_id", IDS) for name in ("admit", "sign", "end", "open", "accept", "decline")),
    ("admit", "state", [0, 4, -1]),
    *((name, "reason", TEXTS) for name in ("admit", "end", "close", "decline", "cancel")),
    *((name, "number", NUMBERS) for name in ("sign", "end")),
    ("sign", "agreement.regions", [[], [""], ["990000"], ["330100"] * 101]),
    *(("sign", f"agreement.{field}", [[], [""], ["x" * 201], [NUL], ["x"] * 101]) for field in ("products", "skills")),
    *(("sign", path, values) for path, values in HOURS),
    ("sign", "agreement.valid_from", MOMENTS[1:]),
    ("sign", "agreement.valid_until", [at(0), at(-1), *MOMENTS[1:]]),
    ("open", "name", TEXTS),
    ("open", "place", [None]),
    ("open", "place.region", REGIONS[1:]),
    ("open", "place.latitude_deg", LATITUDES),
    ("open", "place.longitude_deg", LONGITUDES),
    ("close", "service_point_id", IDS),
    ("offer", "case_id", IDS),
    *(("offer", field, TEXTS) for field in ("product", "skill")),
    ("offer", "region", REGIONS),
    *((name, "partner_ids", PARTNERS) for name in ("offer", "reoffer")),
    *((name, "window", [None]) for name in ("offer", "reoffer")),
    *((name, "window.from", MOMENTS) for name in ("offer", "reoffer")),
    ("accept", "arrival.from", MOMENTS),
    *((name, "window.until", [at(240), at(239), *MOMENTS]) for name in ("offer", "reoffer")),
    ("offer", "expires_at", [at(10), at(9), at(480.1), *MOMENTS]),
    ("reoffer", "expires_at", [at(130), at(9), at(720.1), *MOMENTS]),
    *((name, "work_order_id", IDS) for name in ("reoffer", "accept", "decline", "arrive", "complete", "cancel")),
    ("accept", "technician", TEXTS),
    ("accept", "arrival", [window(239, 300), window(240, 481)]),
    ("accept", "arrival.until", [at(250), at(249), *MOMENTS]),
    ("complete", "outcome", ["", " ", "x" * 4001, NUL]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, path, _ in BAD])
def test_bad_input_names_its_field_and_leaves_no_trace(settled: Settled, name: str, path: str) -> None:
    scene = settled.scene
    good = edited(settled.good[name], {"request_id": "r"})
    if not good.HasField("occurred_at"):
        good = edited(good, {"occurred_at": at(0)})
    (values,) = (values for *where, values in BAD if where == [name, path])
    before = scene.trace()
    for value in values:
        with pytest.raises(Invalid) as caught:
            scene.send(edited(good, {path: value}))
        assert caught.value.field.startswith(path), value if len(str(value)) < 100 else ""
        assert len(str(caught.value)) < 500
    assert scene.trace() == before


def test_a_place_needs_a_region_or_a_point(settled: Settled) -> None:
    for good in (e.Place(region="330106"), e.Place(latitude_deg=-90, longitude_deg=180)):
        with pytest.raises(KeptError, match="there is no partner"):
            settled.scene.tell(edited(settled.good["open"], {"place": good, "partner_id": UNKNOWN}))
    with pytest.raises(Invalid) as caught:
        settled.scene.tell(edited(settled.good["open"], {"place": e.Place()}))
    assert caught.value.field == "place"


def test_what_is_not_there_is_not_found(settled: Settled) -> None:
    for name, path, slug in (
        ("admit", "partner_id", "partner-not-found"),
        ("sign", "partner_id", "partner-not-found"),
        ("open", "partner_id", "partner-not-found"),
        ("close", "service_point_id", "service-point-not-found"),
        ("arrive", "work_order_id", "work-order-not-found"),
        ("complete", "work_order_id", "work-order-not-found"),
        ("cancel", "work_order_id", "work-order-not-found"),
    ):
        refusal = settled.scene.refused(edited(settled.good[name], {path: UNKNOWN}), slug)
        assert (refusal.status, list(refusal.facts.values())) == ("NOT_FOUND", [UNKNOWN])
    unknown = edited(settled.good["end"], {"number": "C-9"})
    assert settled.scene.refused(unknown, "agreement-not-found").status == "NOT_FOUND"


def test_what_the_state_does_not_allow_is_refused(settled: Settled) -> None:
    scene, fast, taken, order_id = settled.scene, settled.partner_id, settled.taken, settled.order_id
    overlapping = m.SignAgreementRequest(partner_id=fast, number="C-2", agreement=agreement(hours=hours(0, 1)))

    scene.refused(overlapping, "agreement-overlaps")
    scene.refused(edited(overlapping, {"number": "C-1"}), "agreement-exists")
    scene.refused(m.ReportArrivalRequest(work_order_id=order_id), "work-order-not-accepted")
    scene.refused(m.CompleteWorkOrderRequest(work_order_id=order_id, outcome="done"), "work-order-not-accepted")
    scene.refused(reoffer(order_id, fast, minutes=20), "offer-still-open")
    scene.refused(reoffer(taken, fast), "work-order-taken")
    scene.refused(decline(taken, fast), "work-order-taken")


def test_the_largest_offer_and_the_largest_agreement_are_taken(network: Network) -> None:
    many = [f"{number}" * 5 for number in range(100)]
    partner_ids = [
        network.partner(f"P{number}", products=[*many[1:], "router"], skills=[*many[1:], "fibre"])
        for number in range(20)
    ]

    network.offered(*partner_ids)
