"""`kept followers`: who stands where, on both databases, and an operator's answer to what is parked."""

import json
import os
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from kept.cell.v1.events_pb2 import ParkedKeyReleased

from services.cli.columns import spell_age, spell_bytes
from services.cli.log_stats import _most
from services.cli.main import main
from services.cli.table import RELAY, SERVICES, migrate
from services.kernel.cell import start_history
from services.kernel.clock import FixedClock
from services.kernel.house import House
from services.kernel.lease import this_process
from services.kernel.log.event_log import EventLog
from services.kernel.log.positions import Parked, Positions
from services.kernel.policy import PolicyFollower
from tests.kept import cell_up
from tests.kernel.toys import CLOSED, LABELLED, drain, entry, events, given, labelled

KEY = "7c5b0f1e-0000-4000-8000-000000000000"
AN_HOUR = timedelta(hours=1)
# What is told alike, wherever it was read from.
ON_SQLITE = pytest.mark.parametrize("address", ["sqlite"], indirect=True)
NAMES = [
    *("customer-views", "case", "case-views", "sla", "sla-views", "partner_network", "partner_network-views"),
    *("notification", "notification-views", "notification-sender"),
]


@pytest.fixture
def found(house: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """A cell's log, which a command finds by the environment."""
    for name, value in house.settings.environment().items():
        monkeypatch.setenv(name, value)
    return house


@pytest.fixture
def opened(found: House) -> House:
    """With everything that its services have."""
    migrate(found)
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def told(*arguments: str) -> dict[str, Any]:
    done = run("followers", "--json", *arguments)
    assert done.exit_code == 0, done.output
    return dict(json.loads(done.stdout))


def follower(name: str, *arguments: str) -> dict[str, Any]:
    (found,) = [one for one in told(*arguments)["followers"] if one["name"] == name]
    return dict(found)


def recorded(house: House, count: int, *, ago: timedelta = timedelta(), after: int = 0) -> None:
    log = EventLog(house.log.database, house.log.bell, FixedClock(datetime.now(UTC) - ago))
    given(log, *(labelled("a", after + number, "plums") for number in range(1, count + 1)))


def stand(house: House, name: str, position: int) -> None:
    """The follower has read so far."""
    views = name.endswith("-views")
    database = house.views_database(name.removesuffix("-views")) if views else house.log.database
    with database.write() as session:
        Positions(session).move(name, Positions(session).get(name), position)


def park(house: House, name: str, *positions: int) -> None:
    database = house.views_database(name.removesuffix("-views")) if name.endswith("-views") else house.log.database
    with database.write() as session:
        for number, position in enumerate(positions):
            reason = "queues behind a parked event" if number else "LookupError"
            Positions(session).park(Parked(name, position, KEY, reason))


def test_every_follower_of_the_cell_is_told_with_its_lag_and_who_works_for_it(opened: House) -> None:
    recorded(opened, 2, ago=AN_HOUR)
    recorded(opened, 1, after=2)
    for name in set(NAMES) - {"case", "sla-views"}:
        stand(opened, name, 3)
    stand(opened, "sla-views", 2)
    opened.leases.take("case")

    found = told()

    assert (found["cell"], found["mode"], found["head"]["position"]) == (opened.settings.cell, "live", 3)
    assert [one["name"] for one in found["followers"]] == NAMES
    kinds = {one["name"]: one["kind"] for one in found["followers"]}
    assert (kinds["case"], kinds["case-views"], kinds["notification-sender"]) == ("policy", "views", "sender")
    lags = {one["name"]: (one["position"], one["lag_events"]) for one in found["followers"]}
    assert lags == dict.fromkeys(NAMES, (3, 0)) | {"case": (0, 3), "sla-views": (2, 1)}
    assert AN_HOUR.total_seconds() <= follower("case")["lag_seconds"] < AN_HOUR.total_seconds() + 600
    assert 0 <= follower("sla-views")["lag_seconds"] < 600
    assert follower("sla")["lag_seconds"] == 0
    assert [one["name"] for one in told("--behind")["followers"]] == ["case", "sla-views"]
    leases = {one["name"]: one["lease"] and one["lease"]["process"] for one in found["followers"]}
    assert leases == dict.fromkeys(NAMES) | {"case": this_process()}


@ON_SQLITE
def test_somebody_else_who_follows_is_told_too(opened: House) -> None:
    with opened.log.database.write() as session:
        Positions(session).register("auditor")

    assert (told()["followers"][-1]["name"], told()["followers"][-1]["kind"]) == ("auditor", "other")


def test_the_relay_is_told_where_there_is_a_broker_or_where_it_works(
    opened: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened.log.database.write() as session:
        Positions(session).register(RELAY)

    assert [one["name"] for one in told()["followers"]] == NAMES, "nobody runs it, so it is behind nothing"
    monkeypatch.setenv("KEPT_BROKER", "amqp://broker")
    assert (told()["followers"][-1]["name"], told()["followers"][-1]["kind"]) == (RELAY, "relay")
    monkeypatch.delenv("KEPT_BROKER")
    opened.leases.take(RELAY)
    assert follower(RELAY)["lease"]["process"] == this_process()


def test_a_migration_by_somebody_without_the_broker_leaves_the_relay_where_it_is(opened: House) -> None:
    """Begun anew at 0, it would publish the whole log again."""
    recorded(opened, 3)
    with opened.log.database.write() as session:
        Positions(session).register(RELAY)
    stand(opened, RELAY, 3)

    migrated = run("migrate")

    assert migrated.exit_code == 0, migrated.output
    with opened.log.database.read() as session:
        assert Positions(session).all()[RELAY] == 3


@ON_SQLITE
def test_what_is_parked_is_told_with_its_cause_and_the_next_step(opened: House) -> None:
    given(opened.log, labelled("a", 1), entry("a", 2, ParkedKeyReleased()), labelled("a", 3))
    park(opened, "case-views", 1, 3)
    park(opened, "sla", 2)

    assert follower("case-views", "--parked")["parked"] == [
        {"key": KEY, "position": 1, "type": LABELLED, "reason": "LookupError", "queued": 1}
    ]
    assert [one["name"] for one in told("--parked")["followers"]] == ["case-views", "sla"]
    text = run("followers", "--parked").stdout
    assert f"case-views could not handle position 1, {LABELLED}: LookupError; 1 more of its key queue behind it" in text
    assert f"kept followers retry case-views {KEY} --reason" in text
    assert f"kept followers skip sla {KEY} --reason" in text
    named = run("followers", "--data", str(opened.settings.data)).stdout
    assert f"kept followers skip sla {KEY} --data {opened.settings.data} --reason" in named


@ON_SQLITE
def test_people_get_a_table(opened: House) -> None:
    recorded(opened, 1234, ago=AN_HOUR)
    for name in set(NAMES) - {"case"}:
        stand(opened, name, 1234)

    lines = run("followers").stdout.splitlines()

    assert lines[0].split() == ["FOLLOWER", "POSITION", "BEHIND", "FOR", "PARKED", "WORKED", "FOR", "BY", "SINCE"]
    assert [line.split()[0] for line in lines[1:11]] == NAMES
    assert lines[2].split() == ["case", "0", "1,234", "1", "h", "-", "nobody", "-"]
    assert lines[3].split() == ["case-views", "1,234", "0", "-", "-", "nobody", "-"]
    assert len({line.index("nobody") for line in lines[1:11]}) == 1, "in a column of their own"
    assert lines[12].startswith("the log's head: 1,234, recorded at 20")
    assert lines[13] == "nobody works for them: the cell is stopped, or its workers are"
    opened.leases.take("sla")
    assert "nobody works for them" not in run("followers").stdout
    assert run("followers", "--parked").stdout.splitlines()[0] == "no follower is so"


@ON_SQLITE
def test_history_mode_is_told(opened: House) -> None:
    start_history(opened.log)

    assert told()["mode"] == "history"
    assert "in history mode" in run("followers").stdout


@ON_SQLITE
def test_a_follower_ahead_of_the_log_is_told(opened: House) -> None:
    """As after a log was put back from an old copy, by hand."""
    stand(opened, "case-views", 5)

    assert follower("case-views")["lag_events"] == -5
    assert "the log has lost its end" in run("followers").stdout


def test_looking_at_a_cell_that_is_not_there_makes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEPT_DATA", "KEPT_DATABASE"):
        monkeypatch.delenv(name, raising=False)

    for command in (("followers",), ("log", "stats")):
        done = run(*command, "--data", str(tmp_path / "cell"))
        assert (done.exit_code, (tmp_path / "cell").exists()) == (78, False)


@ON_SQLITE
@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nobody", KEY), 2, "NAME: there is no follower 'nobody'; there are customer-views, case, "),
        (("case", KEY), 1, f"KEY: case has not parked {KEY}; it has parked nothing"),
    ],
)
def test_what_cannot_be_released_is_refused_before_a_cell_is_started(
    arguments: tuple[str, ...], code: int, said: str
) -> None:
    for command in ("retry", "skip"):
        done = run("followers", command, *arguments, "--reason", "by hand")

        assert (done.exit_code, said in done.stderr) == (code, True), done.stderr


