"""Clocks and verdicts as people look for them."""

from collections.abc import Sequence
from uuid import UUID

from kept.sla.v1 import events_pb2 as e
from kept.sla.v1.service_pb2 import Clock, VerdictCount

from services.kernel.clock import micros_of, timestamp_of
from services.kernel.database import Session, as_uuid, marks, uuid_of
from services.kernel.events import LogEvent, full_name
from services.kernel.tables import Table, bits_of, in_bits
from services.kernel.views import ViewSet
from services.sla.editions import CALENDARS, POLICIES, keep_calendar, keep_policy

CLOCKS = Table(
    "clock_row",
    {
        "clock_id": "uuid", "case_id": "uuid", "tenant": "text", "target": "int", "policy": "text",
        "policy_version": "int", "calendar": "text", "calendar_version": "int", "budget_s": "int", "due_at": "int",
        "outcome": "int", "decided_at": "int", "warned": "text", "corrected": "int",
        "pauses": "int",
    },
    key=("clock_id",),
    indexes=(("case_id", "target"), ("tenant", "target", "outcome")),
)  # fmt: skip


def apply(session: Session, event: LogEvent) -> None:
    clock_id, body = uuid_of(event.record.stream), event.body
    match body:
        case e.CalendarPublished():
            keep_calendar(session, event.record.tenant, body)
        case e.PolicyPublished():
            keep_policy(session, event.record.tenant, body)
        case e.ClockArmed():
            row = (clock_id, uuid_of(body.case_id), event.record.tenant, body.target, *_pins(body.pins))
            session.execute(
                f"INSERT INTO clock_row VALUES ({marks(15)})",
                (*row, body.budget_s, micros_of(body.due_at), 0, None, "", 0, bits_of(body.pause_on)),
            )
        case e.ClockReplanned():
            session.execute(
                """UPDATE clock_row SET policy = ?, policy_version = ?, calendar = ?, calendar_version = ?, budget_s = ?,
                   due_at = ?, pauses = ?, outcome = 0, decided_at = NULL WHERE clock_id = ?""",
                (*_pins(body.pins), body.budget_s, micros_of(body.due_at), bits_of(body.pause_on), clock_id),
            )
        case e.ThresholdReached():
            session.execute(
                "UPDATE clock_row SET warned = warned || ? WHERE clock_id = ?", (f"{body.percent} ", clock_id)
            )
        case e.VerdictReached():
            _decide(session, clock_id, body.outcome, event.occurred_at, corrected=0)
        case e.VerdictCorrected():
            _decide(session, clock_id, body.outcome, event.occurred_at, corrected=1)


VIEWS = ViewSet(
    "sla",
    version=3,
    tables=(CLOCKS, CALENDARS, POLICIES),
    reads=frozenset(
        full_name(event)
        for event in (
            e.CalendarPublished, e.PolicyPublished,
            e.ClockArmed, e.ClockReplanned, e.ThresholdReached, e.VerdictReached, e.VerdictCorrected,
        )
    ),
    apply=apply,
)  # fmt: skip


def _pins(pins: e.Pins) -> tuple[str, int, str, int]:
    return pins.policy, pins.policy_version, pins.calendar, pins.calendar_version


def _decide(session: Session, clock_id: UUID, outcome: int, at: int, *, corrected: int) -> None:
    session.execute(
        "UPDATE clock_row SET outcome = ?, decided_at = ?, corrected = ? WHERE clock_id = ?",
        (outcome, at, corrected, clock_id),
    )


# Queries


def clocks(session: Session, tenant: str, case_ids: Sequence[UUID]) -> list[Clock]:
    rows = session.execute(
        f"SELECT * FROM clock_row WHERE tenant = ? AND case_id IN ({marks(len(case_ids))}) ORDER BY case_id, target",
        (tenant, *case_ids),
    )
    return [_clock(row) for row in rows]


def find(session: Session, tenant: str, clock_id: UUID) -> Clock | None:
    sql = "SELECT * FROM clock_row WHERE clock_id = ? AND tenant = ?"
    row = session.execute(sql, (clock_id, tenant)).fetchone()
    return None if row is None else _clock(row)


def count(session: Session, tenant: str) -> list[VerdictCount]:
    rows = session.execute(
        "SELECT target, outcome, count(*) FROM clock_row WHERE tenant = ? GROUP BY target, outcome ORDER BY 1, 2",
        (tenant,),
    )
    return [VerdictCount(target=target, outcome=outcome, clocks=clocks) for target, outcome, clocks in rows]


def _clock(row: tuple[object, ...]) -> Clock:
    clock_id, case_id, _, target, policy, policy_version, calendar, calendar_version, *rest = row
    budget_s, due_at, outcome, decided_at, warned, corrected, pauses = rest
    clock = Clock(
        clock_id=str(as_uuid(clock_id)),
        case_id=str(as_uuid(case_id)),
        target=target,  # type: ignore[arg-type]  # the table's types are these
        pins=e.Pins(
            policy=policy,  # type: ignore[arg-type]
            policy_version=policy_version,  # type: ignore[arg-type]
            calendar=calendar,  # type: ignore[arg-type]
            calendar_version=calendar_version,  # type: ignore[arg-type]
        ),
        budget_s=budget_s,  # type: ignore[arg-type]
        due_at=timestamp_of(due_at),  # type: ignore[arg-type]
        outcome=outcome,  # type: ignore[arg-type]
        warned_percents=sorted({int(percent) for percent in str(warned).split()}),  # each plan warns anew
        corrected=bool(corrected),
        pause_on=in_bits(pauses),  # type: ignore[arg-type]
    )
    if decided_at is not None:
        clock.decided_at.CopyFrom(timestamp_of(decided_at))  # type: ignore[arg-type]
    return clock
