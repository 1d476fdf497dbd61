"""Whom a problem touches, as of then: what the impact policy decides, and that it decides nothing else."""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast
from uuid import UUID, uuid5

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from kept.case.v1 import events_pb2 as e
from kept.case.v1 import service_pb2 as m
from kept.customer.v1 import events_pb2 as customer
from kept.customer.v1 import service_pb2 as customer_service

from services.case import policies
from services.case.domain import impact_id
from services.case.policies import ImpactPolicy
from services.kernel.database import Session, SQLite
from services.kernel.events import DomainEvent, LogEvent, ProtobufMapper, Stamp, log_event
from services.kernel.house import House
from services.kernel.log.port import Recorded
from services.kernel.log.schema import migrate
from services.kernel.policy import Aggregates, PolicyFollower, Work
from services.kernel.regions import within
from tests.scene import UNKNOWN, Scene, at

TONGLU, HANGZHOU, ZHEJIANG, SHANGHAI = "330122", "330100", "330000", "310000"
PUMP, ROUTER = "Pump P-2", "Router R-1"
NAMES = uuid5(UUID(UNKNOWN), "impact")


class Base:
    """An installed base, the problems that touch it, and what follows. Times are minutes."""

    def __init__(self, house: House) -> None:
        self.scene = Scene(house)
        self._follower = PolicyFollower(ImpactPolicy(), house.log, house.clock)
        self._follower.migrate()
        self._read = 0

    def customers(self, count: int) -> list[str]:
        return sorted(self.scene.customer() for _ in range(count))

    def install(self, customer_id: str, minutes: float, product: str = PUMP, region: str = TONGLU) -> str:
        request = customer_service.InstallItemRequest(customer_id=customer_id, product=product, region=region)
        return self.scene.tell(request, minutes).id

    def remove(self, item_id: str, minutes: float) -> None:
        self.scene.tell(customer_service.RemoveItemRequest(item_id=item_id, reason="sold"), minutes)

    def problem(self, minutes: float, *regions: str, product: str = PUMP, began: float | None = None) -> str:
        request = m.OpenProblemRequest(title="No pressure", scope=scope(product, regions), priority=e.PRIORITY_HIGH)
        if began is not None:
            request.scope.began_at.CopyFrom(at(began))
        return self.scene.tell(request, minutes).id

    def cause(self, problem_id: str, minutes: float, *regions: str, product: str = PUMP) -> None:
        request = m.FindRootCauseRequest(problem_id=problem_id, cause="A valve", scope=scope(product, regions))
        self.scene.tell(request, minutes)

    def resolve(self, problem_id: str, minutes: float) -> None:
        self.scene.tell(m.ResolveProblemRequest(problem_id=problem_id, remedy="A new valve"), minutes)

    def decided(self) -> list[LogEvent]:
        """What the policy has decided since one last asked."""
        while self._follower.step():
            pass
        with self._follower.database.read() as session:
            assert session.execute("SELECT * FROM parked").fetchall() == []
        events = [event for event in self.scene.recorded()[self._read :] if event.record.actor == "policy:case@1"]
        self._read = len(self.scene.recorded())
        return events

    def said(self) -> list[tuple[str, str]]:
        """The same, as what was said of whom."""
        return [(type(event.body).__name__, event.record.customer_id) for event in self.decided()]


@pytest.fixture
def base(house: House) -> Base:
    return Base(house)


def scope(product: str, regions: Sequence[str]) -> e.Scope:
    return e.Scope(product=product, regions=regions or [TONGLU])


def affected(*customers: str) -> list[tuple[str, str]]:
    return [("CustomerAffected", customer_id) for customer_id in customers]


def retracted(*customers: str) -> list[tuple[str, str]]:
    return [("AffectedRetracted", customer_id) for customer_id in customers]


