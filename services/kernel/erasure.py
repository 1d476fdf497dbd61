"""What was erased stays erased, whatever copies come back: a destruction of keys is on the log before it is done.

Whoever has the log, or a part of it, can tell of it: later back-ups, auditors, the broker's copy. `carry_out` does again
what a crash or a restore has left undone.
"""

from collections.abc import Iterable, Iterator, Mapping
from uuid import NAMESPACE_URL, UUID, uuid5

from kept.cell.v1.events_pb2 import KeysDestroyed
from kept.common.v1.record_pb2 import Record

from services.kernel.cell import SYSTEM_TENANT
from services.kernel.database import Database, as_uuid
from services.kernel.errors import KeptError, VersionConflict
from services.kernel.events import DomainEvent, ProtobufMapper, Stamp, full_name
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Save
from services.kernel.privacy import destroy_keys

ERASED = uuid5(NAMESPACE_URL, "kept:cell:erased")
DESTROYED = full_name(KeysDestroyed)
ATTEMPTS = 3

# Which keys of whom: purposes by subject.
Erasures = dict[UUID, set[str]]


def erase(log: EventLog, keys: Database, subject: UUID, *, actor: str, at: int) -> int:
    """Records KeysDestroyed and destroys every key of a subject. Returns how many there were; 0 records nothing.

    `at` in microseconds since 1970 UTC. Raises version-conflict.
    """
    with keys.read() as session:
        sql = "SELECT purpose FROM data_key WHERE subject = ? AND key IS NOT NULL"
        purposes = {str(purpose) for (purpose,) in session.execute(sql, (subject,)).fetchall()}
    if not purposes:
        return 0
    record(log, subject, purposes, actor=actor, at=at)
    with keys.write() as session:
        return destroy_keys(session, subject, purposes)


def record(log: EventLog, subject: UUID, purposes: Iterable[str], *, actor: str, at: int) -> None:
    """Only records it; `carry_out` destroys. Raises version-conflict."""
    stream = uuid5(ERASED, str(subject))
    event = KeysDestroyed(subject=str(subject), purposes=sorted(purposes))
    stamp = Stamp(SYSTEM_TENANT, actor, at, correlation_id=str(stream))
    for _ in range(ATTEMPTS):
        version = log.version(stream) + 1
        entry = ProtobufMapper().to_stored_event(DomainEvent(stream, version, event, stamp))
        (outcome,) = log.append([Save((entry,))])
        if not isinstance(outcome, KeptError):
            return
    raise VersionConflict(stream)


def recorded(log: Database) -> Erasures:
    """All that a log tells of."""
    # As the log's own index has it: few events, found at once among millions.
    sql = "SELECT record FROM log WHERE customer_id IS NULL AND tenant = ? AND type = ?"
    found: Erasures = {}
    with log.read() as session:
        for (stored,) in session.execute(sql, (SYSTEM_TENANT, DESTROYED)).fetchall():
            add(found, *_opened(Record.FromString(bytes(stored)).data))
    return found


def told_by_keys(keys: Database) -> Erasures:
    """All that a key store tells of by itself."""
    found: Erasures = {}
    with keys.read() as session:
        for subject, purpose in session.execute("SELECT subject, purpose FROM data_key WHERE key IS NULL").fetchall():
            add(found, as_uuid(subject), {purpose})
    return found


def told_by_events(events: Iterable[tuple[str, bytes]]) -> Erasures:
    """All that events tell of, each as its type and data."""
    found: Erasures = {}
    for type_name, data in events:
        if type_name == DESTROYED:
            add(found, *_opened(data))
    return found


def add(found: Erasures, subject: UUID, purposes: set[str]) -> None:
    found.setdefault(subject, set()).update(purposes)


def missing(told: Mapping[UUID, set[str]], known: Mapping[UUID, set[str]]) -> Iterator[tuple[UUID, set[str]]]:
    """What is told and not known, in the order of the subjects."""
    for subject in sorted(told):
        rest = told[subject] - known.get(subject, set())
        if rest or subject not in known:
            yield subject, rest


def carry_out(log: Database, keys: Database) -> int:
    """Destroys every key whose destruction is on the log. Returns how many were there that should not have been."""
    erased = recorded(log)
    if not erased:
        return 0
    with keys.write() as session:
        return sum(destroy_keys(session, subject, purposes) for subject, purposes in erased.items())


def _opened(data: bytes) -> tuple[UUID, set[str]]:
    event = KeysDestroyed.FromString(data)
    return UUID(event.subject), set(event.purposes)
