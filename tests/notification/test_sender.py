"""The sender: what was planned goes out once, through the first channel that takes it, and is recorded as it went."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

import pytest
from kept.case.v1 import events_pb2 as case_events
from kept.case.v1 import service_pb2 as case
from kept.cell.v1.service_pb2 import AdvanceTimeRequest
from kept.customer.v1 import events_pb2 as customer_events
from kept.customer.v1 import service_pb2 as customer
from kept.notification.v1 import events_pb2 as e
from kept.notification.v1 import service_pb2 as m

from services.kernel.cell import CellClock
from services.kernel.clock import micros, timestamp
from services.kernel.errors import VersionConflict
from services.kernel.events import log_event
from services.kernel.lockstep import Lockstep
from services.kernel.log.positions import Fenced
from services.notification import outbox
from services.notification.channels.mailbox import Mailbox
from services.notification.outgoing import Outgoing, PermanentFailure, TemporaryFailure
from services.notification.sender import ACTOR, MOST_TRIES, NAME, Channels, SenderFollower
from tests.databases import Cell
from tests.history import Played
from tests.notification.desk import DEFAULT
from tests.notification.office import MORNING, NIGHT, NINE, Line, Office, office
from tests.scene import edited, open_case, register_customer

WECHAT, PHONE, EMAIL = customer_events.CHANNEL_WECHAT, customer_events.CHANNEL_PHONE, customer_events.CHANNEL_EMAIL


@pytest.fixture
def at_nine(cell: Cell) -> Iterator[Office]:
    with office(cell) as made:
        yield made


@pytest.fixture
def at_night(cell: Cell) -> Iterator[Office]:
    with office(cell, NIGHT) as made:
        yield made


# What goes out


def test_a_notice_goes_out_as_it_was_planned_and_is_recorded_as_it_went(at_nine: Office) -> None:
    case_id = at_nine.open_case()

    (message,) = at_nine.out()
    assert at_nine.lines[WECHAT].out == [message]
    assert (message.address, message.name, message.at) == ("+86 10 6552 9988", "Ana Fantinato", NINE)
    assert message.title == "已收到您的请求（INC0000045）"
    assert message.body == (
        "Ana Fantinato，您好！我们已收到您关于Router R-1的请求，编号 INC0000045，现在就开始处理。\n\n"
        "事项：处理您关于Router R-1的请求\n"
        "时间：预计解决时间：时间确定后马上告诉您\n"
        "地点：12 Zhongshan Road, third floor\n"
        "负责人：我们的服务团队\n"
        "如需更改：回复本消息，并注明 INC0000045\n"
        "下次联系：5月7日（周二）09:00\n"
    )
    (planned,), (sent,) = at_nine.events(e.NoticePlanned), at_nine.events(e.NoticeSent)
    assert sent.body.notice_id == planned.record.stream == str(message.notice_id)
    assert (sent.body.channel, sent.body.attempts, sent.body.about.case_id) == (WECHAT, 1, case_id)
    assert planned.position <= sent.body.as_of < sent.position
    assert (sent.record.actor, sent.record.causation_id) == (ACTOR, planned.record.id)
    assert (sent.record.customer_id, sent.record.tenant) == (at_nine.customer_id, "main")
    assert (sent.record.correlation_id, sent.occurred_at) == (planned.record.correlation_id, micros(NINE))


def test_what_went_out_is_sealed_in_the_log_and_shown_opened(at_nine: Office) -> None:
    at_nine.open_case()

    (message,), (shown,) = at_nine.out(), at_nine.notices()
    assert (shown.state, shown.title, shown.body) == (m.NOTICE_STATE_COMPLETED, message.title, message.body)
    assert shown.card == m.RenderedCard(
        what="处理您关于Router R-1的请求",
        when="预计解决时间：时间确定后马上告诉您",
        where="12 Zhongshan Road, third floor",
        who="我们的服务团队",
        how_to_change="回复本消息，并注明 INC0000045",
        next_touch="5月7日（周二）09:00",
    )
    (sent,) = at_nine.events(e.NoticeSent)
    assert b"Ana" not in sent.record.data
    assert b"Zhongshan" not in sent.record.data


def test_in_the_night_nothing_goes_out_and_in_the_morning_it_does(at_night: Office) -> None:
    at_night.open_case()
    at_night.passes(MORNING - timedelta(microseconds=1))
    assert at_night.out() == []
    assert at_night.sender.next_due() == micros(MORNING)

    at_night.passes(MORNING)

    assert len(at_night.out()) == 1


def test_what_waited_for_the_morning_goes_out_in_the_order_in_which_it_was_planned(at_night: Office) -> None:
    for _ in range(6):
        at_night.open_case()

    at_night.passes(MORNING)

    planned = [one.record.stream for one in at_night.events(e.NoticePlanned)]
    assert [str(message.notice_id) for message in at_night.out()] == planned


def test_who_withdraws_consent_in_the_night_is_told_nothing_in_the_morning(at_night: Office) -> None:
    at_night.open_case()
    purpose = customer_events.CONSENT_PURPOSE_SERVICE
    at_night.tell(customer.WithdrawConsentRequest(customer_id=at_night.customer_id, purpose=purpose))
    at_night.played.drain()

    at_night.passes(MORNING)

    assert at_night.out() == []
    assert [notice.reason for notice in at_night.notices()] == ["consent-withdrawn"]


def test_a_problem_that_is_expected_to_last_for_ever_is_told(at_nine: Office) -> None:
    scope = case_events.Scope(product="Router R-1", regions=["310000"])
    ever = timestamp(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    priority = case_events.PRIORITY_HIGH
    at_nine.tell(case.OpenProblemRequest(title="Restarts", scope=scope, priority=priority, expected_until=ever))

    (notice,) = at_nine.notices()

    assert notice.state == m.NOTICE_STATE_COMPLETED
    assert at_nine.ask(m.ReproduceNoticeRequest(notice_id=notice.notice_id)).rendered_the_same


def test_a_cause_without_an_end_leaves_the_expected_one(at_nine: Office) -> None:
    elsewhere = case_events.Scope(product="Router R-1", regions=["440000"])
    here = case_events.Scope(product="Router R-1", regions=["310000"], began_at=timestamp(NINE))
    until, priority = timestamp(NINE + timedelta(hours=5)), case_events.PRIORITY_HIGH
    opened = case.OpenProblemRequest(title="Restarts", scope=elsewhere, priority=priority, expected_until=until)
    problem_id = at_nine.tell(opened).id
    at_nine.tell(case.FindRootCauseRequest(problem_id=problem_id, cause="heat", scope=here))

    at_nine.notices()

    (message,) = at_nine.out()
    assert "5月6日（周一）14:00" in message.body


def test_what_is_cancelled_while_it_waits_never_goes_out(at_night: Office) -> None:
    case_id = at_night.open_case()
    at_night.resolve(case_id)

    at_night.passes(MORNING)

    (message,) = at_night.out()
    assert message.title.startswith("您的问题已解决")
    states = {notice.occasion: notice.state for notice in at_night.notices()}
    assert states == {
        e.OCCASION_CASE_OPENED: m.NOTICE_STATE_CANCELLED,
        e.OCCASION_CASE_RESOLVED: m.NOTICE_STATE_COMPLETED,
    }


def test_names_and_addresses_are_those_of_the_moment_of_sending(at_night: Office) -> None:
    at_night.open_case()
    contact = customer.ContactInput(name="Ana Li", phones=["555 0199"])
    at_night.tell(customer.ChangeContactRequest(party_id=at_night.party_id(), contact=contact))

    at_night.passes(MORNING)

    (message,) = at_night.out()
    assert (message.name, message.address) == ("Ana Li", "555 0199")
    assert message.body.startswith("Ana Li，您好")


# When a channel fails


def test_who_cannot_be_reached_one_way_is_reached_another(at_nine: Office) -> None:
    at_nine.lines[WECHAT].troubles = [PermanentFailure("not-a-follower")]

    at_nine.open_case()

    assert len(at_nine.lines[PHONE].out) == 1
    (sent,) = at_nine.events(e.NoticeSent)
    assert (sent.body.channel, sent.body.attempts) == (PHONE, 2)


def test_a_channel_without_an_address_is_passed_over(at_nine: Office) -> None:
    at_nine.open_case()
    party_id = at_nine.party_id()
    at_nine.tell(
        customer.ChangeContactRequest(party_id=party_id, contact=customer.ContactInput(name="Ana", email="a@b.cn"))
    )
    wanted = customer_events.Preferences(language="en", time_zone="Asia/Shanghai", channels=[PHONE, EMAIL])
    at_nine.tell(customer.ChangePreferencesRequest(party_id=party_id, preferences=wanted))
    at_nine.passes(NINE + timedelta(hours=1))

    at_nine.open_case()

    (message,) = at_nine.lines[EMAIL].out
    assert (message.address, message.title) == ("a@b.cn", "We have your request (INC0000045)")


def test_when_no_channel_takes_it_each_ones_reason_is_recorded(at_nine: Office) -> None:
    at_nine.lines[WECHAT].troubles = [PermanentFailure("not-a-follower")]
    at_nine.lines[PHONE].troubles = [PermanentFailure("number-gone")]

    at_nine.open_case()

    (failed,) = at_nine.events(e.NoticeFailed)
    assert [(one.channel, one.reason) for one in failed.body.attempts] == [
        (WECHAT, "not-a-follower"),
        (PHONE, "number-gone"),
    ]
    (shown,) = at_nine.notices()
    assert (shown.state, shown.reason) == (m.NOTICE_STATE_FAILED, "wechat: not-a-follower, phone: number-gone")
    assert at_nine.out() == []


def test_what_fails_for_a_while_is_tried_again_later_and_later(at_nine: Office) -> None:
    at_nine.lines[WECHAT].troubles = [TemporaryFailure("busy")] * 2
    at_nine.open_case()
    assert at_nine.sender.next_due() == micros(NINE + timedelta(seconds=30))
    at_nine.passes(NINE + timedelta(seconds=29))
    assert len(at_nine.lines[WECHAT].troubles) == 1, "not tried in between"

    at_nine.passes(NINE + timedelta(seconds=30))
    assert at_nine.sender.next_due() == micros(NINE + timedelta(seconds=90))
    at_nine.passes(NINE + timedelta(seconds=90))

    (sent,) = at_nine.events(e.NoticeSent)
    assert (sent.body.channel, sent.body.attempts, len(at_nine.out())) == (WECHAT, 3, 1)
    assert at_nine.sender.next_due() is None


def test_what_fails_for_too_long_goes_another_way(at_nine: Office) -> None:
    at_nine.lines[WECHAT].troubles = [TemporaryFailure("busy")] * MOST_TRIES
    at_nine.open_case()

    for _ in range(MOST_TRIES - 1):
        due = at_nine.sender.next_due()
        assert due is not None
        at_nine.passes(NINE + timedelta(microseconds=due - micros(NINE)))

    (sent,) = at_nine.events(e.NoticeSent)
    assert (sent.body.channel, sent.body.attempts) == (PHONE, MOST_TRIES + 1)


def test_what_is_late_does_not_go_out_in_the_night(cell: Cell) -> None:
    with office(cell, NIGHT - timedelta(minutes=91)) as late:
        late.lines[WECHAT].troubles = [TemporaryFailure("busy")]
        late.open_case()
        late.passes(NIGHT)
        assert late.out() == []

        late.passes(MORNING)

        assert len(late.out()) == 1


def test_what_cannot_be_sent_does_not_hold_up_the_others(at_nine: Office) -> None:
    at_nine.lines[WECHAT].troubles = [RuntimeError("of our own making")]

    at_nine.open_case()
    at_nine.open_case()

    (failed,), (_sent,) = at_nine.events(e.NoticeFailed), at_nine.events(e.NoticeSent)
    assert [one.reason for one in failed.body.attempts] == ["unsendable"]


def test_who_was_erased_is_told_nothing_more(at_night: Office) -> None:
    at_night.open_case()
    at_night.house.keys.destroy(UUID(at_night.party_id()))

    at_night.passes(MORNING)

    assert at_night.out() == []
    (failed,) = at_night.events(e.NoticeFailed)
    assert [one.reason for one in failed.body.attempts] == ["erased"]


def test_what_was_sent_is_not_shown_any_more_once_it_is_erased(at_nine: Office) -> None:
    at_nine.open_case()
    at_nine.house.keys.destroy(UUID(at_nine.party_id()))

    (shown,) = at_nine.notices()

    assert (shown.erased, shown.title, shown.body, shown.card) == (True, "", "", m.RenderedCard())


# Once, whatever happens


class Crash(Exception):
    """The process ends here."""


def test_a_crash_after_sending_leaves_one_message_and_one_record(
    at_nine: Office, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    mailbox = Mailbox(cell.settings.data / "mailbox")
    at_nine.sender.channels = Channels(dict.fromkeys(at_nine.lines, mailbox), mailbox)
    monkeypatch.setattr(SenderFollower, "_record_all", _crash, raising=True)
    with pytest.raises(Crash):
        at_nine.open_case()
    assert len(list((cell.settings.data / "mailbox/new").iterdir())) == 1
    monkeypatch.undo()

    restarted = at_nine.make_sender(at_nine.house)
    restarted.channels = Channels(dict.fromkeys(at_nine.lines, mailbox), mailbox)
    while restarted.step():
        pass

    assert len(list((cell.settings.data / "mailbox/new").iterdir())) == 1
    assert len(at_nine.events(e.NoticeSent)) == 1


def _crash(*_: object) -> None:
    raise Crash


def test_a_stale_sender_puts_nothing_back_that_another_has_recorded(at_nine: Office, cell: Cell) -> None:
    """Away from the head a position does not move, so it is no fence: what was put back would be sent for ever."""
    for line in at_nine.lines.values():
        line.troubles = [TemporaryFailure("busy")]
    at_nine.open_case()
    at_nine.clock.set(NINE + timedelta(hours=1))
    with at_nine.house.log.database.read() as session:
        waiting = outbox.due(session, micros(NINE + timedelta(hours=1)), 10)
    with at_nine.house.log.database.write() as session:
        outbox.take_out(session, [one.notice_id for one in waiting])

    with pytest.raises(Fenced):
        at_nine.sender._record_all(waiting, [None], at_nine.sender.position())

    assert len(waiting) == 1
    assert at_nine.sender.next_due() is None


def test_a_stale_sender_records_nothing(at_nine: Office, cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another sender is quicker, while this one is between delivering and recording."""
    other_house = cell.house()
    other = at_nine.make_sender(other_house)
    other._clock = at_nine.house.clock
    record_all = SenderFollower._record_all

    def overtaken(self: SenderFollower, *rest: Any) -> None:
        if self is at_nine.sender:
            monkeypatch.setattr(SenderFollower, "_record_all", record_all)
            while other.step():
                pass
        record_all(self, *rest)

    monkeypatch.setattr(SenderFollower, "_record_all", overtaken)

    with pytest.raises((Fenced, VersionConflict)):
        at_nine.open_case()

    at_nine.played.drain()
    assert len(at_nine.events(e.NoticeSent)) == 1
    assert at_nine.sender.next_due() is None
    other_house.close()


