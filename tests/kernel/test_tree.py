"""The log's tree, read in tiles and remembered in part, has the hashes of its leaves; however it grows meanwhile."""

import pytest

from services.kernel.errors import Refused
from services.kernel.house import House
from services.kernel.log import tree
from services.kernel.log.event_log import EventLog
from services.kernel.log.tree import Tree
from tests.kernel.test_merkle import root_of
from tests.kernel.toys import labelled, save


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "TILE", 4)
    monkeypatch.setattr(tree, "MOST_NODES", 5)
    monkeypatch.setattr(tree, "MOST_TILES", 2)


def grown(log: EventLog, size: int) -> list[bytes]:
    """Its leaves, once it has that many."""
    first = log.position() + 1
    log.append([save(*(labelled("a", version) for version in range(first, size + 1)))])
    return log.leaves(0, size)


def test_every_hash_of_a_growing_log_is_that_of_its_leaves(house: House) -> None:
    known = Tree(house.log)
    for size in (1, 3, 4, 5, 8, 21, 33):
        leaves = grown(house.log, size)
        ranges = [(start, end) for start in range(size) for end in range(start + 1, size + 1)]
        aligned = [(start, end) for start, end in ranges if start % (1 << (end - start - 1).bit_length()) == 0]

        assert len(aligned) >= size
        assert {place: known.hash_of(*place) for place in aligned} == {
            (start, end): root_of(leaves[start:end]) for start, end in aligned
        }
        assert known.hash_of(0, size) == house.log.head().root
        assert len(known._nodes) <= 5
        assert len(known._tiles) <= 2


def test_what_is_remembered_is_not_read_again(sqlite_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    log, reads = sqlite_house.log, []
    root = root_of(grown(log, 16))
    known = Tree(log)
    known.hash_of(0, 16)
    monkeypatch.setattr(log, "leaves", lambda start, end: reads.append((start, end)))

    assert known.hash_of(0, 16) == root
    assert reads == []


def test_a_log_with_a_hole_proves_nothing(house: House) -> None:
    grown(house.log, 9)
    with house.log.database.write() as session:
        session.execute("DELETE FROM log WHERE position = 6")

    with pytest.raises(Refused, match="of positions 5 to 8 some are not in the log"):
        Tree(house.log).hash_of(0, 9)
