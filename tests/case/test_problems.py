"""Problems: commands against a real log, and the lists of them and of whom they touch."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid5

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kept.case.v1 import events_pb2 as e
from kept.case.v1 import service_pb2 as m
from kept.notification.v1 import events_pb2 as notification

from services.case import views
from services.kernel.config import read_settings
from services.kernel.errors import Invalid, RequestIdReused
from services.kernel.house import House
from services.kernel.paging import make_token
from tests.scene import UNKNOWN, Scene, Told, at, edited, follow, install_item, open_case, rows

NAMES = uuid5(UUID(UNKNOWN), "problems")
SCOPE = e.Scope(product="Router R-1", regions=["310000", "330122"], began_at=at(-5))


@pytest.fixture
def scene(sqlite_house: House) -> Scene:
    return Scene(sqlite_house)


@pytest.fixture
def both(house: House) -> Scene:
    """On SQLite and on PostgreSQL."""
    return Scene(house)


def open_problem() -> m.OpenProblemRequest:
    return m.OpenProblemRequest(
        title="Routers restart at night", scope=SCOPE, priority=e.PRIORITY_HIGH, expected_until=at(600)
    )


def changes(problem_id: str, case_id: str) -> dict[str, Message]:
    """A good request of every kind, each possible after those before it."""
    cause = "Firmware 2.1"
    return {
        "find": m.FindRootCauseRequest(problem_id=problem_id, cause=cause, scope=SCOPE, expected_until=at(700)),
        "link": m.LinkCaseRequest(problem_id=problem_id, case_id=case_id),
        "resolve": m.ResolveProblemRequest(problem_id=problem_id, remedy="Firmware 2.2"),
        "close": m.CloseProblemRequest(problem_id=problem_id, reason="No more restarts"),
    }


# What is recorded


def test_a_problem_runs_from_its_opening_to_its_closing(both: Scene) -> None:
    case_id = both.case(both.customer())
    problem_id = both.tell(open_problem(), minutes=1).id
    for minutes, request in enumerate(changes(problem_id, case_id).values(), 2):
        receipt = both.tell(request, minutes)
        assert (receipt.id, receipt.version) == (problem_id, minutes)
    events = both.recorded()[-5:]
    assert [event.body for event in events] == [
        e.ProblemOpened(
            title="Routers restart at night", scope=SCOPE, priority=e.PRIORITY_HIGH, expected_until=at(600)
        ),
        e.RootCauseFound(cause="Firmware 2.1", scope=SCOPE, expected_until=at(700)),
        e.CaseLinked(case_id=case_id),
        e.ProblemResolved(remedy="Firmware 2.2"),
        e.ProblemClosed(reason="No more restarts"),
    ]
    assert {(event.record.stream, event.record.customer_id) for event in events} == {(problem_id, "")}
    assert [event.record.occurred_at for event in events] == [at(minutes) for minutes in range(1, 6)]


def test_a_problem_begins_when_it_is_opened_unless_somebody_knows_better(scene: Scene) -> None:
    scene.tell(edited(open_problem(), {"scope.began_at": None, "expected_until": None}), minutes=7)
    opened = scene.recorded()[-1].body
    assert isinstance(opened, e.ProblemOpened)
    assert opened.scope.began_at == at(7)
    assert not opened.HasField("expected_until")


def test_the_same_request_again_is_recorded_once(scene: Scene) -> None:
    request = edited(open_problem(), {"request_id": "r-1"})
    first = scene.send(request)
    assert scene.send(request) == first
    with pytest.raises(RequestIdReused):
        scene.send(edited(request, {"title": "something else"}))
    assert len(scene.recorded()) == 1


# Refusals leave no trace


class Settled:
    """A problem and a case, and good requests about them that nobody has sent."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.customer_id = scene.customer()
        self.case_id = scene.case(self.customer_id)
        self.problem_id = scene.tell(open_problem()).id
        self.good: dict[str, Message] = {"open": open_problem(), **changes(self.problem_id, self.case_id)}


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settled]:
    """Shared, since every test that takes it leaves no trace."""
    house = House(read_settings({}, tmp_path_factory.mktemp("cell")))
    house.make()
    yield Settled(Scene(house))
    house.close()


