"""Cases as people look for them: by state, team, partner or customer, the nearest deadline first."""

from uuid import UUID

from kept.case.v1 import events_pb2 as e
from kept.case.v1.service_pb2 import CaseSummary, ListCasesRequest, Note, StateCount
from kept.sla.v1 import events_pb2 as sla

from services.case import problems, timeline
from services.case.domain import OPEN, waiting_state
from services.kernel.clock import micros, micros_of, timestamp_of
from services.kernel.database import Session, as_uuid, marks, uuid_of
from services.kernel.events import LogEvent
from services.kernel.paging import make_token, page_size, read_token
from services.kernel.tables import Table, bits_of
from services.kernel.validation import check_moment, check_uuid
from services.kernel.views import ViewSet

NO_DEADLINE = 2**62  # sorts after every real one, on both databases

CASES = Table(
    "case_row",
    {
        "id": "uuid", "tenant": "text", "customer_id": "uuid", "version": "int", "state": "int", "waiting_for": "int",
        "kind": "int", "category": "text", "subcategory": "text", "symptom": "text", "priority": "int",
        "team": "text", "partner": "text", "assignee": "text", "region": "text", "opened_at": "int",
        "deadline_at": "int", "reopen_count": "int", "external_reference": "text", "item_id": "uuid", "need": "bytes",
        "urgency": "bytes",
    },
    key=("id",),
    indexes=(
        ("tenant", "state", "deadline_at", "id"),
        ("tenant", "team", "deadline_at", "id"),
        ("tenant", "partner", "deadline_at", "id"),
        ("customer_id", "deadline_at", "id"),
        ("item_id", "opened_at"),
    ),
    sealed=("need", "urgency"),
    stream="id",
)  # fmt: skip
NOTES = Table(
    "case_note",
    {
        "case_id": "uuid", "version": "int", "audience": "int", "actor": "text", "occurred_at": "int", "text": "bytes",
    },
    key=("case_id", "version"),
    sealed=("text",),
    stream="case_id",
)  # fmt: skip
# A clock's deadline; NO_DEADLINE once it was kept or released, until a reopened case sets it again: a broken promise is
# still owed, and stays the most urgent of all. It counts only while the case does not wait for one of `pauses` (bits of
# WaitingFor), since a clock that stands has no deadline to speak of.
DEADLINES = Table(
    "case_deadline",
    {"clock_id": "uuid", "case_id": "uuid", "target": "int", "due_at": "int", "pauses": "int"},
    key=("clock_id",),
    indexes=(("case_id",),),
)


def apply(session: Session, event: LogEvent) -> None:
    """One event's rows: of cases, of their timelines, and of problems."""
    _follow_case(session, event)
    if event.record.type in timeline.READS:
        timeline.apply(session, event)
    if event.record.type in problems.READS:
        problems.apply(session, event)


def _follow_case(session: Session, event: LogEvent) -> None:
    """Every change of a case moves its row's version."""
    record, body = event.record, event.body
    stream = uuid_of(record.stream)
    changes: dict[str, object]
    match body:
        case e.CaseOpened():
            _insert(session, stream, event, body)
            return
        case e.CaseAcknowledged() | e.CaseResumed():
            changes = {"state": e.CASE_STATE_IN_PROGRESS, "waiting_for": 0}
        case e.CaseAssigned():
            changes = {"team": body.team, "partner": body.partner, "assignee": body.assignee}
        case e.CaseHeld():
            changes = {"state": waiting_state(body.waiting_for), "waiting_for": body.waiting_for}
        case e.CaseResolved():
            changes = {"state": e.CASE_STATE_RESOLVED, "waiting_for": 0}
        case e.CaseReopened():
            session.execute("UPDATE case_row SET reopen_count = reopen_count + 1 WHERE id = ?", (stream,))
            changes = {"state": e.CASE_STATE_IN_PROGRESS, "waiting_for": 0}
        case e.CaseClosed():
            changes = {"state": e.CASE_STATE_CLOSED}
        case e.CaseCancelled():
            changes = {"state": e.CASE_STATE_CANCELLED, "waiting_for": 0}
        case e.CaseRejected():
            changes = {"state": e.CASE_STATE_REJECTED}
        case e.CasePrioritized():
            changes = {"priority": body.priority}
        case e.CaseClassified():
            kind = body.classification
            changes = {
                "kind": kind.kind,
                "category": kind.category,
                "subcategory": kind.subcategory,
                "symptom": kind.symptom,
            }
        case e.NoteAdded():
            note = (stream, record.version, body.audience, record.actor, event.occurred_at)
            session.execute("INSERT INTO case_note VALUES (?, ?, ?, ?, ?, ?)", (*note, body.text.SerializeToString()))
            changes = {}
        case sla.ClockArmed() | sla.ClockReplanned() | sla.VerdictReached():
            _follow_clock(session, stream, body)
            return
        case _:
            return
    _update(session, stream, {"version": record.version, **changes})


