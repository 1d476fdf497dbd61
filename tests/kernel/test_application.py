"""Commands: recorded, refused, repeated; exactly once by request id."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from kept.cell.v1.events_pb2 import HistoryStarted, PolicyDeployed
from kept.common.v1.record_pb2 import Receipt

from services.kernel.application import Caller, Checkout
from services.kernel.clock import FixedClock, micros, timestamp
from services.kernel.errors import Invalid, NotFound, Refused, RequestIdReused, Unavailable, VersionConflict
from services.kernel.events import Stamp
from services.kernel.house import House
from services.kernel.log.event_log import EventLog
from services.kernel.log.recorder import LogRecorder
from tests.kernel.toys import CALLER, NOW, Jar, JarRequest, Jars, events, jar_id, labels


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
def jars(house: House, clock: FixedClock) -> Jars:
    return Jars(house.recorder, house.keys, clock)


@pytest.fixture
def log(house: House) -> EventLog:
    return house.log


def asked(request_id: str, **fields: Any) -> Any:
    return JarRequest(request_id=request_id, **fields)


def made(jars: Jars, label: str = "plums", request_id: str = "make") -> Receipt:
    return jars.make(CALLER, asked(request_id, label=label))


# Recorded, refused, nothing to do


def test_a_command_records_its_event_and_answers_with_ids_and_places(jars: Jars, log: EventLog) -> None:
    receipt = made(jars)
    second = jars.label(CALLER, asked("label", id=receipt.id, label="pears"))

    assert (receipt.version, receipt.position) == (1, 1)
    assert second == Receipt(id=receipt.id, version=2, position=2)
    assert labels(events(log)) == ["plums", "pears"]


def test_a_record_tells_who_when_and_by_which_request(jars: Jars, log: EventLog) -> None:
    receipt = jars.make(CALLER, asked("make", label="plums", occurred_at=timestamp(NOW - timedelta(days=3))))

    (event,) = events(log)
    record = event.record
    assert (record.stream, record.version, record.type) == (receipt.id, 1, "kept.cell.v1.PolicyDeployed")
    assert (record.tenant, record.actor, record.customer_id) == ("main", "user:ana", "")
    assert record.request_key == record.correlation_id
    assert UUID(record.request_key).version == UUID(record.id).version == 5
    assert event.occurred_at == micros(NOW - timedelta(days=3))
    assert event.body == PolicyDeployed(name="plums")


def test_a_command_without_its_own_time_happens_now(jars: Jars, log: EventLog) -> None:
    made(jars)

    assert events(log)[0].occurred_at == micros(NOW)


def test_a_refused_command_leaves_no_trace_and_may_be_tried_again(jars: Jars, log: EventLog) -> None:
    jar = made(jars)
    jars.close_jar(CALLER, asked("close", id=jar.id))
    request = asked("label", id=jar.id, label="pears")

    for _ in range(2):
        with pytest.raises(Refused) as caught:
            jars.label(CALLER, request)
        assert (caught.value.slug, caught.value.facts) == ("jar-closed", {"jar": jar.id})
    assert log.position() == 2
    assert log.answer(jars.command(CALLER, request).request.key) is None


def test_nothing_to_do_answers_with_the_head_and_is_remembered(jars: Jars, log: EventLog) -> None:
    jar = made(jars)
    made(jars, "other", "other")

    nothing = jars.label(CALLER, asked("same", id=jar.id, label="plums"))
    assert nothing == Receipt(id=jar.id, version=1, position=2)

    jars.label(CALLER, asked("pears", id=jar.id, label="pears"))
    assert jars.label(CALLER, asked("same", id=jar.id, label="plums")) == nothing
    assert labels(events(log)) == ["plums", "other", "pears"]


# Repeated


def test_the_same_request_gets_the_same_receipt_and_has_one_effect(jars: Jars, log: EventLog) -> None:
    jar = made(jars)
    request = asked("label", id=jar.id, label="pears")

    first = jars.label(CALLER, request)
    made(jars, "other", "other")
    jars.label(CALLER, asked("on", id=jar.id, label="figs"))

    assert jars.label(CALLER, request) == first
    assert made(jars) == jar
    assert labels(events(log)) == ["plums", "pears", "other", "figs"]


def test_the_same_request_makes_the_same_ids(jars: Jars) -> None:
    first, again, other = (jars.command(CALLER, asked(name)) for name in ("r", "r", "s"))

    assert first.new_id("jar") == again.new_id("jar")
    assert len({first.new_id("jar"), first.new_id("lid"), other.new_id("jar")}) == 3


def test_another_body_under_the_same_request_is_refused(jars: Jars, log: EventLog) -> None:
    jar = made(jars)

    with pytest.raises(RequestIdReused) as caught:
        made(jars, "pears")

    assert caught.value.slug == "request-id-reused"
    assert [event.record.stream for event in events(log)] == [jar.id]


@pytest.mark.parametrize(
    "other",
    [
        replace(CALLER, principal="user:bo"),
        replace(CALLER, tenant="other"),
        replace(CALLER, method="/toy.Jars/Other"),
    ],
)
def test_a_request_id_is_somebodys_own_for_one_method(jars: Jars, other: Caller) -> None:
    mine = made(jars)
    theirs = jars.make(other, asked("make", label="plums"))

    assert mine.id != theirs.id


def test_a_principal_and_a_method_do_not_run_into_each_other(sqlite_house: House) -> None:
    jars = Jars(sqlite_house.recorder, sqlite_house.keys, FixedClock(NOW))
    one, other = (
        jars.command(replace(CALLER, principal=principal, method=method), asked("r")).request.key
        for principal, method in (("user:a", "b/c"), ("user:ab", "/c"))
    )

    assert one != other


def test_a_crash_after_the_commit_is_answered_by_asking_again(house: House, clock: FixedClock) -> None:
    class Deaf(LogRecorder):
        def insert_events(self, *args: Any, **kwargs: Any) -> Any:
            super().insert_events(*args, **kwargs)
            raise Unavailable("log-in-doubt")

    with pytest.raises(Unavailable):
        made(Jars(Deaf(house.log), house.keys, clock))

    receipt = made(Jars(house.recorder, house.keys, clock))
    assert (receipt.version, receipt.position) == (1, 1)
    assert house.log.position() == 1


# Somebody else was first


class Racing(Jars):
    """Between checking out and appending, somebody else changes the same jar."""

    def __init__(self, house: House, clock: FixedClock, meanwhile: Iterator[Callable[[], object]]) -> None:
        super().__init__(house.recorder, house.keys, clock)
        self._meanwhile = meanwhile
        self.attempts = 0

    def checkout(self, kind: type[Any], id: str, *, tenant: str) -> Checkout[Any]:
        held = super().checkout(kind, id, tenant=tenant)
        self.attempts += 1
        next(self._meanwhile, lambda: None)()
        return held


def test_a_conflict_is_decided_again_on_what_is_there_now(jars: Jars, house: House, clock: FixedClock) -> None:
    jar = made(jars)
    meanwhile = [lambda n=n: jars.label(CALLER, asked(f"m{n}", id=jar.id, label=f"m{n}")) for n in range(2)]
    racing = Racing(house, clock, iter(meanwhile))

    receipt = racing.label(CALLER, asked("late", id=jar.id, label="figs"))

    assert (receipt.version, receipt.position, racing.attempts) == (4, 4, 3)
    assert labels(events(house.log)) == ["plums", "m0", "m1", "figs"]


def test_a_conflict_may_end_in_a_refusal(jars: Jars, house: House, clock: FixedClock) -> None:
    jar = made(jars)
    racing = Racing(house, clock, iter([lambda: jars.close_jar(CALLER, asked("close", id=jar.id))]))

    with pytest.raises(Refused):
        racing.label(CALLER, asked("late", id=jar.id, label="figs"))


def test_after_three_conflicts_the_caller_is_told_and_nothing_is_recorded(
    jars: Jars, house: House, clock: FixedClock
) -> None:
    jar = made(jars)
    meanwhile = [lambda n=n: jars.label(CALLER, asked(f"m{n}", id=jar.id, label=f"m{n}")) for n in range(9)]
    racing = Racing(house, clock, iter(meanwhile))

    with pytest.raises(VersionConflict):
        racing.label(CALLER, asked("late", id=jar.id, label="figs"))

    assert racing.attempts == 3
    assert "figs" not in labels(events(house.log))


def test_the_same_request_racing_itself_has_one_effect(jars: Jars, house: House, clock: FixedClock) -> None:
    jar = made(jars)
    request = asked("late", id=jar.id, label="figs")
    racing = Racing(house, clock, iter([lambda: jars.label(CALLER, request)]))

    assert racing.label(CALLER, request) == Receipt(id=jar.id, version=2, position=2)
    assert labels(events(house.log)) == ["plums", "figs"]


def test_eight_threads_with_one_request_have_one_effect_and_one_receipt(jars: Jars, log: EventLog) -> None:
    with ThreadPoolExecutor(8) as pool:
        receipts = [future.result() for future in [pool.submit(made, jars) for _ in range(8)]]

    assert all(receipt == receipts[0] for receipt in receipts)
    assert log.position() == 1


def test_eight_threads_on_one_jar_leave_each_others_changes(jars: Jars, log: EventLog) -> None:
    jar = made(jars)

    def work(number: int) -> None:
        for count in range(3):
            name = f"{number}.{count}"
            while True:
                try:
                    jars.label(CALLER, asked(name, id=jar.id, label=name))
                except VersionConflict:
                    continue
                break

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert sorted(labels(events(log))) == sorted(["plums", *(f"{n}.{c}" for n in range(8) for c in range(3))])
    assert log.version(UUID(jar.id)) == 25


# What is not there


def test_a_jar_that_is_not_there_is_not_found(jars: Jars, log: EventLog) -> None:
    with pytest.raises(NotFound) as caught:
        jars.label(CALLER, asked("label", id="00000000-0000-4000-8000-000000000000", label="pears"))

    assert caught.value.slug == "jar-not-found"
    assert log.position() == 0


@pytest.mark.parametrize("id", ["", "x", "\0"])
def test_what_is_no_id_is_invalid_and_not_echoed(jars: Jars, log: EventLog, id: str) -> None:
    with pytest.raises(Invalid) as caught:
        jars.label(CALLER, asked("label", id=id, label="pears"))

    assert caught.value.field == "jar_id"
    assert log.position() == 0


def test_another_tenants_jar_is_not_found(jars: Jars, log: EventLog) -> None:
    jar = made(jars)

    with pytest.raises(NotFound):
        jars.label(replace(CALLER, tenant="other"), asked("label", id=jar.id, label="pears"))

    assert log.position() == 1


def test_the_stream_of_another_noun_is_not_found(jars: Jars, log: EventLog) -> None:
    class Lid(Jar):
        noun = "lid"
        born_by = (HistoryStarted,)

    jar = made(jars)

    with pytest.raises(NotFound):
        jars.load(Lid, jar.id, tenant="main")


def test_an_event_that_does_not_load_is_an_error_and_not_a_missing_jar(jars: Jars) -> None:
    class Broken(Jar):
        def evolve(self, event: Any) -> None:
            raise ValueError("a guard in replayed code")

    jar = made(jars)

    with pytest.raises(ValueError, match="a guard in replayed code"):
        jars.load(Broken, jar.id, tenant="main")


def test_a_stream_of_another_service_is_known_by_its_first_event_and_tenant(jars: Jars, log: EventLog) -> None:
    jar = made(jars)
    command = jars.command(CALLER, asked("r"))
    foreign = jars.command(replace(CALLER, tenant="other"), asked("r"))

    jars.require_stream("jar", jar.id, PolicyDeployed, command)
    for noun_born_by, asking, id_ in (
        (HistoryStarted, command, jar.id),
        (PolicyDeployed, foreign, jar.id),
        (PolicyDeployed, command, str(jar_id("nobody"))),
    ):
        with pytest.raises(NotFound) as caught:
            jars.require_stream("jar", id_, noun_born_by, asking)
        assert caught.value.slug == "jar-not-found"


def test_an_aggregate_named_by_its_id_is_made_by_the_first_command(jars: Jars, log: EventLog) -> None:
    named = jar_id("the one and only")

    def publish(request_id: str, label: str) -> Receipt:
        return jars.publish(jars.command(CALLER, asked(request_id)), Jar, named, lambda jar: jar.label_as(label))

    assert publish("one", "plums") == publish("one", "plums") == Receipt(id=str(named), version=1, position=1)
    assert publish("two", "pears").version == 2
    assert labels(events(log)) == ["plums", "pears"]


# What a request says of itself


@pytest.mark.parametrize("request_id", ["", " ", "x" * 129, "a\0b"])
def test_a_request_without_a_usable_id_is_refused(jars: Jars, request_id: str) -> None:
    with pytest.raises(Invalid, match="request_id"):
        made(jars, request_id=request_id)


@pytest.mark.parametrize(
    ("moment", "says"),
    [
        (timestamp(NOW + timedelta(microseconds=1)), "lies in the future; it is 2026-03-01T12:00:00"),
        (Timestamp(seconds=2**62), "lies in the future"),
        (Timestamp(seconds=-1), "since 1970"),
        (Timestamp(seconds=-(2**62)), "since 1970"),
        (Timestamp(seconds=1, nanos=-1), "since 1970"),
        (Timestamp(seconds=1, nanos=10**9), "since 1970"),
    ],
)
def test_an_absurd_time_is_refused(sqlite_house: House, clock: FixedClock, moment: Timestamp, says: str) -> None:
    jars = Jars(sqlite_house.recorder, sqlite_house.keys, clock)

    with pytest.raises(Invalid, match=says) as caught:
        jars.make(CALLER, asked("r", label="plums", occurred_at=moment))

    assert caught.value.field == "occurred_at"
    assert sqlite_house.log.position() == 0


@pytest.mark.parametrize("moment", [timestamp(NOW), Timestamp()])
def test_now_and_1970_are_taken(sqlite_house: House, clock: FixedClock, moment: Timestamp) -> None:
    jars = Jars(sqlite_house.recorder, sqlite_house.keys, clock)

    jars.make(CALLER, asked("r", label="plums", occurred_at=moment))

    assert events(sqlite_house.log)[0].record.occurred_at == moment


# The aggregate itself


def test_an_aggregate_folds_to_what_it_was_when_it_decided(jars: Jars) -> None:
    jar = made(jars)
    jars.label(CALLER, asked("label", id=jar.id, label="pears"))
    jars.close_jar(CALLER, asked("close", id=jar.id))

    loaded = jars.load(Jar, jar.id, tenant="main")

    assert (loaded.label, loaded.closed, loaded.version, loaded.tenant) == ("pears", True, 3, "main")
    assert list(loaded.pending) == []


def test_an_event_may_have_another_time_than_its_cause() -> None:
    jar = Jar(jar_id("a"))
    jar.stamp = Stamp("main", "user:ana", micros(NOW), "c", "r", "cause", "00-trace")

    jar.record(PolicyDeployed(name="early"), occurred_at=7)
    jar.record(PolicyDeployed(name="now"))

    assert jar.tenant == "main"
    early, now = jar.collect_events()
    assert (early.stamp.occurred_at, now.stamp.occurred_at) == (7, micros(NOW))
    assert replace(early.stamp, occurred_at=micros(NOW)) == now.stamp
    assert list(jar.collect_events()) == []


def test_an_aggregate_without_a_stamp_cannot_decide() -> None:
    with pytest.raises(AssertionError, match="stamp"):
        Jar(jar_id("a")).label_as("plums")
