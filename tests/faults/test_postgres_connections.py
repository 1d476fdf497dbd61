"""A connection to PostgreSQL breaks within any message, or is ended by an administrator, whatever it is busy with."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from itertools import product
from random import Random
from uuid import UUID

import psycopg
import pytest
from kept.cell.v1.events_pb2 import PolicyDeployed, TimeAdvanced
from kept.common.v1.record_pb2 import Receipt
from psycopg.sql import SQL, Identifier

from services.kernel.clock import MachineClock
from services.kernel.database import Session
from services.kernel.errors import Unavailable
from services.kernel.follower import Follower
from services.kernel.house import House
from services.kernel.log.bell import SilentBell
from services.kernel.log.event_log import EventLog
from services.kernel.log.recorder import LogRecorder
from services.kernel.policy import PolicyFollower
from services.kernel.postgres import Postgres
from services.kernel.views import ViewFollower
from tests.databases import Cell
from tests.faults.cutting import TO_CLIENT, TO_SERVER, CutConnection
from tests.faults.forms import takes_long, times
from tests.faults.postgres_cell import all_events
from tests.figures import Figures
from tests.kernel.toys import CALLER, JarRequest, Jars, Tally, drain, events, jar_views, labels, parked, tag_id

ROUNDS = times(1, 50)
SHARES = (0, 0.5, 1)
TOLD = {"done, recorded", "log-in-doubt, recorded", "log-in-doubt, not recorded", "storage-lost, not recorded"}
MAKERS = 4
ENDED = times(25, 300)
WITHIN_S = 60.0
SEED = 5


def jars_over(address: str, house: House) -> Jars:
    """Commands whose log is reached by that address."""
    log = EventLog(Postgres(address, f"{house.settings.cell}_log"), SilentBell())
    return Jars(LogRecorder(log), house.keys, MachineClock())


def make(jars: Jars, name: str) -> Receipt:
    """A new jar; the same name is the same request."""
    return jars.make(CALLER, JarRequest(request_id=name, label=name))


def surely(call: Callable[[], Receipt], failures: Counter[str]) -> Receipt:
    """Again and again until it is acknowledged."""
    while True:
        try:
            return call()
        except Unavailable as refusal:
            failures[refusal.slug] += 1


def make_surely(jars: Jars, name: str, failures: Counter[str]) -> Receipt:
    return surely(partial(make, jars, name), failures)


@takes_long
def test_wherever_the_connection_breaks_the_caller_is_told_what_is_known(postgres_cell: Cell, figures: Figures) -> None:
    """Told as lost, nothing was recorded; told as in doubt, the same request finds out; never twice."""
    house = postgres_cell.house()
    house.make()
    known: Counter[str] = Counter()
    names, receipts = ["first", "counted"], []
    with CutConnection(postgres_cell.settings.database) as way:
        jars = jars_over(way.address, house)
        make(jars, "first")
        way.mend()
        make(jars, "counted")
        messages = range(max(way.passed) + 3)  # it may be a few more
        for cut in ROUNDS * list(product((TO_SERVER, TO_CLIENT), messages, SHARES)):
            names.append(f"{len(names)}")
            before = house.log.position()
            way.cut(*cut)
            told = told_of(jars, names[-1])
            recorded = house.log.position() > before
            known[f"{told}, {'recorded' if recorded else 'not recorded'}"] += 1
            way.mend()
            receipts.append(make_surely(jars, names[-1], Counter()))

    found = events(house.log)
    assert labels(found) == names
    assert [(one.position, one.id) for one in receipts] == [(one.position, one.record.stream) for one in found[2:]]
    # One that was told as lost was not recorded; where a single statement does it all, none is told so.
    assert {"done, recorded", "log-in-doubt, recorded"} <= known.keys() <= TOLD, known
    in_doubt = sum(count for what, count in known.items() if what.startswith("log-in-doubt"))
    figures(cuts=known.total(), acknowledged=len(receipts), in_doubt=in_doubt, lost=0, doubled=0)
    house.close()


@takes_long
def test_while_an_administrator_ends_connections_nothing_is_lost_doubled_or_parked(
    postgres_cell: Cell, figures: Figures
) -> None:
    house = postgres_cell.house()
    house.make()
    view = house.views_database("jars")
    jar_views().migrate(view)
    tally = PolicyFollower(Tally(), house.log, house.clock)
    tally.migrate()
    followers = [
        tally,
        ViewFollower(jar_views(), house.log, view, house.view_bell),
    ]
    for follower in followers:
        follower.register()
    stopping, failures = threading.Event(), Counter[str]()
    jars = Jars(house.recorder, house.keys, house.clock)
    with ThreadPoolExecutor(MAKERS + len(followers)) as pool:
        following = [pool.submit(follow, follower, stopping, failures) for follower in followers]
        making = [pool.submit(make_many, jars, f"{maker}", stopping, failures) for maker in range(MAKERS)]
        try:
            end_connections(postgres_cell, ENDED)
        finally:
            stopping.set()
        made = [pair for one in making for pair in one.result()]
        for one in following:
            one.result()

    for follower in followers:
        drain(follower)
        assert parked(follower) == []
    found = all_events(house)
    recorded = {
        (one.position, one.record.stream, one.record.version) for one in found if isinstance(one.body, PolicyDeployed)
    }
    assert {(one.position, one.id, one.version) for pair in made for one in pair} == recorded
    assert len(recorded) == 2 * len(made)
    assert [one.position for one in found] == list(range(1, len(found) + 1))
    # The policy told of every second label, once.
    assert Counter(one.record.stream for one in found if isinstance(one.body, TimeAdvanced)) == {
        str(tag_id(UUID(first.id))): 1 for first, _ in made
    }
    with view.read() as session:
        histories: dict[UUID, str] = dict(session.execute("SELECT id, history FROM jar").fetchall())
    assert len(histories) == len(made)
    for first, _ in made:
        name, again = histories[UUID(first.id)].split(" ", 1)
        assert again == f"{name} again"
    assert failures.total() > 0
    assert failures.keys() <= {"storage-lost", "log-in-doubt"}
    figures(connections_ended=ENDED, acknowledged=len(recorded), refused=failures.total(), lost=0, parked=0, seed=SEED)
    house.close()


def end_connections(cell: Cell, count: int) -> None:
    """One after another, preferably one that is at work; and each time the cell has to go on first."""
    random, last = Random(SEED), -1  # noqa: S311 - victims, not secrets
    head = SQL("SELECT position FROM {}").format(Identifier(f"{cell.settings.cell}_log", "head"))
    until = time.monotonic() + WITHIN_S
    with psycopg.connect(cell.settings.database, autocommit=True) as admin:
        while count:
            assert time.monotonic() < until, f"the cell stands at {last}"
            ((position,),) = admin.execute(head).fetchall()
            victims = admin.execute(
                "SELECT pid, state = 'idle' FROM pg_stat_activity WHERE application_name LIKE %s",
                (f"kept:{cell.settings.cell}%",),
            ).fetchall()
            if position > last and victims:
                pid = random.choice([pid for pid, idle in victims if not idle] or [pid for pid, _ in victims])
                admin.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
                last, count, until = position, count - 1, time.monotonic() + WITHIN_S


def follow(follower: Follower, stopping: threading.Event, failures: Counter[str]) -> None:
    while not stopping.is_set():
        try:
            follower.step()
        except Unavailable as refusal:
            failures[refusal.slug] += 1


def make_many(
    jars: Jars, maker: str, stopping: threading.Event, failures: Counter[str]
) -> list[tuple[Receipt, Receipt]]:
    """Jars, each labelled once more."""
    made: list[tuple[Receipt, Receipt]] = []
    while not stopping.is_set():
        name = f"{maker}.{len(made)}"
        first = make_surely(jars, name, failures)
        again = JarRequest(request_id=f"{name} again", id=first.id, label=f"{name} again")
        made.append((first, surely(partial(jars.label, CALLER, again), failures)))
    return made


@takes_long
@pytest.mark.parametrize("write", [Postgres.write, Postgres.write_once])
def test_a_write_whose_end_was_not_heard_is_in_doubt(
    postgres_cell: Cell, figures: Figures, write: Callable[[Postgres], AbstractContextManager[Session]]
) -> None:
    """And one that is told as lost was not committed."""
    house = postgres_cell.house()
    house.make()
    found = house.database("log")
    with found.write() as session:
        session.execute("CREATE TABLE jar (number INTEGER PRIMARY KEY)")
    known: Counter[str] = Counter()
    with CutConnection(postgres_cell.settings.database) as way:
        database = Postgres(way.address, f"{house.settings.cell}_log")
        for number, cut in enumerate(ROUNDS * list(product((TO_SERVER, TO_CLIENT), range(4), SHARES))):
            with database.read():
                pass  # connected
            way.cut(*cut)
            told = "done"
            try:
                with write(database) as session:
                    session.execute("INSERT INTO jar VALUES (?)", (number,))
            except Unavailable as refusal:
                told = refusal.slug
            way.mend()
            with found.read() as session:
                row = session.execute("SELECT 1 FROM jar WHERE number = ?", (number,)).fetchone()
            known[f"{told}, {'not recorded' if row is None else 'recorded'}"] += 1

    assert {"done, recorded", "log-in-doubt, recorded"} <= known.keys() <= TOLD, known
    assert ("storage-lost, not recorded" in known) == (write is Postgres.write), known
    figures(cuts=known.total(), **{what.replace(", ", "_").replace(" ", "_"): count for what, count in known.items()})
    house.close()


def told_of(jars: Jars, name: str) -> str:
    try:
        make(jars, name)
    except Unavailable as refusal:
        return refusal.slug
    return "done"
