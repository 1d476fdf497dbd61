"""AuditService on grpc.aio; whatever reads the database does so on a thread of the pool."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from kept.audit.v1 import service_pb2 as m
from kept.audit.v1.service_pb2_grpc import AuditServiceServicer

from services.audit.feed import Feed
from services.audit.notes import Checkpoint, Origin, cosign, sign, verifier_of
from services.audit.reading import events_after
from services.audit.selection import check_position, selection_of
from services.kernel.errors import Forbidden, Invalid, NotFound
from services.kernel.house import House
from services.kernel.log.epoch import epoch_of
from services.kernel.log.tree import Tree
from services.kernel.merkle import consistency_path, inclusion_path
from services.kernel.rpc.interceptors import current_caller

SIGNING_KEY = "checkpoint"


class AuditServicer(AuditServiceServicer):
    def __init__(self, house: House, feed: Feed) -> None:
        self._house = house
        self._log = house.log
        self._feed = feed
        self._tree = Tree(house.log)
        self._origin = Origin(house.settings.cell, epoch_of(house.log.database))

    async def StreamEvents(self, request: m.StreamEventsRequest, context: Any) -> AsyncIterator[m.StreamEventsResponse]:
        _refuse_partners()
        after = check_position("after_position", request.after_position)
        which = selection_of(request)
        async for message in events_after(self._log, self._feed, which, after, follow=request.follow):
            yield message

    async def GetCheckpoint(self, request: m.GetCheckpointRequest, context: Any) -> m.GetCheckpointResponse:
        _refuse_partners()
        return await asyncio.to_thread(self._checkpoint)

    async def GetInclusionProof(self, request: m.GetInclusionProofRequest, context: Any) -> m.GetInclusionProofResponse:
        _refuse_partners()
        return await asyncio.to_thread(self._inclusion, request)

    async def GetConsistencyProof(
        self, request: m.GetConsistencyProofRequest, context: Any
    ) -> m.GetConsistencyProofResponse:
        _refuse_partners()
        return await asyncio.to_thread(self._consistency, request)

    def _checkpoint(self) -> m.GetCheckpointResponse:
        head = self._log.head()
        secret = self._house.keys.cell_key(SIGNING_KEY)
        origin, signer = str(self._origin), self._origin.signer
        note = sign(str(Checkpoint(origin, head.position, head.root)), origin, secret)
        if origin != signer:  # whoever has kept the cell's key from before can read it
            note = cosign(note, signer, secret)
        verifier = str(verifier_of(signer, secret))
        return m.GetCheckpointResponse(note=note, size=head.position, root=head.root, verifier_key=verifier)

    def _inclusion(self, request: m.GetInclusionProofRequest) -> m.GetInclusionProofResponse:
        size, position = self._size(request.size), request.position
        if position < 1:
            raise Invalid("position", "is not a position; they begin with 1")
        if position > size:
            raise NotFound("position-not-found", f"the tree of {size} events has no position {position}")
        return m.GetInclusionProofResponse(
            size=size,
            leaf=self._tree.hash_of(position - 1, position),
            path=inclusion_path(self._tree.hash_of, position - 1, size),
        )

    def _consistency(self, request: m.GetConsistencyProofRequest) -> m.GetConsistencyProofResponse:
        size, first = self._size(request.size), request.from_size
        if not 1 <= first <= size:
            raise Invalid("from_size", f"is not a size from 1 to {size}")
        return m.GetConsistencyProofResponse(size=size, path=consistency_path(self._tree.hash_of, first, size))

    def _size(self, wanted: int) -> int:
        head = self._log.position()
        if not 0 <= wanted <= head:
            raise Invalid("size", f"is not a size of this log, which has {head} events; 0 stands for all of them")
        return wanted or head


def _refuse_partners() -> None:
    if current_caller().principal.startswith("partner:"):
        raise Forbidden("not-for-partners", "the log is for auditors; partners get what is shared with them")
