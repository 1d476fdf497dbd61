"""Many appends together: any batch has the outcomes that a model of the log gives it, and races have one winner each."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.kernel.database import Session
from services.kernel.errors import KeptError, VersionConflict
from services.kernel.house import House
from services.kernel.log.port import RequestRepeated, Save
from services.kernel.merkle import Edge, leaf_hash
from tests.databases import Cell
from tests.kernel.toys import events, jar_id, labelled, labels, request, save

runs = count()
# A save: events of jars, each one ahead of what is expected there, behind or right; and perhaps a request.
event = st.tuples(st.sampled_from("abc"), st.sampled_from([0, 0, 0, 0, -1, 1]))
saves = st.tuples(st.lists(event, min_size=0, max_size=3), st.sampled_from(["", "", "r1", "r2", "r3"]))
batches = st.lists(st.lists(saves, min_size=1, max_size=6), min_size=1, max_size=6)


class Model:
    """The log as a dictionary of versions, and one of requests with the positions that they got."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.versions: dict[str, int] = {}
        self.requests: dict[str, int] = {}
        self.position = 0

    def build(self, batch: Sequence[tuple[list[tuple[str, int]], str]]) -> tuple[list[Save], list[object]]:
        """The batch's saves, and the outcomes that they must have."""
        made: list[Save] = []
        outcomes: list[object] = []
        for moves, name in batch:
            versions = dict(self.versions)
            entries, wrong = [], ""
            for jar, off in moves:
                version = versions.get(jar, 0) + 1 + off
                if off and not wrong:
                    wrong = jar
                versions[jar] = version if not off else versions.get(jar, 0)
                entries.append(labelled(self.run + jar, max(version, 0), f"{jar}{version}"))
            asked = request(self.run + name) if name else None
            made.append(Save(tuple(entries), asked, jar_id(self.run), 1))
            if name in self.requests:
                outcomes.append(RequestRepeated)
            elif wrong:
                outcomes.append(VersionConflict)
            else:
                self.versions = versions
                self.position += len(entries)
                if name:
                    self.requests[name] = self.position
                outcomes.append(self.position)
        return made, outcomes


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=batches)
def test_any_batch_has_the_models_outcomes(house: House, plan: list[list[tuple[list[tuple[str, int]], str]]]) -> None:
    model = Model(f"{next(runs)} ")
    before = house.log.position()
    for batch in plan:
        made, expected = model.build(batch)

        outcomes = house.log.append(made)

        found = [type(outcome) if isinstance(outcome, KeptError) else outcome - before for outcome in outcomes]
        assert found == expected

    for name, position in model.requests.items():
        answer = house.log.answer(request(model.run + name).key)
        assert answer is not None
        assert answer.position - before == position
    found_events = events(house.log, before)
    assert [event.position - before for event in found_events] == list(range(1, model.position + 1))
    for jar, version in model.versions.items():
        assert house.log.version(jar_id(model.run + jar)) == version
        stored = [number for number, *_ in house.log.stream(jar_id(model.run + jar))]
        assert stored == list(range(1, version + 1))
    assert house.log.head().root == recomputed_root(house)


def test_the_whole_batch_or_row_by_row_the_same_bytes_and_the_same_root(house: House, cell: Cell) -> None:
    """A follower's commit goes row by row, a caller's batch in one call where there is one: nobody can tell them apart."""
    jars = [f"jar {number}" for number in range(9)]
    house.log.append([save(labelled(jar, 1, jar), labelled(jar, 2, jar)) for jar in jars])

    def alongside(_: Session) -> Sequence[Save]:
        return [save(labelled(jar, 3, jar)) for jar in jars]

    house.log.append((), alongside=alongside)
    house.log.append([save(labelled(jar, 4, jar)) for jar in jars], alongside=None)

    assert house.log.position() == 36
    assert house.log.head().root == recomputed_root(house)
    other = cell.house()
    assert other.log.head() == house.log.head()
    other.close()


def test_a_save_without_events_leaves_the_head_as_it_is(house: House) -> None:
    house.log.append([save(labelled("jar", 1))])
    before = house.log.head()

    house.log.append([Save((), request("nothing"), jar_id("jar"), 1)])
    house.log.append([save(labelled("jar", 1)), save(labelled("jar", 5))])  # only conflicts

    assert house.log.head() == before


def test_a_request_that_comes_twice_in_a_batch_is_recorded_once_whichever_of_the_two_can_be(house: House) -> None:
    house.log.append([save(labelled("jar", 1))])

    stale, sound = save(labelled("jar", 1), request=request("r")), save(labelled("jar", 2), request=request("r"))
    outcomes = house.log.append([stale, sound, sound])

    assert [type(outcome) if isinstance(outcome, KeptError) else outcome for outcome in outcomes] == [
        VersionConflict,
        2,
        RequestRepeated,
    ]


def test_sixteen_threads_race_on_a_hundred_versions_and_each_has_one_winner(house: House) -> None:
    together = threading.Barrier(16)

    def race(number: int) -> list[int]:
        won = []
        together.wait()
        for version in range(1, 101):
            with suppress(VersionConflict):
                house.recorder.insert_events([labelled("jar", version, f"{number}")])
                won.append(version)
        return won

    with ThreadPoolExecutor(16) as pool:
        wins = list(pool.map(race, range(16)))

    assert sorted(version for won in wins for version in won) == list(range(1, 101))
    assert [event.position for event in events(house.log)] == list(range(1, 101))
    assert [event.record.version for event in events(house.log)] == list(range(1, 101))
    winner = {version: str(number) for number, won in enumerate(wins) for version in won}
    assert labels(events(house.log)) == [winner[version] for version in range(1, 101)]


def test_a_reader_at_the_tail_misses_nothing_while_thirty_two_write(house: House, cell: Cell) -> None:
    writers, each = 32, 12
    reader = cell.house()
    seen: list[tuple[int, str]] = []
    ear = reader.log.bell.listen()

    def tail() -> None:
        while len(seen) < writers * each:
            found = events_of(reader, seen[-1][0] if seen else 0)
            seen.extend(found)
            if not found:
                ear.wait(1.0)

    def write(number: int) -> None:
        for version in range(1, each + 1):
            house.recorder.insert_events([labelled(f"jar {number}", version, f"{number}.{version}")])

    with ThreadPoolExecutor(writers + 1) as pool:
        tailing = pool.submit(tail)
        list(pool.map(write, range(writers)))
        tailing.result(timeout=60)
    ear.close()
    reader.close()

    assert [position for position, _ in seen] == list(range(1, writers * each + 1))
    assert sorted(label for _, label in seen) == sorted(
        f"{number}.{version}" for number in range(writers) for version in range(1, each + 1)
    )


# Helpers


def events_of(house: House, after: int) -> list[tuple[int, str]]:
    found = events(house.log, after)
    return list(zip([event.position for event in found], labels(found), strict=True))


def recomputed_root(house: House) -> bytes:
    edge = Edge()
    edge.extend(leaf_hash(row.position, row.recorded_at, row.record) for row in house.log.read(0, 1_000_000))
    return edge.root()