def test_who_owns_what_a_problem_touches_is_affected_once_with_all_their_items(base: Base) -> None:
    (ana,) = base.customers(1)
    items = sorted(base.install(ana, minutes) for minutes in (1, 2))
    problem_id = base.problem(10, TONGLU, HANGZHOU, began=5)
    cause = base.scene.recorded()[-1].record
    (event,) = base.decided()

    assert event.body == e.CustomerAffected(problem_id=problem_id, item_ids=items, product=PUMP, began_at=at(5))
    record = event.record
    assert (record.stream, record.version) == (str(impact_id(UUID(problem_id), UUID(ana))), 1)
    assert (record.customer_id, record.occurred_at, record.tenant) == (ana, at(10), "main")
    assert (record.causation_id, record.correlation_id) == (cause.id, cause.correlation_id)


def test_many_are_named_in_the_order_of_their_ids(base: Base) -> None:
    customers = base.customers(5)
    for customer_id in reversed(customers):
        base.install(customer_id, 1)
    base.problem(10)

    assert base.said() == affected(*customers)


def test_ownership_counts_as_it_was_then(base: Base) -> None:
    before, during, gone, new = base.customers(4)
    sold = base.install(before, 1), base.install(gone, 1)
    base.install(during, 1)
    base.remove(sold[0], 4)
    base.remove(sold[1], 6)
    base.install(new, 7)
    base.problem(10, began=5)

    assert base.said() == affected(*sorted([during, gone, new]))


def test_an_item_removed_in_the_very_moment_of_the_beginning_is_out_and_one_installed_then_is_in(base: Base) -> None:
    out, into = base.customers(2)
    base.remove(base.install(out, 1), 5)
    base.install(into, 5)
    base.problem(5)

    assert base.said() == affected(into)


@pytest.mark.parametrize(
    ("product", "region", "touched"),
    [
        (PUMP, TONGLU, True),
        (PUMP, HANGZHOU, True),
        (PUMP, ZHEJIANG, False),
        (PUMP, SHANGHAI, False),
        (PUMP, "", False),
        (ROUTER, TONGLU, False),
    ],
)
def test_an_area_holds_what_lies_within_it(base: Base, product: str, region: str, touched: bool) -> None:
    (ana,) = base.customers(1)
    base.install(ana, 1, product, region)
    base.problem(10, HANGZHOU)

    assert base.said() == affected(*[ana] * touched)


def test_another_companys_customers_are_not_affected(base: Base) -> None:
    south = Scene(base.scene.house, tenant="south")
    theirs = customer_service.InstallItemRequest(customer_id=south.customer(), product=PUMP, region=TONGLU)
    south.tell(theirs, 1)
    base.problem(10)

    assert base.said() == []


def test_one_who_gets_an_item_while_the_problem_lasts_is_affected(base: Base) -> None:
    ana, bo = base.customers(2)
    problem_id = base.problem(10)
    assert base.said() == []
    base.install(ana, 11)
    assert base.said() == affected(ana)
    base.resolve(problem_id, 20)
    base.install(bo, 21)
    assert base.said() == []


def test_a_second_item_or_the_loss_of_one_of_two_says_nothing_new(base: Base) -> None:
    (ana,) = base.customers(1)
    first = base.install(ana, 1)
    base.problem(10)
    assert base.said() == affected(ana)
    base.install(ana, 11)
    base.remove(first, 12)
    assert base.said() == []


def test_another_root_cause_is_told_as_the_difference(base: Base) -> None:
    customers = base.customers(4)
    both, only_before, only_after, other = customers
    for customer_id, region in ((both, TONGLU), (only_before, HANGZHOU), (only_after, SHANGHAI)):
        base.install(customer_id, 1, region=region)
    base.install(other, 1, ROUTER)
    problem_id = base.problem(10, HANGZHOU)
    assert base.said() == affected(*sorted([both, only_before]))
    base.cause(problem_id, 20, TONGLU, SHANGHAI)
    events = base.decided()

    expected = sorted([(only_before, "AffectedRetracted"), (only_after, "CustomerAffected")])
    assert [(event.record.customer_id, type(event.body).__name__) for event in events] == expected
    assert {event.record.occurred_at.seconds for event in events} == {at(20).seconds}
    base.cause(problem_id, 30, TONGLU, product=ROUTER)
    assert sorted(base.said()) == sorted([*affected(other), *retracted(both, only_after)])