ON_PROBLEMS = tuple(changes("", ""))
TEXTS: list[Any] = ["", "  ", "x" * 201, "a\0b"]
UNREAL: list[Any] = [Timestamp(seconds=2**62), Timestamp(seconds=-1), Timestamp(nanos=-1)]
BAD: list[tuple[str, str, list[Any]]] = [
    *((name, "request_id", ["", " ", "x" * 129]) for name in ("open", *ON_PROBLEMS)),
    *((name, "occurred_at", [at(60 * 24 * 365 * 200), *UNREAL[1:]]) for name in ("open", *ON_PROBLEMS)),
    ("open", "title", TEXTS),
    ("open", "priority", [0, 99, -1]),
    ("find", "cause", TEXTS),
    ("link", "case_id", ["", "x", UNKNOWN.upper()]),
    ("resolve", "remedy", TEXTS),
    ("close", "reason", TEXTS),
    *(
        (name, path, values)
        for name in ("open", "find")
        for path, values in (
            ("scope", [None]),
            ("scope.product", TEXTS),
            ("scope.regions", [[], [""], ["310000", "990000"], ["x" * 65], ["310000"] * 2, ["1"] * 101]),
            ("scope.began_at", [at(0.1), *UNREAL]),
            ("expected_until", UNREAL),
        )
    ),
]


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, path, _ in BAD])
def test_bad_input_names_its_field_and_leaves_no_trace(settled: Settled, name: str, path: str) -> None:
    scene, good = settled.scene, edited(settled.good[name], {"request_id": "r", "occurred_at": at(0)})
    (values,) = (values for *where, values in BAD if where == [name, path])
    before = scene.trace()
    for value in values:
        with pytest.raises(Invalid) as caught:
            scene.send(edited(good, {path: value}))
        assert caught.value.field.startswith(path), value
        assert len(str(caught.value)) < 300
    assert scene.trace() == before


@pytest.mark.parametrize("name", ON_PROBLEMS)
def test_an_unknown_problem_is_not_found(settled: Settled, name: str) -> None:
    good = settled.good[name]
    for other in (UNKNOWN, settled.case_id, settled.customer_id):
        assert settled.scene.refused(edited(good, {"problem_id": other}), "problem-not-found").status == "NOT_FOUND"
    Scene(settled.scene.house, tenant="south").refused(good, "problem-not-found")


def test_only_a_case_of_the_company_is_linked(settled: Settled) -> None:
    for other in (UNKNOWN, settled.problem_id, settled.customer_id):
        settled.scene.refused(edited(settled.good["link"], {"case_id": other}), "case-not-found")


def test_what_the_state_does_not_allow_is_refused(scene: Scene) -> None:
    settled = Settled(scene)
    scene.refused(settled.good["close"], "problem-not-resolved")
    scene.tell(settled.good["resolve"])
    for name in ("find", "link"):
        scene.refused(settled.good[name], "problem-not-open")


# What is shown


def get(scene: Scene, problem_id: str) -> m.GetProblemResponse:
    scene.drain()
    answer = scene.send(m.GetProblemRequest(problem_id=problem_id))
    assert isinstance(answer, m.GetProblemResponse)
    return answer


def test_each_change_shows(both: Scene) -> None:
    case_id = both.case(both.customer())
    problem_id = both.tell(open_problem(), minutes=1).id
    expected = m.ProblemSummary(
        problem_id=problem_id,
        title="Routers restart at night",
        state=m.PROBLEM_STATE_OPEN,
        priority=e.PRIORITY_HIGH,
        scope=SCOPE,
        opened_at=at(1),
        expected_until=at(600),
        version=1,
    )
    assert get(both, problem_id) == m.GetProblemResponse(problem=expected)
    wider = e.Scope(product="Router R-1", regions=["330000"], began_at=at(-9))
    good = changes(problem_id, case_id)
    good["find"] = edited(good["find"], {"scope": wider, "expected_until": None})
    found = {"state": m.PROBLEM_STATE_CAUSE_FOUND, "cause": "Firmware 2.1", "scope": wider}
    resolved = {"state": m.PROBLEM_STATE_RESOLVED, "remedy": "Firmware 2.2", "resolved_at": at(4)}
    steps: list[dict[str, Any]] = [found, {}, resolved, {"state": m.PROBLEM_STATE_CLOSED}]
    for version, (request, shown) in enumerate(zip(good.values(), steps, strict=True), 2):
        both.tell(request, version)
        expected = edited(expected, {**shown, "version": version})
        assert get(both, problem_id).problem == expected, request
    assert list(get(both, problem_id).case_ids) == [case_id]


