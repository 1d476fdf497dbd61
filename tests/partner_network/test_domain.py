"""Partners, service points and work orders: each decision recorded, repeated or refused."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.message import Message
from kept.common.v1.sealed_pb2 import Sealed
from kept.partner_network.v1 import events_pb2 as e

from services.kernel.clock import micros, timestamp
from services.partner_network.coverage import Need
from services.partner_network.domain import Offer, Partner, ServicePoint, WorkOrder, offer_id
from tests.given import ID, given

MONDAY = datetime(2024, 5, 6, 8, 0, tzinfo=UTC)
ADMITTED, PROBATION = e.ADMISSION_STATE_ADMITTED, e.ADMISSION_STATE_PROBATION
SUSPENDED = e.ADMISSION_STATE_SUSPENDED
FAST, SLOW, THIRD = (f"00000000-0000-4000-8000-00000000000{digit}" for digit in "123")


def at(hours: float) -> int:
    return micros(MONDAY + timedelta(hours=hours))


def window(since: float, until: float) -> e.VisitWindow:
    moments = {"from": timestamp(MONDAY + timedelta(hours=since)), "until": timestamp(MONDAY + timedelta(hours=until))}
    return e.VisitWindow(**moments)  # `from` is a word of the language


def agreement(
    regions: tuple[str, ...] = ("330100",),
    products: tuple[str, ...] = ("router",),
    skills: tuple[str, ...] = ("fibre",),
    since: float = 0,
    until: float | None = 100,
) -> e.Agreement:
    made = e.Agreement(regions=regions, products=products, skills=skills)
    made.valid_from.CopyFrom(timestamp(MONDAY + timedelta(hours=since)))
    if until is not None:
        made.valid_until.CopyFrom(timestamp(MONDAY + timedelta(hours=until)))
    return made


def signed(number: str = "C-1", **fields: Any) -> e.AgreementSigned:
    return e.AgreementSigned(number=number, agreement=agreement(**fields))


# Admission

REGISTERED = e.PartnerRegistered(name="Fast Repairs")
DECISIONS: dict[e.AdmissionState.ValueType, Message] = {
    ADMITTED: e.PartnerAdmitted(reason="fits"),
    PROBATION: e.PartnerPutOnProbation(reason="fits"),
    SUSPENDED: e.PartnerSuspended(reason="fits"),
}


def test_a_partner_is_registered_and_not_yet_admitted() -> None:
    partner = given(Partner).when(lambda partner: partner.register(name="Fast Repairs")).then(REGISTERED)

    assert (partner.name, partner.state) == ("Fast Repairs", e.ADMISSION_STATE_UNSPECIFIED)


@pytest.mark.parametrize("before", [None, *DECISIONS])
@pytest.mark.parametrize("state", DECISIONS)
def test_every_admission_follows_every_other_and_itself_only_once(
    before: e.AdmissionState.ValueType | None, state: e.AdmissionState.ValueType
) -> None:
    history = [REGISTERED] if before is None else [REGISTERED, DECISIONS[before]]
    decided = given(Partner, *history).when(lambda partner: partner.decide_admission(state, reason="fits"))

    if before == state:
        decided.then_nothing()
    else:
        assert decided.then(DECISIONS[state]).state == state


# Agreements


def test_an_agreement_is_signed_and_the_same_again_is_nothing_new() -> None:
    given(Partner, REGISTERED).when(lambda partner: partner.sign(signed())).then(signed())
    given(Partner, REGISTERED, signed()).when(lambda partner: partner.sign(signed())).then_nothing()


def test_a_number_names_one_agreement_for_ever() -> None:
    other, ended = signed(skills=("copper",)), e.AgreementEnded(number="C-1", reason="moved")

    for history in ([signed()], [signed(), ended]):
        given(Partner, REGISTERED, *history).when(lambda partner: partner.sign(other)).then_refused("agreement-exists")
    given(Partner, REGISTERED, signed(), ended).when(lambda partner: partner.sign(signed())).then_refused(
        "agreement-exists"
    )


OVERLAPS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"until": None}, True),
    ({"since": 99, "until": 101}, True),
    ({"since": 100, "until": 200}, False),
    ({"since": 100, "until": None}, False),
    ({"since": -10, "until": 0}, False),
    ({"since": -10, "until": 1}, True),
    ({"regions": ("330122",)}, True),
    ({"regions": ("330000",)}, True),
    ({"regions": ("330200",)}, False),
    ({"regions": ("330200", "330100")}, True),
    ({"regions": ("location 12",)}, False),
    ({"products": ("modem",)}, False),
    ({"products": ("modem", "router")}, True),
    ({"skills": ("copper",)}, False),
    ({"skills": ("copper", "fibre")}, True),
]


@pytest.mark.parametrize(("fields", "overlaps"), OVERLAPS)
def test_two_agreements_never_cover_the_same_visit(fields: dict[str, Any], overlaps: bool) -> None:
    second = signed("C-2", **fields)
    decided = given(Partner, REGISTERED, signed()).when(lambda partner: partner.sign(second))

    if overlaps:
        refusal = decided.then_refused("agreement-overlaps")
        assert refusal.facts == {"partner": str(ID), "number": "C-1"}
    else:
        decided.then(second)


def test_an_open_ended_agreement_overlaps_whatever_comes_later() -> None:
    later = signed("C-2", since=10_000, until=None)
    given(Partner, REGISTERED, signed(until=None)).when(lambda partner: partner.sign(later)).then_refused(
        "agreement-overlaps"
    )


def test_an_ended_agreement_makes_room_for_the_next() -> None:
    ended = e.AgreementEnded(number="C-1", reason="moved")
    given(Partner, REGISTERED, signed()).when(lambda partner: partner.end_agreement("C-1", reason="moved")).then(ended)
    given(Partner, REGISTERED, signed(), ended).when(lambda partner: partner.sign(signed("C-2"))).then(signed("C-2"))
    given(Partner, REGISTERED, signed(), ended).when(
        lambda partner: partner.end_agreement("C-1", reason="moved")
    ).then_refused("agreement-ended")


def test_what_was_never_signed_cannot_end() -> None:
    refusal = (
        given(Partner, REGISTERED, signed())
        .when(lambda partner: partner.end_agreement("C-2", reason="moved"))
        .then_refused("agreement-not-found")
    )
    assert refusal.status == "NOT_FOUND"


# Who gets an offer

NEED = Need("330122", "router", "fibre", at(1))
ENDED = e.AgreementEnded(number="C-1", reason="moved")
ELIGIBLE: list[list[Message]] = [
    [DECISIONS[ADMITTED], signed()],
    [DECISIONS[PROBATION], signed()],
    [DECISIONS[SUSPENDED], DECISIONS[ADMITTED], signed()],
    [DECISIONS[ADMITTED], signed(since=1, until=1.01)],
    [DECISIONS[ADMITTED], signed(until=None)],
    [DECISIONS[ADMITTED], signed(regions=("310000",)), signed("C-2")],
    [DECISIONS[ADMITTED], signed(), ENDED, signed("C-2")],
]
BARRED: list[tuple[str, list[Message]]] = [
    ("not-admitted", [signed()]),
    ("suspended", [DECISIONS[ADMITTED], signed(), DECISIONS[SUSPENDED]]),
    ("no-agreement", [DECISIONS[ADMITTED]]),
    ("no-agreement", [DECISIONS[ADMITTED], signed(), ENDED]),
    ("no-agreement", [DECISIONS[ADMITTED], signed(since=1.01)]),
    ("no-agreement", [DECISIONS[ADMITTED], signed(until=1)]),
    ("region", [DECISIONS[ADMITTED], signed(regions=("310000", "330200"))]),
    ("region", [DECISIONS[ADMITTED], signed(regions=("330122",), until=1), signed("C-2", regions=("310000",))]),
    ("product", [DECISIONS[ADMITTED], signed(products=("modem",))]),
    ("product", [DECISIONS[ADMITTED], signed(products=("modem",)), signed("C-2", regions=("310000",))]),
    ("skill", [DECISIONS[ADMITTED], signed(skills=("copper",)), signed("C-2", products=("modem",))]),
]


@pytest.mark.parametrize("history", ELIGIBLE)
def test_who_is_in_service_and_has_taken_it_on_is_eligible(history: list[Message]) -> None:
    given(Partner, REGISTERED, *history).when(lambda partner: partner.require_eligible(NEED)).then_nothing()


@pytest.mark.parametrize(("why", "history"), BARRED)
def test_who_is_not_eligible_learns_why(why: str, history: list[Message]) -> None:
    refusal = (
        given(Partner, REGISTERED, *history)
        .when(lambda partner: partner.require_eligible(NEED))
        .then_refused("partner-not-eligible")
    )
    assert refusal.facts == {"partner": str(ID), "why": why}


# Service points

OPENED = e.ServicePointOpened(partner_id=FAST, name="North yard", place=e.Place(region="330122"))
CLOSED = e.ServicePointClosed(reason="sold")


def test_a_service_point_opens_and_closes_once() -> None:
    given(ServicePoint).when(lambda point: point.open(OPENED)).then(OPENED)
    given(ServicePoint, OPENED).when(lambda point: point.close(reason="sold")).then(CLOSED)
    given(ServicePoint, OPENED, CLOSED).when(lambda point: point.close(reason="sold")).then_refused(
        "service-point-closed"
    )


# Work orders

SEALED = Sealed(ciphertext=b"who")
OFFERED = e.WorkOrderOffered(
    case_id=str(uuid4()),
    customer_id=str(uuid4()),
    product="router",
    skill="fibre",
    region="330122",
    partner_ids=[FAST, SLOW],
    window=window(4, 8),
    expires_at=timestamp(MONDAY + timedelta(hours=2)),
)


def reoffered(number: int, *partner_ids: str) -> e.WorkOrderReoffered:
    expires_at = timestamp(MONDAY + timedelta(hours=6))
    return e.WorkOrderReoffered(round=number, partner_ids=partner_ids, window=window(24, 28), expires_at=expires_at)


def accepted(partner_id: str = FAST, number: int = 1, arrival: e.VisitWindow | None = None) -> e.WorkOrderAccepted:
    return e.WorkOrderAccepted(
        partner_id=partner_id,
        partner_name="Fast Repairs",
        technician=SEALED,
        arrival=arrival or window(4, 8),
        round=number,
    )


def declined(partner_id: str, number: int = 1) -> e.WorkOrderDeclined:
    return e.WorkOrderDeclined(partner_id=partner_id, reason="busy", round=number)


ALL_DECLINED = (declined(FAST), declined(SLOW))
HERE, DONE = e.TechnicianArrived(), e.WorkOrderCompleted(outcome="replaced")
CALLED_OFF = e.WorkOrderCancelled(reason="sold")
Decide = Callable[[WorkOrder], None]


def accept(partner_id: str = FAST, *, now: float = 1, arrival: e.VisitWindow | None = None) -> Decide:
    said = e.WorkOrderAccepted(partner_id=partner_id, partner_name="Fast Repairs", technician=SEALED, arrival=arrival)
    return lambda order: order.accept(said, now=at(now))


def decline(partner_id: str = FAST, *, now: float = 1) -> Decide:
    return lambda order: order.decline(partner_id, reason="busy", now=at(now))


def reoffer(*partner_ids: str, now: float = 1) -> Decide:
    return lambda order: order.reoffer(reoffered(0, *partner_ids), now=at(now))


def arrive(order: WorkOrder) -> None:
    order.arrive()


def complete(order: WorkOrder) -> None:
    order.complete(outcome="replaced")


def cancel(order: WorkOrder) -> None:
    order.cancel(reason="sold")


RECORDED: list[tuple[list[Message], Decide, Message]] = [
    ([], accept(), accepted()),
    ([], accept(SLOW), accepted(SLOW)),
    ([], accept(arrival=window(4, 4.5)), accepted(arrival=window(4, 4.5))),
    ([], accept(arrival=window(7, 8)), accepted(arrival=window(7, 8))),
    ([], accept(now=1.999), accepted()),
    ([declined(SLOW)], accept(), accepted()),
    ([*ALL_DECLINED, reoffered(2, THIRD)], accept(THIRD, now=5), accepted(THIRD, 2, window(24, 28))),
    ([*ALL_DECLINED, reoffered(2, FAST)], accept(FAST, now=5), accepted(FAST, 2, window(24, 28))),
    ([], decline(), declined(FAST)),
    ([declined(FAST)], decline(SLOW), declined(SLOW)),
    ([*ALL_DECLINED, reoffered(2, FAST)], decline(now=5), declined(FAST, 2)),
    (list(ALL_DECLINED), reoffer(THIRD), reoffered(2, THIRD)),
    ([], reoffer(THIRD, now=2), reoffered(2, THIRD)),
    ([declined(FAST)], reoffer(FAST, now=3), reoffered(2, FAST)),
    ([*ALL_DECLINED, reoffered(2, FAST), declined(FAST, 2)], reoffer(SLOW), reoffered(3, SLOW)),
    ([accepted()], arrive, HERE),
    ([accepted()], complete, DONE),
    ([accepted(), HERE], complete, DONE),
    ([], cancel, CALLED_OFF),
    (list(ALL_DECLINED), cancel, CALLED_OFF),
    ([accepted()], cancel, CALLED_OFF),
    ([accepted(), HERE], cancel, CALLED_OFF),
]
REPEATED: list[tuple[list[Message], Decide]] = [
    ([accepted(), HERE], arrive),
    ([accepted(), DONE], complete),
    ([CALLED_OFF], cancel),
]
TAKEN, GONE, UNTAKEN = "work-order-taken", "work-order-ended", "work-order-not-accepted"
REFUSED: list[tuple[Sequence[Message], Decide, str]] = [
    *(
        ([accepted()] + after, decide, TAKEN)
        for after in ([], [HERE])
        for decide in (accept(), accept(SLOW), accept(SLOW, now=3), decline(), decline(SLOW), reoffer(THIRD, now=3))
    ),
    *(
        (after, decide, GONE)
        for after in ([CALLED_OFF], [accepted(), CALLED_OFF], [accepted(), DONE])
        for decide in (accept(), decline(SLOW), reoffer(THIRD, now=3))
    ),
    *(([], answer(THIRD), "not-offered") for answer in (accept, decline)),
    *(([*ALL_DECLINED, reoffered(2, FAST)], answer(SLOW), "not-offered") for answer in (accept, decline)),
    *(([declined(FAST)], answer(FAST), "already-declined") for answer in (accept, decline)),
    *(([], answer(FAST, now=now), "offer-expired") for answer in (accept, decline) for now in (2, 2.001, 99)),
    ([], reoffer(THIRD), "offer-still-open"),
    ([declined(FAST)], reoffer(THIRD, now=1.999), "offer-still-open"),
    ([*ALL_DECLINED, reoffered(2, FAST)], reoffer(THIRD, now=5), "offer-still-open"),
    *((before, decide, UNTAKEN) for before in ([], list(ALL_DECLINED), [CALLED_OFF]) for decide in (arrive, complete)),
    ([accepted(), DONE], arrive, UNTAKEN),
    ([accepted(), DONE], lambda order: order.complete(outcome="another"), UNTAKEN),
    ([accepted(), DONE], cancel, GONE),
    *(
        ([], accept(arrival=window(*outside)), "invalid-argument")
        for outside in ((3, 4), (3.999, 5), (7, 8.001), (8, 9), (0, 99))
    ),
]


def test_a_work_order_is_offered_for_the_customer_of_its_case() -> None:
    order = given(WorkOrder).when(lambda order: order.offer(OFFERED)).then(OFFERED)

    assert (order.customer_id, order.round) == (OFFERED.customer_id, 1)


@pytest.mark.parametrize(("before", "decide", "event"), RECORDED)
def test_a_decision_is_recorded(before: list[Message], decide: Decide, event: Message) -> None:
    given(WorkOrder, OFFERED, *before).when(decide).then(event)


@pytest.mark.parametrize(("before", "decide"), REPEATED)
def test_what_is_so_already_is_not_recorded_again(before: list[Message], decide: Decide) -> None:
    given(WorkOrder, OFFERED, *before).when(decide).then_nothing()


@pytest.mark.parametrize(("before", "decide", "slug"), REFUSED)
def test_a_decision_is_refused(before: Sequence[Message], decide: Decide, slug: str) -> None:
    given(WorkOrder, OFFERED, *before).when(decide).then_refused(slug)


def test_who_comes_too_late_learns_who_has_it() -> None:
    refusal = given(WorkOrder, OFFERED, accepted()).when(accept(SLOW)).then_refused(TAKEN)

    assert refusal.facts == {"work_order": str(ID), "state": "accepted", "partner": FAST}


# Offers


def test_an_offer_expires_once_for_its_customer() -> None:
    expired = e.OfferExpired(work_order_id=str(ID), round=1)
    offer = given(Offer).when(lambda offer: offer.expire(expired, customer_id=OFFERED.customer_id)).aggregate

    assert [(event.body, event.customer_id) for event in offer.pending] == [(expired, OFFERED.customer_id)]
    given(Offer, expired).when(lambda offer: offer.expire(expired, customer_id=OFFERED.customer_id)).then_nothing()


def test_every_round_has_an_offer_of_its_own() -> None:
    orders = (UUID(FAST), UUID(SLOW))

    assert len({offer_id(order, number) for order in orders for number in (1, 2, 11)}) == 6
