"""A customer at a glance, and the timeline: after a scripted history, paged, rebuilt, and what of an event it tells."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid5

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kept.case.v1 import service_pb2 as case_service
from kept.customer.v1 import events_pb2 as e
from kept.customer.v1 import service_pb2 as m
from kept.sla.v1 import events_pb2 as sla

from services.customer import views
from services.kernel.database import SQLite
from services.kernel.errors import Invalid
from services.kernel.events import event_classes, event_id
from services.kernel.house import House
from services.kernel.paging import make_token
from tests.scene import (
    UNKNOWN,
    Scene,
    Told,
    at,
    edited,
    follow,
    install_item,
    logged,
    lost_deal,
    party,
    register_customer,
    rows,
)

NAMES = uuid5(UUID(UNKNOWN), "test")


@pytest.fixture
def scene(sqlite_house: House) -> Scene:
    return Scene(sqlite_house)


@pytest.fixture
def both(house: House) -> Scene:
    """On SQLite and on PostgreSQL."""
    return Scene(house)


def get(scene: Scene, customer_id: str) -> m.GetCustomerResponse:
    scene.drain()
    answer = scene.send(m.GetCustomerRequest(customer_id=customer_id))
    assert isinstance(answer, m.GetCustomerResponse)
    return answer


def timeline(scene: Scene, customer_id: str, **wanted: Any) -> list[m.TimelineItem]:
    scene.drain()
    answer = scene.send(m.GetTimelineRequest(customer_id=customer_id, page_size=100, **wanted))
    assert answer.next_page_token == ""
    return list(answer.items)


def types(items: list[m.TimelineItem]) -> list[str]:
    return [item.type.rpartition(".")[2] for item in items]


# One customer


def test_a_registered_customer_is_shown_with_the_contact_opened(scene: Scene) -> None:
    receipt = scene.tell(register_customer())
    party_id = scene.recorded()[0].record.stream
    said = party()
    assert get(scene, receipt.id) == m.GetCustomerResponse(
        customer_id=receipt.id,
        party_id=party_id,
        kind=said.kind,
        stage=e.CUSTOMER_STAGE_ACTIVE,
        contact=said.contact,
        preferences=said.preferences,
    )


def test_each_change_shows(both: Scene) -> None:
    scene, customer_id = both, both.customer()
    party_id = scene.recorded()[0].record.stream
    contact = m.ContactInput(name="Bo Li", phones=["110"])
    preferences = e.Preferences(language="de", time_zone="Europe/Berlin")
    wins = e.CUSTOMER_STAGE_CHURNED, e.CUSTOMER_STAGE_WON_BACK
    marketing, service = e.CONSENT_PURPOSE_MARKETING, e.CONSENT_PURPOSE_SERVICE
    installed = scene.tell(install_item(customer_id), minutes=4)
    bare = scene.tell(m.InstallItemRequest(customer_id=customer_id, product="Cable"), minutes=3)
    said = install_item(customer_id)
    router = m.Item(
        item_id=installed.id,
        product=said.product,
        serial=said.serial,
        site=said.site,
        region=said.region,
        product_stage=said.product_stage,
        installed_at=at(4),
        warranty_until=said.warranty_until,
    )
    cable = m.Item(item_id=bare.id, product="Cable", installed_at=at(3))
    declined = edited(router, {"product_stage": e.PRODUCT_STAGE_DECLINE})
    steps: list[tuple[Any, dict[str, Any]]] = [
        (m.ChangeContactRequest(party_id=party_id, contact=contact), {"contact": contact}),
        (m.ChangePreferencesRequest(party_id=party_id, preferences=preferences), {"preferences": preferences}),
        (m.EnterStageRequest(customer_id=customer_id, stage=wins[0], reason="r"), {"stage": wins[0]}),
        (m.EnterStageRequest(customer_id=customer_id, stage=wins[1], reason="r"), {"stage": wins[1]}),
        (m.GiveConsentRequest(customer_id=customer_id, purpose=marketing), {"consents": [marketing]}),
        (m.GiveConsentRequest(customer_id=customer_id, purpose=service), {"consents": [service, marketing]}),
        (m.WithdrawConsentRequest(customer_id=customer_id, purpose=marketing), {"consents": [service]}),
        (m.GiveConsentRequest(customer_id=customer_id, purpose=marketing), {"consents": [service, marketing]}),
        (
            m.EnterItemStageRequest(item_id=router.item_id, product_stage=e.PRODUCT_STAGE_DECLINE),
            {"items": [cable, declined]},
        ),
        (m.RemoveItemRequest(item_id=cable.item_id, reason="r"), {"items": [declined]}),
    ]
    shown = get(scene, customer_id)
    assert list(shown.items) == [cable, router]
    for request, changes in steps:
        scene.tell(request)
        expected = edited(shown, changes)
        shown = get(scene, customer_id)
        assert shown == expected, request


def test_a_party_is_each_of_its_customers(scene: Scene) -> None:
    party_id = scene.tell(m.RegisterPartyRequest(party=party())).id
    ids = [
        scene.tell(m.RegisterCustomerRequest(party_id=party_id, stage=e.CUSTOMER_STAGE_PROSPECT)).id for _ in range(2)
    ]
    scene.tell(m.ChangeContactRequest(party_id=party_id, contact=m.ContactInput(name="Bo Li")))
    assert [get(scene, customer_id).contact.name for customer_id in ids] == ["Bo Li", "Bo Li"]


def test_an_erased_contact_is_shown_as_erased(scene: Scene) -> None:
    customer_id = scene.customer()
    scene.tell(install_item(customer_id))
    scene.house.keys.destroy(UUID(scene.recorded()[0].record.stream))
    shown = get(scene, customer_id)
    assert (shown.contact, shown.erased) == (m.ContactInput(), True)
    assert shown.preferences.language == "zh-CN"
    assert [item.site for item in shown.items] == [install_item("").site]  # kept for another purpose, under another key
    scene.house.keys.destroy(UUID(customer_id))
    assert [item.site for item in get(scene, customer_id).items] == [""]


@pytest.mark.parametrize("request_type", [m.GetCustomerRequest, m.GetTimelineRequest])
def test_an_unknown_customer_is_not_found(scene: Scene, request_type: Any) -> None:
    customer_id = scene.customer()
    scene.drain()
    scene.refused_read(request_type(customer_id=UNKNOWN), "customer-not-found")
    Scene(scene.house, tenant="south").refused_read(request_type(customer_id=customer_id), "customer-not-found")
    for bad in ("", "x", UNKNOWN.upper(), "a\0"):
        scene.refused_read(request_type(customer_id=bad), "invalid-argument")


# Timeline


class History:
    """One customer of a party from before, a case with a clock, and another customer who is nobody's concern here."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        party_id = scene.tell(m.RegisterPartyRequest(party=party()), minutes=0).id
        known = m.RegisterCustomerRequest(party_id=party_id, stage=e.CUSTOMER_STAGE_PROSPECT)
        self.customer_id = scene.tell(known, minutes=1).id
        self.sibling_id = scene.tell(known, minutes=2).id
        stranger = scene.customer(minutes=3)
        scene.case(stranger, minutes=3)
        self.case_id = scene.case(self.customer_id, minutes=4)
        self.clock_id = uuid5(UUID(self.case_id), "clock")
        armed = sla.ClockArmed(
            case_id=self.case_id, target=sla.TARGET_KIND_TIME_TO_OWN, pins=sla.Pins(policy="gold"), due_at=at(64)
        )
        published = sla.CalendarPublished(name="weekdays", version=1)
        scene.append(Told(self.clock_id, [armed], self.customer_id), Told(NAMES, [published]), minutes=4)
        assign = case_service.AssignRequest(case_id=self.case_id, team="north")
        scene.tell(edited(assign, {"occurred_at": at(9)}))
        scene.tell(m.ChangeContactRequest(party_id=party_id, contact=m.ContactInput(name="Bo Li")), minutes=6)
        # Learnt late: it was true before most of the rest.
        scene.tell(m.GiveConsentRequest(customer_id=self.customer_id, purpose=e.CONSENT_PURPOSE_SAFETY), minutes=2)
        scene.drain()


