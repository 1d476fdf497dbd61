"""The log as auditors stream it, on each database: nothing twice, nothing left out, and nobody waits for another."""

import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any
from uuid import UUID

import grpc
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as each
from hypothesis import strategies as st
from kept.common.v1.record_pb2 import Record

from services.audit import feed, reading
from services.audit.selection import matches
from services.kernel.errors import Unavailable
from services.kernel.house import House
from services.kernel.log.port import Selection
from tests.audit.streaming import CUSTOMERS, STREAMS, TENANTS, TYPES, Auditor, Kind, Served, Writer, served
from tests.kernel.test_rpc import Refusal

KINDS: list[Kind] = [(at % 4, at % 3, 0 if at % 7 else 1, None if at % 5 == 0 else (at * at) % 3) for at in range(60)]


@pytest.fixture
def writer(house: House) -> Writer:
    return Writer(house.log)


@pytest.fixture
def server(house: House) -> Iterator[Served]:
    with served(house) as running:
        yield running


@pytest.fixture
def auditor(server: Served) -> Iterator[Auditor]:
    made = Auditor(server.target)
    yield made
    made.close()


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH", 4)
    monkeypatch.setattr(reading, "WINDOW", 7)
    monkeypatch.setattr(feed, "BATCH", 3)


def refused(call: Any) -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        list(call())
    return Refusal(caught.value)


def taken(stream: Any, count: int) -> list[Any]:
    """That many events, whatever tells only progress between them."""
    return list(islice((one for one in stream if one.record), count))


# What is there already


def test_events_come_as_they_were_recorded(house: House, writer: Writer, auditor: Auditor) -> None:
    writer.write(*KINDS[:5])

    messages = list(auditor.stream())

    assert [(one.position, one.recorded_at.ToMicroseconds(), one.record) for one in messages] == [
        (one.position, one.recorded_at, bytes(one.record)) for one in house.log.read(0, 10)
    ]


def test_an_empty_log_gives_nothing(auditor: Auditor) -> None:
    assert list(auditor.stream()) == []


def test_without_follow_it_ends_at_the_head(writer: Writer, auditor: Auditor) -> None:
    writer.write(*KINDS[:5])

    assert auditor.positions(after=5) == []
    assert auditor.positions(after=3) == [4, 5]


@pytest.mark.usefixtures("small_batches")
def test_whoever_resumes_where_it_broke_misses_nothing_and_gets_nothing_twice(writer: Writer, auditor: Auditor) -> None:
    writer.write(*KINDS[:23])

    for cut in range(24):
        stream = auditor.stream()
        first = taken(stream, cut)
        stream.cancel()
        after = first[-1].position if first else 0

        assert [one.position for one in first] + auditor.positions(after) == list(range(1, 24))


# Filters


@st.composite
def filters(draw: st.DrawFn) -> dict[str, list[str]]:
    names = {
        "streams": [*map(str, STREAMS), str(UUID(int=9))],
        "types": [*TYPES, "kept.case.v1.CaseOpened"],
        "tenants": [*TENANTS, "south"],
        "customer_ids": [*map(str, CUSTOMERS), str(UUID(int=9))],
    }
    fields = draw(st.sets(st.sampled_from(sorted(names))))
    return {field: draw(st.lists(st.sampled_from(names[field]), min_size=1, max_size=3)) for field in sorted(fields)}


def wanted(filters: dict[str, list[str]], kind: Kind) -> bool:
    stream, type_, tenant, customer = kind
    values = {
        "streams": str(STREAMS[stream]),
        "types": TYPES[type_],
        "tenants": TENANTS[tenant],
        "customer_ids": "" if customer is None else str(CUSTOMERS[customer]),
    }
    return all(values[field] in filters[field] for field in filters)


@pytest.mark.usefixtures("small_batches")
def test_a_filter_gives_what_looking_at_every_event_gives(house: House, writer: Writer, auditor: Auditor) -> None:
    writer.write(*KINDS)
    records = [Record.FromString(one.record) for one in house.log.read(0, 100)]

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
    @each(filters(), st.integers(0, len(KINDS)))
    def compared(which: dict[str, list[str]], after: int) -> None:
        expected = [at for at, kind in enumerate(KINDS, 1) if at > after and wanted(which, kind)]
        messages = list(auditor.stream(after, follow=False, **which))
        selection = Selection(
            frozenset(map(UUID, which.get("streams", ()))),
            frozenset(which.get("types", ())),
            frozenset(which.get("tenants", ())),
            frozenset(map(UUID, which.get("customer_ids", ()))),
        )

        assert [one.position for one in messages if one.record] == expected
        assert [at for at, one in enumerate(records, 1) if at > after and matches(selection, one)] == expected
        assert [one.position for one in messages] == sorted({one.position for one in messages})
        assert (messages[-1].position if messages else after) == len(KINDS)

    compared()