def test_problems_are_listed_newest_first_in_pages_of_every_size(both: Scene) -> None:
    ids = [both.tell(open_problem(), minutes).id for minutes in (3, 1, 2, 2)]
    Scene(both.house, tenant="south").tell(open_problem())
    both.drain()
    ordered = [ids[0], *sorted(ids[2:], reverse=True), ids[1]]
    for size in range(1, 6):
        got: list[str] = []
        request = m.ListProblemsRequest(page_size=size)
        while True:
            answer = both.send(request)
            got.extend(one.problem_id for one in answer.problems)
            if not answer.next_page_token:
                break
            assert len(answer.problems) == size
            request.page_token = answer.next_page_token
        assert got == ordered


@pytest.mark.parametrize("request_type", [m.GetProblemRequest, m.ListAffectedRequest])
def test_a_problem_that_is_not_there_is_not_shown(scene: Scene, request_type: Any) -> None:
    problem_id = scene.tell(open_problem()).id
    scene.drain()
    scene.refused_read(request_type(problem_id=UNKNOWN), "problem-not-found")
    Scene(scene.house, tenant="south").refused_read(request_type(problem_id=problem_id), "problem-not-found")
    for bad in ("", "x", UNKNOWN.upper()):
        scene.refused_read(request_type(problem_id=bad), "invalid-argument")


def test_a_bad_list_request_names_its_field(both: Scene) -> None:
    problem_id = both.tell(open_problem()).id
    both.drain()
    bad: list[tuple[Message, str, list[Any]]] = [
        (m.ListProblemsRequest(), "page_size", [-1, 101]),
        (m.ListProblemsRequest(), "page_token", ["x", make_token(1), make_token(1, "x"), make_token(2**70, UNKNOWN)]),
        (m.ListAffectedRequest(problem_id=problem_id), "page_size", [-1, 101]),
        (m.ListAffectedRequest(problem_id=problem_id), "page_token", ["x", make_token(1), make_token("x")]),
    ]
    for request, path, values in bad:
        for value in values:
            with pytest.raises(Invalid) as caught:
                both.send(edited(request, {path: value}))
            assert caught.value.field == path


# Who was told first


class Street:
    """A problem that began at minute 0, and customers with a router each."""

    def __init__(self, scene: Scene, customers: int = 1) -> None:
        self.scene = scene
        self.customers = sorted(scene.customer() for _ in range(customers))
        self.items = [scene.tell(install_item(one), minutes=-60).id for one in self.customers]
        self.problem_id = scene.tell(edited(open_problem(), {"scope.began_at": at(0)}), minutes=1).id
        self._versions = [0] * customers
        self._notices = 0

    def affect(self, number: int = 0, *items: str, minutes: float = 1) -> None:
        body = e.CustomerAffected(problem_id=self.problem_id, item_ids=items or [self.items[number]], began_at=at(0))
        self._impact(number, body, minutes)

    def retract(self, number: int = 0, minutes: float = 50) -> None:
        self._impact(number, e.AffectedRetracted(problem_id=self.problem_id), minutes)

    def tell(self, number: int, minutes: float, occasion: Any = notification.OCCASION_PROBLEM_FOUND) -> None:
        self._notices += 1
        sent = notification.NoticeSent(occasion=occasion, about=notification.About(problem_id=self.problem_id))
        stream = uuid5(NAMES, f"notice {self._notices}")
        self.scene.append(Told(stream, [sent], self.customers[number]), minutes=minutes)

    def call(self, number: int, minutes: float, item_id: str | None = None) -> str:
        request = open_case(self.customers[number])
        item = self.items[number] if item_id is None else item_id
        return self.scene.tell(edited(request, {"item_id": item}), minutes).id

    def shown(self, number: int = 0) -> m.Affected:
        self.scene.drain()
        affected = self.scene.send(m.ListAffectedRequest(problem_id=self.problem_id)).affected
        (found,) = (one for one in affected if one.customer_id == self.customers[number])
        assert isinstance(found, m.Affected)
        return found

    def counts(self) -> tuple[int, int, int, int]:
        problem = get(self.scene, self.problem_id).problem
        return problem.affected, problem.told_first, problem.called_first, problem.not_told

    def _impact(self, number: int, body: Message, minutes: float) -> None:
        stream = uuid5(UUID(self.problem_id), self.customers[number])
        told = Told(stream, [body], self.customers[number], after=self._versions[number])
        self._versions[number] += 1
        self.scene.append(told, minutes=minutes)


def test_an_affected_customer_is_shown_with_their_items(both: Scene) -> None:
    street = Street(both)
    assert street.counts() == (0, 0, 0, 0)
    street.affect()
    assert street.shown() == m.Affected(customer_id=street.customers[0], item_ids=street.items)
    assert street.counts() == (1, 0, 0, 1)