def test_the_timeline_is_everything_that_happened_newest_first(both: Scene) -> None:
    history = History(both)
    items = timeline(both, history.customer_id)
    assert types(items) == [
        "CaseAssigned",
        "ContactChanged",
        "ClockArmed",
        "CaseOpened",
        "ConsentGiven",
        "CustomerRegistered",
        "PartyRegistered",
    ]
    assert [item.occurred_at for item in items] == [at(minutes) for minutes in (9, 6, 4, 4, 2, 1, 0)]
    assert types(timeline(both, history.sibling_id)) == ["ContactChanged", "CustomerRegistered", "PartyRegistered"]
    armed = items[2]
    assert armed == m.TimelineItem(
        event_id=event_id(history.clock_id, 1),
        position=armed.position,
        type="kept.sla.v1.ClockArmed",
        stream=str(history.clock_id),
        occurred_at=at(4),
        actor="policy:test@1",
        facts={
            "case_id": history.case_id,
            "target": "time_to_own",
            "pins.policy": "gold",
            "due_at": "2024-05-06T09:04:00Z",
        },
    )
    by_position = {event.position: event.record for event in both.recorded()}
    assert [(item.event_id, item.stream, item.actor) for item in items] == [
        (record.id, record.stream, record.actor) for record in (by_position[item.position] for item in items)
    ]


