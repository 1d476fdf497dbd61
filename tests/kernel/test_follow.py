"""Followers under nameko, in a process of their own: woken, not polled, and stopped between batches."""

import gzip
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from threading import Thread

import pytest
from kept.cell.v1.events_pb2 import TimeAdvanced
from kept.cell.v1.service_pb2 import AdvanceTimeRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from services.kernel.cell import CellApplication, start_history, wait_until
from services.kernel.clock import timestamp
from services.kernel.database import Database
from services.kernel.house import House
from services.kernel.lease import Holder
from services.kernel.log.bell import Bell
from services.kernel.log.positions import Positions
from services.kernel.policy import PolicyFollower
from services.kernel.ready import READY, READY_FD
from services.kernel.views import ViewFollower
from tests.databases import Cell
from tests.kernel.toys import CALLER, NOW, Tally, drain, events, given, jar_views, labelled, told

CLOSED = "jars-views is closed\n"
ENOUGH = timedelta(seconds=60)


@pytest.fixture(autouse=True)
def followers(house: House) -> None:
    """Both followers' tables are made, and their names known."""
    views = jar_views()
    views.migrate(house.views_database("jars"))
    ViewFollower(views, house.log, house.views_database("jars"), house.view_bell).register()
    PolicyFollower(Tally(), house.log, house.clock).migrate()


@contextmanager
def following(cell: Cell, longest_wait_s: int = 3600) -> "Iterator[subprocess.Popen[str]]":
    """The process, ready. With so long a wait, only a ring or a due moment wakes it."""
    read, write = os.pipe()
    environment = {**os.environ, **cell.settings.environment(), READY_FD: str(write)}
    command = [sys.executable, "-m", "tests.kernel.following", str(longest_wait_s)]
    with subprocess.Popen(command, env=environment, pass_fds=(write,), stderr=subprocess.PIPE, text=True) as process:
        try:
            os.close(write)
            with os.fdopen(read, "rb") as ready:
                assert ready.read() == READY
            yield process
        finally:
            process.kill()


def ends(process: "subprocess.Popen[str]") -> str:
    """What it said on standard error, once it has ended well."""
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 0, said
    return said


def positions(database: Database) -> dict[str, int]:
    with database.read() as session:
        return Positions(session).all()


def drained(house: House) -> None:
    """Returns when both stand at the head."""

    def reached(database: Database) -> Callable[[], bool]:
        return lambda: all(position >= house.log.position() for position in positions(database).values())

    bells: list[tuple[Bell, Database]] = [
        (house.log.bell, house.log.database),
        (house.view_bell, house.views_database("jars")),
    ]
    for bell, database in bells:
        wait_until(bell, reached(database), ENOUGH, "not-drained")


def history(house: House) -> list[str]:
    with house.views_database("jars").read() as session:
        return [row[0] for row in session.execute("SELECT history FROM jar ORDER BY history")]


def test_followers_drain_the_log_and_are_woken_by_its_bell(house: House, cell: Cell) -> None:
    given(house.log, labelled("a", 1, "x"), labelled("b", 1, "y"))

    with following(cell) as process:
        drained(house)
        assert history(house) == ["x", "y"]

        given(house.log, labelled("a", 2, "z"))
        drained(house)
        assert (history(house), told(house.log, "a")) == (["x z", "y"], [2])

        ends(process)


def test_a_fault_that_passes_is_tried_again_without_a_ring(house: House, cell: Cell) -> None:
    given(house.log, labelled("a", 1, "faulty"), labelled("a", 2, "z"))
    drain(PolicyFollower(Tally(), house.log, house.clock))  # else the other follower would ring

    with following(cell) as process:
        drained(house)
        said = ends(process)

    assert history(house) == ["faulty z"]
    assert "jars-views: Unavailable; trying again in 0.1 s" in said


def test_a_moment_that_falls_due_wakes_its_follower(house: House, cell: Cell) -> None:
    with following(cell) as process:
        given(house.log, labelled("a", 1, "due 1", at=datetime.now(UTC)))
        wait_until(house.log.bell, lambda: told(house.log, "a") == [1], ENOUGH, "not-told")

        ends(process)
    assert isinstance(events(house.log)[-1].body, TimeAdvanced)


def test_sigterm_finishes_the_batch_that_is_under_way_and_leaves_the_rest(house: House, cell: Cell) -> None:
    """Each batch is one event here."""
    pipe = cell.settings.data / "pipe"
    for end in (".begun", ".go"):
        os.mkfifo(f"{pipe}{end}")

    with following(cell) as process:
        left = [labelled("b", version, f"left {version}") for version in range(1, 301)]
        given(house.log, labelled("a", 1, f"slow {pipe}"), *left)
        with open(f"{pipe}.begun"):
            pass
        process.send_signal(signal.SIGTERM)
        with open(f"{pipe}.go", "w"):
            pass
        ends(process)

    assert 1 <= positions(house.views_database("jars"))["jars-views"] < 300
    assert f"slow {pipe}" in history(house)


# Two processes, of which one works


FOLLOWERS = ("jars-views", "tally")


def holders(house: House) -> dict[str, Holder]:
    return house.leases.holders(FOLLOWERS)


def holds_all(house: House, process: "subprocess.Popen[str]") -> Callable[[], bool]:
    def so() -> bool:
        found = holders(house)
        return len(found) == 2 and all(one.process.endswith(f":{process.pid}") for one in found.values())

    return so