# History


def test_a_history_is_told_to_the_mailbox_alone_as_of_its_own_time(sqlite_cell: Cell) -> None:
    cell = Played(sqlite_cell.settings)
    numbers = count(1)

    def advance(to: datetime) -> None:
        cell.call("cell", "AdvanceTime", AdvanceTimeRequest(request_id=f"t-{next(numbers)}", to=timestamp(to)))

    def tell(service: str, method: str, request: Any) -> str:
        request = edited(request, {"request_id": f"r-{next(numbers)}"})
        return str(cell.call(service, method, request).receipt.id)

    advance(NINE)
    tell("notification", "PublishRuleSet", m.PublishRuleSetRequest(name="standard", source=DEFAULT))
    customer_id = tell("customer", "RegisterCustomer", register_customer())
    advance(NIGHT)
    tell("case", "Open", open_case(customer_id))
    advance(MORNING + timedelta(hours=3))

    events: list[Any] = [log_event(one) for one in cell.house.log.read(0, 1000)]
    (sent,) = [one for one in events if isinstance(one.body, e.NoticeSent)]
    assert sent.occurred_at == micros(MORNING), "not when somebody played it"
    (file,) = (sqlite_cell.settings.data / "mailbox/new").iterdir()
    assert file.name == sent.body.notice_id
    cell.close()


