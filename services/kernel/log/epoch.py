"""A restored cell's log: it begins with the back-up's events, and says from where on it is another one.

Positions are dense, so those that the lost log had shown to anybody are filled, each with a PositionLost, and never name
another event.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import NAMESPACE_URL, uuid5

from google.protobuf.message import Message
from kept.cell.v1.events_pb2 import EpochStarted, PositionLost

from services.kernel.cell import SYSTEM_TENANT, CellClock
from services.kernel.clock import micros, timestamp
from services.kernel.database import Database, Session
from services.kernel.errors import KeptError, Refused
from services.kernel.events import DomainEvent, ProtobufMapper, Stamp
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Entry, Save

EPOCH_STREAM = uuid5(NAMESPACE_URL, "kept:cell:epoch")
MOST_LOST = 10_000_000
AT_ONCE = 10_000

Told = Callable[[int, int], None]


@dataclass(frozen=True)
class Restored:
    """From what, up to where, by whom (`user:NAME`) and why. `published_to` as EpochStarted has it."""

    epoch: int
    published_to: int
    backed_up_at: datetime
    actor: str
    reason: str


def epoch_of(log: Database) -> int:
    """Which of its cell's logs this is: 1, and one more after each restore."""
    with log.read() as session:
        row = session.execute("SELECT epoch FROM cell").fetchone()
    assert row is not None
    return int(row[0])


def start_epoch(log: EventLog, restored: Restored, told: Told) -> None:
    """Fills what was published and is lost, and records EpochStarted. Nobody else may have the log yet.

    Raises too-many-lost.
    """
    head = log.position()
    lost = restored.published_to - head
    if lost > MOST_LOST:
        raise Refused(
            "too-many-lost",
            f"the back-up ends at {head:,}, and {lost:,} later positions would be filled; at most {MOST_LOST:,} are."
            " Is the published position right?",
        )
    at = micros(CellClock(log).now())
    stamp = Stamp(SYSTEM_TENANT, restored.actor, at, correlation_id=str(EPOCH_STREAM))
    first = log.version(EPOCH_STREAM) + 1
    for version in range(first, first + lost, AT_ONCE):
        beyond = min(version + AT_ONCE, first + lost)
        _append(log, [_entry(one, PositionLost(epoch=restored.epoch), stamp) for one in range(version, beyond)])
        told(beyond - first, lost)
    started = EpochStarted(
        epoch=restored.epoch,
        restored_to=head,
        published_to=max(head, restored.published_to),
        backed_up_at=timestamp(restored.backed_up_at),
        reason=restored.reason,
    )

    def counted(session: Session) -> Sequence[Save]:
        session.execute("UPDATE cell SET epoch = ?", (restored.epoch,))
        return [Save((_entry(first + max(0, lost), started, stamp),))]

    log.append((), alongside=counted)


def _entry(version: int, event: Message, stamp: Stamp) -> Entry:
    return ProtobufMapper().to_stored_event(DomainEvent(EPOCH_STREAM, version, event, stamp))


def _append(log: EventLog, entries: Sequence[Entry]) -> None:
    (outcome,) = log.append([Save(tuple(entries))])
    if isinstance(outcome, KeptError):
        raise outcome