@ON_SQLITE
def test_an_operator_skips_and_retries_in_a_running_cell(opened: House) -> None:
    """What is parked was put there by hand; the followers that have to do with it are those of the cell."""
    given(opened.log, *(labelled("a", number) for number in range(1, 5)))
    park(opened, "case", 1, 2)
    park(opened, "case-views", 1, 2, 3)

    with cell_up(opened.settings.data):
        skipped = run("followers", "skip", "case-views", KEY, "--reason", "it is old")
        retried = run("followers", "retry", "case", KEY, "--reason", "it is mended")

    assert skipped.stdout.splitlines()[1:] == [f"case-views has nothing parked under {KEY} any more"]
    assert retried.stdout.splitlines()[1:] == [f"case has nothing parked under {KEY} any more"]
    assert [one["parked"] for one in told()["followers"]] == [[]] * len(NAMES)
    releases = [event for event in events(opened.log) if isinstance(event.body, ParkedKeyReleased)]
    assert [event.body for event in releases] == [
        ParkedKeyReleased(follower="case-views", key=KEY, skip_first=True, position=1, reason="it is old"),
        ParkedKeyReleased(follower="case", key=KEY, reason="it is mended"),
    ]
    assert all(event.record.actor.startswith("user:") for event in releases)


def test_where_no_cell_runs_a_release_is_recorded_and_nothing_is_started(
    opened: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL the cell may run on other machines: a second one here would send, and migrate, beside it."""
    started: list[object] = []
    monkeypatch.setattr(subprocess, "Popen", started.append)
    given(opened.log, *(labelled("a", number) for number in range(1, 5)))
    park(opened, "case", 1, 2)

    done = run("followers", "skip", "case", KEY, "--reason", "it is old")
    again = run("followers", "retry", "case", KEY, "--reason", "it is mended")

    assert started == []
    assert done.stdout.splitlines() == [
        "recorded at position 5",
        "nobody works for case now: it carries this out as soon as its worker runs",
    ]
    (release,) = [event for event in events(opened.log) if isinstance(event.body, ParkedKeyReleased)]
    assert release.body == ParkedKeyReleased(follower="case", key=KEY, skip_first=True, position=1, reason="it is old")
    assert (release.record.tenant, release.record.actor[:5]) == ("cell", "user:")
    assert (again.exit_code, "case has yet to carry out the release at position 5" in again.stderr) == (1, True)
    assert [key["position"] for key in follower("case")["parked"]] == [1]


def test_a_follower_elsewhere_carries_out_what_is_recorded_here(opened: House) -> None:
    given(opened.log, *(labelled("a", number) for number in range(1, 3)))
    park(opened, "case", 1, 2)
    (policy,) = (policy() for service in SERVICES for policy in service.policies if policy.name == "case")
    carrying_out = PolicyFollower(policy, opened.log, opened.clock)
    assert opened.leases.take("case") is not None
    with closing(opened.log.bell.listen()) as ear, ThreadPoolExecutor(1) as elsewhere:

        def works() -> None:
            while not carrying_out.position() >= 3:
                ear.wait(1)
                drain(carrying_out)

        worked = elsewhere.submit(works)
        done = run("followers", "skip", "case", KEY, "--reason", "it is old")
        worked.result()

    assert done.stdout.splitlines()[0] == "recorded at position 3"
    assert done.stdout.splitlines()[1] == f"case has nothing parked under {KEY} any more"


@ON_SQLITE
def test_an_operator_whom_the_system_has_no_name_for_is_told_by_number(
    opened: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr("getpass.getuser", nameless)
    given(opened.log, labelled("a", 1))
    park(opened, "case", 1)

    run("followers", "retry", "case", KEY, "--reason", "it is mended")

    assert events(opened.log)[-1].record.actor == f"user:uid-{os.getuid()}"


# kept log stats


def test_the_logs_figures_are_told(found: House) -> None:
    recorded(found, 3, ago=timedelta(days=2))
    given(found.log, labelled("b", 1), labelled("c", 1))

    figures = json.loads(run("log", "stats", "--json").stdout)

    assert (figures["events"], figures["streams"], figures["head"]["position"], figures["epoch"]) == (5, 3, 5, 1)
    assert figures["head"]["root"] == found.log.head().root.hex()
    assert figures["recorded_within"] == {"minute": 2, "hour": 2, "day": 2}
    assert figures["per_second"]["minute"] == round(2 / 60, 3)
    assert figures["types"] == {LABELLED: 5}
    assert figures["largest_streams"][0]["events"] == 3
    assert figures["bytes"]["records"] < figures["bytes"]["database"]
    assert figures["estimated"] == []


@ON_SQLITE
def test_people_get_the_logs_figures_in_columns(found: House) -> None:
    recorded(found, 1200)

    lines = run("log", "stats").stdout.splitlines()

    assert lines[0].split() == ["events", "1,200"]
    assert f"  {LABELLED}  1,200" in lines
    assert not [line for line in lines if "about" in line]


def test_more_than_twenty_types_are_summed() -> None:
    counted = Counter({f"type {number:02}": 100 - number for number in range(25)})

    found = _most(counted)

    assert (len(found), found["other"]) == (21, 80 + 79 + 78 + 77 + 76)
    assert CLOSED not in _most(Counter({LABELLED: 1}))
    assert "other" not in _most(Counter({LABELLED: 1}))


@pytest.mark.parametrize(
    ("seconds", "spelt"), [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "2 h"), (90_000, "1 d"), (864_000, "10 d")]
)
def test_ages_are_spelt_as_exactly_as_one_wants_to_know(seconds: float, spelt: str) -> None:
    assert spell_age(seconds) == spelt


@pytest.mark.parametrize(
    ("count", "spelt"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_500_000, "1.5 MB"), (2 * 10**15, "2,000.0 TB")],
)
def test_sizes_are_spelt(count: int, spelt: str) -> None:
    assert spell_bytes(count) == spelt
