"""The lists of cases after a scripted history, paged, rebuilt, and ordered by the deadlines that clocks set."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid5

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from kept.case.v1 import events_pb2 as e
from kept.case.v1 import service_pb2 as m
from kept.sla.v1 import events_pb2 as sla

from services.case import views
from services.kernel.database import SQLite
from services.kernel.errors import Invalid
from services.kernel.events import event_classes
from services.kernel.house import House
from services.kernel.paging import make_token
from tests.scene import UNKNOWN, Scene, Told, at, edited, follow, logged, open_case, rows

NAMES = uuid5(UUID(UNKNOWN), "test")


@pytest.fixture
def scene(sqlite_house: House) -> Scene:
    return Scene(sqlite_house)


@pytest.fixture
def both(house: House) -> Scene:
    """On SQLite and on PostgreSQL."""
    return Scene(house)


def get(scene: Scene, case_id: str) -> m.GetCaseResponse:
    scene.drain()
    answer = scene.send(m.GetCaseRequest(case_id=case_id))
    assert isinstance(answer, m.GetCaseResponse)
    return answer


def listed(scene: Scene, **wanted: Any) -> list[str]:
    answer = scene.send(m.ListCasesRequest(**wanted))
    assert answer.next_page_token == ""
    return [case.case_id for case in answer.cases]


# One case


def test_an_opened_case_is_shown_with_its_texts_opened(scene: Scene) -> None:
    customer_id = scene.customer()
    case_id = scene.case(customer_id, minutes=7)
    said = open_case(customer_id)
    summary = m.CaseSummary(
        case_id=case_id,
        customer_id=customer_id,
        classification=said.classification,
        priority=said.priority,
        state=e.CASE_STATE_ACKNOWLEDGED,
        region=said.region,
        opened_at=at(7),
        external_reference=said.external_reference,
        version=1,
    )
    assert get(scene, case_id) == m.GetCaseResponse(case=summary, need=said.need, urgency=said.urgency)


def test_each_change_shows(both: Scene) -> None:
    scene = both
    case_id = scene.case(scene.customer())
    kind = e.Classification(kind=e.CASE_KIND_CLAIM, category="bill")
    held: dict[str, Any] = {"waiting_for": e.WAITING_FOR_PARTS}
    steps: list[tuple[Any, dict[str, Any]]] = [
        (m.AssignRequest(case_id=case_id, team="north", assignee="li"), {"team": "north", "assignee": "li"}),
        (m.AssignRequest(case_id=case_id, partner="Fast"), {"team": "", "partner": "Fast", "assignee": ""}),
        (m.AcknowledgeRequest(case_id=case_id), {"state": e.CASE_STATE_IN_PROGRESS}),
        (m.HoldRequest(case_id=case_id, reason="r", **held), {"state": e.CASE_STATE_HELD, **held}),
        (
            m.HoldRequest(case_id=case_id, reason="r", waiting_for=e.WAITING_FOR_CUSTOMER),
            {"state": e.CASE_STATE_PENDING, "waiting_for": e.WAITING_FOR_CUSTOMER},
        ),
        (m.ResumeRequest(case_id=case_id, reason="r"), {"state": e.CASE_STATE_IN_PROGRESS, "waiting_for": 0}),
        (
            m.PrioritizeRequest(case_id=case_id, reason="r", priority=e.PRIORITY_LOW),
            {"priority": e.PRIORITY_LOW},
        ),
        (m.ClassifyRequest(case_id=case_id, classification=kind), {"classification": kind}),
        (m.ResolveRequest(case_id=case_id, reason="r"), {"state": e.CASE_STATE_RESOLVED}),
        (m.CloseRequest(case_id=case_id, customer_confirmed=True), {"state": e.CASE_STATE_CLOSED}),
        (m.ReopenRequest(case_id=case_id, reason="r"), {"state": e.CASE_STATE_IN_PROGRESS, "reopen_count": 1}),
        (m.HoldRequest(case_id=case_id, reason="r", **held), {"state": e.CASE_STATE_HELD, **held}),
        (m.ResolveRequest(case_id=case_id, reason="r"), {"state": e.CASE_STATE_RESOLVED, "waiting_for": 0}),
        (m.ReopenRequest(case_id=case_id, reason="r"), {"state": e.CASE_STATE_IN_PROGRESS, "reopen_count": 2}),
        (m.HoldRequest(case_id=case_id, reason="r", **held), {"state": e.CASE_STATE_HELD, **held}),
        (m.CancelRequest(case_id=case_id, reason="r"), {"state": e.CASE_STATE_CANCELLED, "waiting_for": 0}),
    ]
    shown = get(scene, case_id).case
    for version, (request, changes) in enumerate(steps, 2):
        scene.tell(request)
        expected = edited(shown, {**changes, "version": version})
        shown = get(scene, case_id).case
        assert shown == expected, request


def test_a_rejected_case_shows_as_rejected(scene: Scene) -> None:
    case_id = scene.case(scene.customer())
    scene.tell(m.RejectRequest(case_id=case_id, reason="not ours"))
    assert get(scene, case_id).case.state == e.CASE_STATE_REJECTED


def test_notes_are_shown_oldest_first_and_move_the_version(scene: Scene) -> None:
    case_id = scene.case(scene.customer())
    for minutes, (audience, text) in enumerate([(e.NOTE_AUDIENCE_INTERNAL, "one"), (e.NOTE_AUDIENCE_CUSTOMER, "two")]):
        scene.tell(m.AddNoteRequest(case_id=case_id, audience=audience, text=text), minutes)
    answer = get(scene, case_id)
    assert list(answer.notes) == [
        m.Note(audience=e.NOTE_AUDIENCE_INTERNAL, text="one", actor="user:ana", occurred_at=at(0)),
        m.Note(audience=e.NOTE_AUDIENCE_CUSTOMER, text="two", actor="user:ana", occurred_at=at(1)),
    ]
    assert answer.case.version == 3


def test_erased_texts_are_shown_as_erased(scene: Scene) -> None:
    customer_id = scene.customer()
    case_id = scene.case(customer_id)
    scene.tell(m.AddNoteRequest(case_id=case_id, audience=e.NOTE_AUDIENCE_INTERNAL, text="one"))
    scene.house.keys.destroy(UUID(customer_id))
    answer = get(scene, case_id)
    assert (answer.need, answer.urgency, answer.erased) == ("", "", True)
    assert [note.text for note in answer.notes] == [""]
    assert answer.case.external_reference == "INC0000045"


def test_a_case_of_another_company_is_not_found(scene: Scene) -> None:
    case_id = scene.case(scene.customer())
    scene.drain()
    other = Scene(scene.house, tenant="south")
    other.refused_read(m.GetCaseRequest(case_id=case_id), "case-not-found")
    assert listed(other) == []
    assert list(other.send(m.CountCasesRequest()).counts) == []


# Lists


OWN, RESOLVE = sla.TARGET_KIND_TIME_TO_OWN, sla.TARGET_KIND_TIME_TO_RESOLVE
ANA, BO = str(uuid5(NAMES, "ana")), str(uuid5(NAMES, "bo"))
CHANGES: list[list[Message]] = [
    [e.CaseAssigned(team="north")],
    [e.CaseAssigned(team="north"), e.CaseHeld(waiting_for=e.WAITING_FOR_CUSTOMER)],
    [e.CaseAssigned(team="north"), e.CaseHeld(waiting_for=e.WAITING_FOR_PROBLEM)],
    [],
    [e.CaseAssigned(partner="Fast")],
    [],
    [e.CaseResolved()],
]


class Town:
    """Seven cases: 0 to 3 are Ana's, the others Bo's."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.cases = [uuid5(NAMES, f"case {number}") for number in range(len(CHANGES))]
        self._versions: dict[UUID, int] = {}
        scene.append(
            *(
                Told(case_id, [e.CaseOpened(customer_id=owner), *changes], owner)
                for case_id, changes, owner in zip(self.cases, CHANGES, [ANA] * 4 + [BO] * 3, strict=True)
            )
        )

    def clocks(self, *told: tuple[int, sla.TargetKind.ValueType, Message]) -> None:
        """What happened to clocks: the case, the target, the event."""
        streams = [uuid5(self.cases[case], str(target)) for case, target, _ in told]
        befores = [self._versions.get(stream, 0) for stream in streams]
        self._versions.update((stream, before + 1) for stream, before in zip(streams, befores, strict=True))
        self.scene.append(
            *(Told(stream, [body], after=n) for stream, n, (*_, body) in zip(streams, befores, told, strict=True))
        )

    def arm(self, case: int, due: float, target: sla.TargetKind.ValueType = RESOLVE) -> tuple[int, Any, Message]:
        return case, target, sla.ClockArmed(case_id=str(self.cases[case]), target=target, due_at=at(due))

    def indexes(self, **wanted: Any) -> list[int]:
        self.scene.drain()
        return [self.cases.index(UUID(case_id)) for case_id in listed(self.scene, **wanted)]

    def deadline(self, case: int) -> Timestamp | None:
        """Of the case as it is shown."""
        self.scene.drain()
        (shown,) = (one for one in self.scene.send(m.ListCasesRequest()).cases if one.case_id == str(self.cases[case]))
        return shown.deadline_at if shown.HasField("deadline_at") else None