def test_who_was_told_first_and_who_called_first_is_counted(both: Scene) -> None:
    street = Street(both, customers=6)
    for number in range(6):
        street.affect(number)
    street.tell(0, 10)  # told, and never called
    street.tell(1, 10)
    street.call(1, 11)  # told before they called
    street.call(2, 9)
    street.tell(2, 10)  # called before they were told
    street.call(3, 12)  # called without being told
    street.tell(4, 10)
    street.call(4, 10)  # told in the very moment of the call
    assert street.counts() == (6, 2, 3, 2)
    assert (street.shown(1).told_at, street.shown(1).called_at) == (at(10), at(11))
    assert (street.shown(2).told_at, street.shown(2).called_at) == (at(10), at(9))
    assert not street.shown(3).HasField("told_at")
    assert not street.shown(5).HasField("called_at")
    street.retract(1)
    street.retract(3)
    assert street.counts() == (4, 1, 2, 1)
    assert len(both.send(m.ListAffectedRequest(problem_id=street.problem_id)).affected) == 4


def test_a_call_counts_from_the_beginning_on_also_from_before_it_was_known(both: Scene) -> None:
    street = Street(both)
    street.call(0, -1)  # before it began
    street.call(0, 5)
    street.call(0, 3)
    street.affect()
    assert street.shown().called_at == at(3)
    street.call(0, 2)
    assert street.shown().called_at == at(2)
    street.call(0, 4)
    assert street.shown().called_at == at(2)
    earlier = edited(changes(street.problem_id, "")["find"], {"scope.began_at": at(-5)})
    both.tell(earlier, minutes=9)
    assert street.shown().called_at == at(-1)


def test_only_a_case_on_an_affected_item_is_a_call(both: Scene) -> None:
    street = Street(both, customers=2)
    other = both.tell(install_item(street.customers[0]), minutes=-60).id
    street.affect(0)
    street.affect(1)
    street.call(0, 5, other)
    street.call(0, 6, "")
    assert not street.shown(0).HasField("called_at")
    street.retract(0)
    street.affect(0, street.items[0], other, minutes=60)
    assert (list(street.shown(0).item_ids), street.shown(0).called_at) == ([street.items[0], other], at(5))
    assert not street.shown(1).HasField("called_at")


def test_only_the_first_notice_that_the_problem_was_found_tells(both: Scene) -> None:
    street = Street(both, customers=2)
    street.affect(0)
    street.affect(1)
    street.tell(0, 5, notification.OCCASION_PROBLEM_RESOLVED)
    assert not street.shown(0).HasField("told_at")
    for minutes in (9, 8, 12):
        street.tell(0, minutes)
    assert street.shown(0).told_at == at(8)
    assert not street.shown(1).HasField("told_at")
    street.retract(0)
    street.affect(0, minutes=60)
    assert street.shown(0).told_at == at(8)


def test_the_affected_are_listed_by_id_in_pages_of_every_size(both: Scene) -> None:
    street = Street(both, customers=5)
    for number in (3, 0, 4, 1, 2):
        street.affect(number)
    both.drain()
    for size in range(1, 7):
        got: list[str] = []
        request = m.ListAffectedRequest(problem_id=street.problem_id, page_size=size)
        while True:
            answer = both.send(request)
            got.extend(one.customer_id for one in answer.affected)
            if not answer.next_page_token:
                break
            assert len(answer.affected) == size
            request.page_token = answer.next_page_token
        assert got == street.customers


def test_rebuilt_rows_equal_the_live_ones_in_batches_of_any_size(both: Scene) -> None:
    street = Street(both, customers=3)
    street.affect(0)
    street.call(0, 3)
    both.drain()
    street.tell(0, 5)
    street.affect(1)
    both.drain()
    street.retract(0)
    both.tell(m.LinkCaseRequest(problem_id=street.problem_id, case_id=street.call(1, 7)), minutes=8)
    both.drain()
    live = rows(views.VIEWS, both.house.views_database("case"))
    counted = ("problem_row", "problem_case", "problem_customer", "problem_item")
    assert [len(live[name]) for name in counted] == [1, 1, 2, 2]
    for batch in (1, 3, 500):
        fresh = both.house.database(f"views_rebuilt_{batch}")
        views.VIEWS.migrate(fresh)
        follow(both.house, views.VIEWS, fresh, batch)
        assert rows(views.VIEWS, fresh) == live