def test_late_news_of_a_removal_take_it_back_and_another_item_says_it_again(base: Base) -> None:
    (ana,) = base.customers(1)
    item = base.install(ana, 1)
    problem_id = base.problem(10)
    assert base.said() == affected(ana)
    base.remove(item, 9)
    assert base.said() == retracted(ana)
    again = base.install(ana, 12)
    (event,) = base.decided()
    assert event.body == e.CustomerAffected(problem_id=problem_id, item_ids=[again], product=PUMP, began_at=at(10))
    assert event.record.version == 3


def test_late_news_of_the_end_take_back_who_came_after_it(base: Base) -> None:
    ana, bo = base.customers(2)
    base.install(ana, 1)
    problem_id = base.problem(10)
    base.install(bo, 25)
    assert base.said() == affected(ana, bo)
    base.resolve(problem_id, 20)
    assert base.said() == retracted(bo)


@pytest.mark.parametrize("only", [None, UUID(UNKNOWN)])
def test_nothing_is_searched_for_without_an_index(sqlite_house: House, only: UUID | None) -> None:
    base = Base(sqlite_house)
    asked: list[str] = []

    class Listening:
        def execute(self, sql: str, parameters: Sequence[object] = ()) -> Any:
            asked.extend(row[3] for row in session.execute(f"EXPLAIN QUERY PLAN {sql}", parameters))
            return session.execute(sql, parameters)

    with base.scene.house.database("log").read() as session:
        policies._owners(cast(Session, Listening()), UUID(UNKNOWN), only)
        policies._affected(cast(Session, Listening()), UUID(UNKNOWN), only)
        Listening().execute(policies._TOUCHED, (UUID(UNKNOWN),))
    assert len(asked) > 7
    assert [step for step in asked if step.startswith("SCAN")] == []


# The law


class Told(NamedTuple):
    """One event of a history: what, and when it was true."""

    stream: UUID
    body: Message
    minute: int


class Desk:
    """The policy with its tables in memory; folds what it decides."""

    def __init__(self) -> None:
        self._policy = ImpactPolicy()
        self._database = SQLite(":memory:", durable=False)
        tables = [sql for table in self._policy.tables for sql in table.statements(self._database.dialect)]
        migrate(self._database, "impact", [tables])
        self._streams: dict[UUID, list[DomainEvent]] = {}
        self._aggregates = Aggregates(lambda stream: self._streams.get(stream, []))
        self._positions = 0
        self.affected: set[tuple[str, str]] = set()
        self._owners: dict[UUID, str] = {}

    def tell(self, told: Told) -> None:
        with self._database.write() as session:
            work = Work(session, self._aggregates)
            self._policy.decide(work, self._logged(told))
        pairs = []
        for entry in work.decided:
            event = log_event(Recorded(0, entry.topic, 0, entry.state))
            body: Any = event.body
            pair = (body.problem_id, event.record.customer_id)
            pairs.append(pair)
            # Each exactly once: nobody is affected twice, or retracted without having been.
            assert (pair in self.affected) == isinstance(body, e.AffectedRetracted)
            self.affected ^= {pair}
        assert len(set(pairs)) == len(pairs)
        for problem_id in {problem_id for problem_id, _ in pairs}:
            of_problem = [customer_id for known, customer_id in pairs if known == problem_id]
            assert of_problem == sorted(of_problem)

    def _logged(self, told: Told) -> LogEvent:
        events = self._streams.setdefault(told.stream, [])
        if isinstance(told.body, customer.ItemInstalled):
            self._owners[told.stream] = told.body.customer_id
        stamp = Stamp("main", "user:ana", told.minute * 60_000_000, correlation_id="")
        events.append(DomainEvent(told.stream, len(events) + 1, told.body, stamp, self._owners.get(told.stream, "")))
        entry = ProtobufMapper().to_stored_event(events[-1])
        self._positions += 1
        return log_event(Recorded(self._positions, entry.topic, 0, entry.state))