VIEWS = ViewSet(
    "case",
    version=4,
    tables=(CASES, NOTES, DEADLINES, timeline.TIMELINE, timeline.STREAMS, *problems.TABLES),
    reads=timeline.READS | problems.READS,
    apply=apply,
)


def _insert(session: Session, stream: UUID, event: LogEvent, body: e.CaseOpened) -> None:
    kind = body.classification
    row: dict[str, object] = {
        "id": stream, "tenant": event.record.tenant, "customer_id": uuid_of(body.customer_id), "version": 1,
        "state": e.CASE_STATE_ACKNOWLEDGED, "waiting_for": 0, "kind": kind.kind, "category": kind.category,
        "subcategory": kind.subcategory, "symptom": kind.symptom, "priority": body.priority, "team": "", "partner": "",
        "assignee": "", "region": body.region, "opened_at": event.occurred_at, "deadline_at": NO_DEADLINE,
        "reopen_count": 0, "external_reference": body.external_reference,
        "item_id": uuid_of(body.item_id) if body.item_id else None,
        "need": body.need.SerializeToString(), "urgency": body.urgency.SerializeToString(),
    }  # fmt: skip
    session.execute(f"INSERT INTO case_row VALUES ({marks(len(row))})", tuple(row.values()))


def _update(session: Session, case_id: UUID, changes: dict[str, object]) -> None:
    assignments = ", ".join(f"{name} = ?" for name in changes)
    session.execute(f"UPDATE case_row SET {assignments} WHERE id = ?", (*changes.values(), case_id))
    if "state" in changes:
        _set_deadline(session, case_id)


def _follow_clock(session: Session, clock_id: UUID, body: object) -> None:
    match body:
        case sla.ClockArmed():
            row = (clock_id, uuid_of(body.case_id), body.target, micros_of(body.due_at), bits_of(body.pause_on))
            session.execute("INSERT INTO case_deadline VALUES (?, ?, ?, ?, ?)", row)
        case sla.ClockReplanned():
            plan = (micros_of(body.due_at), bits_of(body.pause_on))
            session.execute("UPDATE case_deadline SET due_at = ?, pauses = ? WHERE clock_id = ?", (*plan, clock_id))
        case sla.VerdictReached(outcome=sla.OUTCOME_BROKEN):
            return
        case sla.VerdictReached():
            session.execute("UPDATE case_deadline SET due_at = ? WHERE clock_id = ?", (NO_DEADLINE, clock_id))
    row_of = session.execute("SELECT case_id FROM case_deadline WHERE clock_id = ?", (clock_id,)).fetchone()
    if row_of is not None:
        _set_deadline(session, as_uuid(row_of[0]))


def _set_deadline(session: Session, case_id: UUID) -> None:
    """The nearest that is still owed: somebody's first hand until it is taken up, its solution while it is open."""
    session.execute(
        f"""UPDATE case_row SET deadline_at = coalesce((
             SELECT min(due_at) FROM case_deadline d WHERE d.case_id = case_row.id
             AND (state = {e.CASE_STATE_ACKNOWLEDGED}
                  OR d.target <> {sla.TARGET_KIND_TIME_TO_OWN} AND state IN ({", ".join(map(str, OPEN))}))
             AND ((d.pauses >> CAST(case_row.waiting_for AS INTEGER)) & 1) = 0), ?) WHERE id = ?""",
        (NO_DEADLINE, case_id),
    )


