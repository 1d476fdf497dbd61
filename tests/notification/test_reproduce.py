"""Reproducing a notice: from the log alone it is decided and worded as it was; whatever was changed is told."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.message import Message
from kept.case.v1 import events_pb2 as case_events
from kept.case.v1 import service_pb2 as case
from kept.common.v1.record_pb2 import Record
from kept.customer.v1 import events_pb2 as customer_events
from kept.customer.v1 import service_pb2 as customer
from kept.notification.v1 import events_pb2 as e
from kept.notification.v1 import service_pb2 as m
from kept.sla.v1 import service_pb2 as sla

from services.cli.table import SERVICES
from services.kernel.errors import NotFound
from services.kernel.events import full_name
from services.kernel.privacy import Place
from services.kernel.replay.verify import verify
from services.notification.domain import delivery_id
from tests.databases import Cell
from tests.notification.office import MORNING, NIGHT, NINE, Office, office
from tests.scene import UNKNOWN, register_customer
from tests.sla.desk import HOUR, OFFICE, rule


@pytest.fixture
def at_nine(sqlite_cell: Cell) -> Iterator[Office]:
    with office(sqlite_cell) as made:
        yield made


@pytest.fixture
def told(at_nine: Office) -> Office:
    """One notice went out."""
    at_nine.open_case()
    return at_nine


def reproduced(there: Office, nth: int = 0) -> m.ReproduceNoticeResponse:
    planned = there.events(e.NoticePlanned)[nth]
    answer = there.ask(m.ReproduceNoticeRequest(notice_id=planned.record.stream))
    assert isinstance(answer, m.ReproduceNoticeResponse)
    return answer


def forge(there: Office, kind: type[Message], change: Callable[[Any], object]) -> None:
    """Changes the first event of that type where it is stored."""
    event = there.events(kind)[0]
    record = Record.FromString(event.record.SerializeToString())
    change(event.body)
    record.data = event.body.SerializeToString(deterministic=True)
    with there.house.log.database.write() as session:
        values = (record.SerializeToString(deterministic=True), event.position)
        session.execute("UPDATE log SET record = ? WHERE position = ?", values)


def test_what_went_out_is_decided_and_worded_the_same(told: Office) -> None:
    (planned,), (message,) = told.events(e.NoticePlanned), told.out()

    answer = reproduced(told)

    assert (answer.decided_the_same, answer.rendered_the_same, answer.difference) == (True, True, "")
    assert (answer.rule_set, answer.rule_set_version, answer.position) == ("standard", 1, planned.position)
    assert (answer.title, answer.body) == (message.title, message.body)
    assert [one.event_id for one in answer.because] == list(planned.body.because)
    assert answer.because[0].type == full_name(case_events.CaseOpened)
    assert all(one.position < planned.position for one in answer.because)


def test_on_either_database_it_is_the_same(cell: Cell) -> None:
    with office(cell) as there:
        there.open_case()
        answer = reproduced(there)

    assert (answer.decided_the_same, answer.rendered_the_same, answer.difference) == (True, True, "")


def test_a_whole_story_is_reproduced_and_replayed_and_nothing_goes_out(at_nine: Office) -> None:
    at_nine.tell(sla.PublishCalendarRequest(name="office", definition=OFFICE))
    rules = [rule(2 * HOUR, warn_percents=[50])]
    at_nine.tell(sla.PublishPolicyRequest(name="standard", definition={"rules": rules}))  # type: ignore[arg-type]
    at_nine.tell(register_customer())
    first = at_nine.open_case()
    at_nine.passes(NINE + timedelta(hours=3))
    at_nine.resolve(first)
    for minutes in (200, 210):
        at_nine.passes(NINE + timedelta(minutes=minutes))
        at_nine.open_case()
    at_nine.passes(NIGHT)
    at_nine.tell(case.ReopenRequest(case_id=first, reason="again"))
    at_nine.passes(MORNING)
    out = len(at_nine.out())
    planned = at_nine.events(e.NoticePlanned)
    assert {"promise-broken-last-time", "many-cases-this-month"} <= {
        key for one in planned for key in one.body.personal
    }
    assert len(planned) >= 8

    for nth in range(len(planned)):
        answer = reproduced(at_nine, nth)
        assert (answer.decided_the_same, answer.difference) == (True, ""), nth
    verdict = verify(
        at_nine.house, [one.views for one in SERVICES], [made() for one in SERVICES for made in one.policies]
    )

    assert not verdict.findings, verdict.findings.first
    assert len(at_nine.out()) == out


def test_what_has_not_gone_out_yet_is_decided_the_same(sqlite_cell: Cell) -> None:
    with office(sqlite_cell, NIGHT) as there:
        there.open_case()
        answer = reproduced(there)

    assert (answer.decided_the_same, answer.rendered_the_same, answer.difference) == (True, False, "")
    assert answer.title == "已收到您的请求（INC0000045）"


def test_names_and_addresses_are_those_that_were_read_then(told: Office) -> None:
    contact = customer.ContactInput(name="Ana Li")
    told.tell(customer.ChangeContactRequest(party_id=told.party_id(), contact=contact))
    told.played.drain()

    assert reproduced(told).rendered_the_same
    assert "Ana Fantinato" in reproduced(told).body


def test_later_rules_change_nothing(told: Office) -> None:
    (published,) = told.events(e.RuleSetPublished)
    source = published.body.source.replace("现在就开始处理", "请稍候")
    told.tell(m.PublishRuleSetRequest(name="standard", source=source))
    told.played.drain()

    assert reproduced(told).rendered_the_same


# What was changed


def test_other_words_in_the_rules_are_told(told: Office) -> None:
    forge(
        told, e.RuleSetPublished, lambda body: setattr(body, "source", body.source.replace("现在就开始处理", "请稍候"))
    )

    answer = reproduced(told)

    assert (answer.decided_the_same, answer.rendered_the_same) == (True, False)
    assert answer.difference == "other words went out: body"


def test_another_plan_is_told_by_its_fields(told: Office) -> None:
    def change(body: Any) -> None:
        body.next_touch_at.seconds += 60
        body.facts["case_number"].text = "INC0000046"

    forge(told, e.NoticePlanned, change)

    answer = reproduced(told)

    assert not answer.decided_the_same
    assert answer.difference.startswith(
        "the policy decides otherwise now: next_touch_at, facts; other words went out: "
    )


def test_a_text_that_never_went_out_is_told(told: Office) -> None:
    def change(body: Any) -> None:
        place = Place(
            UUID(told.party_id()), "notice", delivery_id(UUID(body.notice_id)), full_name(e.NoticeSent), "title"
        )
        body.title.CopyFrom(told.house.sealer.seal("We never said so", place))

    forge(told, e.NoticeSent, change)

    assert reproduced(told).difference == "other words went out: title"


@pytest.mark.parametrize(
    ("kind", "difference"),
    [
        (case_events.CaseOpened, "the policy would not plan it now"),
        (customer_events.PartyRegistered, "cannot be replayed: AssertionError"),
    ],
)
def test_a_cause_that_is_gone_is_told(told: Office, kind: type[Message], difference: str) -> None:
    event = told.events(kind)[0]
    with told.house.log.database.write() as session:
        session.execute("UPDATE log SET type = ? WHERE position = ?", ("gone", event.position))

    answer = reproduced(told)

    assert not answer.decided_the_same
    assert difference in answer.difference


def test_a_decision_of_an_older_policy_is_told_as_one(told: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.notification.policies.NoticePolicy.version", "2")

    answer = reproduced(told)

    assert not answer.decided_the_same
    assert answer.difference == "it was decided by policy:notification@1, and policy:notification@2 is deployed now"


def test_what_was_erased_is_decided_the_same_and_not_worded_again(told: Office) -> None:
    told.house.keys.destroy(UUID(told.party_id()))

    answer = reproduced(told)

    assert (answer.decided_the_same, answer.rendered_the_same, answer.title, answer.body) == (True, False, "", "")
    assert answer.difference == "the customer's data was erased, so the words cannot be compared"


def test_there_is_nothing_to_reproduce_of_what_is_no_notice_of_ours(told: Office) -> None:
    planned = told.events(e.NoticePlanned)[0].record.stream
    case_id = told.events(case_events.CaseOpened)[0].record.stream
    for notice_id, tenant in ((UNKNOWN, "main"), (case_id, "main"), (planned, "south")):
        with pytest.raises(NotFound) as caught:
            told.played.call(
                "notification", "ReproduceNotice", m.ReproduceNoticeRequest(notice_id=notice_id), tenant=tenant
            )
        assert caught.value.slug == "notice-not-found"
