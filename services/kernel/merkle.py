"""The Merkle tree over the log, as RFC 6962 has it. Only the right edge is kept: the roots of full subtrees, largest first.

A leaf covers position, time of recording and the record's bytes, so nothing of the three can change unseen. Proofs are
made from anything that gives the hash of leaves start to end, and are checked without the tree (RFC 9162, 2.1.3-2.1.4).
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()

# The hash of the tree over leaves [start, end), counted from 0; never asked for none.
HashOf = Callable[[int, int], bytes]


def leaf_hash(position: int, recorded_at: int, record: bytes) -> bytes:
    """Hash of (position, recorded_at in microseconds, SHA-256 of the record), with the leaf prefix 0x00."""
    body = position.to_bytes(8, "big") + recorded_at.to_bytes(8, "big") + hashlib.sha256(record).digest()
    return hashlib.sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Edge:
    """The right edge of a tree of `size` leaves."""

    def __init__(self, size: int = 0, peaks: bytes = b"") -> None:
        self.size = size
        self.peaks = [peaks[at : at + HASH_SIZE] for at in range(0, len(peaks), HASH_SIZE)]
        if len(self.peaks) != size.bit_count() or len(peaks) % HASH_SIZE:
            raise ValueError(f"{len(peaks)} bytes of peaks do not fit a tree of {size} leaves")

    def extend(self, leaves: Iterable[bytes]) -> None:
        for leaf in leaves:
            node, size = leaf, self.size
            while size & 1:
                node = node_hash(self.peaks.pop(), node)
                size >>= 1
            self.peaks.append(node)
            self.size += 1

    def root(self) -> bytes:
        if not self.peaks:
            return EMPTY_ROOT
        node = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            node = node_hash(peak, node)
        return node

    def packed(self) -> bytes:
        return b"".join(self.peaks)


def split(count: int) -> int:
    """How many of more than one leaf are in the left subtree: the largest power of two below the count."""
    return 1 << (count - 1).bit_length() - 1


def inclusion_path(hash_of: HashOf, index: int, size: int) -> list[bytes]:
    """The siblings from leaf `index`, counted from 0, up to the root of the tree of `size` leaves."""
    start, end, path = 0, size, []
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            path.append(hash_of(middle, end))
            end = middle
        else:
            path.append(hash_of(start, middle))
            start = middle
    return path[::-1]


def consistency_path(hash_of: HashOf, first: int, size: int) -> list[bytes]:
    """That the tree of `size` leaves begins with that of `first`, from 1 to `size`. Empty where they are the same."""
    start, end, path = 0, size, []
    while end != first:
        middle = start + split(end - start)
        if first <= middle:
            path.append(hash_of(middle, end))
            end = middle
        else:
            path.append(hash_of(start, middle))
            start = middle
    if start:  # else it is the first tree's own root, which whoever checks has
        path.append(hash_of(start, end))
    return path[::-1]


def included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the path proves that the leaf is at `index` of the tree of that size and root. Source: RFC 9162, 2.1.3.2."""
    if not 0 <= index < size:
        return False
    at, last, node = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if at & 1 or at == last:
            node = node_hash(sibling, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and node == root


def consistent(first: int, first_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the path proves that the tree of `size` begins with that of `first`. Source: RFC 9162, 2.1.4.2."""
    if not 0 < first <= size:
        return False
    if first == size:
        return not path and first_root == root
    nodes = [*([first_root] if first.bit_count() == 1 else []), *path]
    if not nodes:
        return False
    at, last = first - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = nodes[0]
    for sibling in nodes[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        at, last = at >> 1, last >> 1
    return last == 0 and old == first_root and new == root
