"""Followers: effect and position are one commit; what cannot be handled parks its key, and nothing else."""

import sqlite3
from typing import Any

import psycopg
import pytest

from services.kernel.errors import Misconfigured, Unavailable, VersionConflict
from services.kernel.house import House
from services.kernel.log.port import NotAtHead
from services.kernel.log.positions import Fenced, ParkedKey, Positions
from services.kernel.views import ViewFollower
from tests.databases import Cell
from tests.kernel.toys import JarRequest, Trouble, drain, entry, given, jar_id, jar_views, labelled, parked, released

BAD = ValueError("bad")


@pytest.fixture
def trouble() -> Trouble:
    return Trouble()


@pytest.fixture
def follower(house: House, trouble: Trouble) -> ViewFollower:
    return make(house, trouble)


def make(house: House, trouble: Trouble | None = None) -> ViewFollower:
    views = jar_views(trouble)
    database = house.views_database("jars")
    views.migrate(database)
    made = ViewFollower(views, house.log, database, house.view_bell)
    made.register()
    return made


def rows(follower: ViewFollower) -> dict[str, str]:
    """Each jar's labels, in order."""
    names = {jar_id(name): name for name in ("a", "b", "c", "d")}
    with follower.database.read() as session:
        found = session.execute("SELECT id, history FROM jar").fetchall()
    ids = {(id_.bytes if follower.database.dialect.uuid == "BLOB" else id_): name for id_, name in names.items()}
    return {ids[row[0]]: row[1] for row in found}


# Reading on


def test_effects_and_position_are_there_together(house: House, follower: ViewFollower) -> None:
    given(house.log, labelled("a", 1, "x"), labelled("b", 1, "y"), labelled("a", 2, "z"))

    assert follower.step() is True

    assert rows(follower) == {"a": "x z", "b": "y"}
    assert follower.position() == 3
    assert follower.step() is False


def test_events_that_are_not_read_move_the_position_alone(house: House, follower: ViewFollower) -> None:
    given(house.log, released(1, "somebody", "else"))

    assert drain(follower) == 1
    assert rows(follower) == {}


def test_a_batch_has_at_most_its_size(house: House, follower: ViewFollower) -> None:
    given(house.log, *(labelled("a", version, str(version)) for version in range(1, 6)))
    follower._limit = 2

    stops = [follower.position() for _ in range(4) if follower.step() or True]

    assert stops == [2, 4, 5, 5]
    assert rows(follower) == {"a": "1 2 3 4 5"}


def test_an_unregistered_follower_does_nothing(house: House) -> None:
    given(house.log, labelled("a", 1))
    follower = make(house)
    with follower.database.write() as session:
        session.execute("DELETE FROM follower")

    with pytest.raises(Fenced):
        follower.step()

    assert rows(follower) == {}


def test_another_process_goes_on_where_the_first_stood(house: House, follower: ViewFollower, cell: Cell) -> None:
    given(house.log, labelled("a", 1, "x"))
    drain(follower)
    given(house.log, labelled("a", 2, "y"))

    other = cell.house()
    drain(make(other))

    assert rows(follower) == {"a": "x y"}
    other.close()


# A second holder


def test_a_stale_holder_is_fenced_and_leaves_no_trace(house: House, follower: ViewFollower, cell: Cell) -> None:
    stale_house = cell.house()
    stale = make(stale_house)
    given(house.log, labelled("a", 1, "x"))
    drain(follower)
    assert drain(stale) == 1
    given(house.log, labelled("a", 2, "y"))
    drain(follower)

    with pytest.raises(Fenced):
        stale.step()

    assert rows(follower) == {"a": "x y"}
    assert stale.step() is False
    stale_house.close()


def test_a_stale_holder_learns_what_another_has_parked_meanwhile(
    house: House, follower: ViewFollower, trouble: Trouble, cell: Cell
) -> None:
    stale_house = cell.house()
    stale = make(stale_house)
    given(house.log, labelled("a", 1, "x"))
    assert drain(stale) == 1, "and it knows that nothing is parked"
    trouble.always["bad"] = BAD
    given(house.log, labelled("a", 2, "bad"), labelled("b", 1, "y"))
    drain(follower)
    given(house.log, labelled("a", 3, "z"))

    with pytest.raises(Fenced):
        stale.step()
    drain(stale)

    assert rows(stale) == {"a": "x", "b": "y"}
    assert parked(stale) == [(2, str(jar_id("a"))), (4, str(jar_id("a")))]
    stale_house.close()


