"""What an auditor checks without trusting the cell: the log, event by event, against a signed root. A client; no database."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from kept.audit.v1 import service_pb2 as m
from kept.cell.v1.events_pb2 import EpochStarted, PositionLost
from kept.common.v1.record_pb2 import Record

from services.audit.notes import BadNote, Checkpoint, Verifier, open_note, read_checkpoint, read_origin, read_verifier
from services.cli.client import Client
from services.kernel.clock import micros_of
from services.kernel.merkle import Edge, consistent, included, leaf_hash, split
from services.kernel.replay.findings import Findings

EPOCH_STARTED = EpochStarted.DESCRIPTOR.full_name.encode()
POSITION_LOST = PositionLost.DESCRIPTOR.full_name.encode()
NO_END = 2**63
Events = Generator[m.StreamEventsResponse, None, None]


@dataclass
class Outcome:
    """What was compared, and what differs. `earlier` and `position` are those that were asked about."""

    verifier_key: str
    size: int = 0
    root: str = ""
    events: int = 0
    earlier: int | None = None
    position: int | None = None
    # What was restored from back-ups, in the cell's own words, oldest first.
    epochs: list[EpochStarted] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)


def check(client: Client, *, key: Verifier | None, earlier: str | None, position: int | None) -> Outcome:
    """Compares everything that can be. Without a key of one's own, the cell's word is taken for whose key it is.

    Raises: RefusedError, CellError, Interrupted.
    """
    told = client.call("audit", "GetCheckpoint", m.GetCheckpointRequest())
    verifier = key or read_verifier(told.verifier_key)
    outcome = Outcome(str(verifier), position=position)
    head = _signed(told.note, verifier, "the cell's checkpoint", outcome.findings)
    if head is None:
        return outcome
    outcome.size, outcome.root = head.size, head.root.hex()
    before = _signed(earlier, verifier, "the earlier checkpoint", outcome.findings) if earlier is not None else None
    _Check(client, head, outcome).run(before, position)
    return outcome


def events_after(client: Client, request: m.StreamEventsRequest) -> Events:
    """Each event once, however often the stream breaks; messages that only tell progress are kept back."""

    def resume(again: m.StreamEventsRequest, message: m.StreamEventsResponse) -> None:
        again.after_position = message.position

    with closing(client.stream("audit", "StreamEvents", request, resume)) as messages:
        yield from (message for message in messages if message.record)


class _Check:
    """One log against one signed head."""

    def __init__(self, client: Client, head: Checkpoint, outcome: Outcome) -> None:
        self._client, self._head, self._outcome, self._findings = client, head, outcome, outcome.findings
        self._leaves: list[bytes] = []
        self._lost: set[int] = set()  # positions whose event was lost

    def run(self, before: Checkpoint | None, position: int | None) -> None:
        if not self._read():
            return
        if self._hash_of(0, self._head.size) != self._head.root:
            self._name_what_changed()
        if before is not None:
            self._compare_with(before)
        if position is not None:
            self._find(position)

    def _read(self) -> bool:
        """Whether every position up to the head came."""
        recorded_at = 0
        for event in self._events():
            self._outcome.events += 1
            place = len(self._leaves) + 1
            if event.position != place:
                self._findings.add("position-gap", place, f"position {event.position} comes instead of {place}")
                return False
            now = micros_of(event.recorded_at)
            if now < recorded_at:
                self._findings.add("recorded-at-decreases", event.position, f"{now} after {recorded_at}")
            recorded_at = now
            self._leaves.append(leaf_hash(event.position, now, event.record))
            self._note_epoch(event.record)
        if len(self._leaves) != self._head.size:
            detail = f"{len(self._leaves)} events came, the head is {self._head.size}"
            self._findings.add("position-gap", len(self._leaves) + 1, detail)
            return False
        return True

    def _note_epoch(self, stored: bytes) -> None:
        if EPOCH_STARTED in stored:  # most events cannot be it, and are not opened
            record = Record.FromString(stored)
            if record.type == EPOCH_STARTED.decode():
                self._outcome.epochs.append(EpochStarted.FromString(record.data))
        elif POSITION_LOST in stored and Record.FromString(stored).type == POSITION_LOST.decode():
            self._lost.add(len(self._leaves))

    def _events(self) -> Events:
        """Up to the head that was signed; what comes meanwhile is for another time."""
        with closing(events_after(self._client, m.StreamEventsRequest())) as events:
            yield from takewhile(lambda event: event.position <= self._head.size, events)

    def _name_what_changed(self) -> None:
        position = self._first_changed()
        if position is None:
            detail = f"the {self._head.size} events do not give the root that was signed, nor can the cell prove it"
            self._findings.add("root-differs", None, detail)
        else:
            self._findings.add("record-changed", position, "the bytes or the time are not those that were signed")

    def _first_changed(self) -> int | None:
        """Goes down from the signed root to the first leaf that is not ours, by hashes that are proven on the way."""
        start, end = 0, self._head.size
        while end - start > 1:
            middle = start + split(end - start)
            proof = self._proof(middle + 1)
            if not included(proof.leaf, middle, self._head.size, proof.path, self._head.root):
                return None
            left = proof.path[(end - middle - 1).bit_length()]  # after what leads up to the root of the right half
            if left != self._hash_of(start, middle):
                end = middle
            else:
                start = middle
        return start + 1

    def _compare_with(self, before: Checkpoint) -> None:
        head = self._head
        self._outcome.earlier = before.size
        if not self._same_cell(before.origin):
            self._findings.add("origin-differs", None, f"the earlier checkpoint is of {before.origin}")
        elif before.size > self._common_with(before.origin):
            self._name_what_was_lost(before)
        elif before.size > head.size:
            lost = f"the earlier checkpoint has {before.size} events, the log has {head.size}"
            self._findings.add("log-truncated", head.size + 1, lost)
        elif before.root != self._hash_of(0, before.size):
            rewritten = f"the first {before.size} events do not give the root of the earlier checkpoint"
            self._findings.add("history-rewritten", None, rewritten)
        elif before.size:
            request = m.GetConsistencyProofRequest(from_size=before.size, size=head.size)
            proof = self._client.call("audit", "GetConsistencyProof", request)
            if not consistent(before.size, before.root, head.size, head.root, proof.path):
                self._findings.add("consistency-unproven", None, "the cell cannot prove that its log only grew")

    def _same_cell(self, origin: str) -> bool:
        """Whether it is this log, or one of the same cell that this one continues."""
        ours, theirs = read_origin(self._head.origin), read_origin(origin)
        if ours is None or theirs is None:
            return origin == self._head.origin
        return ours.cell == theirs.cell and theirs.epoch <= ours.epoch

    def _common_with(self, origin: str) -> int:
        """Up to where that log and this one are the same, by what this one says of its epochs."""
        theirs = read_origin(origin)
        if theirs is None or origin == self._head.origin:
            return NO_END
        return min((one.restored_to for one in self._outcome.epochs if one.epoch > theirs.epoch), default=0)

    def _name_what_was_lost(self, before: Checkpoint) -> None:
        """The earlier checkpoint is of events that a restore did not bring back."""
        first = self._common_with(before.origin) + 1
        kept = next((at for at in range(first, before.size + 1) if at not in self._lost), None)
        if kept is not None:
            reused = (
                f"the earlier checkpoint of {before.origin} has an event there; this log has given it to another one"
            )
            self._findings.add("position-reused", kept, reused)
        else:
            lost = f"events {first:,} to {before.size:,} of {before.origin} were lost, and this log says so"
            self._findings.add("events-lost", first, lost)

    def _find(self, position: int) -> None:
        proof = self._proof(position)
        leaf = self._leaves[position - 1]
        if not included(leaf, position - 1, self._head.size, proof.path, self._head.root):
            self._findings.add("inclusion-unproven", position, "the cell cannot prove that this event is in its log")

    def _proof(self, position: int) -> Any:
        request = m.GetInclusionProofRequest(position=position, size=self._head.size)
        return self._client.call("audit", "GetInclusionProof", request)

    def _hash_of(self, start: int, end: int) -> bytes:
        edge = Edge()
        edge.extend(self._leaves[start:end])
        return edge.root()


def _signed(note: str, verifier: Verifier, what: str, findings: Findings) -> Checkpoint | None:
    try:
        return read_checkpoint(open_note(note, verifier))
    except BadNote as error:
        findings.add("signature-invalid", None, f"{what}: {error}")
        return None
