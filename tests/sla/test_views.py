"""Clocks and verdicts as people look for them: rows follow from the events, whatever came before."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from google.protobuf.message import Message
from kept.sla.v1 import events_pb2 as e
from kept.sla.v1 import service_pb2 as m

from services.kernel.clock import timestamp_of
from services.kernel.database import Session
from services.kernel.events import DomainEvent, ProtobufMapper, Stamp, log_event
from services.kernel.house import House
from services.kernel.log.port import Recorded
from services.sla.domain import clock_id
from services.sla.policies import OWN, RESOLVE
from services.sla.views import VIEWS, clocks, count
from tests.sla.desk import HOUR, at, pins, stream_of

DUE, LATER = "06 17:00", "07 10:00"


class Board:
    """The view's tables, and the events that fill them."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._positions = 0

    def tell(
        self,
        body: Message,
        when: str = "06 09:00",
        *,
        case: str = "A",
        target: e.TargetKind.ValueType = RESOLVE,
        tenant: str = "main",
    ) -> None:
        stream = clock_id(str(stream_of(case, tenant)), target)
        stamp = Stamp(tenant, "policy:sla@1", at(when), correlation_id="")
        entry = ProtobufMapper().to_stored_event(DomainEvent(stream, 1, body, stamp))
        self._positions += 1
        VIEWS.apply(self.session, log_event(Recorded(self._positions, entry.topic, 0, entry.state)))

    def arm(self, case: str = "A", target: e.TargetKind.ValueType = RESOLVE, tenant: str = "main") -> None:
        self.tell(armed(case, target, tenant), case=case, target=target, tenant=tenant)

    def clocks(self, *cases: str, tenant: str = "main") -> list[m.Clock]:
        return clocks(self.session, tenant, [stream_of(case, tenant) for case in cases or ("A",)])

    def the_clock(self) -> m.Clock:
        (clock,) = self.clocks()
        return clock

    def count(self, tenant: str = "main") -> dict[tuple[int, int], int]:
        return {(one.target, one.outcome): one.clocks for one in count(self.session, tenant)}


@pytest.fixture
def board(house: House) -> Iterator[Board]:
    database = house.views_database("sla")
    VIEWS.migrate(database)
    with database.write() as session:
        yield Board(session)


def armed(case: str = "A", target: e.TargetKind.ValueType = RESOLVE, tenant: str = "main") -> e.ClockArmed:
    case_id = str(stream_of(case, tenant))
    return e.ClockArmed(case_id=case_id, target=target, pins=pins(), budget_s=8 * HOUR, due_at=timestamp_of(at(DUE)))


def replanned(due: str = LATER) -> e.ClockReplanned:
    by = pins(policy_version=1, calendar="always", calendar_version=3)
    return e.ClockReplanned(pins=by, budget_s=4 * HOUR, used_s=HOUR, due_at=timestamp_of(at(due)))


def verdict(outcome: e.Outcome.ValueType) -> e.VerdictReached:
    return e.VerdictReached(outcome=outcome, budget_s=8 * HOUR, used_s=HOUR, due_at=timestamp_of(at(DUE)))


def warned(percent: int) -> e.ThresholdReached:
    return e.ThresholdReached(percent=percent, due_at=timestamp_of(at(DUE)))


def test_an_armed_clock_is_seen_with_its_pins_and_its_deadline(board: Board) -> None:
    board.arm()

    case_id = str(stream_of("A"))
    assert board.the_clock() == m.Clock(
        clock_id=str(clock_id(case_id, RESOLVE)),
        case_id=case_id,
        target=RESOLVE,
        pins=pins(),
        budget_s=8 * HOUR,
        due_at=timestamp_of(at(DUE)),
    )


def test_a_plan_replaces_the_one_before_and_its_verdict(board: Board) -> None:
    board.arm()
    board.tell(verdict(e.OUTCOME_KEPT), "06 10:00")
    board.tell(replanned(), "06 12:00")

    clock = board.the_clock()
    assert (clock.pins, clock.budget_s, clock.due_at) == (replanned().pins, 4 * HOUR, timestamp_of(at(LATER)))
    assert clock.outcome == e.OUTCOME_UNSPECIFIED
    assert not clock.HasField("decided_at")


@pytest.mark.parametrize("outcome", [e.OUTCOME_KEPT, e.OUTCOME_BROKEN, e.OUTCOME_RELEASED])
def test_a_verdict_is_seen_with_when_it_occurred(board: Board, outcome: e.Outcome.ValueType) -> None:
    board.arm()
    board.tell(verdict(outcome), "06 16:00")

    clock = board.the_clock()
    assert (clock.outcome, clock.decided_at, clock.corrected) == (outcome, timestamp_of(at("06 16:00")), False)


def test_a_corrected_verdict_says_so_until_there_is_another(board: Board) -> None:
    board.arm()
    board.tell(verdict(e.OUTCOME_BROKEN), DUE)
    board.tell(e.VerdictCorrected(outcome=e.OUTCOME_KEPT, used_s=HOUR, due_at=timestamp_of(at(DUE))), "06 16:00")
    corrected = board.the_clock()
    board.tell(replanned())
    board.tell(verdict(e.OUTCOME_KEPT), "06 18:00")

    assert (corrected.outcome, corrected.corrected) == (e.OUTCOME_KEPT, True)
    assert corrected.decided_at == timestamp_of(at("06 16:00"))
    assert not board.the_clock().corrected


def test_warnings_are_seen_once_each_ascending(board: Board) -> None:
    board.arm()
    for percent in (75, 50, 75):  # each plan warns anew
        board.tell(warned(percent))

    assert list(board.the_clock().warned_percents) == [50, 75]


def test_clocks_are_listed_by_case_and_target(board: Board) -> None:
    for case in ("B", "A", "C"):
        board.arm(case, RESOLVE)
        board.arm(case, OWN)

    wanted = sorted((stream_of(case), target) for case in ("A", "B") for target in (OWN, RESOLVE))
    assert [(UUID(clock.case_id), clock.target) for clock in board.clocks("A", "B")] == wanted


def test_companies_do_not_see_each_others_clocks(board: Board) -> None:
    board.arm(tenant="south")
    board.tell(verdict(e.OUTCOME_KEPT), tenant="south")

    assert clocks(board.session, "main", [stream_of("A", "south")]) == []
    assert board.count() == {}
    assert board.count("south") == {(RESOLVE, e.OUTCOME_KEPT): 1}


def test_verdicts_are_counted_by_target_and_outcome(board: Board) -> None:
    outcomes = {"A": e.OUTCOME_KEPT, "B": e.OUTCOME_KEPT, "C": e.OUTCOME_BROKEN, "D": None}
    for case, outcome in outcomes.items():
        board.arm(case)
        board.arm(case, OWN)
        if outcome is not None:
            board.tell(verdict(outcome), case=case)

    assert board.count() == {
        (OWN, e.OUTCOME_UNSPECIFIED): 4,
        (RESOLVE, e.OUTCOME_UNSPECIFIED): 1,
        (RESOLVE, e.OUTCOME_KEPT): 2,
        (RESOLVE, e.OUTCOME_BROKEN): 1,
    }
