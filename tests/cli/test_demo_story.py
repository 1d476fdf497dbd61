"""What the demo tells: the same for the same seed, nothing before its time, and nobody asked who may not be."""

from collections import defaultdict

import pytest
from kept.partner_network.v1 import events_pb2 as partner_events

from services.cli.demo.company import EAST, GATEWAY, PRODUCTS, REPAIR, Company, founded
from services.cli.demo.customers import all_customers
from services.cli.demo.names import CHINESE
from services.cli.demo.outage import BEGAN, DAY, OPENED, REALLY
from services.cli.demo.places import AREAS
from services.cli.demo.script import DAYS, FIRST_DAY, GRID, ZONE, at_work, day, on_grid
from services.cli.demo.story import Size
from tests.cli.telling import Agreeable, Told, told

# Which commands of a case may come after which; the first row is how it begins.
AFTER = {
    "": {"Open"},
    "Open": {"Acknowledge"},
    "Acknowledge": {"Assign"},
    "working": {"Assign", "AddNote", "Hold", "Resolve", "LinkCase"},
    "Hold": {"Resume"},
    "Resolve": {"Close", "Reopen"},
    "Reopen": {"Resolve"},
    "Close": set(),
}


@pytest.fixture(scope="module")
def whole() -> Agreeable:
    """Sixty days of a fifth of the customers."""
    return told(1, Size(customers=400, days=DAYS))[1]


def test_the_same_seed_tells_the_same() -> None:
    assert _by_stream(told(1)[1]) == _by_stream(told(1)[1])


def test_another_seed_tells_something_else() -> None:
    one, other = (
        [(listener.told[at].now, listener.told[at].method) for at in range(-50, 0)] + _names(listener)
        for listener in (told(1)[1], told(2)[1])
    )

    assert len(one) == len(other)  # request ids hold the seed, and would differ anyway
    assert sum(mine == its for mine, its in zip(one, other, strict=True)) < len(one) / 2


def test_nothing_is_told_before_its_time_and_what_happens_is_told_at_once(whole: Agreeable) -> None:
    since = FIRST_DAY.timestamp()
    late = [one for one in whole.told if one.now > since and one.request.occurred_at.seconds != one.now]
    future = [one for one in whole.told if one.request.occurred_at.seconds > one.now]

    assert (late, future) == ([], [])
    assert {one.now % GRID.total_seconds() for one in whole.told} == {0}


def test_request_ids_are_given_once(whole: Agreeable) -> None:
    ids = [one.request.request_id for one in whole.told]

    assert len(ids) == len(set(ids))


def test_the_commands_of_a_case_are_in_an_order_that_its_states_allow(whole: Agreeable) -> None:
    cases = _cases(whole)
    for commands in cases.values():
        before = ""
        for one in commands:
            assert one.method in AFTER.get(before, AFTER["working"]), [each.method for each in commands]
            before = one.method
        times = [one.now for one in commands]
        assert times == sorted(times)
    assert len(cases) > 120


def test_a_case_is_told_in_the_order_of_its_own_times(whole: Agreeable) -> None:
    closed = [commands for commands in _cases(whole).values() if commands[-1].method == "Close"]

    for commands in closed:
        at = [one.request.occurred_at.seconds for one in commands]
        assert at == sorted(at)
        assert at[-1] - at[-2] >= 5 * 86_400  # as the measured log closes
    assert len(closed) > 80


def test_forty_partners_cover_every_district_for_every_product() -> None:
    company = founded(1, "")
    states = [one.state for one in company.partners]

    assert len(states) == 40
    assert states.count(partner_events.ADMISSION_STATE_PROBATION) == 1
    assert sum(one.suspended_at is not None for one in company.partners) == 1
    assert len({one.name for one in company.partners}) == 40
    assert _uncovered(company) < 10  # "no coverage" is an answer too


def test_who_is_suspended_is_not_asked(whole: Agreeable) -> None:
    suspended = next(one for one in whole.told if one.method == "DecideAdmission" and one.now > FIRST_DAY.timestamp())
    asked_before: list[str] = []
    asked_after: list[str] = []
    for one in whole.told:
        if "Offer" in one.method or "Reoffer" in one.method:
            asked = asked_after if one.now >= suspended.now else asked_before
            asked.extend(one.request.partner_ids)

    assert suspended.request.state == partner_events.ADMISSION_STATE_SUSPENDED
    assert suspended.request.partner_id not in asked_after
    assert len(asked_after) > 20