def test_the_timeline_opens_what_was_said_and_no_contact(scene: Scene) -> None:
    history = History(scene)
    scene.tell(install_item(history.customer_id), minutes=10)
    items = timeline(scene, history.customer_id)
    opened = next(item for item in items if item.type == "kept.case.v1.CaseOpened")
    assert dict(opened.texts) == {"need": "A line that works again", "urgency": "The shop cannot take payments"}
    assert {item.type for item in items if item.texts} == {"kept.case.v1.CaseOpened"}
    told = "".join(str(item) for item in items)
    secrets = [party().contact.name, "Bo Li", *party().contact.phones, party().contact.email, install_item("").site]
    assert [secret for secret in secrets if secret in told] == []


def test_erased_words_are_left_out_of_the_timeline(scene: Scene) -> None:
    history = History(scene)
    scene.house.keys.destroy(UUID(history.customer_id))
    items = timeline(scene, history.customer_id)
    assert "CaseOpened" in types(items)
    assert [dict(item.texts) for item in items if item.texts] == []


def pages(scene: Scene, customer_id: str, size: int) -> Iterator[list[int]]:
    request = m.GetTimelineRequest(customer_id=customer_id, page_size=size)
    while True:
        answer = scene.send(request)
        yield [item.position for item in answer.items]
        request.page_token = answer.next_page_token
        if not request.page_token:
            return


def test_pages_of_every_size_hold_every_event_once_and_in_order(both: Scene) -> None:
    history = History(both)
    whole = [item.position for item in timeline(both, history.customer_id)]
    for size in range(1, len(whole) + 2):
        got = list(pages(both, history.customer_id, size))
        assert [position for page in got for position in page] == whole
        assert all(len(page) == size for page in got[:-1])
        assert 0 < len(got[-1]) <= size


def test_what_happens_meanwhile_moves_no_page(scene: Scene) -> None:
    history = History(scene)
    whole = [item.position for item in timeline(scene, history.customer_id)]
    pages_ = pages(scene, history.customer_id, 2)
    got = next(pages_)
    scene.tell(m.EnterStageRequest(customer_id=history.customer_id, stage=e.CUSTOMER_STAGE_ACTIVE, reason="r"), 20)
    scene.drain()
    assert got + [position for page in pages_ for position in page] == whole


@settings(max_examples=60, deadline=None)
@given(
    minutes=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["customer", "party", "other"])), max_size=40),
    size=st.integers(1, 41),
)
def test_paging_over_any_times_has_no_gap_and_no_repeat(minutes: list[tuple[int, str]], size: int) -> None:
    database = SQLite(":memory:")
    views.VIEWS.migrate(database)
    ids = {name: uuid5(NAMES, name) for name in ("customer", "party", "other")}
    expected = []
    with database.write() as session:
        for position, (minute, whose) in enumerate(minutes, 1):
            if whose == "party":
                changed = e.PreferencesChanged(preferences=e.Preferences(language="de"))
                event = logged(ids["party"], changed, position=position, minutes=minute)
            else:
                owner = str(ids[whose])
                event = logged(NAMES, sla.ThresholdReached(), position=position, customer_id=owner, minutes=minute)
            views.apply(session, event)
            if whose != "other":
                expected.append((minute, position))
    got: list[int] = []
    request = m.GetTimelineRequest(page_size=size)
    with database.read() as session:
        while True:
            positions, request.page_token = views.timeline(session, (ids["customer"], ids["party"]), request)
            got.extend(positions)
            if not request.page_token:
                break
    assert got == [position for _, position in sorted(expected, reverse=True)]


def test_a_bad_page_request_names_its_field(both: Scene) -> None:
    customer_id = both.customer()
    both.drain()
    bad: dict[str, list[Any]] = {
        "page_size": [-1, 101],
        "page_token": ["x", "é", make_token(1), make_token(1, "b"), make_token(2**70, 1), make_token(1, 2**70)],
    }
    for path, values in bad.items():
        for value in values:
            with pytest.raises(Invalid) as caught:
                both.send(edited(m.GetTimelineRequest(customer_id=customer_id), {path: value}))
            assert caught.value.field == path


# Rebuilding


def test_rebuilt_rows_equal_the_live_ones_in_batches_of_any_size(both: Scene) -> None:
    history = History(both)
    both.tell(install_item(history.customer_id))
    both.tell(lost_deal(history.customer_id))
    both.drain()
    live = rows(views.VIEWS, both.house.views_database("customer"))
    assert {name: len(found) for name, found in live.items()} == {
        "party_row": 2,
        "party_phone": 2,
        "customer_row": 3,
        "customer_consent": 1,
        "item_row": 1,
        "customer_deal": 1,
        "customer_event": 13,
    }
    for batch in (1, 3, 500):
        fresh = both.house.database(f"views_rebuilt_{batch}")
        views.VIEWS.migrate(fresh)
        follow(both.house, views.VIEWS, fresh, batch)
        assert rows(views.VIEWS, fresh) == live


def test_every_event_but_the_cells_own_is_read() -> None:
    assert {name for name in event_classes() if name not in views.VIEWS.reads} == {
        name for name in event_classes() if name.startswith("kept.cell.")
    }