# Queries


def find(session: Session, tenant: str, case_id: UUID) -> tuple[CaseSummary, bytes, bytes] | None:
    """The case, and its sealed need and urgency."""
    row = session.execute("SELECT * FROM case_row WHERE id = ? AND tenant = ?", (case_id, tenant)).fetchone()
    return None if row is None else (_summary(row), bytes(row[-2]), bytes(row[-1]))


def notes(session: Session, case_id: UUID) -> list[tuple[Note, bytes]]:
    """Oldest first, each with its sealed text."""
    rows = session.execute(
        "SELECT audience, actor, occurred_at, text FROM case_note WHERE case_id = ? ORDER BY version", (case_id,)
    )
    return [
        (Note(audience=audience, actor=actor, occurred_at=timestamp_of(occurred_at)), bytes(text))
        for audience, actor, occurred_at, text in rows
    ]


def page(session: Session, tenant: str, request: ListCasesRequest) -> tuple[list[CaseSummary], str]:
    """One page, nearest deadline first, and the token of the next; empty on the last. Raises invalid-argument."""
    size = page_size(request.page_size)
    where = ["tenant = ?"]
    wanted: list[object] = [tenant]
    states = sorted(set(request.states))
    if states:
        where.append(f"state IN ({marks(len(states))})")
        wanted.extend(states)
    for column, value in (("team", request.team), ("partner", request.partner)):
        if value:
            where.append(f"{column} = ?")
            wanted.append(value)
    if request.customer_id:
        where.append("customer_id = ?")
        wanted.append(UUID(request.customer_id))
    if request.HasField("deadline_until"):
        where.append("deadline_at <= ?")
        wanted.append(micros(check_moment("deadline_until", request.deadline_until)))
    last = read_token(request.page_token, int, str)
    if last is not None:
        where.append("(deadline_at, id) > (?, ?)")
        wanted.extend((last[0], check_uuid("page_token", str(last[1]))))
    sql = f"SELECT * FROM case_row WHERE {' AND '.join(where)} ORDER BY deadline_at, id LIMIT ?"
    rows = session.execute(sql, (*wanted, size + 1)).fetchall()
    token = make_token(_deadline(rows[size - 1]), str(as_uuid(rows[size - 1][0]))) if len(rows) > size else ""
    return [_summary(row) for row in rows[:size]], token


def count(session: Session, tenant: str) -> list[StateCount]:
    rows = session.execute(
        "SELECT state, count(*) FROM case_row WHERE tenant = ? GROUP BY state ORDER BY state", (tenant,)
    )
    return [StateCount(state=state, cases=cases) for state, cases in rows]


_COLUMNS = {name: at for at, name in enumerate(CASES.columns)}


def _deadline(row: tuple[object, ...]) -> int:
    deadline = row[_COLUMNS["deadline_at"]]
    assert isinstance(deadline, int)
    return deadline


def _summary(row: tuple[object, ...]) -> CaseSummary:
    of = dict(zip(CASES.columns, row, strict=True))
    made: dict[str, object] = {
        name: of[name]
        for name in (
            "priority", "state", "waiting_for", "team", "partner", "assignee", "region", "reopen_count",
            "external_reference", "version",
        )
    }  # fmt: skip
    classification = {name: of[name] for name in ("kind", "category", "subcategory", "symptom")}
    summary = CaseSummary(
        case_id=str(as_uuid(of["id"])),
        customer_id=str(as_uuid(of["customer_id"])),
        classification=e.Classification(**classification),  # type: ignore[arg-type]  # the table's types are these
        opened_at=timestamp_of(of["opened_at"]),  # type: ignore[arg-type]
        **made,  # type: ignore[arg-type]
    )
    if of["item_id"] is not None:
        summary.item_id = str(as_uuid(of["item_id"]))
    if _deadline(row) < NO_DEADLINE:
        summary.deadline_at.CopyFrom(timestamp_of(_deadline(row)))
    return summary
