"""Commands on customers against a real log: sealed, exactly once, refused without a trace."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kept.customer.v1 import events_pb2 as e
from kept.customer.v1 import service_pb2 as m

from services.kernel.config import read_settings
from services.kernel.errors import Invalid, KeptError, RequestIdReused
from services.kernel.house import House
from tests.databases import Cell
from tests.scene import UNKNOWN, Scene, at, edited, install_item, party, register_customer

MEGABYTE = "x" * 1_000_000
NUL = "a\0b"
PREFERENCES = e.Preferences(language="de", time_zone="Europe/Berlin", channels=[e.CHANNEL_EMAIL])
CONTACT = m.ContactInput(name="Bo Li", phones=["110"], email="bo@example.com")


@pytest.fixture
def scene(sqlite_house: House) -> Scene:
    return Scene(sqlite_house)


def types(scene: Scene) -> list[str]:
    return [event.record.type.removeprefix("kept.customer.v1.") for event in scene.recorded()]


# What is recorded


def test_a_customer_with_a_new_party_is_one_commit_of_two_streams(scene: Scene) -> None:
    receipt = scene.tell(register_customer(), minutes=3)
    registered, customer = scene.recorded()
    assert types(scene) == ["PartyRegistered", "CustomerRegistered"]
    assert registered.recorded_at == customer.recorded_at
    assert (receipt.id, receipt.version, receipt.position) == (customer.record.stream, 1, 2)
    assert customer.body == e.CustomerRegistered(party_id=registered.record.stream, stage=e.CUSTOMER_STAGE_ACTIVE)
    assert (registered.record.customer_id, customer.record.customer_id) == ("", receipt.id)
    assert registered.record.occurred_at == customer.record.occurred_at == at(3)
    assert (customer.record.actor, customer.record.tenant) == ("user:ana", "main")


def test_a_known_party_becomes_a_customer(scene: Scene) -> None:
    party_id = scene.tell(m.RegisterPartyRequest(party=party())).id
    receipt = scene.tell(m.RegisterCustomerRequest(party_id=party_id, stage=e.CUSTOMER_STAGE_PROSPECT))
    assert types(scene) == ["PartyRegistered", "CustomerRegistered"]
    assert scene.recorded()[1].body == e.CustomerRegistered(party_id=party_id, stage=e.CUSTOMER_STAGE_PROSPECT)
    assert receipt.id != party_id


def test_every_change_is_recorded_on_its_stream_with_its_customer(scene: Scene) -> None:
    customer_id = scene.customer()
    party_id = scene.recorded()[0].record.stream
    item_id = scene.tell(install_item(customer_id)).id
    changes: list[tuple[Message, str, str]] = [
        (m.ChangeContactRequest(party_id=party_id, contact=CONTACT), party_id, ""),
        (m.ChangePreferencesRequest(party_id=party_id, preferences=PREFERENCES), party_id, ""),
        (
            m.EnterStageRequest(customer_id=customer_id, stage=e.CUSTOMER_STAGE_DORMANT, reason="silent"),
            customer_id,
            customer_id,
        ),
        (m.GiveConsentRequest(customer_id=customer_id, purpose=e.CONSENT_PURPOSE_SAFETY), customer_id, customer_id),
        (m.WithdrawConsentRequest(customer_id=customer_id, purpose=e.CONSENT_PURPOSE_SAFETY), customer_id, customer_id),
        (m.EnterItemStageRequest(item_id=item_id, product_stage=e.PRODUCT_STAGE_DECLINE), item_id, customer_id),
        (m.RemoveItemRequest(item_id=item_id, reason="sold"), item_id, customer_id),
    ]
    for request, stream, concerned in changes:
        receipt = scene.tell(request)
        last = scene.recorded()[-1].record
        assert (receipt.id, last.stream, last.customer_id) == (stream, stream, concerned)
    assert types(scene) == [
        "PartyRegistered",
        "CustomerRegistered",
        "ItemInstalled",
        "ContactChanged",
        "PreferencesChanged",
        "CustomerStageEntered",
        "ConsentGiven",
        "ConsentWithdrawn",
        "ItemStageEntered",
        "ItemRemoved",
    ]


def test_the_same_request_again_gets_the_same_answer_and_is_recorded_once(scene: Scene) -> None:
    request = edited(register_customer(), {"request_id": "r-1"})
    first = scene.send(request)
    assert scene.send(request) == first
    assert len(scene.recorded()) == 2


def test_another_body_under_the_same_request_id_is_refused(scene: Scene) -> None:
    request = edited(register_customer(), {"request_id": "r-1"})
    scene.send(request)
    with pytest.raises(RequestIdReused):
        scene.send(edited(request, {"party.contact.name": "Somebody Else"}))
    assert len(scene.recorded()) == 2


def test_two_cells_make_the_same_ids_of_the_same_requests(sqlite_house: House, postgres_cell: Cell) -> None:
    other = postgres_cell.house()
    other.make()
    request = edited(register_customer(), {"request_id": "r-1"})
    assert Scene(sqlite_house).send(request) == Scene(other).send(request)
    other.close()


def test_what_says_nothing_new_is_answered_and_not_recorded(scene: Scene) -> None:
    customer_id = scene.customer()
    request = m.EnterStageRequest(customer_id=customer_id, stage=e.CUSTOMER_STAGE_ACTIVE, reason="again")
    receipt = scene.tell(request)
    assert (receipt.id, receipt.version, receipt.position) == (customer_id, 1, 2)
    assert len(scene.recorded()) == 2


# Sealing


def test_personal_data_is_sealed_for_its_place_and_opens_there(scene: Scene) -> None:
    customer_id = scene.customer()
    scene.tell(install_item(customer_id))
    registered, _, installed = scene.recorded()
    assert isinstance(registered.body, e.PartyRegistered)
    assert isinstance(installed.body, e.ItemInstalled)
    contact, site = registered.body.contact, installed.body.site
    party_id, item_id = registered.record.stream, installed.record.stream
    sealed = [contact.name, *contact.phones, contact.email]
    assert [one.field for one in sealed] == [
        "contact.name",
        "contact.phones[0]",
        "contact.phones[1]",
        "contact.email",
    ]
    assert {(one.subject, one.purpose, one.stream, one.type) for one in sealed} == {
        (party_id, "contact", party_id, "kept.customer.v1.PartyRegistered")
    }
    assert (site.subject, site.purpose, site.stream, site.type, site.field) == (
        customer_id,
        "site",
        item_id,
        "kept.customer.v1.ItemInstalled",
        "site",
    )
    open_ = scene.house.sealer.open
    said = party().contact
    assert [open_(one, stream=UUID(party_id)) for one in sealed] == [said.name, *said.phones, said.email]
    assert open_(site, stream=UUID(item_id)) == install_item(customer_id).site


def test_a_changed_contact_is_sealed_for_the_event_that_changed_it(scene: Scene) -> None:
    party_id = scene.tell(m.RegisterPartyRequest(party=party())).id
    scene.tell(m.ChangeContactRequest(party_id=party_id, contact=m.ContactInput(name="Bo Li")))
    changed = scene.recorded()[-1].body
    assert isinstance(changed, e.ContactChanged)
    assert (changed.contact.name.type, changed.contact.name.field) == (
        "kept.customer.v1.ContactChanged",
        "contact.name",
    )
    assert not changed.contact.phones
    assert not changed.contact.HasField("email")


def test_no_file_of_the_cell_holds_personal_data_in_the_clear(scene: Scene) -> None:
    customer_id = scene.customer()
    scene.tell(install_item(customer_id))
    scene.drain()
    secrets = [party().contact.name, *party().contact.phones, party().contact.email, install_item("").site]
    assert scene.found_in_files(secrets) == set()
    # The search itself finds what is open.
    assert scene.found_in_files(["Router R-1", "Asia/Shanghai"]) == {"Router R-1", "Asia/Shanghai"}


def test_after_an_erasure_nothing_more_is_sealed_for_that_person(scene: Scene) -> None:
    party_id = scene.tell(m.RegisterPartyRequest(party=party())).id
    scene.house.keys.destroy(UUID(party_id))
    scene.refused(m.ChangeContactRequest(party_id=party_id, contact=CONTACT), "subject-erased")


# Refusals leave no trace


def changes(customer_id: str, party_id: str, item_id: str) -> dict[str, Message]:
    """A good request of every kind."""
    return {
        "register_party": m.RegisterPartyRequest(party=party()),
        "register_customer": register_customer(),
        "register_known": m.RegisterCustomerRequest(party_id=party_id, stage=e.CUSTOMER_STAGE_ACTIVE),
        "change_contact": m.ChangeContactRequest(party_id=party_id, contact=CONTACT),
        "change_preferences": m.ChangePreferencesRequest(party_id=party_id, preferences=PREFERENCES),
        "enter_stage": m.EnterStageRequest(customer_id=customer_id, stage=e.CUSTOMER_STAGE_DORMANT, reason="silent"),
        "give_consent": m.GiveConsentRequest(customer_id=customer_id, purpose=e.CONSENT_PURPOSE_SERVICE),
        "withdraw_consent": m.WithdrawConsentRequest(customer_id=customer_id, purpose=e.CONSENT_PURPOSE_SERVICE),
        "install_item": install_item(customer_id),
        "enter_item_stage": m.EnterItemStageRequest(item_id=item_id, product_stage=e.PRODUCT_STAGE_DECLINE),
        "remove_item": m.RemoveItemRequest(item_id=item_id, reason="sold"),
    }


class Settled:
    """A customer with an item, and good requests about them that nobody has sent."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.customer_id = scene.customer()
        self.item_id = scene.tell(install_item(self.customer_id)).id
        self.party_id = scene.recorded()[0].record.stream
        self.good = changes(self.customer_id, self.party_id, self.item_id)


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settled]:
    """Shared, since every test that takes it leaves no trace."""
    house = House(read_settings({}, tmp_path_factory.mktemp("cell")))
    house.make()
    yield Settled(Scene(house))
    house.close()