@pytest.mark.usefixtures("small_batches")
def test_a_filter_that_skips_much_tells_how_far_it_is_once_a_batch(writer: Writer, auditor: Auditor) -> None:
    writer.write(*[(0, 0, 0, None)] * 20)

    told = [(one.position, one.record) for one in auditor.stream(tenants=["north"])]

    assert told == [(7, b""), (14, b""), (20, b"")]


@pytest.mark.parametrize("filters", [{"streams": [str(STREAMS[1])]}, {"customer_ids": [str(CUSTOMERS[1])]}])
def test_one_stream_or_customer_is_found_by_its_index(sqlite_house: House, filters: Any) -> None:
    log = sqlite_house.log  # PostgreSQL scans a table as small as this one
    Writer(log).write(*KINDS)
    which = Selection(
        frozenset(map(UUID, filters.get("streams", ()))),
        customers=frozenset(map(UUID, filters.get("customer_ids", ()))),
    )
    statements: list[str] = []
    with log.database.read() as session:
        session.set_trace_callback(statements.append)  # type: ignore[attr-defined]  # on SQLite it is the driver's own
    log.select(which, 0, 60, 10)

    with log.database.read() as session:
        session.set_trace_callback(None)  # type: ignore[attr-defined]
        plan = " ".join(str(row) for row in session.execute(f"EXPLAIN QUERY PLAN {statements[0]}"))
    assert "USING INDEX log_stream" in plan or "USING INDEX log_customer" in plan


# What comes


def test_a_follower_gets_what_comes(writer: Writer, auditor: Auditor) -> None:
    writer.write(*KINDS[:3])
    stream = auditor.stream(follow=True)

    assert [one.position for one in taken(stream, 3)] == [1, 2, 3]
    for at, kind in enumerate(KINDS[3:10], 4):
        writer.write(kind)
        assert [one.position for one in taken(stream, 1)] == [at]
    stream.cancel()


@pytest.mark.usefixtures("small_batches")
def test_followers_that_break_and_resume_while_others_write_get_every_event_once(house: House, server: Served) -> None:
    def write() -> None:
        writer = Writer(house.log)
        for kind in KINDS:
            writer.write(kind)

    def follow(piece: int, seen: list[int]) -> None:
        auditor = Auditor(server.target)
        while len(seen) < len(KINDS):
            stream = auditor.stream(seen[-1] if seen else 0, follow=True)
            seen += [one.position for one in taken(stream, min(piece, len(KINDS) - len(seen)))]
            stream.cancel()
        auditor.close()

    seen: list[list[int]] = [[], [], []]
    threads = [
        threading.Thread(target=follow, args=(piece, found)) for piece, found in zip((1, 4, 13), seen, strict=True)
    ]
    threads.append(threading.Thread(target=write))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [list(range(1, 61))] * 3


def test_what_comes_while_a_follower_still_catches_up_is_not_missed(
    writer: Writer, server: Served, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Auditor(server.target)
    ahead = other.stream(follow=True)
    writer.write_plain(1)
    taken(ahead, 1)
    read, missed = reading._read, [2, 3]

    def read_slowly(*arguments: Any) -> Any:
        """Meanwhile more comes, and those who follow already have got it."""
        found = read(*arguments)
        if missed:
            writer.write_plain(1)
            assert [one.position for one in taken(ahead, 1)] == [missed.pop(0)]
        return found

    monkeypatch.setattr(reading, "_read", read_slowly)
    late = auditor.stream(follow=True)

    assert [one.position for one in taken(late, 3)] == [1, 2, 3]
    writer.write_plain(1)
    assert [one.position for one in taken(late, 1)] == [4]
    late.cancel()
    ahead.cancel()
    other.close()


def test_a_follower_with_a_filter_gets_only_its_own_and_how_far_the_log_is(writer: Writer, auditor: Auditor) -> None:
    stream = auditor.stream(follow=True, tenants=["north"])
    writer.write((0, 0, 1, None))
    assert [one.position for one in taken(stream, 1)] == [1]

    writer.write((0, 0, 0, None))
    skipped = next(stream)
    writer.write((1, 0, 1, None))

    assert (skipped.position, skipped.record) == (2, b"")
    assert [one.position for one in taken(stream, 1)] == [3]
    stream.cancel()


def test_one_that_is_too_slow_is_ended_and_resumes_while_others_go_on(
    writer: Writer, server: Served, auditor: Auditor
) -> None:
    count, label = 2 * feed.MOST_WAITING + 60, "x" * 200_000
    other = Auditor(server.target)
    slow, quick = auditor.stream(follow=True), other.stream(follow=True)
    writer.write_plain(1)
    taken(slow, 1)  # both follow now, and one of them reads no further
    taken(quick, 1)
    seen = []
    for _ in range(count):
        writer.write_plain(1, label)
        seen += taken(quick, 1)
    assert len(server.feed._following) == 1, "nothing waits for the slow one any more"

    got: list[Any] = [1]
    with pytest.raises(grpc.RpcError) as caught:
        got += [one.position for one in slow]

    assert [one.position for one in seen] == list(range(2, count + 2))
    refusal = Refusal(caught.value)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, ("kept", "stream-too-slow"))
    assert got == list(range(1, len(got) + 1))
    assert len(got) < count
    assert auditor.positions(got[-1]) == list(range(len(got) + 1, count + 2))
    quick.cancel()
    other.close()


