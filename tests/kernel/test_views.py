"""Views: rebuilt by a new version, and read at least as new as a caller asks for."""

import threading
from datetime import timedelta

import pytest

from services.kernel import views as views_module
from services.kernel.errors import Misconfigured, Unavailable
from services.kernel.house import House
from services.kernel.views import ViewFollower, ViewReader, ViewSet
from tests.kernel.toys import WatchedBell, drain, given, jar_views, labelled

VIEWS = jar_views()


@pytest.fixture
def follower(house: House) -> ViewFollower:
    return make(house, VIEWS)


def make(house: House, views: ViewSet) -> ViewFollower:
    database = house.views_database("jars")
    views.migrate(database)
    made = ViewFollower(views, house.log, database, house.view_bell)
    made.register()
    return made


@pytest.fixture
def reader(house: House, follower: ViewFollower) -> ViewReader:
    return ViewReader(VIEWS, follower.database, house.log, house.view_bell)


def count(reader: ViewReader, after_position: int = 0) -> int:
    with reader.read(after_position) as session:
        row = session.execute("SELECT count(*) FROM jar").fetchone()
    assert row is not None
    return int(row[0])


def test_a_reader_that_asks_for_nothing_gets_what_is_there(house: House, reader: ViewReader) -> None:
    given(house.log, labelled("a", 1))

    assert count(reader) == 0


def test_a_reader_gets_the_position_it_asks_for(house: House, reader: ViewReader, follower: ViewFollower) -> None:
    given(house.log, labelled("a", 1))
    drain(follower)

    assert count(reader, after_position=1) == 1


def test_a_reader_is_woken_when_the_view_gets_there(
    house: House, reader: ViewReader, follower: ViewFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the views' own bell."""
    monkeypatch.setattr(views_module, "WAIT_WITHIN", timedelta(hours=1))
    given(house.log, labelled("a", 1))
    bell = reader.bell = WatchedBell(house.view_bell)
    counted: list[int] = []
    thread = threading.Thread(target=lambda: counted.append(count(reader, after_position=1)))

    thread.start()
    bell.listening.acquire()
    drain(follower)
    thread.join()

    assert counted == [1]
    assert bell.rung == [True]


def test_a_view_that_does_not_get_there_is_told_as_behind(
    house: House, reader: ViewReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views_module, "WAIT_WITHIN", timedelta(0))
    given(house.log, labelled("a", 1))

    for _ in range(views_module.MOST_WAITING + 1):  # each gives its place back
        with pytest.raises(Unavailable, match="is not there yet") as caught:
            count(reader, after_position=1)
        assert caught.value.slug == "view-behind"


def test_only_few_wait_at_once(
    house: House, reader: ViewReader, follower: ViewFollower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views_module, "WAIT_WITHIN", timedelta(hours=1))
    given(house.log, labelled("a", 1))
    bell = reader.bell = WatchedBell(house.view_bell)
    counted: list[int] = []
    threads = [
        threading.Thread(target=lambda: counted.append(count(reader, after_position=1)))
        for _ in range(views_module.MOST_WAITING)
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        bell.listening.acquire()

    with pytest.raises(Unavailable, match="has not read that position yet") as caught:
        count(reader, after_position=1)
    drain(follower)
    for thread in threads:
        thread.join()

    assert caught.value.slug == "view-behind"
    assert counted == [1, 1]


def test_a_new_version_starts_afresh_and_reads_everything_again(own_house: House) -> None:
    follower = make(own_house, VIEWS)
    given(own_house.log, labelled("a", 1))
    drain(follower)

    newer = jar_views(version=3)
    with pytest.raises(Misconfigured, match="this Kept needs 3"):
        newer.require(follower.database)
    rebuilt = make(own_house, newer)
    newer.require(follower.database)

    assert rebuilt.position() == 0
    assert drain(rebuilt) == 1
    with rebuilt.database.read() as session:
        assert session.execute("SELECT label FROM jar").fetchall() == [("plums",)]


def test_a_new_cell_may_begin_with_a_later_version(own_house: House) -> None:
    newest = jar_views(version=4)

    newest.migrate(own_house.views_database("jars"))

    newest.require(own_house.views_database("jars"))


def test_views_of_a_newer_kept_are_refused(own_house: House) -> None:
    jar_views(version=2).migrate(own_house.views_database("jars"))

    with pytest.raises(Misconfigured, match="newer"):
        VIEWS.require(own_house.views_database("jars"))
    with pytest.raises(Misconfigured, match="newer"):
        VIEWS.migrate(own_house.views_database("jars"))
