"""Everything that happened to a case: its own events, its clocks, its work orders and its notices."""

from uuid import UUID

from kept.case.v1 import events_pb2 as e
from kept.notification.v1 import events_pb2 as notification
from kept.partner_network.v1 import events_pb2 as partner_network
from kept.sla.v1 import events_pb2 as sla

from services.kernel import timelines
from services.kernel.database import Session, as_uuid, uuid_of
from services.kernel.events import LogEvent, full_name
from services.kernel.tables import Table

TIMELINE = timelines.timeline_table("case_event")
# The streams of a case's clocks, work orders and notices: their later events do not name the case.
STREAMS = Table("case_stream", {"stream": "uuid", "case_id": "uuid"}, key=("stream",))

OWN = (
    e.CaseOpened, e.CaseAcknowledged, e.CaseAssigned, e.CaseHeld, e.CaseResumed, e.CaseResolved, e.CaseReopened,
    e.CaseClosed, e.CaseCancelled, e.CaseRejected, e.CasePrioritized, e.CaseClassified, e.NoteAdded,
)  # fmt: skip
OTHERS = (
    e.CaseLinked,
    sla.ClockArmed, sla.ClockReplanned, sla.ThresholdReached, sla.VerdictReached, sla.VerdictCorrected,
    partner_network.WorkOrderOffered, partner_network.WorkOrderReoffered, partner_network.WorkOrderAccepted,
    partner_network.WorkOrderDeclined, partner_network.TechnicianArrived, partner_network.WorkOrderCompleted,
    partner_network.WorkOrderCancelled, partner_network.OfferExpired,
    notification.NoticePlanned, notification.NoticeCancelled, notification.NoticeSent, notification.NoticeFailed,
)  # fmt: skip
READS = frozenset(full_name(event) for event in (*OWN, *OTHERS))


def apply(session: Session, event: LogEvent) -> None:
    """The event's place on its case's timeline, if it has one."""
    case_id = _case_of(session, event)
    if case_id is not None:
        place = (case_id, event.occurred_at, event.position)
        session.execute("INSERT INTO case_event VALUES (?, ?, ?)", place)


def _case_of(session: Session, event: LogEvent) -> UUID | None:
    stream, body = uuid_of(event.record.stream), event.body
    match body:
        case e.CaseLinked():
            return uuid_of(body.case_id)
        case sla.ClockArmed() | partner_network.WorkOrderOffered():
            return _remembered(session, stream, body.case_id)
        case notification.NoticePlanned():
            return _remembered(session, stream, body.about.case_id)
        case notification.NoticeSent() | notification.NoticeFailed():
            return uuid_of(body.about.case_id) if body.about.case_id else None
        case partner_network.OfferExpired():
            return _known(session, uuid_of(body.work_order_id))
    return stream if isinstance(body, OWN) else _known(session, stream)


def _remembered(session: Session, stream: UUID, case_id: str) -> UUID | None:
    if not case_id:
        return None
    session.execute("INSERT INTO case_stream VALUES (?, ?)", (stream, uuid_of(case_id)))
    return uuid_of(case_id)


def _known(session: Session, stream: UUID) -> UUID | None:
    row = session.execute("SELECT case_id FROM case_stream WHERE stream = ?", (stream,)).fetchone()
    return None if row is None else as_uuid(row[0])
