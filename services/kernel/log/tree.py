"""The Merkle tree of the log's leaves, for proofs; the hashes of what is whole and will never change are remembered."""

import threading
from collections import OrderedDict

from services.kernel.errors import Refused
from services.kernel.log.event_log import EventLog
from services.kernel.merkle import Edge, node_hash, split

TILE = 1024  # leaves that are read at once
MOST_NODES = 65_536  # 32 bytes each: with all above them, the tiles of 33 million events
MOST_TILES = 64


class Tree:
    """Used by several threads; they take turns. The first proof reads every leaf once: a second for some 600,000."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._nodes: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._tiles: OrderedDict[int, list[bytes]] = OrderedDict()
        self._turn = threading.Lock()

    def hash_of(self, start: int, end: int) -> bytes:
        """Over leaves [start, end), counted from 0. Raises log-incomplete."""
        with self._turn:
            return self._hash(start, end)

    def _hash(self, start: int, end: int) -> bytes:
        if start // TILE == (end - 1) // TILE:
            return self._small(start, end)
        whole = (end - start).bit_count() == 1 and start % (end - start) == 0
        if whole and (start, end) in self._nodes:
            self._nodes.move_to_end((start, end))
            return self._nodes[start, end]
        middle = start + split(end - start)
        node = node_hash(self._hash(start, middle), self._hash(middle, end))
        if whole:
            self._remember(start, end, node)
        return node

    def _small(self, start: int, end: int) -> bytes:
        """Within one tile."""
        if (start, end) in self._nodes:
            self._nodes.move_to_end((start, end))
            return self._nodes[start, end]
        edge = Edge()
        edge.extend(self._leaves(start, end))
        node = edge.root()
        if end - start == TILE:
            self._remember(start, end, node)
        return node

    def _remember(self, start: int, end: int, node: bytes) -> None:
        self._nodes[start, end] = node
        if len(self._nodes) > MOST_NODES:
            self._nodes.popitem(last=False)

    def _leaves(self, start: int, end: int) -> list[bytes]:
        if end - start == TILE:  # asked for once: its hash is remembered
            return self._read(start, end)
        tile = start // TILE
        first = tile * TILE
        leaves = self._tiles.get(tile, [])
        if len(leaves) < end - first:
            leaves = self._tiles[tile] = leaves + self._read(first + len(leaves), end)
            if len(self._tiles) > MOST_TILES:
                self._tiles.popitem(last=False)
        return leaves[start - first : end - first]

    def _read(self, start: int, end: int) -> list[bytes]:
        leaves = self._log.leaves(start, end)
        if len(leaves) != end - start:
            raise Refused("log-incomplete", f"of positions {start + 1} to {end} some are not in the log")
        return leaves