def test_what_falls_due_while_a_turn_ends_is_for_the_next_turn(at_nine: Office) -> None:
    for line in at_nine.lines.values():
        line.troubles = [TemporaryFailure("busy")] * 2
    at_nine.open_case()
    at_nine.open_case()
    later = NINE + timedelta(hours=1)
    with at_nine.house.log.database.write() as session:
        rows = session.execute("SELECT notice_id FROM notice_outbox ORDER BY notice_id").fetchall()
        for (notice_id,), due in zip(rows, (NINE, later), strict=True):
            session.execute("UPDATE notice_outbox SET next_at = ? WHERE notice_id = ?", (micros(due), notice_id))
    _set_history(at_nine, NINE)

    class Moving(Line):
        """The clock moves on as soon as nothing is due by it any more."""

        def deliver(self, message: Outgoing) -> None:
            super().deliver(message)
            _set_history(at_nine, later)

    line = Moving()
    sender = SenderFollower(
        at_nine.house.log, CellClock(at_nine.house.log), at_nine.house.sealer, Channels(at_nine.lines, line)
    )
    assert sender.step() is False
    assert len(line.out) == 1


def _set_history(office: Office, now: datetime) -> None:
    with office.house.log.database.write() as session:
        session.execute("UPDATE cell SET history_now = ?", (micros(now),))
        Lockstep(session).begin_tick()
        Lockstep(session).plan(NAME, micros(NINE))
