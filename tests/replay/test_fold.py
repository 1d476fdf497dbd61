"""Folding the whole log by position gives each stream the state that its own events give it."""

from collections.abc import Sequence
from uuid import UUID

import pytest
from kept.cell.v1.events_pb2 import ParkedKeyReleased, PolicyDeployed, TimeAdvanced

from services.kernel.aggregate import Aggregate
from services.kernel.clock import MachineClock
from services.kernel.house import House
from services.kernel.replay.fold import Fold
from tests.kernel.toys import Jar, Jars, Tag, entry, given, jar_id, labelled, tag_id

CUSTOMER = UUID("00000000-0000-4000-8000-00000000c0de")


@pytest.fixture
def filled(house: House) -> House:
    """Two jars, labelled in turn, one of them a customer's; a tag; and a stream of no kind that is folded."""
    given(
        house.log,
        labelled("a", 1, "x", CUSTOMER),
        labelled("b", 1, "y"),
        entry(tag_id(jar_id("a")), 1, TimeAdvanced()),
        labelled("a", 2, "z", CUSTOMER),
        entry("other", 1, ParkedKeyReleased()),
        labelled("b", 2, "w"),
        entry("other", 2, PolicyDeployed(name="none of a jar's")),
    )
    return house


def folded(house: House, kinds: Sequence[type[Aggregate]], batch: int) -> Fold:
    fold = Fold(kinds)
    while events := house.log.read(fold.position, batch):
        fold.add(events)
    return fold


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_each_stream_is_as_its_own_events_leave_it(filled: House, batch: int) -> None:
    jars = Jars(filled.recorder, filled.keys, MachineClock())

    fold = folded(filled, (Jar,), batch)

    assert fold.position == 7
    assert fold.states.keys() == {str(jar_id("a")), str(jar_id("b"))}
    for stream, state in fold.states.items():
        assert vars(state) == vars(jars.load(Jar, stream, tenant="main"))
    assert [(state.version, state.customer_id) for state in fold.states.values()] == [(2, str(CUSTOMER)), (2, "")]


def test_several_kinds_are_told_apart_by_their_first_events(filled: House) -> None:
    fold = folded(filled, (Jar, Tag), 100)

    found = {stream: type(state) for stream, state in fold.states.items()}
    assert found[str(jar_id("a"))] is found[str(jar_id("b"))] is Jar
    assert found[str(tag_id(jar_id("a")))] is Tag


def test_a_stream_that_is_read_from_its_middle_is_none(filled: House) -> None:
    fold = Fold((Jar,))
    fold.add(filled.log.read(3, 100))

    assert fold.states == {}