REQUESTS = tuple(changes("", "", ""))
TEXTS: list[Any] = ["", "  ", "x" * 201, MEGABYTE, NUL]
OPTIONAL_TEXTS: list[Any] = [" ", "x" * 201, MEGABYTE, NUL]
REGIONS: list[Any] = [" ", "x" * 65, MEGABYTE, NUL]
ENUM: list[Any] = [0, 99, -1]
PHONES: list[Any] = [[""], ["office"], ["-"], ["1" * 33], ["1"] * 11, ["110", NUL], [MEGABYTE]]
EMAILS: list[Any] = ["ana", "@", "a@", "@b", "a@b@c", "a b@c", f"a@{'b' * 253}", NUL, "a@\0b", MEGABYTE]
LANGUAGES: list[Any] = ["", "german", "zh_CN", "x", NUL, MEGABYTE]
ZONES: list[Any] = ["", "Mars/Base", "../../etc/passwd", "Europe", "+08:00", NUL, MEGABYTE]
CHANNELS: list[Any] = [[0], [99], [e.CHANNEL_APP, e.CHANNEL_APP], [e.CHANNEL_SMS] * 100_000]
IDS: list[Any] = ["", "x", UNKNOWN.upper(), f"{{{UNKNOWN}}}", MEGABYTE, NUL]