def test_a_stale_holder_learns_what_another_has_released_meanwhile(
    house: House, follower: ViewFollower, trouble: Trouble, cell: Cell
) -> None:
    trouble.always["bad"] = BAD
    given(house.log, labelled("a", 1, "bad"), labelled("a", 2, "x"))
    drain(follower)
    other_house = cell.house()
    other = make(other_house)
    given(house.log, released(1, follower.name, str(jar_id("a")), skip_first=True))
    drain(other)
    given(house.log, labelled("a", 3, "y"))

    with pytest.raises(Fenced):
        follower.step()
    drain(follower)

    assert (rows(follower), parked(follower)) == ({"a": "x y"}, [])
    other_house.close()


def test_an_event_that_cannot_be_opened_is_parked_by_itself_and_the_rest_goes_on(
    house: House, follower: ViewFollower
) -> None:
    given(house.log, labelled("a", 1), labelled("a", 2))
    with house.log.database.write() as session:
        session.execute("UPDATE log SET record = ? WHERE position = 1", (b"\xff\xff",))

    drain(follower)

    assert parked(follower) == [(1, "position 1")]
    assert follower.position() == 2


# Faults that pass


def faults(follower: ViewFollower) -> list[Exception]:
    if follower.database.dialect.uuid == "BLOB":
        full, busy = sqlite3.OperationalError("full"), sqlite3.OperationalError("busy")
        full.sqlite_errorcode, busy.sqlite_errorcode = sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY
        ours: list[Exception] = [full, busy]
    else:
        ours = [psycopg.OperationalError("gone"), psycopg.errors.DiskFull(), psycopg.errors.DeadlockDetected()]
    return [Unavailable("x"), VersionConflict("x"), Fenced("x"), NotAtHead("x"), Misconfigured("x"), *ours]


