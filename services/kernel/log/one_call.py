"""PostgreSQL's append of a whole batch in one call: one round trip, one transaction, nothing decided outside the server.

What it does is what `batch.Batch` does row by row, and the same contract suite holds both to it. It commits all of a batch or
nothing: where anything in it conflicts, whoever called it leaves that out and calls again.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from services.kernel.database import Clash, Session
from services.kernel.log.arrays import byte_strings, integers, texts, uuids
from services.kernel.log.port import Save

# `befores` are the versions that streams must have, `afters` those that they get; 0 before means a new stream. Returns the
# position before the batch, or nothing in history mode. Any conflict is a unique_violation, so that it undoes everything.
# Its plans are made once, while tables may be empty: without the settings they could be scans for ever.
_APPEND = """
CREATE FUNCTION append(
  now BIGINT, streams UUID[], versions INTEGER[], types TEXT[], tenants TEXT[], customers UUID[], records BYTEA[],
  ids UUID[], befores INTEGER[], afters INTEGER[],
  keys UUID[], fingerprints BYTEA[], answers UUID[], answer_versions INTEGER[], answer_ends INTEGER[], channel TEXT
) RETURNS BIGINT LANGUAGE plpgsql
  SET jit = off SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off
AS $$
DECLARE
  last BIGINT; at BIGINT; edge BYTEA; leaves BYTEA[]; node BYTEA; size BIGINT; changed INTEGER; made INTEGER;
BEGIN
  SELECT h.position, h.recorded_at, h.peaks INTO last, at, edge FROM head h, cell c WHERE c.history_now IS NULL
    FOR UPDATE OF h;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  at := greatest(at, now);

  UPDATE stream s SET version = u.after FROM unnest(ids, befores, afters) u (id, before, after)
    WHERE s.id = u.id AND s.version = u.before;
  GET DIAGNOSTICS changed = ROW_COUNT;
  IF changed < cardinality(ids) THEN
    INSERT INTO stream SELECT u.id, u.after FROM unnest(ids, befores, afters) u (id, before, after) WHERE u.before = 0;
    GET DIAGNOSTICS made = ROW_COUNT;
    IF changed + made < cardinality(ids) THEN
      RAISE unique_violation USING MESSAGE = 'a stream has another version';
    END IF;
  END IF;

  leaves := ARRAY(
    SELECT sha256('\\x00'::bytea || int8send(last + u.n) || int8send(at) || sha256(u.record))
    FROM unnest(records) WITH ORDINALITY u (record, n) ORDER BY u.n);
  INSERT INTO log
    SELECT last + u.n, u.stream, u.version, u.type, u.tenant, u.customer, at, u.record, u.leaf
    FROM unnest(streams, versions, types, tenants, customers, records, leaves) WITH ORDINALITY
      u (stream, version, type, tenant, customer, record, leaf, n);
  INSERT INTO request
    SELECT u.key, u.fingerprint, u.answer, u.version, last + u.ends, at
    FROM unnest(keys, fingerprints, answers, answer_versions, answer_ends) u (key, fingerprint, answer, version, ends);

  size := last;
  FOREACH node IN ARRAY leaves LOOP
    FOR height IN 0 .. 62 LOOP
      EXIT WHEN (size >> height) & 1 = 0;
      node := sha256('\\x01'::bytea || substr(edge, length(edge) - 31) || node);
      edge := substr(edge, 1, length(edge) - 32);
    END LOOP;
    edge := edge || node;
    size := size + 1;
  END LOOP;
  IF size > last THEN
    UPDATE head SET position = size, recorded_at = at, peaks = edge;
    IF channel <> '' THEN
      PERFORM pg_notify(channel, '');
    END IF;
  END IF;
  RETURN last;
END $$
"""

ONE_CALL = (
    "DROP INDEX request_age",
    "CREATE INDEX request_age ON request USING brin (recorded_at)",  # they come in its order, so next to nothing is enough
    "ALTER TABLE stream SET (fillfactor = 70)",  # versions change in place
    _APPEND,
)

_TYPES = (
    *("bigint", "uuid[]", "int[]", "text[]", "text[]", "uuid[]", "bytea[]"),
    *("uuid[]", "int[]", "int[]"),
    *("uuid[]", "bytea[]", "uuid[]", "int[]", "int[]", "text"),
)
_CALL = f"SELECT append({', '.join(f'?::{type_}' for type_ in _TYPES)})"
_NONE: tuple[tuple[Any, ...], ...] = ((),) * 5


class Columns:
    """Saves in the shape that `append` takes. Several saves may follow one another on a stream."""

    def __init__(self, saves: Sequence[Save]) -> None:
        self.streams: list[UUID] = []
        self.versions: list[int] = []
        self.types: list[str] = []
        self.tenants: list[str] = []
        self.customers: list[UUID | None] = []
        self.records: list[bytes] = []
        self.befores: dict[UUID, int] = {}
        self.afters: dict[UUID, int] = {}
        self.requests: list[tuple[UUID, bytes, UUID | None, int, int]] = []
        self.ends: list[int] = []
        self._in_sequence = all(self._add(save) for save in saves)

    def _add(self, save: Save) -> bool:
        """False where a version does not follow from the one before it in this very batch."""
        for entry in save.entries:
            stream, version = entry.originator_id, entry.originator_version
            assert isinstance(stream, UUID)
            if self.afters.get(stream, version - 1) != version - 1:
                return False
            self.befores.setdefault(stream, version - 1)
            self.afters[stream] = version
            self.streams.append(stream)
            self.versions.append(version)
            self.types.append(entry.topic)
            self.tenants.append(entry.tenant)
            self.customers.append(entry.customer_id)
            self.records.append(entry.state)
        self.ends.append(len(self.streams))
        request = save.request
        if request is not None:
            answered = (request.key, request.fingerprint, save.answer_id, save.answer_version, len(self.streams))
            self.requests.append(answered)
        return True

    def require_sequence(self) -> None:
        """Raises Clash where a version does not follow from the one before it in this very batch."""
        if not self._in_sequence:
            raise Clash("a version does not follow from the one before it")

    @property
    def count(self) -> int:
        return len(self.streams)

    def append(self, session: Session, now: int, channel: str) -> int | None:
        """The position before the batch; None in history mode, with nothing done."""
        keys, fingerprints, answers, answer_versions, answer_ends = (
            zip(*self.requests, strict=True) if self.requests else _NONE
        )
        parameters = (
            now,
            uuids(self.streams),
            integers(self.versions),
            texts(self.types),
            texts(self.tenants),
            uuids(self.customers),
            byte_strings(self.records),
            uuids(self.befores),
            integers(self.befores.values()),
            integers(map(self.afters.__getitem__, self.befores)),
            uuids(keys),
            byte_strings(fingerprints),
            uuids(answers),
            integers(answer_versions),
            integers(answer_ends),
            channel,
        )
        row = session.execute(_CALL, parameters).fetchone()
        assert row is not None
        return None if row[0] is None else int(row[0])