CUSTOMERS = [str(uuid5(NAMES, name)) for name in ("ana", "bo", "carla")]
LAST = 24
MINUTES = st.integers(0, LAST)
PRODUCTS = st.sampled_from([PUMP, PUMP, ROUTER])
REGIONS = st.sampled_from([TONGLU, TONGLU, HANGZHOU, SHANGHAI, "field 7"])
AREAS = st.lists(
    st.sampled_from([TONGLU, HANGZHOU, ZHEJIANG, SHANGHAI, "field 7"]), min_size=1, max_size=3, unique=True
)


@st.composite
def histories(draw: st.DrawFn) -> list[Told]:
    """Items and problems in whatever order; what is true earlier is often learnt later."""
    history: list[Told] = []
    items: list[UUID] = []
    problems: list[UUID] = []
    for number in range(draw(st.integers(1, 25))):
        minute, stream = draw(MINUTES), uuid5(NAMES, str(number))
        step = draw(st.sampled_from(["install", "install", "remove", "problem", "cause", "resolve"]))
        if step == "install":
            items.append(stream)
            owner, product, region = draw(st.sampled_from(CUSTOMERS)), draw(PRODUCTS), draw(REGIONS)
            body: Message = customer.ItemInstalled(customer_id=owner, product=product, region=region)
        elif step == "remove" and items:
            stream, body = items.pop(draw(st.integers(0, len(items) - 1))), customer.ItemRemoved(reason="sold")
        elif step == "problem":
            problems.append(stream)
            body = e.ProblemOpened(scope=drawn_scope(draw, minute))
        elif step == "cause" and problems:
            stream, body = draw(st.sampled_from(problems)), e.RootCauseFound(scope=drawn_scope(draw, minute))
        elif step == "resolve" and problems:
            stream, body = problems.pop(draw(st.integers(0, len(problems) - 1))), e.ProblemResolved(remedy="r")
        else:
            continue
        history.append(Told(stream, body, minute))
    return history


def drawn_scope(draw: st.DrawFn, minute: int) -> e.Scope:
    made = e.Scope(product=draw(PRODUCTS), regions=draw(AREAS))
    made.began_at.FromSeconds(60 * draw(st.integers(0, minute)))
    return made


@settings(max_examples=200, deadline=None)
@given(history=histories())
def test_after_any_history_those_affected_are_those_who_owned_it_then(history: list[Told]) -> None:
    desk = Desk()
    for number, told in enumerate(history, 1):
        desk.tell(told)
        assert desk.affected == owners_then(history[:number])


def owners_then(history: Sequence[Told]) -> set[tuple[str, str]]:
    """Minute by minute, item by item."""
    installed = {told.stream: told for told in history if isinstance(told.body, customer.ItemInstalled)}
    removed = {told.stream: told.minute for told in history if isinstance(told.body, customer.ItemRemoved)}
    scopes: dict[UUID, e.Scope] = {}
    ends: dict[UUID, int] = {}
    for told in history:
        if isinstance(told.body, (e.ProblemOpened, e.RootCauseFound)):
            scopes[told.stream] = told.body.scope
        elif isinstance(told.body, e.ProblemResolved):
            ends[told.stream] = told.minute
    found = set()
    for problem_id, touches in scopes.items():
        began = touches.began_at.seconds // 60
        lasts = {began, *range(began, ends.get(problem_id, LAST + 1))}
        for item_id, told in installed.items():
            item: Any = told.body
            owned = set(range(told.minute, removed.get(item_id, LAST + 1)))
            lies_in = any(within(item.region, area) for area in touches.regions)
            if item.product == touches.product and lies_in and owned & lasts:
                found.add((str(problem_id), item.customer_id))
    return found