BAD: list[tuple[str, str, list[Any]]] = [
    *((name, "request_id", ["", " ", "x" * 129, MEGABYTE, NUL]) for name in REQUESTS),
    *(
        (name, "occurred_at", [at(60 * 24 * 365 * 200), Timestamp(seconds=-1), Timestamp(nanos=-1)])
        for name in REQUESTS
    ),
    *(
        (name, f"party.{field}", values)
        for name in ("register_party", "register_customer")
        for field, values in (
            ("kind", ENUM),
            ("contact", [None]),
            ("contact.name", TEXTS),
            ("contact.phones", PHONES),
            ("contact.email", EMAILS),
            ("preferences", [None]),
            ("preferences.language", LANGUAGES),
            ("preferences.time_zone", ZONES),
            ("preferences.region", REGIONS),
            ("preferences.channels", CHANNELS),
        )
    ),
    ("register_customer", "stage", ENUM),
    ("register_customer", "party", [None]),
    ("register_known", "party_id", IDS),
    ("change_contact", "contact", [None]),
    ("change_contact", "contact.name", TEXTS),
    ("change_contact", "contact.phones", PHONES),
    ("change_contact", "contact.email", EMAILS),
    ("change_preferences", "preferences.language", LANGUAGES),
    ("change_preferences", "preferences.time_zone", ZONES),
    ("change_preferences", "preferences.region", REGIONS),
    ("change_preferences", "preferences.channels", CHANNELS),
    ("enter_stage", "stage", ENUM),
    ("enter_stage", "reason", TEXTS),
    ("give_consent", "purpose", ENUM),
    ("withdraw_consent", "purpose", ENUM),
    ("install_item", "customer_id", IDS),
    ("install_item", "product", TEXTS),
    ("install_item", "serial", OPTIONAL_TEXTS),
    ("install_item", "site", OPTIONAL_TEXTS),
    ("install_item", "region", REGIONS),
    ("install_item", "product_stage", [99, -1]),
    ("install_item", "warranty_until", [at(-1), at(0), Timestamp(seconds=2**62), Timestamp(seconds=2**40, nanos=-1)]),
    ("enter_item_stage", "product_stage", ENUM),
    ("remove_item", "reason", TEXTS),
]


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, path, _ in BAD])
def test_bad_input_names_its_field_and_leaves_no_trace(settled: Settled, name: str, path: str) -> None:
    scene, good = settled.scene, edited(settled.good[name], {"request_id": "r", "occurred_at": at(0)})
    (values,) = (values for *where, values in BAD if where == [name, path])
    before = scene.trace()
    for value in values:
        with pytest.raises(Invalid) as caught:
            scene.send(edited(good, {path: value}))
        named = caught.value.field
        assert named == "of" if path == "party" else named.startswith(path), (value, named)
        assert len(str(caught.value)) < 300  # what was sent is not sent back
    assert scene.trace() == before


