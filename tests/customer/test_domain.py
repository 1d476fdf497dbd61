"""Parties, customers and items: what is recorded, what is refused, what says nothing new."""

from uuid import UUID

import pytest
from kept.common.v1.sealed_pb2 import Sealed
from kept.customer.v1 import events_pb2 as e

from services.customer.domain import NEXT_STAGES, Customer, Deal, Item, Party
from tests.given import ID, given

PARTY = UUID("0b9c7a52-6d6b-5c1e-9d3a-2f6c8a1e4b70")
CONTACT = e.Contact(name=Sealed(subject=str(PARTY), field="contact.name", ciphertext=b"..."))
CHINESE = e.Preferences(language="zh-CN", time_zone="Asia/Shanghai", region="310000", channels=[e.CHANNEL_WECHAT])
GERMAN = e.Preferences(language="de", time_zone="Europe/Berlin", channels=[e.CHANNEL_EMAIL, e.CHANNEL_PHONE])
PERSON = e.PartyRegistered(kind=e.PARTY_KIND_INDIVIDUAL, contact=CONTACT, preferences=CHINESE)
ACTIVE = e.CustomerRegistered(party_id=str(PARTY), stage=e.CUSTOMER_STAGE_ACTIVE)
ROUTER = e.ItemInstalled(customer_id=str(PARTY), product="R-1", product_stage=e.PRODUCT_STAGE_LAUNCH)

# Party


def test_a_party_is_registered() -> None:
    party = given(Party).when(lambda party: party.register(PERSON)).then(PERSON)
    assert (party.preferences, party.customer_id) == (CHINESE, "")


def test_a_contact_is_recorded_whenever_it_is_said_because_sealed_data_is_not_compared() -> None:
    changed = e.ContactChanged(contact=CONTACT)
    given(Party, PERSON).when(lambda party: party.change_contact(CONTACT)).then(changed)
    given(Party, PERSON, changed).when(lambda party: party.change_contact(CONTACT)).then(changed)


def test_preferences_are_recorded_when_they_differ() -> None:
    changed = e.PreferencesChanged(preferences=GERMAN)
    given(Party, PERSON).when(lambda party: party.change_preferences(GERMAN)).then(changed)
    given(Party, PERSON).when(lambda party: party.change_preferences(CHINESE)).then_nothing()
    given(Party, PERSON, changed).when(lambda party: party.change_preferences(GERMAN)).then_nothing()


def test_another_order_of_channels_is_another_preference() -> None:
    turned = e.Preferences(language="de", time_zone="Europe/Berlin", channels=[e.CHANNEL_PHONE, e.CHANNEL_EMAIL])
    before = (PERSON, e.PreferencesChanged(preferences=GERMAN))
    given(Party, *before).when(lambda party: party.change_preferences(turned)).then(
        e.PreferencesChanged(preferences=turned)
    )


# Customer

# yes: entered; same: already there, nothing to record; no: stage-not-reachable. Rows are where the customer is.
STAGES = """
          prospect active dormant churned won_back
prospect  same     yes    no      yes     no
active    no       same   yes     yes     no
dormant   no       yes    same    yes     no
churned   no       no     no      same    yes
won_back  no       yes    yes     yes     same
"""


def stage(name: str) -> e.CustomerStage.ValueType:
    return e.CustomerStage.Value(f"CUSTOMER_STAGE_{name.upper()}")


def stage_changes() -> list[tuple[str, str, str]]:
    names, *rows = (line.split() for line in STAGES.strip().splitlines())
    return [(now, wanted, word) for now, *words in rows for wanted, word in zip(names, words, strict=True)]


def test_the_table_has_every_stage() -> None:
    every = {number for _, number in e.CustomerStage.items() if number}
    assert {(stage(now), stage(wanted)) for now, wanted, _ in stage_changes()} == {(a, b) for a in every for b in every}
    assert set(NEXT_STAGES) == every | {e.CUSTOMER_STAGE_UNSPECIFIED}


@pytest.mark.parametrize(("now", "wanted", "word"), stage_changes())
def test_from_every_stage_to_every_stage(now: str, wanted: str, word: str) -> None:
    entered = e.CustomerStageEntered(stage=stage(now), reason="before")
    decided = given(Customer, ACTIVE, entered).when(lambda customer: customer.enter_stage(stage(wanted), reason="r"))
    if word == "yes":
        decided.then(e.CustomerStageEntered(stage=stage(wanted), reason="r"))
    elif word == "same":
        decided.then_nothing()
    else:
        refusal = decided.then_refused("stage-not-reachable")
        assert refusal.status == "FAILED_PRECONDITION"
        words = {"stage": now.replace("_", " "), "wanted": wanted.replace("_", " ")}
        assert refusal.facts == {"customer": str(ID), **words}