def test_an_offer_is_answered_before_it_expires_or_made_again_after(whole: Agreeable) -> None:
    rounds, expired = 0, 0
    for commands in _orders(whole).values():
        expires = 0
        for one in commands:
            if one.method in ("OfferWorkOrder", "ReofferWorkOrder"):
                expired += one.method == "ReofferWorkOrder" and one.now >= expires > 0
                expires = one.request.expires_at.seconds
                assert one.now < expires < getattr(one.request.window, "from").seconds
                rounds += 1
            elif one.method in ("AcceptWorkOrder", "DeclineWorkOrder"):
                assert one.now < expires
    assert rounds > 40
    assert expired > 3


def test_the_outage_is_called_in_before_it_is_known_by_those_it_touches(whole: Agreeable) -> None:
    opened = next(one for one in whole.told if one.method == "OpenProblem")
    linked = {one.request.case_id for one in whole.told if one.method == "LinkCase"}
    calls = [one for commands in _cases(whole).values() for one in commands[:1] if _id(one) in linked]
    early = [one for one in calls if one.now < opened.now]

    assert opened.now == (day(DAY) + OPENED).timestamp()
    assert opened.tenant == EAST
    assert all(one.now >= (day(DAY) + BEGAN).timestamp() for one in calls)
    assert {one.request.region[:4] + "00" for one in calls} <= set(REALLY)
    assert {one.request.product_stage for one in calls} == {GATEWAY.stage}
    assert len(early) > len(calls) - len(early) > 0


def test_customers_have_names_of_their_language_and_a_few_withdrew() -> None:
    everybody = all_customers(1, 2000)
    chinese = [one for one in everybody if one.named.language == CHINESE]

    assert all("一" <= one.named.name[0] <= "鿿" for one in chinese)
    assert all(one.named.name.replace("'", "").replace(" ", "").isascii() for one in everybody if one not in chinese)
    assert 0.75 < len(chinese) / len(everybody) < 0.85
    assert all(item.installed_at < FIRST_DAY for one in everybody for item in one.items)
    assert {one.tenant for one in everybody} == set(AREAS)


def test_people_work_from_monday_to_saturday() -> None:
    saturday_night, sunday, monday = day(5, 23), day(6, 11), day(7, 8, 30)

    assert at_work(saturday_night) == at_work(sunday) == monday
    assert at_work(monday) == monday
    assert at_work(day(7, 3)) == monday
    assert at_work(day(7, 17, 59)) == day(7, 17, 59)
    assert at_work(day(7, 18)) == day(8, 8, 30)


def test_the_grid_rounds_up() -> None:
    assert on_grid(day(0, 9)) == day(0, 9)
    assert on_grid(day(0, 9, 1)) == day(0, 9, 30)
    assert on_grid(day(0, 9, 1)).tzinfo == ZONE


def _by_stream(listener: Agreeable) -> dict[str, list[bytes]]:
    """What each script told, in its order; beside one another they may come in any."""
    streams: dict[str, list[bytes]] = defaultdict(list)
    for one in listener.told:
        told = f"{one.now} {one.tenant} {one.actor} {one.method} ".encode()
        streams[one.request.request_id.rsplit(":", 1)[0]].append(
            told + one.request.SerializeToString(deterministic=True)
        )
    return streams


def _names(listener: Agreeable) -> list[str]:
    registered = [one for one in listener.told if one.method == "RegisterCustomer"]
    return [one.request.party.contact.name for one in sorted(registered, key=lambda one: one.request.request_id)]


def _cases(listener: Agreeable) -> dict[str, list[Told]]:
    cases: dict[str, list[Told]] = defaultdict(list)
    for one in listener.told:
        if one.service == "case" and "Problem" not in one.method and one.method != "FindRootCause":
            cases[_id(one)].append(one)
    return cases


def _orders(listener: Agreeable) -> dict[str, list[Told]]:
    orders: dict[str, list[Told]] = defaultdict(list)
    for one in listener.told:
        if one.method.endswith("WorkOrder"):
            orders[getattr(one.request, "work_order_id", "") or _made(one)].append(one)
    return orders


def _id(one: Told) -> str:
    return _made(one) if one.method == "Open" else str(one.request.case_id)


def _made(one: Told) -> str:
    from uuid import NAMESPACE_URL, uuid5

    return str(uuid5(NAMESPACE_URL, one.request.request_id))


def _uncovered(company: Company) -> int:
    return sum(
        not company.helpers(tenant, area.code, product.name, REPAIR, FIRST_DAY)
        for tenant, areas in AREAS.items()
        for area in areas
        for product in PRODUCTS
    )
