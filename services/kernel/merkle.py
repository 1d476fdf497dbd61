"""The Merkle tree over the log, as RFC 6962 has it. Only the right edge is kept: the roots of full subtrees, largest first.

A leaf covers position, time of recording and the record's bytes, so nothing of the three can change unseen.
"""

import hashlib
from collections.abc import Iterable

HASH_SIZE = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


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