def test_one_that_reads_no_more_and_leaves_is_no_error_of_ours(
    house: House, server: Served, caplog: pytest.LogCaptureFixture
) -> None:
    writer, leaving, other = Writer(house.log), Auditor(server.target), Auditor(server.target)
    stream, quick = leaving.stream(follow=True), other.stream(follow=True)
    writer.write_plain(1)
    taken(stream, 1)
    taken(quick, 1)
    for _ in range(
        2 * feed.MOST_WAITING + 60
    ):  # more than is taken in underway: the server waits in the middle of a write
        writer.write_plain(1, "x" * 200_000)
        taken(quick, 1)
    leaving.close()
    for _ in range(5):
        writer.write_plain(1)
        taken(quick, 1)
    quick.cancel()
    other.close()
    server.stop()
    server.join()

    assert [one.getMessage() for one in caplog.records] == []


def test_the_log_is_read_once_for_all_who_follow(house: House, server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    read = house.log.read

    def counted(after: int, limit: int) -> Any:
        found = read(after, limit)
        reads.extend(one.position for one in found)
        return found

    monkeypatch.setattr(house.log, "read", counted)
    writer, auditors = Writer(house.log), [Auditor(server.target) for _ in range(4)]
    streams = [auditor.stream(follow=True) for auditor in auditors]
    for position in range(1, 20):
        writer.write_plain(1)
        for stream in streams:
            assert [one.position for one in taken(stream, 1)] == [position]
    for stream, auditor in zip(streams, auditors, strict=True):
        stream.cancel()
        auditor.close()

    assert reads[-1] == 19
    assert reads == sorted(set(reads))


def test_a_log_that_cannot_be_read_ends_who_follow_and_they_resume(
    house: House, writer: Writer, auditor: Auditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = auditor.stream(follow=True)
    writer.write_plain(1)
    taken(stream, 1)

    def lost(after: int, limit: int) -> Any:
        raise Unavailable("storage-lost", "the connection was lost")

    with monkeypatch.context() as broken:
        broken.setattr(house.log, "read", lost)
        writer.write_plain(1)
        refusal = refused(lambda: stream)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, ("kept", "stream-ended"))

    again = auditor.stream(1, follow=True)
    assert [one.position for one in taken(again, 1)] == [2]
    writer.write_plain(1)
    assert [one.position for one in taken(again, 1)] == [3]
    again.cancel()


def test_a_server_that_stops_ends_who_follow(writer: Writer, server: Served, auditor: Auditor) -> None:
    stream = auditor.stream(follow=True)
    writer.write_plain(1)
    taken(stream, 1)
    server.stop()

    refusal = refused(lambda: stream)

    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, ("kept", "stream-ended"))
    assert "resume with the last position" in refusal.message


# Who may, and what may be asked


@pytest.mark.parametrize(
    ("field", "asked"),
    [
        ("after_position", {"after": -1}),
        ("after_position", {"after": 1}),
        ("streams[1]", {"streams": [str(STREAMS[0]), "x"]}),
        ("types[0]", {"types": ["kept.case.v1.CaseEaten"]}),
        ("types[2]", {"types": [*TYPES[:2], "kept.case.v1.OpenRequest"]}),
        ("tenants[0]", {"tenants": [""]}),
        ("customer_ids[0]", {"customer_ids": [str(CUSTOMERS[0]).upper()]}),
        ("customer_ids", {"customer_ids": [str(CUSTOMERS[0])] * 101}),
    ],
)
def test_what_cannot_be_meant_is_refused_and_its_field_named(server: Served, field: str, asked: dict[str, Any]) -> None:
    auditor = Auditor(server.target)

    refusal = refused(lambda: auditor.stream(**asked))

    assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
    assert [one.field for one in refusal.details["BadRequest"].field_violations] == [field]
    auditor.close()


def test_who_does_not_say_who_is_refused(server: Served) -> None:
    nobody = Auditor(server.target, metadata=())

    refusals = [refused(call) for call in (nobody.stream, nobody.checkpoint)]

    assert [(one.code, one.reason[1]) for one in refusals] == [
        (grpc.StatusCode.UNAUTHENTICATED, "principal-missing")
    ] * 2
    nobody.close()


def test_partners_see_nothing_of_the_log(server: Served) -> None:
    partner = Auditor(server.target, metadata=(("kept-principal", "partner:p-1"), ("kept-tenant", "main")))

    calls = (partner.stream, partner.checkpoint, lambda: partner.inclusion(1), lambda: partner.consistency(1))
    refusals = [refused(call) for call in calls]

    assert [(one.code, one.reason[1]) for one in refusals] == [
        (grpc.StatusCode.PERMISSION_DENIED, "not-for-partners")
    ] * 4
    partner.close()