@pytest.fixture
def town(both: Scene) -> Town:
    return Town(both)


def test_cases_are_listed_and_counted_by_what_they_are(town: Town) -> None:
    assert sorted(town.indexes()) == [0, 1, 2, 3, 4, 5, 6]
    assert sorted(town.indexes(team="north")) == [0, 1, 2]
    assert town.indexes(team="south") == []
    assert town.indexes(partner="Fast") == [4]
    assert sorted(town.indexes(customer_id=BO)) == [4, 5, 6]
    assert town.indexes(states=[e.CASE_STATE_PENDING]) == [1]
    assert town.indexes(states=[e.CASE_STATE_PENDING] * 100_000) == [1]
    assert sorted(town.indexes(states=[e.CASE_STATE_HELD, e.CASE_STATE_RESOLVED])) == [2, 6]
    assert town.indexes(states=[e.CASE_STATE_HELD], team="north", customer_id=ANA) == [2]
    assert town.indexes(states=[e.CASE_STATE_HELD], customer_id=BO) == []
    counts = {one.state: one.cases for one in town.scene.send(m.CountCasesRequest()).counts}
    assert counts == {
        e.CASE_STATE_ACKNOWLEDGED: 4,
        e.CASE_STATE_PENDING: 1,
        e.CASE_STATE_HELD: 1,
        e.CASE_STATE_RESOLVED: 1,
    }


