"""Laws of notices over random histories: nobody is told twice, nobody in the night, and the log alone decides (I12)."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st
from kept.case.v1 import events_pb2 as case
from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import events_pb2 as e
from kept.sla.v1 import events_pb2 as sla

from services.kernel.clock import micros_of, moment, moment_of
from services.notification.reading import read_rules
from services.notification.rules import QuietHours
from tests.notification.desk import (
    DEFAULT,
    Desk,
    Told,
    affected,
    armed,
    consent,
    id_of,
    judged,
    of_case,
    opened,
    problem,
    problem_resolved,
    published,
    registered,
    reopened,
    resolved,
    retracted,
    sent,
    sla_policy,
    warned,
)

# Clocks that are changed by an hour, by half of one, at midnight, twice a year, or never.
ZONES = (
    "Asia/Shanghai", "Europe/London", "America/New_York", "Australia/Lord_Howe", "America/Havana", "Asia/Kathmandu",
    "Africa/Casablanca",
)  # fmt: skip
CHANGES = [
    datetime(2024, month, day, 12, tzinfo=UTC) for month, day in ((3, 10), (3, 31), (4, 6), (10, 5), (10, 26), (11, 2))
]
MOMENTS = st.builds(
    lambda day, minutes: day + timedelta(minutes=minutes), st.sampled_from(CHANGES), st.integers(-1440, 2880)
)
QUARTERS = st.integers(0, 95).map(lambda quarter: quarter * 900)


def is_quiet(at: datetime, zone: str, since: int, until: int) -> bool:
    """By the wall clock, and by nothing that the code uses."""
    local = at.astimezone(ZoneInfo(zone))
    shown = local.hour * 3600 + local.minute * 60 + local.second
    return since <= shown < until if since < until else shown >= since or shown < until


@settings(max_examples=200, deadline=None)
@given(zone=st.sampled_from(ZONES), since=QUARTERS, until=QUARTERS, at=MOMENTS)
# In New York 02:30 is skipped in spring, and 01:30 is shown twice in autumn.
@example(zone="America/New_York", since=22 * 3600, until=9000, at=datetime(2024, 3, 10, 6, tzinfo=UTC))
@example(zone="America/New_York", since=22 * 3600, until=5400, at=datetime(2024, 11, 3, 4, tzinfo=UTC))
@example(zone="America/New_York", since=5400, until=8 * 3600, at=datetime(2024, 11, 3, 5, 45, tzinfo=UTC))
def test_a_notice_is_released_as_soon_as_it_is_not_quiet_and_never_earlier(
    zone: str, since: int, until: int, at: datetime
) -> None:
    if since == until:
        return
    released = QuietHours(since, until).over(at, zone)

    assert released >= at
    assert not is_quiet(released, zone, since, until)
    assert (released == at) == (not is_quiet(at, zone, since, until))
    waited = (released - at) // timedelta(minutes=5)
    assert all(is_quiet(at + timedelta(minutes=5 * step), zone, since, until) for step in range(waited))
    assert released == at or is_quiet(released - timedelta(microseconds=1), zone, since, until)


def test_when_the_clock_is_put_forward_over_the_end_quiet_hours_end_there() -> None:
    night = QuietHours(22 * 3600, 2 * 3600 + 1800)

    released = night.over(datetime(2024, 3, 10, 6, tzinfo=UTC), "America/New_York")

    assert released.astimezone(ZoneInfo("America/New_York")).isoformat() == "2024-03-10T03:00:00-04:00"


# Random histories

CUSTOMERS, CASES, PROBLEMS = ("ana", "bo"), ("A", "B"), ("P", "Q")
RULES = read_rules(DEFAULT)


@st.composite
def histories(draw: st.DrawFn) -> list[Told]:
    """Whatever may be recorded of two customers, late news among it."""
    told = [published(), *registered("ana"), *registered("bo", language="en", zone="America/New_York")]
    told += [sla_policy(priority=case.PRIORITY_HIGH)]
    told += [problem("06 09:00", name, until="08 09:00") for name in PROBLEMS]
    known: set[str] = set()
    for _ in range(draw(st.integers(1, 18))):
        day, hour, minute = draw(st.integers(6, 9)), draw(st.integers(0, 23)), draw(st.sampled_from((0, 20, 40)))
        when = f"{day:02d} {hour:02d}:{minute:02d}"
        of = draw(st.sampled_from(CUSTOMERS))
        name, problem_ = draw(st.sampled_from(CASES)) + of, draw(st.sampled_from(PROBLEMS))
        if name not in known:
            known.add(name)
            high = draw(st.booleans())
            told.append(opened(when, name, of, priority=case.PRIORITY_HIGH if high else case.PRIORITY_LOW))
            if high:
                told.append(armed(when, "09 12:00", name, of=of))
            continue
        told.append(
            draw(
                st.sampled_from(
                    [
                        resolved(when, name, of),
                        reopened(when, name)._replace(customer=of),
                        of_case(case.CaseCancelled(reason="x"), when, name, of),
                        affected(when, of, problem_),
                        retracted(when, of, problem_),
                        problem_resolved(when, problem_),
                        consent(when, customer.CONSENT_PURPOSE_SERVICE, given=draw(st.booleans()), name=of),
                        *(
                            [
                                warned(when, "09 12:00", name=name)._replace(customer=of),
                                judged(when, sla.OUTCOME_BROKEN, name, of),
                                judged(when, sla.OUTCOME_KEPT, name, of),
                            ]
                            if any(
                                isinstance(one.body, sla.ClockArmed) and one.stream.startswith(f"{name}-")
                                for one in told
                            )
                            else []
                        ),
                    ]
                )
            )
        )
    return told


@settings(max_examples=60, deadline=None)
@given(histories())
def test_nobody_is_told_the_same_twice_and_only_what_waits_is_cancelled(told: list[Told]) -> None:
    desk = Desk(*told)

    plans: dict[str, e.NoticePlanned] = {}
    cancelled: Counter[str] = Counter()
    for one in desk.all:
        if isinstance(one.body, e.NoticePlanned):
            assert one.notice not in plans
            plans[one.notice] = one.body
        else:
            cancelled[one.notice] += 1
            assert cancelled[one.notice] == 1
            assert one.at < micros_of(plans[one.notice].not_before)


@settings(max_examples=60, deadline=None)
@given(histories())
def test_nobody_is_told_in_the_night(told: list[Told]) -> None:
    assert RULES.quiet_hours is not None
    for one in Desk(*told).all:
        if isinstance(one.body, e.NoticePlanned):
            goes = moment_of(one.body.not_before) if one.body.HasField("not_before") else moment(one.at)
            assert not is_quiet(goes, one.body.time_zone, RULES.quiet_hours.from_s, RULES.quiet_hours.until_s)


@settings(max_examples=60, deadline=None)
@given(histories())
def test_a_replay_decides_the_same_byte_for_byte(told: list[Told]) -> None:
    live = Desk(*told)
    replayed = Desk()
    for event in live.told:
        replayed.hear(event)

    assert [one.event.record for one in replayed.all] == [one.event.record for one in live.all]


@settings(max_examples=60, deadline=None)
@given(histories())
def test_a_customers_notices_follow_from_their_own_events_and_from_those_of_nobody(told: list[Told]) -> None:
    live = Desk(*told)
    for name in CUSTOMERS:
        alone = Desk()
        for event in live.told:
            if event.record.customer_id in ("", id_of(name)):
                alone.hear(event)
        mine = [one.event.record for one in live.all if one.event.record.customer_id == id_of(name)]
        assert [one.event.record for one in alone.all] == mine


@settings(max_examples=60, deadline=None)
@given(histories())
def test_that_it_was_sent_in_time_changes_nothing(told: list[Told]) -> None:
    """In order of time, as a live cell records: a notice that waits is not sent, and one that is sent does not wait."""
    in_order = told[:8] + sorted(told[8:], key=lambda one: one.at)
    known: set[str] = set()
    kept = []
    for one in in_order:
        if isinstance(one.body, case.CaseOpened):
            known.add(one.stream)
        if isinstance(one.body, sla.ClockArmed):
            known.add(one.stream)
        if one.customer and one.stream not in known and not _is_of_customer(one):
            continue
        kept.append(one)
    without = Desk(*kept)
    with_sends = Desk()
    due: list[tuple[int, str, str]] = []
    for one in kept:
        for when, notice, of in sorted(item for item in due if item[0] <= one.at):
            with_sends.when(sent("06 00:00", notice, of)._replace(at=when))
            due.remove((when, notice, of))
        with_sends.when(one)
        for decision in with_sends.last:
            of = next(name for name in CUSTOMERS if id_of(name) == decision.event.record.customer_id)
            if isinstance(decision.body, e.NoticePlanned):
                waits = decision.body.HasField("not_before")
                due.append((micros_of(decision.body.not_before) if waits else decision.at, decision.notice, of))
            else:
                due = [item for item in due if item[1] != decision.notice]

    assert [(one.notice, one.body, one.at) for one in with_sends.all] == [
        (one.notice, one.body, one.at) for one in without.all
    ]


def _is_of_customer(told: Told) -> bool:
    return not isinstance(
        told.body,
        case.CaseResolved | case.CaseReopened | case.CaseCancelled | sla.ThresholdReached | sla.VerdictReached,
    )
