"""Stories through all services: who is told of a problem, and only they; told once, and in the end that it is over."""

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from kept.case.v1 import events_pb2 as case_events
from kept.case.v1 import service_pb2 as case
from kept.notification.v1 import events_pb2 as e
from kept.notification.v1 import service_pb2 as m
from kept.partner_network.v1 import service_pb2 as partner

from tests.databases import Cell
from tests.notification.office import MORNING, NIGHT, NINE, Office, office
from tests.partner_network.network import ADMITTED, TECHNICIAN, accept, agreement, offer
from tests.scene import START, edited, register_customer

FOUND, OVER, RETRACTED = e.OCCASION_PROBLEM_FOUND, e.OCCASION_PROBLEM_RESOLVED, e.OCCASION_PROBLEM_RETRACTED


@pytest.fixture
def there(sqlite_cell: Cell) -> Iterator[Office]:
    """With a second customer, who has no router."""
    with office(sqlite_cell) as made:
        made.tell(register_customer())
        yield made


def open_problem(there: Office, region: str = "310000") -> str:
    scope = case_events.Scope(product="Router R-1", regions=[region])
    request = case.OpenProblemRequest(title="线路中断", scope=scope, priority=case_events.PRIORITY_HIGH)
    problem_id = there.tell(request).id
    there.played.drain()
    return problem_id


def told(there: Office) -> list[tuple[int, int]]:
    """Occasion and state, oldest first."""
    there.played.drain()
    notices = there.ask(m.ListNoticesRequest()).notices
    assert {notice.customer_id for notice in notices} <= {there.customer_id}
    return [(one.occasion, one.state) for one in sorted(notices, key=lambda one: one.planned_at.ToMicroseconds())]


def test_the_affected_are_told_of_a_problem_and_of_its_end(there: Office) -> None:
    problem_id = open_problem(there)
    there.passes(NINE + timedelta(hours=2))
    there.tell(case.ResolveProblemRequest(problem_id=problem_id, remedy="换了设备"))

    assert told(there) == [(FOUND, m.NOTICE_STATE_COMPLETED), (OVER, m.NOTICE_STATE_COMPLETED)]
    found, over = there.out()
    assert found.title == "Router R-1发现问题，可能影响到您"
    assert "线路中断" in found.body
    assert "12 Zhongshan Road" in found.body
    assert "5月6日（周一）11:00 解决" in over.body


def test_nobody_elsewhere_is_told(there: Office) -> None:
    open_problem(there, region="440000")

    assert told(there) == []


def test_whom_the_root_cause_spares_is_told_so(there: Office) -> None:
    problem_id = open_problem(there)
    there.passes(NINE + timedelta(hours=1))
    scope = case_events.Scope(product="Router R-1", regions=["440000"])
    there.tell(case.FindRootCauseRequest(problem_id=problem_id, cause="a cable in the south", scope=scope))

    assert told(there) == [(FOUND, m.NOTICE_STATE_COMPLETED), (RETRACTED, m.NOTICE_STATE_COMPLETED)]


def test_a_problem_that_came_and_went_in_the_night_is_one_message_in_the_morning(there: Office) -> None:
    there.passes(NIGHT)
    problem_id = open_problem(there)
    there.passes(NIGHT + timedelta(hours=4))
    there.tell(case.ResolveProblemRequest(problem_id=problem_id, remedy="换了设备"))
    there.played.drain()
    assert there.out() == []

    there.passes(MORNING)

    assert told(there) == [(FOUND, m.NOTICE_STATE_CANCELLED), (OVER, m.NOTICE_STATE_COMPLETED)]
    assert len(there.out()) == 1
    for planned in there.events(e.NoticePlanned):
        answer = there.ask(m.ReproduceNoticeRequest(notice_id=planned.record.stream))
        assert (answer.decided_the_same, answer.difference) == (True, "")


def test_every_notice_has_all_six_lines_of_its_card(there: Office) -> None:
    problem_id = open_problem(there)
    case_id = there.open_case()
    there.resolve(case_id)
    there.tell(case.ReopenRequest(case_id=case_id, reason="again"))
    there.tell(case.ResolveProblemRequest(problem_id=problem_id, remedy="换了设备"))
    there.played.drain()

    notices = there.ask(m.ListNoticesRequest()).notices

    assert len(notices) == 5
    for notice in notices:
        assert all(getattr(notice.card, field.name) for field in notice.card.DESCRIPTOR.fields)


def test_who_comes_when_and_where_is_told_by_name(there: Office) -> None:
    there.passes(START + timedelta(minutes=30))
    order_id, _ = accepted_visit(there)

    visit = there.out()[-1]
    assert visit.title == "工程师将于 5月6日（周一）20:00 上门"
    assert f"Fast Repairs的{TECHNICIAN}会在 5月6日（周一）20:00 到 5月7日（周二）00:00 之间到达" in visit.body
    (shown,) = [one for one in there.notices() if one.about.work_order_id]
    assert (shown.about.work_order_id, shown.card.who) == (order_id, f"Fast Repairs，{TECHNICIAN}")
    (sent,) = [one for one in there.events(e.NoticeSent) if one.body.about.work_order_id]
    assert b"Wei Zhang" not in sent.record.data


def test_a_technician_who_was_erased_is_some_engineer(there: Office) -> None:
    there.passes(START + timedelta(minutes=30))
    there.house.keys.destroy(UUID(accepted_visit(there, drained=False)[1]))
    there.played.drain()

    assert "Fast Repairs的服务工程师会在" in there.out()[-1].body


def accepted_visit(there: Office, *, drained: bool = True) -> tuple[str, str]:
    """The work order and the partner."""
    case_id = there.open_case()
    partner_id = there.tell(partner.RegisterPartnerRequest(name="Fast Repairs")).id
    there.tell(partner.DecideAdmissionRequest(partner_id=partner_id, state=ADMITTED, reason="fits"))
    there.tell(partner.SignAgreementRequest(partner_id=partner_id, number="C-1", agreement=agreement()))
    order = edited(offer(case_id, partner_id), {"occurred_at": None})
    order_id = there.tell(order).id
    there.tell(edited(accept(order_id, partner_id), {"occurred_at": None}))
    if drained:
        there.played.drain()
    return order_id, partner_id
