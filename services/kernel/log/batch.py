"""The saves of one transaction: which of them conflict with what is there, and the rows of the others."""

from collections.abc import Collection, Iterator, Sequence
from uuid import UUID

from services.kernel.database import Row, Session, as_uuid, marks
from services.kernel.errors import KeptError, VersionConflict
from services.kernel.log.port import RequestRepeated, Save
from services.kernel.merkle import Edge, leaf_hash

AT_ONCE = 500


class Guard:
    """The versions and requests that saves meet, as of one read; under the head's lock they stay so."""

    def __init__(self, session: Session, saves: Sequence[Save]) -> None:
        streams = {entry.originator_id for save in saves for entry in save.entries}
        self.versions: dict[UUID | str, int] = dict.fromkeys(streams, 0)
        for stream, version in where_in(session, "SELECT id, version FROM stream WHERE id", streams):
            self.versions[as_uuid(stream)] = version
        keys = {save.request.key for save in saves if save.request is not None}
        self._keys = {as_uuid(key) for (key,) in where_in(session, "SELECT key FROM request WHERE key", keys)}
        self._recorded = frozenset(self._keys)
        self.has_twins = False  # whether a request came twice that is not recorded yet

    def add(self, save: Save) -> KeptError | None:
        """Why it cannot be; else what comes after it meets it, too."""
        if save.request is not None and save.request.key in self._keys:
            self.has_twins |= save.request.key not in self._recorded
            return RequestRepeated("request-repeated", key=save.request.key)
        expected: dict[UUID | str, int] = {}
        for entry in save.entries:
            stream = entry.originator_id
            if entry.originator_version != expected.get(stream, self.versions[stream]) + 1:
                return VersionConflict(stream)
            expected[stream] = entry.originator_version
        self.versions.update(expected)
        if save.request is not None:
            self._keys.add(save.request.key)
        return None


class Batch:
    """Row by row, under the head's lock."""

    def __init__(self, session: Session, position: int, now: int, saves: Sequence[Save]) -> None:
        self._session = session
        self._now = now
        self._guard = Guard(session, saves)
        self._changed: set[UUID | str] = set()
        self._requests: list[tuple[object, ...]] = []
        self._rows: list[tuple[object, ...]] = []
        self._leaves: list[bytes] = []
        self.position = position

    def add(self, save: Save) -> int | KeptError:
        refusal = self._guard.add(save)
        if refusal is not None:
            return refusal
        for entry in save.entries:
            self.position += 1
            stream = entry.originator_id
            self._changed.add(stream)
            leaf = leaf_hash(self.position, self._now, entry.state)
            self._leaves.append(leaf)
            self._rows.append(
                (self.position, stream, entry.originator_version, entry.topic, entry.tenant, entry.customer_id)
                + (self._now, entry.state, leaf)
            )
        if save.request is not None:
            self._requests.append(
                (save.request.key, save.request.fingerprint, save.answer_id, save.answer_version)
                + (self.position, self._now)
            )
        return self.position

    def write(self, edge: Edge) -> None:
        session = self._session
        if self._rows:
            session.executemany("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", self._rows)
            session.executemany(
                "INSERT INTO stream VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET version = excluded.version",
                [(stream, self._guard.versions[stream]) for stream in self._changed],
            )
            edge.extend(self._leaves)
            session.execute(
                "UPDATE head SET position = ?, recorded_at = ?, peaks = ?", (self.position, self._now, edge.packed())
            )
        if self._requests:
            session.executemany("INSERT INTO request VALUES (?, ?, ?, ?, ?, ?)", self._requests)


def where_in(session: Session, select: str, values: Collection[object]) -> Iterator[Row]:
    """The rows of all values, some hundred at a time."""
    wanted = list(values)
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        yield from session.execute(f"{select} IN ({marks(len(some))})", some)
