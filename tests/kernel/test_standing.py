"""Where followers stand: how far behind, for how long, what they have parked; and the same as metrics, read at export."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint

from services.kernel.clock import FixedClock
from services.kernel.house import House
from services.kernel.log.event_log import EventLog
from services.kernel.log.positions import ParkedKey
from services.kernel.policy import PolicyFollower
from services.kernel.standing import Standing, standing_of, standings_in
from services.kernel.telemetry import FollowerMetrics
from services.kernel.views import ViewFollower
from tests.kernel.toys import Tally, Trouble, drain, given, jar_id, jar_views, labelled

AN_HOUR, A_DAY = timedelta(hours=1).total_seconds(), timedelta(days=1).total_seconds()


@pytest.fixture
def trouble() -> Trouble:
    return Trouble()


@pytest.fixture
def views(house: House, trouble: Trouble) -> ViewFollower:
    made = jar_views(trouble)
    made.migrate(house.views_database("jars"))
    follower = ViewFollower(made, house.log, house.views_database("jars"), house.view_bell)
    follower.register()
    return follower


@pytest.fixture
def tally(house: House) -> PolicyFollower:
    follower = PolicyFollower(Tally(), house.log, house.clock)
    follower.migrate()
    return follower


def recorded(house: House, jar: str, version: int, ago: timedelta, label: str = "plums") -> None:
    """An event that was recorded so long ago."""
    log = EventLog(house.log.database, house.log.bell, FixedClock(datetime.now(UTC) - ago))
    given(log, labelled(jar, version, label))


def of(house: House, follower: ViewFollower | PolicyFollower) -> Standing:
    return standing_of(follower.name, house.log, follower.database)


def test_the_lag_is_the_age_of_the_oldest_event_that_was_not_read(house: House, views: ViewFollower) -> None:
    recorded(house, "a", 1, timedelta(days=1))
    recorded(house, "a", 2, timedelta(hours=1))
    recorded(house, "a", 3, timedelta())

    before, started = of(house, views), datetime.now(UTC)
    views._limit = 1
    views.step()
    between = of(house, views)
    took = (datetime.now(UTC) - started).total_seconds() + 1
    drain(views)

    assert (before.position, before.head, before.lag) == (0, 3, 3)
    assert A_DAY <= before.lag_s < A_DAY + took
    assert (between.position, between.lag) == (1, 2)
    assert AN_HOUR <= between.lag_s < AN_HOUR + took
    assert of(house, views) == Standing("jars-views", 3, 3, 0.0, [])


def test_a_clock_that_went_back_makes_no_negative_lag(house: House, views: ViewFollower) -> None:
    recorded(house, "a", 1, -timedelta(hours=1))

    assert (of(house, views).lag, of(house, views).lag_s) == (1, 0.0)


def test_a_parked_key_is_told_with_its_first_event_and_how_many_queue(
    house: House, views: ViewFollower, trouble: Trouble
) -> None:
    trouble.always["bad"] = LookupError("Ana")
    given(house.log, labelled("b", 1), labelled("a", 1, "bad"), labelled("a", 2), labelled("c", 1, "bad"))
    given(house.log, labelled("a", 3))

    drain(views)

    assert of(house, views).parked == [
        ParkedKey("jars-views", str(jar_id("a")), 2, "LookupError", queued=2),
        ParkedKey("jars-views", str(jar_id("c")), 4, "LookupError", queued=0),
    ]


def test_everybody_of_a_database_is_found_and_one_that_was_never_made_has_nobody(
    house: House, views: ViewFollower, tally: PolicyFollower
) -> None:
    given(house.log, labelled("a", 1))
    drain(views)

    assert [(one.name, one.position, one.lag) for one in standings_in(house.log, views.database)] == [
        ("jars-views", 1, 0)
    ]
    assert [(one.name, one.position, one.lag) for one in standings_in(house.log, house.log.database)] == [
        ("tally", 0, 1)
    ]
    assert standings_in(house.log, house.views_database("lids")) == []
    assert not house.views_database("lids").exists(), "looking makes nothing"


# As metrics


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def metrics(reader: InMemoryMetricReader) -> FollowerMetrics:
    return FollowerMetrics(MeterProvider(metric_readers=[reader]).get_meter("test"))


def exported(reader: InMemoryMetricReader) -> dict[str, dict[str, float]]:
    """Metric to follower to value; of the log itself, under an empty name."""
    data = reader.get_metrics_data()
    found: dict[str, dict[str, float]] = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points: Sequence[object] = metric.data.data_points
                found[metric.name] = {
                    str((point.attributes or {}).get("follower", "")): point.value
                    for point in points
                    if isinstance(point, NumberDataPoint)
                }
    return found


def test_a_follower_that_does_nothing_is_seen_to_fall_behind(
    house: House,
    views: ViewFollower,
    tally: PolicyFollower,
    metrics: FollowerMetrics,
    reader: InMemoryMetricReader,
    trouble: Trouble,
) -> None:
    trouble.always["bad"] = LookupError()
    for follower in (views, tally):
        metrics.watch(follower.name, lambda follower=follower: of(house, follower))  # type: ignore[misc]  # a default
    recorded(house, "a", 1, timedelta(hours=1), "bad")
    drain(views)

    found = exported(reader)
    assert found["kept.log.position"] == {"": 1}
    assert found["kept.follower.position"] == {"jars-views": 1, "tally": 0}
    assert found["kept.follower.lag"] == {"jars-views": 0, "tally": 1}
    assert found["kept.follower.parked"] == {"jars-views": 1, "tally": 0}
    assert found["kept.follower.lag_time"]["jars-views"] == 0
    assert found["kept.follower.lag_time"]["tally"] >= AN_HOUR

    given(house.log, labelled("b", 1))  # nobody reads it, and yet the next export tells
    found = exported(reader)
    assert found["kept.log.position"] == {"": 2}
    assert found["kept.follower.lag"] == {"jars-views": 1, "tally": 2}


def test_one_export_reads_each_follower_once(
    house: House, views: ViewFollower, metrics: FollowerMetrics, reader: InMemoryMetricReader
) -> None:
    """So that what it tells fits together."""
    reads: list[Standing] = []

    def read() -> Standing:
        reads.append(of(house, views))
        return reads[-1]

    metrics.watch(views.name, read)

    for times in (1, 2, 3):
        exported(reader)
        assert len(reads) == times


def test_who_left_is_no_longer_told_of(
    house: House, views: ViewFollower, metrics: FollowerMetrics, reader: InMemoryMetricReader
) -> None:
    metrics.watch(views.name, lambda: of(house, views))
    exported(reader)
    metrics.forget(views.name)

    assert exported(reader) == {}
