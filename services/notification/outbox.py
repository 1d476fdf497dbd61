"""Notices on their way out, in the log's database beside the sender's position. Moments are microseconds since 1970 UTC."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import events_pb2 as e

from services.kernel.clock import micros_of
from services.kernel.database import Database, Row, Session, as_uuid, marks
from services.kernel.events import LogEvent
from services.kernel.log.schema import migrate
from services.kernel.tables import Table

# `channel` and `tries` are where it stands among its channels; `failed` is the NoticeFailed that it would come to.
OUTBOX = Table(
    "notice_outbox",
    {
        "notice_id": "uuid", "tenant": "text", "correlation_id": "text", "planned_by": "text", "planned": "bytes",
        "next_at": "int", "channel": "int", "tries": "int", "attempts": "int", "failed": "bytes",
        "position": "int",
    },
    key=("notice_id",),
    indexes=(("next_at", "position"),),
)  # fmt: skip
_COLUMNS = ", ".join(OUTBOX.columns)


@dataclass(slots=True)
class Waiting:
    """One notice that is to go out. `tries` on the channel that it stands at, `attempts` on all."""

    notice_id: UUID
    tenant: str
    correlation_id: str
    planned_by: str
    planned: e.NoticePlanned
    next_at: int
    channel: int
    tries: int
    attempts: int
    failed: e.NoticeFailed
    position: int  # where it was planned: what falls due together goes out in that order

    @classmethod
    def of(cls, event: LogEvent, planned: e.NoticePlanned) -> Self:
        """Due when it was planned, or when the quiet hours are over."""
        record = event.record
        next_at = micros_of(planned.not_before) if planned.HasField("not_before") else event.occurred_at
        return cls(
            UUID(record.stream), record.tenant, record.correlation_id, record.id, planned, next_at, 0, 0, 0,
            e.NoticeFailed(), event.position,
        )  # fmt: skip

    @classmethod
    def of_row(cls, row: Row) -> Self:
        notice_id, tenant, correlation_id, planned_by, planned, next_at, channel, tries, attempts, failed, position = (
            row
        )
        return cls(
            as_uuid(notice_id),
            tenant,
            correlation_id,
            planned_by,
            e.NoticePlanned.FromString(bytes(planned)),
            next_at,
            channel,
            tries,
            attempts,
            e.NoticeFailed.FromString(bytes(failed)),
            position,
        )

    def give_up_channel(self, reason: str) -> None:
        """On to the next one."""
        wanted: customer.Channel.ValueType = self.planned.channels[self.channel]
        self.failed.attempts.add(channel=wanted, reason=reason)
        self.channel += 1
        self.tries = 0


def migrate_outbox(database: Database) -> None:
    migrate(database, "the outbox", [OUTBOX.statements(database.dialect)])


def put(session: Session, one: Waiting) -> None:
    session.execute("DELETE FROM notice_outbox WHERE notice_id = ?", (one.notice_id,))
    session.execute(
        f"INSERT INTO notice_outbox ({_COLUMNS}) VALUES ({marks(len(OUTBOX.columns))})",  # noqa: S608 - our own names
        (
            one.notice_id, one.tenant, one.correlation_id, one.planned_by, one.planned.SerializeToString(),
            one.next_at, one.channel, one.tries, one.attempts, one.failed.SerializeToString(), one.position,
        ),
    )  # fmt: skip


def take_out(session: Session, notices: Iterable[UUID]) -> int:
    """Returns how many were there."""
    sql = "DELETE FROM notice_outbox WHERE notice_id = ?"
    return sum(session.execute(sql, (notice,)).rowcount for notice in notices)


def due(session: Session, now: int, most: int) -> list[Waiting]:
    """The earliest first."""
    sql = f"SELECT {_COLUMNS} FROM notice_outbox WHERE next_at <= ? ORDER BY next_at, position LIMIT ?"  # noqa: S608
    return [Waiting.of_row(row) for row in session.execute(sql, (now, most)).fetchall()]


def earliest(session: Session) -> int | None:
    row = session.execute("SELECT min(next_at) FROM notice_outbox").fetchone()
    return None if row is None or row[0] is None else int(row[0])
