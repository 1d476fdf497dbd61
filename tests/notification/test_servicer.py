"""Rule sets and notices as callers see them: published, checked, listed and counted."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from kept.notification.v1 import events_pb2 as e
from kept.notification.v1 import service_pb2 as m

from services.kernel.errors import Invalid, KeptError, NotFound, RequestIdReused
from tests.databases import Cell
from tests.notification.desk import DEFAULT
from tests.notification.office import NINE, Office, office
from tests.notification.test_reading import SMALL
from tests.scene import UNKNOWN

BAD = SMALL.replace("purpose: service", "purpose: selling")


@pytest.fixture
def there(cell: Cell) -> Iterator[Office]:
    with office(cell) as made:
        yield made


# Rule sets


def test_rules_are_published_repeated_and_published_again(there: Office) -> None:
    first = m.PublishRuleSetRequest(request_id="a", name="other", source=SMALL)
    receipt = there.ask(first).receipt

    assert receipt.version == 1
    assert there.ask(first).receipt == receipt
    with pytest.raises(RequestIdReused):
        there.ask(m.PublishRuleSetRequest(request_id="a", name="other", source=DEFAULT))
    assert there.tell(m.PublishRuleSetRequest(name="other", source=SMALL)).version == 1, "it says the same"
    assert there.tell(m.PublishRuleSetRequest(name="other", source=DEFAULT)).version == 2


def test_every_version_is_kept(there: Office) -> None:
    there.tell(m.PublishRuleSetRequest(name="standard", source=SMALL))

    newest, first = (there.ask(m.GetRuleSetRequest(name="standard", version=version)) for version in (0, 1))

    assert (newest.version, newest.source, first.version, first.source) == (2, SMALL, 1, DEFAULT)


@pytest.mark.parametrize(("name", "version"), [("other", 0), ("standard", 2), ("standard", -1)])
def test_rules_that_were_not_published_are_not_there(there: Office, name: str, version: int) -> None:
    with pytest.raises(NotFound) as caught:
        there.ask(m.GetRuleSetRequest(name=name, version=version))
    assert caught.value.slug == "rule-set-not-found"


@pytest.mark.parametrize("check_only", [True, False])
def test_rules_with_a_mistake_are_refused_and_nothing_is_recorded(there: Office, check_only: bool) -> None:
    before = there.house.log.position()

    with pytest.raises(Invalid) as caught:
        there.ask(m.PublishRuleSetRequest(request_id="a", name="standard", source=BAD, check_only=check_only))

    assert caught.value.field == "source"
    assert caught.value.description.startswith("line 14, column 14: case-opened purpose: there is no 'selling'")
    assert there.house.log.position() == before


def test_a_check_alone_records_nothing(there: Office) -> None:
    before = there.house.log.position()

    answer = there.ask(m.PublishRuleSetRequest(name="standard", source=SMALL, check_only=True))

    assert not answer.HasField("receipt")
    assert there.house.log.position() == before


@pytest.mark.parametrize(
    ("name", "source", "field"), [("", SMALL, "name"), ("x", "", "source"), ("x", "#" * 100_001, "source")]
)
def test_what_is_missing_or_too_long_is_named(there: Office, name: str, source: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        there.ask(m.PublishRuleSetRequest(request_id="a", name=name, source=source))
    assert caught.value.field == field


# Notices


def test_notices_are_listed_newest_first_page_by_page(there: Office) -> None:
    for hours in range(5):
        there.passes(NINE + timedelta(hours=hours))
        there.open_case()

    pages: list[m.Notice] = []
    token = ""
    while True:
        answer = there.ask(m.ListNoticesRequest(page_size=2, page_token=token))
        assert len(answer.notices) <= 2
        pages += answer.notices
        token = answer.next_page_token
        if not token:
            break

    times = [notice.planned_at.seconds for notice in pages]
    assert (len(pages), times) == (5, sorted(times, reverse=True))
    assert len({notice.notice_id for notice in pages}) == 5


def test_notices_are_found_by_customer_and_by_case(there: Office) -> None:
    first, second = there.open_case(), there.open_case()

    def found(**wanted: str) -> list[str]:
        return [one.about.case_id for one in there.ask(m.ListNoticesRequest(**wanted)).notices]  # type: ignore[arg-type]

    assert found(case_id=first) == [first]
    assert sorted(found(customer_id=there.customer_id)) == sorted([first, second])
    assert found(customer_id=UNKNOWN) == found(problem_id=UNKNOWN) == []


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (m.ListNoticesRequest(case_id="x"), "case_id"),
        (m.ListNoticesRequest(case_id=UNKNOWN, customer_id=UNKNOWN), "case_id"),
        (m.ListNoticesRequest(page_size=101), "page_size"),
        (m.ListNoticesRequest(page_token="x"), "page_token"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(there: Office, request_: m.ListNoticesRequest, field: str) -> None:
    with pytest.raises(KeptError) as caught:
        there.ask(request_)
    assert isinstance(caught.value, Invalid)
    assert caught.value.field == field


def test_notices_are_counted_by_occasion_and_state(there: Office) -> None:
    case_id = there.open_case()
    there.open_case()
    there.resolve(case_id)

    counts = there.ask(m.CountNoticesRequest()).counts

    sent = m.NOTICE_STATE_COMPLETED
    assert [(one.occasion, one.state, one.notices) for one in counts] == [
        (e.OCCASION_CASE_OPENED, sent, 2),
        (e.OCCASION_CASE_RESOLVED, sent, 1),
    ]


def test_another_company_sees_none_of_it(there: Office) -> None:
    there.open_case()

    def asked(method: str, request: object) -> object:
        return there.played.call("notification", method, request, tenant="south")  # type: ignore[arg-type]

    assert asked("ListNotices", m.ListNoticesRequest()) == m.ListNoticesResponse()
    assert asked("ListNotices", m.ListNoticesRequest(customer_id=there.customer_id)) == m.ListNoticesResponse()
    assert asked("CountNotices", m.CountNoticesRequest()) == m.CountNoticesResponse()
    with pytest.raises(NotFound):
        asked("GetRuleSet", m.GetRuleSetRequest(name="standard"))