@pytest.mark.parametrize("first", ["prospect", "active"])
def test_a_customer_begins_as_prospect_or_active(first: str) -> None:
    registered = e.CustomerRegistered(party_id=str(PARTY), stage=stage(first))
    customer = given(Customer).when(lambda new: new.register(party_id=PARTY, stage=stage(first))).then(registered)
    assert (customer.customer_id, customer.stage) == (str(ID), stage(first))


@pytest.mark.parametrize("first", ["dormant", "churned", "won_back"])
def test_nobody_begins_later_than_that(first: str) -> None:
    decided = given(Customer).when(lambda customer: customer.register(party_id=PARTY, stage=stage(first)))
    decided.then_refused("stage-not-reachable")


MARKETING, SAFETY = e.CONSENT_PURPOSE_MARKETING, e.CONSENT_PURPOSE_SAFETY
YES, NO = e.ConsentGiven(purpose=MARKETING), e.ConsentWithdrawn(purpose=MARKETING)


def test_consent_is_given_and_withdrawn_and_given_again() -> None:
    given(Customer, ACTIVE).when(lambda customer: customer.give_consent(MARKETING)).then(YES)
    given(Customer, ACTIVE, YES).when(lambda customer: customer.withdraw_consent(MARKETING)).then(NO)
    given(Customer, ACTIVE, YES, NO).when(lambda customer: customer.give_consent(MARKETING)).then(YES)


def test_consent_said_again_is_not_recorded_again() -> None:
    given(Customer, ACTIVE, YES).when(lambda customer: customer.give_consent(MARKETING)).then_nothing()
    given(Customer, ACTIVE, YES, NO).when(lambda customer: customer.withdraw_consent(MARKETING)).then_nothing()


def test_a_no_without_a_yes_before_is_recorded_once() -> None:
    given(Customer, ACTIVE).when(lambda customer: customer.withdraw_consent(MARKETING)).then(NO)
    given(Customer, ACTIVE, NO).when(lambda customer: customer.withdraw_consent(MARKETING)).then_nothing()


def test_each_purpose_has_its_own_consent() -> None:
    safety = e.ConsentGiven(purpose=SAFETY)
    given(Customer, ACTIVE, NO).when(lambda customer: customer.give_consent(SAFETY)).then(safety)


# Item

REMOVED = e.ItemRemoved(reason="sold")


def test_an_item_is_installed_for_its_customer() -> None:
    item = given(Item).when(lambda item: item.install(ROUTER)).then(ROUTER)
    assert (item.customer_id, item.product_stage) == (str(PARTY), e.PRODUCT_STAGE_LAUNCH)


def test_an_items_product_enters_another_stage_once() -> None:
    mature = e.ItemStageEntered(product_stage=e.PRODUCT_STAGE_MATURE)
    given(Item, ROUTER).when(lambda item: item.enter_stage(e.PRODUCT_STAGE_MATURE)).then(mature)
    given(Item, ROUTER, mature).when(lambda item: item.enter_stage(e.PRODUCT_STAGE_MATURE)).then_nothing()
    given(Item, ROUTER).when(lambda item: item.enter_stage(e.PRODUCT_STAGE_LAUNCH)).then_nothing()


def test_an_item_is_removed_and_then_nothing_more_happens_to_it() -> None:
    given(Item, ROUTER).when(lambda item: item.remove(reason="sold")).then(REMOVED)
    given(Item, ROUTER, REMOVED).when(lambda item: item.remove(reason="sold")).then_refused("item-removed")
    refused = given(Item, ROUTER, REMOVED).when(lambda item: item.enter_stage(e.PRODUCT_STAGE_DECLINE))
    assert refused.then_refused("item-removed").facts == {"item": str(ID)}


# Deal

LOST = e.DealLost(customer_id=str(PARTY), subject="maintenance 2027", reason=e.LOSS_REASON_PRICE)


def test_a_deal_is_lost_with_its_customer() -> None:
    assert given(Deal).when(lambda deal: deal.lose(LOST)).then(LOST).customer_id == str(PARTY)