def test_a_second_process_stands_by_and_goes_on_when_the_first_is_killed_within_a_batch(
    house: House, cell: Cell
) -> None:
    """Each batch of views is one event here; the killed process leaves one that is half done."""
    pipe = cell.settings.data / "pipe"
    for end in (".begun", ".go"):
        os.mkfifo(f"{pipe}{end}")
    slow = f"slow {pipe}"

    with following(cell) as first:
        wait_until(house.log.bell, holds_all(house, first), ENOUGH, "no-lease")
        with following(cell) as second:
            given(house.log, labelled("a", 1, "x"), labelled("a", 2, slow), labelled("a", 3, "z"), labelled("a", 4))
            with open(f"{pipe}.begun"):
                pass
            first.kill()
            first.wait()
            with open(f"{pipe}.begun"), open(f"{pipe}.go", "w"):
                pass  # the second one does the same batch again
            drained(house)
            given(house.log, labelled("b", 1, "y"))
            drained(house)

            assert holds_all(house, second)()
            assert history(house) == [f"x {slow} z plums", "y"]
            assert told(house.log, "a") == [2, 4]
            ends(second)
    assert holders(house) == {}


def test_who_is_told_to_stop_hands_over(house: House, cell: Cell) -> None:
    with following(cell) as first:
        wait_until(house.log.bell, holds_all(house, first), ENOUGH, "no-lease")
        with following(cell) as second:
            given(house.log, labelled("a", 1, "x"))
            drained(house)
            assert holds_all(house, first)()
            ends(first)
            given(house.log, labelled("a", 2, "y"))
            drained(house)

            assert (history(house), told(house.log, "a")) == (["x y"], [2])
            assert holds_all(house, second)()
            ends(second)


@pytest.mark.parametrize("address", ["postgres"], indirect=True)
def test_who_has_lost_its_lease_takes_it_again_and_goes_on(house: House, cell: Cell) -> None:
    """The server ended its session, as in a failover."""
    with following(cell, longest_wait_s=1) as process:
        wait_until(house.log.bell, holds_all(house, process), ENOUGH, "no-lease")
        with house.log.database.write() as session:
            name = holders(house)["tally"].process
            ended = session.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = ?",
                (f"kept {name}",),
            ).fetchone()
        assert ended == (1,)
        assert process.stderr is not None
        said = [process.stderr.readline() for _ in (*FOLLOWERS, "closed")]
        given(house.log, labelled("a", 1, "x"), labelled("a", 2, "y"))
        drained(house)

        assert (history(house), told(house.log, "a")) == (["x y"], [2])
        last = ends(process)
    lost = [f"WARNING:services.kernel.follow:{name}: its lease was lost\n" for name in FOLLOWERS]
    assert sorted(said) == [*lost, CLOSED]
    assert last == CLOSED


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_in_history_mode_the_clock_waits_for_who_takes_over(house: House, cell: Cell) -> None:
    start_history(house.log)
    application = CellApplication(house.recorder, house.keys, house.clock)

    def advance(number: int) -> None:
        request = AdvanceTimeRequest(request_id=str(number), to=timestamp(NOW + timedelta(minutes=number)))
        application.advance(application.command(CALLER, request), NOW + timedelta(minutes=number))

    with following(cell) as first:
        wait_until(house.log.bell, holds_all(house, first), ENOUGH, "no-lease")
        with following(cell) as second:
            given(house.log, labelled("a", 1), labelled("a", 2, "y"))
            advance(1)
            assert told(house.log, "a") == [2]
            first.kill()
            given(house.log, labelled("a", 3), labelled("a", 4, "y"))
            advance(2)

            assert told(house.log, "a") == [2, 4]
            assert holders(house)["tally"].process.endswith(f":{second.pid}")
            ends(second)


# Metrics


@contextmanager
def collecting() -> Iterator[tuple[str, "Queue[dict[tuple[str, str], float]]"]]:
    """An OpenTelemetry collector: its address, and each export's values by metric and follower."""
    exports: Queue[dict[tuple[str, str], float]] = Queue()

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/metrics":
                told = ExportMetricsServiceRequest.FromString(
                    body if body[:2] != b"\x1f\x8b" else gzip.decompress(body)
                )
                exports.put(
                    {
                        (metric.name, "".join(each.value.string_value for each in point.attributes)): point.as_int
                        for resource in told.resource_metrics
                        for scope in resource.scope_metrics
                        for metric in scope.metrics
                        for point in metric.gauge.data_points
                    }
                )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on the screen."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", exports
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("address", ["sqlite"], indirect=True)
def test_who_stands_by_tells_of_a_follower_that_is_stuck_elsewhere(
    house: House, cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "100")
    pipe = cell.settings.data / "pipe"
    for end in (".begun", ".go"):
        os.mkfifo(f"{pipe}{end}")

    with following(cell) as stuck, collecting() as (collector, exports):
        wait_until(house.log.bell, holds_all(house, stuck), ENOUGH, "no-lease")
        with following(Cell(replace(cell.settings, otlp_endpoint=collector))) as second:
            given(house.log, labelled("a", 1, f"slow {pipe}"), labelled("a", 2, "y"))
            with open(f"{pipe}.begun"):
                pass
            told: dict[tuple[str, str], float] = {}
            while (
                told.get(("kept.follower.lag", "jars-views"), 0) < 2
            ):  # the other follower may have told of them first
                told = exports.get(timeout=ENOUGH.total_seconds())
            assert told["kept.log.position", ""] >= 2
            assert told["kept.follower.position", "jars-views"] == 0
            stuck.kill()
            with open(f"{pipe}.begun"), open(f"{pipe}.go", "w"):
                pass
            drained(house)
            while told["kept.follower.lag", "jars-views"]:
                told = exports.get(timeout=ENOUGH.total_seconds())
            ends(second)
