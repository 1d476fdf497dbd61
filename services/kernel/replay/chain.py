"""The log as such: dense positions, recorded_at never decreasing, contiguous streams, and the Merkle leaves and root."""

from typing import Any

from kept.common.v1.record_pb2 import Record

from services.kernel.database import Session, as_uuid
from services.kernel.log.port import Recorded
from services.kernel.merkle import Edge, leaf_hash
from services.kernel.replay.findings import Findings

COLUMNS = "position, stream, version, type, tenant, customer_id, recorded_at, record, leaf"


class Chain:
    """Checks row after row; `finish` compares the whole with what the log says of itself."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self._versions: dict[str, int] = {}
        self._names: dict[Any, str] = {}
        self._recorded_at = 0
        self.position = 0
        self.edge = Edge()

    def check(self, row: tuple[Any, ...]) -> tuple[Recorded, Record | None]:
        """The event of one row; its Record is None where the bytes are none."""
        position, stream, version, type_name, tenant, customer_id, recorded_at, record_bytes, leaf = row
        record_bytes = bytes(record_bytes)
        if position != self.position + 1:
            missing = f"positions {self.position + 1} to {position - 1} are missing"
            self.findings.add("position-gap", self.position + 1, missing)
        if recorded_at < self._recorded_at:
            self.findings.add("recorded-at-decreases", position, f"{recorded_at} after {self._recorded_at}")
        self.position, self._recorded_at = position, recorded_at
        computed = leaf_hash(position, recorded_at, record_bytes)
        self.edge.extend((computed,))
        if computed != bytes(leaf):
            self.findings.add("record-changed", position, "the bytes or the time are not those that were recorded")
        recorded = Recorded(position, type_name, recorded_at, record_bytes)
        try:
            record = Record.FromString(record_bytes)
        except Exception:
            self.findings.add("record-unreadable", position, "the bytes are no record")
            return recorded, None
        columns = (self._name(stream), version, type_name, tenant, self._name(customer_id) if customer_id else "")
        if columns != (record.stream, record.version, record.type, record.tenant, record.customer_id):
            self.findings.add("columns-differ", position, "the columns are no copies of what the record says")
        if self._versions.get(record.stream, 0) + 1 != record.version:
            detail = f"{record.stream}: {record.version} after {self._versions.get(record.stream, 0)}"
            self.findings.add("stream-gap", position, detail)
        self._versions[record.stream] = record.version
        return recorded, record

    def _name(self, column: Any) -> str:
        if column not in self._names:
            self._names[column] = str(as_uuid(column))
        return self._names[column]

    def finish(self, session: Session) -> None:
        row = session.execute("SELECT position, recorded_at, peaks FROM head").fetchone()
        assert row is not None
        position, recorded_at, peaks = row
        if position != self.position:
            self.findings.add(
                "position-gap", self.position + 1, f"the log ends at {self.position}, its head is {position}"
            )
        if _root(position, bytes(peaks)) != self.edge.root():
            self.findings.add("root-differs", None, f"recorded over {position} events, computed over {self.edge.size}")
        if recorded_at != self._recorded_at:
            detail = f"the head says {recorded_at}, the last event {self._recorded_at}"
            self.findings.add("recorded-at-differs", self.position, detail)
        live = {str(as_uuid(stream)): version for stream, version in session.execute("SELECT id, version FROM stream")}
        if live != self._versions:
            wrong = next(iter(sorted(live.items() ^ self._versions.items())))[0]
            self.findings.add("stream-version-differs", None, f"stream {wrong}")


def _root(size: int, peaks: bytes) -> bytes:
    """Empty where the peaks are none of a tree of that size."""
    try:
        return Edge(size, peaks).root()
    except ValueError:
        return b""