def test_a_fault_that_passes_leaves_no_trace_and_the_same_batch_is_done_again(
    house: House, follower: ViewFollower, trouble: Trouble
) -> None:
    version = 0
    for fault in faults(follower):
        given(house.log, labelled("a", version + 1, "ok"), labelled("a", version + 2, "faulty"))
        before = (rows(follower), follower.position())
        trouble.once["faulty"] = fault

        with pytest.raises((Unavailable, VersionConflict, Fenced, NotAtHead, Misconfigured)):
            follower.step()
        assert (rows(follower), follower.position(), parked(follower)) == (*before, [])

        version += 2
        assert drain(follower) == version
    assert rows(follower) == {"a": " ".join(["ok faulty"] * (version // 2))}


def test_a_fault_in_a_release_leaves_everything_parked_for_the_next_try(
    house: House, follower: ViewFollower, trouble: Trouble
) -> None:
    for number, fault in enumerate(faults(follower), 1):
        jar = "abcd"[number % 4]
        version = house.log.version(jar_id(jar)) + 1
        given(house.log, labelled(jar, version, "bad"))
        trouble.always["bad"] = BAD
        drain(follower)
        del trouble.always["bad"]
        given(house.log, released(number, "jars-views", str(jar_id(jar))))
        trouble.once["bad"] = fault
        before = parked(follower)

        with pytest.raises((Unavailable, VersionConflict, Fenced, NotAtHead, Misconfigured)):
            follower.step()
        assert parked(follower) == before != []

        drain(follower)
        assert parked(follower) == []


# Events that cannot be handled


@pytest.mark.parametrize("batch", [1, 2, 3, 500])
def test_what_cannot_be_handled_parks_its_key_and_the_rest_goes_on(
    house: House, follower: ViewFollower, trouble: Trouble, batch: int
) -> None:
    follower._limit = batch
    trouble.always["bad"] = BAD
    given(
        house.log,
        *(labelled("a", 1, "a1"), labelled("b", 1, "b1"), labelled("a", 2, "bad"), labelled("b", 2, "b2")),
        *(labelled("a", 3, "a3"), labelled("c", 1, "c1"), labelled("b", 3, "bad"), labelled("b", 4, "b4")),
    )

    assert drain(follower) == 8

    assert rows(follower) == {"a": "a1", "b": "b1 b2", "c": "c1"}
    a, b = str(jar_id("a")), str(jar_id("b"))
    assert parked(follower) == [(3, a), (5, a), (7, b), (8, b)]


def test_parking_is_one_commit_with_the_position(house: House, follower: ViewFollower, trouble: Trouble) -> None:
    trouble.always["bad"] = BAD
    given(house.log, labelled("a", 1, "bad"), labelled("b", 1, "fine"))

    assert follower.step() is True

    assert (follower.position(), parked(follower), rows(follower)) == (1, [(1, str(jar_id("a")))], {})


def test_a_parked_event_tells_why_without_what_it_held(house: House, follower: ViewFollower, trouble: Trouble) -> None:
    trouble.always["bad"] = ValueError("Ana Lòpez, 555-0199")
    given(house.log, labelled("a", 1, "bad"), labelled("a", 2, "next"))

    drain(follower)

    with follower.database.read() as session:
        reasons = [one.reason for one in Positions(session).parked()]
    assert reasons == ["ValueError", "queues behind a parked event"]


def test_events_of_one_customer_queue_together(house: House, follower: ViewFollower, trouble: Trouble) -> None:
    trouble.always["bad"] = BAD
    customer = jar_id("customer")
    given(
        house.log,
        labelled("a", 1, "bad", customer=customer),
        labelled("b", 1, "hers too", customer=customer),
        labelled("c", 1, "nobody's"),
    )

    drain(follower)

    assert parked(follower) == [(1, str(customer)), (2, str(customer))]
    assert rows(follower) == {"c": "nobody's"}


def test_an_event_that_breaks_a_rule_of_the_tables_is_parked_too(
    house: House, follower: ViewFollower, trouble: Trouble
) -> None:
    """On PostgreSQL the whole transaction is lost by it."""
    given(house.log, labelled("a", 1, "fine"), labelled("b", 1, "doubled"), labelled("c", 1, "fine"))
    trouble.doubled = {"doubled"}

    assert drain(follower) == 3

    assert parked(follower) == [(2, str(jar_id("b")))]
    assert rows(follower) == {"a": "fine", "c": "fine"}


def test_another_process_knows_what_is_parked(
    house: House, follower: ViewFollower, trouble: Trouble, cell: Cell
) -> None:
    trouble.always["bad"] = BAD
    given(house.log, labelled("a", 1, "bad"))
    drain(follower)
    given(house.log, labelled("a", 2, "later"), labelled("b", 1, "free"))

    other = cell.house()
    drain(make(other))

    assert parked(follower) == [(1, str(jar_id("a"))), (2, str(jar_id("a")))]
    assert rows(follower) == {"b": "free"}
    other.close()


# Released by hand


def stuck(house: House, follower: ViewFollower, trouble: Trouble) -> None:
    """Jar a has one bad event and two behind it; jar b goes on."""
    trouble.always["bad"] = BAD
    given(
        house.log,
        labelled("a", 1, "a1"),
        labelled("a", 2, "bad"),
        labelled("b", 1, "b1"),
        labelled("a", 3, "a3"),
        labelled("a", 4, "a4"),
    )
    drain(follower)
    assert [position for position, _ in parked(follower)] == [2, 4, 5]


def release(house: House, number: int, jar: str = "a", follower: str = "jars-views", **kwargs: Any) -> None:
    given(house.log, released(number, follower, str(jar_id(jar)), **kwargs))


def test_a_release_tries_again_in_order_and_the_key_goes_on(
    house: House, follower: ViewFollower, trouble: Trouble
) -> None:
    stuck(house, follower, trouble)
    trouble.always.clear()

    release(house, 1)
    given(house.log, labelled("a", 5, "a5"))
    drain(follower)

    assert rows(follower) == {"a": "a1 bad a3 a4 a5", "b": "b1"}
    assert parked(follower) == []


def test_a_release_may_leave_the_first_event_out(house: House, follower: ViewFollower, trouble: Trouble) -> None:
    stuck(house, follower, trouble)

    release(house, 1, skip_first=True)
    drain(follower)

    assert rows(follower) == {"a": "a1 a3 a4", "b": "b1"}
    assert parked(follower) == []


def test_a_skip_leaves_out_only_the_event_that_it_names(house: House, follower: ViewFollower, trouble: Trouble) -> None:
    stuck(house, follower, trouble)
    trouble.always["a3"] = BAD

    release(house, 1, skip_first=True, position=2)
    release(house, 2, skip_first=True, position=2)
    drain(follower)
    assert [position for position, _ in parked(follower)] == [4, 5], "the second one found another event there"

    release(house, 3, skip_first=True, position=4)
    drain(follower)
    assert rows(follower) == {"a": "a1 a4", "b": "b1"}


def test_what_still_cannot_be_handled_tells_why(house: House, follower: ViewFollower, trouble: Trouble) -> None:
    stuck(house, follower, trouble)
    trouble.always["a3"] = LookupError("Ana")

    release(house, 1, skip_first=True)
    drain(follower)

    with follower.database.read() as session:
        (key,) = Positions(session).parked_by_key(follower.name)
    assert key == ParkedKey(follower.name, str(jar_id("a")), 4, "LookupError", queued=1)


def test_a_release_that_fails_again_leaves_everything_parked(
    house: House, follower: ViewFollower, trouble: Trouble
) -> None:
    stuck(house, follower, trouble)

    release(house, 1)
    given(house.log, labelled("a", 5, "a5"), labelled("b", 2, "b2"))
    assert drain(follower) == 8

    assert rows(follower) == {"a": "a1", "b": "b1 b2"}
    assert [position for position, _ in parked(follower)] == [2, 4, 5, 7]


def test_a_release_goes_as_far_as_it_can(house: House, follower: ViewFollower, trouble: Trouble) -> None:
    stuck(house, follower, trouble)
    trouble.always = {"a4": BAD}

    given(house.log, labelled("b", 2, "b2"))
    release(house, 1)
    given(house.log, labelled("b", 3, "b3"))
    drain(follower)

    assert rows(follower) == {"a": "a1 bad a3", "b": "b1 b2 b3"}
    assert parked(follower) == [(5, str(jar_id("a")))]


def test_a_release_that_breaks_a_rule_of_the_tables_takes_nothing_else_with_it(
    house: House, follower: ViewFollower, trouble: Trouble
) -> None:
    stuck(house, follower, trouble)
    trouble.always.clear()
    trouble.doubled = {"a3"}

    given(house.log, labelled("b", 2, "b2"))
    release(house, 1)
    given(house.log, labelled("b", 3, "b3"))
    drain(follower)

    assert rows(follower) == {"a": "a1 bad", "b": "b1 b2 b3"}
    assert [position for position, _ in parked(follower)] == [4, 5]


def test_a_release_of_one_key_leaves_another_parked(house: House, follower: ViewFollower, trouble: Trouble) -> None:
    trouble.always["bad"] = BAD
    given(house.log, labelled("b", 1, "bad"), labelled("a", 1, "bad"), labelled("b", 2, "b2"), labelled("a", 2, "a2"))
    drain(follower)
    trouble.always.clear()

    release(house, 1)
    drain(follower)

    assert rows(follower) == {"a": "bad a2"}
    assert parked(follower) == [(1, str(jar_id("b"))), (3, str(jar_id("b")))]


def test_a_release_of_another_key_or_another_follower_does_nothing(
    house: House, follower: ViewFollower, trouble: Trouble
) -> None:
    stuck(house, follower, trouble)
    trouble.always.clear()

    release(house, 1, jar="b")
    release(house, 2, follower="lids-views")
    drain(follower)

    assert rows(follower) == {"a": "a1", "b": "b1"}
    assert len(parked(follower)) == 3


def test_a_release_is_not_lost_when_a_later_event_of_the_batch_parks(
    house: House, follower: ViewFollower, trouble: Trouble
) -> None:
    stuck(house, follower, trouble)
    trouble.always = {"worse": BAD}

    release(house, 1)
    given(house.log, labelled("b", 2, "worse"), labelled("a", 5, "a5"))
    drain(follower)

    assert rows(follower) == {"a": "a1 bad a3 a4 a5", "b": "b1"}
    assert parked(follower) == [(7, str(jar_id("b")))]


def test_rebuilding_after_a_release_gives_the_same_rows(
    house: House, follower: ViewFollower, trouble: Trouble, cell: Cell
) -> None:
    stuck(house, follower, trouble)
    release(house, 1, skip_first=True)
    given(house.log, labelled("a", 5, "a5"))
    drain(follower)
    live = rows(follower)

    follower.database.close()
    with follower.database.write() as session:
        session.execute("UPDATE schema_version SET version = 0")
    rebuilt = make(house, trouble)
    rebuilt._limit = 2
    drain(rebuilt)

    assert rows(rebuilt) == live


def test_an_event_type_that_nobody_reads_may_be_unknown(house: House, follower: ViewFollower) -> None:
    """A newer Kept's event passes by; only a follower that reads it has to know it."""
    given(house.log, entry("a", 1, JarRequest(request_id="stands for an event of a newer Kept")))

    assert drain(follower) == 1
    assert (rows(follower), parked(follower)) == ({}, [])