def test_the_nearest_deadline_that_is_still_owed_comes_first(town: Town) -> None:
    town.clocks(*(town.arm(case, due) for case, due in ((3, 10), (0, 20), (5, 30), (1, 40))), town.arm(5, 5, OWN))
    assert town.indexes()[:4] == [5, 3, 0, 1]
    assert town.deadline(5) == at(5)
    town.clocks((5, OWN, sla.VerdictReached(outcome=sla.OUTCOME_KEPT)))
    assert town.indexes()[:4] == [3, 0, 5, 1]
    assert town.deadline(5) == at(30)
    town.clocks((3, RESOLVE, sla.ClockReplanned(due_at=at(25))))
    assert town.indexes()[:4] == [0, 3, 5, 1]
    town.clocks((0, RESOLVE, sla.VerdictReached(outcome=sla.OUTCOME_BROKEN)))
    assert town.indexes()[:4] == [0, 3, 5, 1], "a broken promise is still owed"
    assert town.deadline(0) == at(20)
    town.clocks((0, RESOLVE, sla.ClockReplanned(due_at=at(1))))  # it was reopened
    assert town.indexes()[:4] == [0, 3, 5, 1]
    assert town.indexes(deadline_until=at(25)) == [0, 3]
    assert town.indexes(deadline_until=at(0)) == []
    assert {case.version for case in town.scene.send(m.ListCasesRequest(customer_id=BO)).cases} == {1, 2}


def test_a_clock_that_stands_has_no_deadline(both: Scene) -> None:
    case_id = both.case(both.customer())
    own, resolve = (uuid5(UUID(case_id), name) for name in ("own", "resolve"))
    stands = [e.WAITING_FOR_CUSTOMER]
    both.append(
        Told(own, [sla.ClockArmed(case_id=case_id, target=OWN, due_at=at(90))]),
        Told(resolve, [sla.ClockArmed(case_id=case_id, target=RESOLVE, due_at=at(60), pause_on=stands)]),
    )

    def shown() -> Timestamp | None:
        both.drain()
        (case,) = both.send(m.ListCasesRequest()).cases
        return case.deadline_at if case.HasField("deadline_at") else None

    def hold(waiting_for: e.WaitingFor.ValueType) -> None:
        both.tell(m.HoldRequest(case_id=case_id, reason="r", waiting_for=waiting_for))

    assert shown() == at(60)
    hold(e.WAITING_FOR_CUSTOMER)
    assert shown() is None, "one stands, and who makes the customer wait has taken the case in hand"
    hold(e.WAITING_FOR_PARTS)
    assert shown() == at(60), "it does not stand for parts"
    hold(e.WAITING_FOR_CUSTOMER)
    both.tell(m.ResumeRequest(case_id=case_id, reason="r"))
    both.append(Told(resolve, [sla.ClockReplanned(due_at=at(70), pause_on=stands)], after=1))
    assert shown() == at(70)


def test_a_broken_promise_is_owed_until_it_is_made_good(both: Scene) -> None:
    case_id = both.case(both.customer())
    for target, due in ((OWN, 10), (RESOLVE, 20)):
        armed = sla.ClockArmed(case_id=case_id, target=target, due_at=at(due))
        both.append(Told(uuid5(UUID(case_id), str(target)), [armed, sla.VerdictReached(outcome=sla.OUTCOME_BROKEN)]))

    def shown() -> Timestamp | None:
        both.drain()
        (case,) = both.send(m.ListCasesRequest()).cases
        return case.deadline_at if case.HasField("deadline_at") else None

    assert shown() == at(10)
    both.tell(m.AcknowledgeRequest(case_id=case_id))
    assert shown() == at(20), "somebody has it now"
    both.tell(m.ResolveRequest(case_id=case_id, reason="done"))
    assert shown() is None