def test_the_good_requests_are_good(scene: Scene) -> None:
    settled = Settled(scene)
    for name, good in settled.good.items():
        before = scene.house.log.position()
        assert scene.tell(good).position > before, name


def test_the_limits_themselves_are_allowed(scene: Scene) -> None:
    longest = {
        "party.contact.name": "x" * 200,
        "party.contact.phones": ["1" * 32] * 10,
        "party.contact.email": f"a@{'b' * 252}",
        "party.preferences.region": "x" * 64,
        "party.preferences.channels": [number for _, number in e.Channel.items() if number],
        "request_id": "x" * 128,
    }
    assert scene.send(edited(register_customer(), longest)).receipt.version == 1
    least = {"party.contact.phones": [], "party.contact.email": "", "party.preferences.region": ""}
    assert scene.tell(edited(register_customer(), {**least, "party.preferences.channels": []})).version == 1


@pytest.mark.parametrize(
    ("name", "path", "slug"),
    [
        ("register_known", "party_id", "party-not-found"),
        ("change_contact", "party_id", "party-not-found"),
        ("change_preferences", "party_id", "party-not-found"),
        ("enter_stage", "customer_id", "customer-not-found"),
        ("give_consent", "customer_id", "customer-not-found"),
        ("withdraw_consent", "customer_id", "customer-not-found"),
        ("install_item", "customer_id", "customer-not-found"),
        ("enter_item_stage", "item_id", "item-not-found"),
        ("remove_item", "item_id", "item-not-found"),
    ],
)
def test_what_is_not_there_is_not_found(settled: Settled, name: str, path: str, slug: str) -> None:
    good = settled.good[name]
    ids = {settled.customer_id, settled.party_id, settled.item_id} - {str(getattr(good, path))}
    for other in (UNKNOWN, *ids):  # nobody's, or another kind's
        assert settled.scene.refused(edited(good, {path: other}), slug).status == "NOT_FOUND"
    other_tenant = Scene(settled.scene.house, tenant="south")
    other_tenant.refused(good, slug)


@pytest.mark.parametrize("name", [name for name in REQUESTS if name not in ("register_known", "install_item")])
def test_an_id_that_is_none_leaves_no_trace(settled: Settled, name: str) -> None:
    good, before = settled.good[name], settled.scene.trace()
    for path in {"party_id", "customer_id", "item_id"} & {field.name for field, _ in good.ListFields()}:
        for value in IDS[:2] + IDS[4:]:
            with pytest.raises(KeptError) as caught:
                settled.scene.tell(edited(good, {path: value}))
            assert caught.value.status == "INVALID_ARGUMENT"
    assert settled.scene.trace() == before


def test_stages_out_of_reach_are_refused(settled: Settled) -> None:
    wanted = {"stage": e.CUSTOMER_STAGE_WON_BACK}
    settled.scene.refused(edited(settled.good["enter_stage"], wanted), "stage-not-reachable")
    settled.scene.refused(edited(register_customer(), wanted), "stage-not-reachable")
    settled.scene.refused(edited(settled.good["register_known"], wanted), "stage-not-reachable")


def test_a_removed_item_stays_removed(scene: Scene) -> None:
    settled = Settled(scene)
    scene.tell(settled.good["remove_item"])
    scene.refused(settled.good["remove_item"], "item-removed")
    scene.refused(settled.good["enter_item_stage"], "item-removed")


def test_a_refused_request_id_can_be_used_for_the_corrected_request(scene: Scene) -> None:
    request = edited(register_customer(), {"request_id": "r-1"})
    with pytest.raises(Invalid):
        scene.send(edited(request, {"party.contact.name": ""}))
    assert scene.send(request).receipt.version == 1
