"""Rule sets, notices and deliveries as aggregates: recorded, refused nothing, repeated nothing."""

from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import events_pb2 as e

from services.notification.domain import Delivery, Notice, RuleSet, delivery_id, notice_id, rule_set_id
from tests.given import ID, given

FIRST = e.RuleSetPublished(name="standard", version=1, source="languages: [en]")
SECOND = e.RuleSetPublished(name="standard", version=2, source="languages: [zh-CN]")
PLANNED = e.NoticePlanned(customer_id=str(ID), occasion=e.OCCASION_CASE_OPENED, about=e.About(case_id=str(ID)))
CANCELLED = e.NoticeCancelled(reason="case-resolved")
SENT = e.NoticeSent(notice_id=str(ID), channel=customer.CHANNEL_SMS)
TRIED = [e.FailedAttempt(channel=customer.CHANNEL_SMS, reason="no-address")]
FAILED = e.NoticeFailed(notice_id=str(ID), occasion=PLANNED.occasion, about=PLANNED.about, attempts=TRIED)


def test_rules_are_published_as_their_first_version_and_others_as_the_next() -> None:
    given(RuleSet).when(lambda one: one.publish(name="standard", source=FIRST.source)).then(FIRST)
    given(RuleSet, FIRST).when(lambda one: one.publish(name="standard", source=SECOND.source)).then(SECOND)


def test_the_newest_rules_again_are_nothing_new() -> None:
    given(RuleSet, FIRST, SECOND).when(lambda one: one.publish(name="standard", source=SECOND.source)).then_nothing()


def test_a_notice_is_planned_once() -> None:
    assert given(Notice).when(lambda one: one.plan(PLANNED)).then(PLANNED).customer_id == str(ID)
    given(Notice, PLANNED).when(lambda one: one.plan(PLANNED)).then_nothing()


def test_a_notice_is_cancelled_once_and_only_where_there_is_one() -> None:
    given(Notice, PLANNED).when(lambda one: one.cancel(reason="case-resolved")).then(CANCELLED)
    given(Notice, PLANNED, CANCELLED).when(lambda one: one.cancel(reason="retracted")).then_nothing()
    given(Notice).when(lambda one: one.cancel(reason="retracted")).then_nothing()


def test_a_delivery_is_recorded_once() -> None:
    given(Delivery).when(lambda one: one.send(SENT)).then(SENT)
    given(Delivery).when(lambda one: one.fail(ID, PLANNED, TRIED)).then(FAILED)
    given(Delivery, SENT).when(lambda one: one.send(SENT)).then_nothing()
    given(Delivery, FAILED).when(lambda one: one.send(SENT)).then_nothing()
    given(Delivery, SENT).when(lambda one: one.fail(ID, PLANNED, TRIED)).then_nothing()


def test_ids_tell_apart_what_is_apart_and_nothing_else() -> None:
    opened, found = e.OCCASION_CASE_OPENED, e.OCCASION_PROBLEM_FOUND
    keys = [
        (opened, "a", "x", 1),
        (found, "a", "x", 1),
        (opened, "b", "x", 1),
        (opened, "a", "y", 1),
        (opened, "a", "x", 2),
    ]

    assert len({notice_id(*key) for key in keys}) == len(keys)
    assert notice_id(*keys[0]) == notice_id(*keys[0])
    assert rule_set_id("north", "standard") != rule_set_id("south", "standard")
    assert delivery_id(ID) != ID