def pages(scene: Scene, request: m.ListCasesRequest) -> Iterator[list[str]]:
    while True:
        answer = scene.send(request)
        yield [case.case_id for case in answer.cases]
        if not answer.next_page_token:
            return
        request = edited(request, {"page_token": answer.next_page_token})


def test_pages_of_every_size_hold_every_case_once_and_in_order(town: Town) -> None:
    # Three at once, and three with none.
    town.clocks(*(town.arm(case, due) for case, due in ((3, 10), (0, 20), (5, 20), (1, 20))))
    town.scene.drain()
    for wanted in ({}, {"customer_id": ANA}, {"states": [e.CASE_STATE_ACKNOWLEDGED]}):
        whole = listed(town.scene, **wanted)
        for size in range(1, 9):
            got = list(pages(town.scene, m.ListCasesRequest(page_size=size, **wanted)))
            assert [case_id for page in got for case_id in page] == whole
            assert all(len(page) == size for page in got[:-1])
            assert 0 < len(got[-1]) <= size


@settings(max_examples=60, deadline=None)
@given(dues=st.lists(st.integers(0, 4) | st.none(), max_size=30), size=st.integers(1, 31))
def test_paging_over_any_deadlines_has_no_gap_and_no_repeat(dues: list[int | None], size: int) -> None:
    database = SQLite(":memory:")
    views.VIEWS.migrate(database)
    expected = []
    with database.write() as session:
        for number, due in enumerate(dues):
            case_id = uuid5(NAMES, str(number))
            expected.append((views.NO_DEADLINE if due is None else due, case_id.bytes, str(case_id)))
            views.apply(session, logged(case_id, e.CaseOpened(customer_id=UNKNOWN)))
            if due is not None:
                armed = sla.ClockArmed(case_id=str(case_id), due_at=at(due))
                views.apply(session, logged(uuid5(case_id, "clock"), armed, position=2))
    got: list[str] = []
    request = m.ListCasesRequest(page_size=size)
    with database.read() as session:
        while True:
            cases, request.page_token = views.page(session, "main", request)
            got.extend(case.case_id for case in cases)
            if not request.page_token:
                break
    assert got == [case_id for _, _, case_id in sorted(expected)]


# Bad input of the lists


BAD: dict[str, list[Any]] = {
    "page_size": [-1, 101],
    "page_token": [
        "x", "?", "é", make_token(1), make_token("a", "b"), make_token(1, "b"), make_token(1, UNKNOWN + "x"),
        make_token(2**70, UNKNOWN),
    ],
    "states": [[0], [99], [e.CASE_STATE_HELD, -1]],
    "customer_id": ["x", UNKNOWN.upper(), "a\0"],
    "team": ["a\0", "x" * 201],
    "partner": ["a\0", "x" * 201],
    "deadline_until": [Timestamp(seconds=2**62), Timestamp(seconds=-1)],
}  # fmt: skip


def test_a_bad_list_request_names_its_field(both: Scene) -> None:
    for path, values in BAD.items():
        for value in values:
            with pytest.raises(Invalid) as caught:
                both.send(edited(m.ListCasesRequest(), {path: value}))
            assert caught.value.field.startswith(path)


# Rebuilding


def test_rebuilt_rows_equal_the_live_ones_in_batches_of_any_size(town: Town) -> None:
    scene = town.scene
    scene.drain()
    town.clocks(town.arm(3, 10), town.arm(0, 20))
    scene.drain()
    town.clocks((3, RESOLVE, sla.VerdictReached(outcome=sla.OUTCOME_KEPT)))
    note = m.AddNoteRequest(case_id=scene.case(scene.customer()), audience=e.NOTE_AUDIENCE_INTERNAL, text="n")
    scene.tell(note)
    scene.drain()
    live = rows(views.VIEWS, scene.house.views_database("case"))
    assert [len(live[name]) for name in ("case_row", "case_note", "case_deadline")] == [8, 1, 2]
    for batch in (1, 3, 500):
        fresh = scene.house.database(f"views_rebuilt_{batch}")
        views.VIEWS.migrate(fresh)
        follow(scene.house, views.VIEWS, fresh, batch)
        assert rows(views.VIEWS, fresh) == live


def test_every_event_of_a_case_is_read() -> None:
    parts = {"kept.case.v1.Classification", "kept.case.v1.Scope"}
    own = {name for name in event_classes() if name.startswith("kept.case.v1.")} - parts
    assert all(name in views.VIEWS.reads for name in own)
