"""Several processes command the same aggregates: by threads at once, and in any order."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kept.common.v1.record_pb2 import Receipt

from services.kernel import aggregate_cache
from services.kernel.aggregate_cache import AggregateCache
from services.kernel.clock import FixedClock
from services.kernel.errors import KeptError, VersionConflict
from services.kernel.house import House
from tests.databases import Cell
from tests.kernel.commanding import CountingRecorder, asked, jars_of, label, made, replace_label
from tests.kernel.toys import CALLER, NOW, Jar, Jars, events


@pytest.fixture
def processes(cell: Cell, house: House) -> Iterator[tuple[Jars, Jars]]:
    houses = cell.house(), cell.house()
    for one in houses:
        one.require()
    yield jars_of(houses[0]), jars_of(houses[1])
    for one in houses:
        one.close()


def test_sixteen_threads_of_two_processes_count_to_a_hundred(processes: tuple[Jars, Jars]) -> None:
    jar = made(processes[0], "0")

    def count_on(held: Jar) -> None:
        held.label_as(str(int(held.label) + 1))

    def increment(number: int) -> Receipt:
        by = processes[number % 2]
        command = by.command(CALLER, asked(f"count {number}"))
        while True:
            try:
                return by.change(command, Jar, jar.id, count_on)
            except VersionConflict:
                continue

    with ThreadPoolExecutor(16) as pool:
        receipts = list(pool.map(increment, range(100)))

    assert sorted(receipt.version for receipt in receipts) == list(range(2, 102))
    assert all(by.load(Jar, jar.id, tenant="main").label == "100" for by in processes)
    assert label(processes[0], jar, "100", "nothing").version == 101


def test_threads_of_one_process_take_turns_and_never_conflict(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregate_cache, "TURN_WITHIN_S", 60)
    recorder = CountingRecorder(house.log)
    jars = Jars(recorder, house.keys, FixedClock(NOW))
    jar = made(jars)

    with ThreadPoolExecutor(16) as pool:
        receipts = list(pool.map(lambda number: label(jars, jar, f"{number}"), range(48)))

    assert recorder.conflicts == 0
    assert sorted(receipt.version for receipt in receipts) == list(range(2, 50))


Outcome = tuple[str, int, int] | str
Told = tuple[int, int, Sequence[str], int]
LABELS = st.sampled_from(["plums", "pears", "figs"])
COMMANDS = st.one_of(
    st.tuples(st.just("make"), LABELS),
    st.tuples(st.just("label"), LABELS),
    st.tuples(st.just("unless"), LABELS, LABELS),
    st.tuples(st.just("close")),
)


@st.composite
def stories(draw: st.DrawFn) -> list[Told]:
    """Each step: whose process, which of two jars, what, and under which request's number. Some requests come again, the same
    or with another body."""
    steps: list[Told] = []
    for number in range(draw(st.integers(5, 20))):
        step: Told = (draw(st.integers(0, 1)), draw(st.integers(0, 1)), draw(COMMANDS), number)
        if steps and draw(st.integers(0, 3)) == 0:
            earlier = draw(st.sampled_from(steps))
            step = draw(st.sampled_from([(step[0], *earlier[1:]), (*step[:3], earlier[3])]))
        steps.append(step)
    return steps


def outcome(jars: Jars, salt: str, base: int, step: Told) -> Outcome:
    """The receipt, with its position counted from where the story began; or the refusal."""
    _, which, (what, *texts), number = step
    name = f"{salt} {number}"
    jar = made(jars, "plums", f"{salt} jar {which}")
    try:
        match what:
            case "make":
                receipt = made(jars, texts[0], name)
            case "label":
                receipt = label(jars, jar, texts[0], name)
            case "unless":
                receipt = replace_label(jars, jar, unless=texts[0], by=texts[1], request_id=name)
            case _:
                receipt = jars.close_jar(CALLER, asked(name, id=jar.id))
    except KeptError as refusal:
        return refusal.slug
    return receipt.id, receipt.version, receipt.position - base


def test_two_processes_that_keep_aggregates_answer_as_one_that_keeps_none(
    house: House, processes: tuple[Jars, Jars]
) -> None:
    cache = AggregateCache(most_bytes=0)
    alone = Jars(house.recorder, house.keys, FixedClock(NOW), cache)
    numbers = iter(range(10_000))

    @settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(stories())
    def tell(steps: list[Told]) -> None:
        number = next(numbers)
        told, bodies = [], []
        for salt, by in ((f"{number} two", processes), (f"{number} one", (alone, alone))):
            base = house.log.position()
            outcomes = [outcome(by[step[0]], salt, base, step) for step in steps]
            named: dict[str, int] = {}  # ids differ from salt to salt: they count in the order in which they come
            told.append(
                [one if isinstance(one, str) else (named.setdefault(one[0], len(named)), *one[1:]) for one in outcomes]
            )
            bodies.append([event.body for event in events(house.log, base)])
        assert told[0] == told[1]
        assert bodies[0] == bodies[1]

    tell()
    assert len(cache) == 0
