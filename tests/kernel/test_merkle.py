"""The Merkle tree against the recursion of RFC 6962, section 2.1, written down once more."""

import hashlib

import pytest
from hypothesis import given as each
from hypothesis import strategies as st

from services.kernel.house import House
from services.kernel.merkle import (
    EMPTY_ROOT,
    Edge,
    consistency_path,
    consistent,
    included,
    inclusion_path,
    leaf_hash,
)
from tests.kernel.toys import labelled, save


def root_of(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, over leaf hashes."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\x01" + root_of(leaves[:half]) + root_of(leaves[half:])).digest()


def leaf_of(position: int, recorded_at: int, record: bytes) -> bytes:
    body = position.to_bytes(8, "big") + recorded_at.to_bytes(8, "big") + hashlib.sha256(record).digest()
    return hashlib.sha256(b"\x00" + body).digest()


hashes = st.lists(st.binary(min_size=32, max_size=32), max_size=70)


@each(hashes)
def test_the_edge_has_the_root_of_the_whole_tree(leaves: list[bytes]) -> None:
    edge = Edge()
    edge.extend(leaves)

    assert (edge.size, edge.root()) == (len(leaves), root_of(leaves))


@each(hashes, st.data())
def test_a_stored_edge_goes_on_where_it_was(leaves: list[bytes], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(leaves)))
    first = Edge()
    first.extend(leaves[:cut])

    again = Edge(first.size, first.packed())
    again.extend(leaves[cut:])

    assert again.root() == root_of(leaves)


@each(st.integers(1, 2**63 - 1), st.integers(0, 2**63 - 1), st.binary(max_size=100))
def test_a_leaf_covers_position_time_and_bytes(position: int, recorded_at: int, record: bytes) -> None:
    leaf = leaf_hash(position, recorded_at, record)

    assert leaf == leaf_of(position, recorded_at, record)
    assert leaf != leaf_hash(position - 1, recorded_at, record)
    assert leaf != leaf_hash(position, recorded_at + 1, record)
    assert leaf != leaf_hash(position, recorded_at, record + b"\0")


@pytest.mark.parametrize(("size", "peaks"), [(1, b""), (0, b"x" * 32), (3, b"x" * 32), (1, b"x" * 31), (3, b"x" * 65)])
def test_an_edge_that_does_not_fit_its_size_is_refused(size: int, peaks: bytes) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Edge(size, peaks)


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert Edge().root() == EMPTY_ROOT == hashlib.sha256(b"").digest()


def test_the_logs_leaves_and_roots_are_those_of_what_it_holds(house: House) -> None:
    log = house.log
    for version in range(1, 40, 4):
        first, *others = (labelled("a", version + more, label=f"label {version}") for more in range(4))
        log.append([save(first), save(*others)])

        with log.database.read() as session:
            rows = session.execute("SELECT position, recorded_at, record, leaf FROM log ORDER BY position").fetchall()
        leaves = [leaf_of(position, recorded_at, bytes(record)) for position, recorded_at, record, _ in rows]
        assert [bytes(row[3]) for row in rows] == leaves
        assert log.head().root == root_of(leaves)


# Proofs, against the recursions of RFC 6962, 2.1.1 and 2.1.2


def half_of(count: int) -> int:
    half = 1
    while half * 2 < count:
        half *= 2
    return half


def path_of(index: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    half = half_of(len(leaves))
    if index < half:
        return [*path_of(index, leaves[:half]), root_of(leaves[half:])]
    return [*path_of(index - half, leaves[half:]), root_of(leaves[:half])]


def subproof_of(first: int, leaves: list[bytes], *, whole: bool = True) -> list[bytes]:
    if first == len(leaves):
        return [] if whole else [root_of(leaves)]
    half = half_of(len(leaves))
    if first <= half:
        return [*subproof_of(first, leaves[:half], whole=whole), root_of(leaves[half:])]
    return [*subproof_of(first - half, leaves[half:], whole=False), root_of(leaves[:half])]


trees = st.integers(1, 70).map(lambda size: [hashlib.sha256(bytes([number])).digest() for number in range(size)])


@each(trees, st.data())
def test_an_inclusion_path_is_that_of_the_standard_and_proves_it(leaves: list[bytes], data: st.DataObject) -> None:
    index, size = data.draw(st.integers(0, len(leaves) - 1)), len(leaves)

    path = inclusion_path(lambda start, end: root_of(leaves[start:end]), index, size)

    assert path == path_of(index, leaves)
    assert included(leaves[index], index, size, path, root_of(leaves))


@each(trees, st.data())
def test_a_consistency_path_is_that_of_the_standard_and_proves_it(leaves: list[bytes], data: st.DataObject) -> None:
    first, size = data.draw(st.integers(1, len(leaves))), len(leaves)

    path = consistency_path(lambda start, end: root_of(leaves[start:end]), first, size)

    assert path == subproof_of(first, leaves)
    assert consistent(first, root_of(leaves[:first]), size, root_of(leaves), path)


def spoilt(path: list[bytes], data: st.DataObject) -> list[bytes]:
    """One hash changed, left out, or too many."""
    at = data.draw(st.integers(0, len(path)))
    other = hashlib.sha256(b"other").digest()
    ways = [[*path[:at], other, *path[at:]]]
    if at < len(path):
        ways += [[*path[:at], *path[at + 1 :]], [*path[:at], other, *path[at + 1 :]]]
    return data.draw(st.sampled_from(ways))


@each(trees, st.data())
def test_nothing_else_is_proven_to_be_included(leaves: list[bytes], data: st.DataObject) -> None:
    index, other = data.draw(st.integers(0, len(leaves) - 1)), data.draw(st.integers(-1, len(leaves)))
    size, root, path = len(leaves), root_of(leaves), path_of(index, leaves)

    assert not included(leaves[index], index, size, spoilt(path, data), root)
    assert not included(EMPTY_ROOT, index, size, path, root)
    assert not included(leaves[index], index, size, path, EMPTY_ROOT)
    assert included(leaves[index], other, size, path, root) == (other == index)


@each(trees, st.data())
def test_nothing_else_is_proven_to_be_consistent(leaves: list[bytes], data: st.DataObject) -> None:
    first = data.draw(st.integers(1, len(leaves)))
    size, root, old, path = len(leaves), root_of(leaves), root_of(leaves[:first]), subproof_of(first, leaves)

    assert not consistent(first, old, size, root, spoilt(path, data))
    assert not consistent(first, EMPTY_ROOT, size, root, path)
    assert not consistent(first, old, size, EMPTY_ROOT, path)
    assert not consistent(0, EMPTY_ROOT, size, root, [])
    assert not consistent(size + 1, root, size, root, [])
