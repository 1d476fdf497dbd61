"""Problems as people look for them: what they are, whom they touch, and who was told before they called."""

from uuid import UUID

from kept.case.v1 import events_pb2 as e
from kept.case.v1.service_pb2 import (
    PROBLEM_STATE_CAUSE_FOUND,
    PROBLEM_STATE_CLOSED,
    PROBLEM_STATE_OPEN,
    PROBLEM_STATE_RESOLVED,
    Affected,
    ListAffectedRequest,
    ListProblemsRequest,
    ProblemSummary,
)
from kept.notification.v1 import events_pb2 as notification

from services.kernel.clock import micros_of, timestamp_of
from services.kernel.database import Row, Session, as_uuid, marks, uuid_of
from services.kernel.events import LogEvent, full_name
from services.kernel.paging import MOST, make_token, page_size, read_token
from services.kernel.tables import Table
from services.kernel.validation import check_uuid

# `scope` is the message; `began_at` is taken out of it.
PROBLEMS = Table(
    "problem_row",
    {
        "id": "uuid", "tenant": "text", "version": "int", "title": "text", "state": "int", "priority": "int",
        "scope": "bytes", "began_at": "int", "cause": "text", "remedy": "text", "opened_at": "int",
        "expected_until": "int", "resolved_at": "int",
    },
    key=("id",),
    indexes=(("tenant", "opened_at", "id"),),
)  # fmt: skip
LINKS = Table(
    "problem_case",
    {"problem_id": "uuid", "version": "int", "case_id": "uuid"},
    key=("problem_id", "version"),
)
# One that was taken back keeps its row: when the customer was told stays true. `told_at` and `called_at` may be unset.
AFFECTED = Table(
    "problem_customer",
    {
        "problem_id": "uuid", "customer_id": "uuid", "affected": "int", "item_ids": "text", "told_at": "int",
        "called_at": "int",
    },
    key=("problem_id", "customer_id"),
)  # fmt: skip
ITEMS = Table(
    "problem_item",
    {"item_id": "uuid", "problem_id": "uuid", "customer_id": "uuid"},
    key=("item_id", "problem_id"),
    indexes=(("problem_id", "customer_id"),),
)
TABLES = (PROBLEMS, LINKS, AFFECTED, ITEMS)
READS = frozenset(
    full_name(event)
    for event in (
        e.ProblemOpened, e.RootCauseFound, e.CaseLinked, e.ProblemResolved, e.ProblemClosed, e.CustomerAffected,
        e.AffectedRetracted, e.CaseOpened, notification.NoticeSent,
    )
)  # fmt: skip
# A customer calls when they open a case on an affected item, at or after the beginning.
_CALLED = """UPDATE problem_customer SET called_at = (
        SELECT min(c.opened_at) FROM problem_item i
        JOIN problem_row p ON p.id = i.problem_id
        JOIN case_row c ON c.item_id = i.item_id AND c.customer_id = i.customer_id AND c.opened_at >= p.began_at
            AND (p.resolved_at IS NULL OR c.opened_at <= p.resolved_at)
        WHERE i.problem_id = problem_customer.problem_id AND i.customer_id = problem_customer.customer_id)
    WHERE """


def apply(session: Session, event: LogEvent) -> None:
    """One event's rows; a case that was opened has its own row by then."""
    stream, body = uuid_of(event.record.stream), event.body
    match body:
        case e.ProblemOpened():
            _insert(session, stream, event, body)
        case e.RootCauseFound():
            _find_cause(session, stream, body)
        case e.CaseLinked():
            link = (stream, event.record.version, uuid_of(body.case_id))
            session.execute("INSERT INTO problem_case VALUES (?, ?, ?)", link)
        case e.ProblemResolved():
            change = (PROBLEM_STATE_RESOLVED, body.remedy, event.occurred_at, stream)
            session.execute("UPDATE problem_row SET state = ?, remedy = ?, resolved_at = ? WHERE id = ?", change)
            session.execute(_CALLED + "problem_id = ?", (stream,))
        case e.ProblemClosed():
            session.execute("UPDATE problem_row SET state = ? WHERE id = ?", (PROBLEM_STATE_CLOSED, stream))
        case _:
            _follow_customer(session, event)
            return
    session.execute("UPDATE problem_row SET version = ? WHERE id = ?", (event.record.version, stream))


def _follow_customer(session: Session, event: LogEvent) -> None:
    body = event.body
    match body:
        case e.CustomerAffected():
            _affect(session, uuid_of(event.record.customer_id), body)
        case e.AffectedRetracted():
            _retract(session, uuid_of(event.record.customer_id), uuid_of(body.problem_id))
        case e.CaseOpened():
            _call(session, body)
        case notification.NoticeSent():
            _tell(session, event, body)


def _insert(session: Session, problem_id: UUID, event: LogEvent, body: e.ProblemOpened) -> None:
    row = (
        problem_id, event.record.tenant, 1, body.title, PROBLEM_STATE_OPEN, body.priority,
        body.scope.SerializeToString(deterministic=True), micros_of(body.scope.began_at), "", "", event.occurred_at,
        micros_of(body.expected_until) if body.HasField("expected_until") else None, None,
    )  # fmt: skip
    session.execute(f"INSERT INTO problem_row VALUES ({marks(len(row))})", row)  # noqa: S608 - marks alone


def _find_cause(session: Session, problem_id: UUID, body: e.RootCauseFound) -> None:
    until = micros_of(body.expected_until) if body.HasField("expected_until") else None
    scope, began_at = body.scope.SerializeToString(deterministic=True), micros_of(body.scope.began_at)
    session.execute(
        """UPDATE problem_row SET state = ?, cause = ?, scope = ?, began_at = ?, expected_until = coalesce(?, expected_until)
           WHERE id = ?""",
        (PROBLEM_STATE_CAUSE_FOUND, body.cause, scope, began_at, until, problem_id),
    )
    session.execute(_CALLED + "problem_id = ?", (problem_id,))


def _affect(session: Session, customer_id: UUID, body: e.CustomerAffected) -> None:
    key = (uuid_of(body.problem_id), customer_id)
    items = " ".join(body.item_ids)
    session.execute(
        """INSERT INTO problem_customer VALUES (?, ?, 1, ?, NULL, NULL)
           ON CONFLICT (problem_id, customer_id) DO UPDATE SET affected = 1, item_ids = excluded.item_ids""",
        (*key, items),
    )
    session.execute("DELETE FROM problem_item WHERE problem_id = ? AND customer_id = ?", key)
    session.executemany(
        "INSERT INTO problem_item VALUES (?, ?, ?)", [(uuid_of(item_id), *key) for item_id in body.item_ids]
    )
    session.execute(_CALLED + "problem_id = ? AND customer_id = ?", key)


def _retract(session: Session, customer_id: UUID, problem_id: UUID) -> None:
    key = (problem_id, customer_id)
    session.execute("UPDATE problem_customer SET affected = 0 WHERE problem_id = ? AND customer_id = ?", key)


def _call(session: Session, body: e.CaseOpened) -> None:
    if not body.item_id:
        return
    sql = _CALLED + "customer_id = ? AND problem_id IN (SELECT problem_id FROM problem_item WHERE item_id = ?)"  # noqa: S608
    session.execute(sql, (uuid_of(body.customer_id), uuid_of(body.item_id)))


def _tell(session: Session, event: LogEvent, body: notification.NoticeSent) -> None:
    if body.occasion != notification.OCCASION_PROBLEM_FOUND or not body.about.problem_id:
        return
    at = event.occurred_at
    session.execute(
        """UPDATE problem_customer SET told_at = ?
           WHERE problem_id = ? AND customer_id = ? AND (told_at IS NULL OR told_at > ?)""",
        (at, uuid_of(body.about.problem_id), uuid_of(event.record.customer_id), at),
    )


# Queries

# Told in the very moment of the call is not told first.
_SUMMARY = f"""SELECT {", ".join(f"p.{name}" for name in PROBLEMS.columns)}, count(c.customer_id),
        sum(CASE WHEN c.told_at IS NOT NULL AND (c.called_at IS NULL OR c.told_at < c.called_at) THEN 1 ELSE 0 END),
        sum(CASE WHEN c.called_at IS NOT NULL AND (c.told_at IS NULL OR c.called_at <= c.told_at) THEN 1 ELSE 0 END),
        sum(CASE WHEN c.customer_id IS NOT NULL AND c.told_at IS NULL THEN 1 ELSE 0 END)
    FROM problem_row p LEFT JOIN problem_customer c ON c.problem_id = p.id AND c.affected = 1
    WHERE p.tenant = ?"""  # noqa: S608 - our own names


def find(session: Session, tenant: str, problem_id: UUID) -> ProblemSummary | None:
    row = session.execute(f"{_SUMMARY} AND p.id = ? GROUP BY p.id", (tenant, problem_id)).fetchone()
    return None if row is None else _summary(row)


def cases(session: Session, problem_id: UUID) -> list[str]:
    """Linked to it, in the order in which they were, at most as many as a page holds."""
    sql = "SELECT case_id FROM problem_case WHERE problem_id = ? ORDER BY version LIMIT ?"
    return [str(as_uuid(case_id)) for (case_id,) in session.execute(sql, (problem_id, MOST))]


def page(session: Session, tenant: str, request: ListProblemsRequest) -> tuple[list[ProblemSummary], str]:
    """One page, newest first, and the token of the next; empty on the last. Raises invalid-argument."""
    size = page_size(request.page_size)
    wanted: list[object] = [tenant]
    after = ""
    last = read_token(request.page_token, int, str)
    if last is not None:
        after = " AND (p.opened_at, p.id) < (?, ?)"
        wanted.extend((last[0], check_uuid("page_token", str(last[1]))))
    sql = f"{_SUMMARY}{after} GROUP BY p.id ORDER BY p.opened_at DESC, p.id DESC LIMIT ?"
    found = [_summary(row) for row in session.execute(sql, (*wanted, size + 1))]
    token = ""
    if len(found) > size:
        token = make_token(micros_of(found[size - 1].opened_at), found[size - 1].problem_id)
    return found[:size], token


def affected(session: Session, problem_id: UUID, request: ListAffectedRequest) -> tuple[list[Affected], str]:
    """One page of those affected as we know now, by id, and the token of the next. Raises invalid-argument."""
    size = page_size(request.page_size)
    last = read_token(request.page_token, str)
    after = check_uuid("page_token", str(last[0])) if last is not None else UUID(int=0)
    rows = session.execute(
        """SELECT customer_id, item_ids, told_at, called_at FROM problem_customer
           WHERE problem_id = ? AND affected = 1 AND customer_id > ? ORDER BY customer_id LIMIT ?""",
        (problem_id, after, size + 1),
    )
    found = [_affected(row) for row in rows]
    return found[:size], make_token(found[size - 1].customer_id) if len(found) > size else ""


def _affected(row: Row) -> Affected:
    customer_id, item_ids, told_at, called_at = row
    affected = Affected(customer_id=str(as_uuid(customer_id)), item_ids=item_ids.split())
    if told_at is not None:
        affected.told_at.CopyFrom(timestamp_of(told_at))
    if called_at is not None:
        affected.called_at.CopyFrom(timestamp_of(called_at))
    return affected


def _summary(row: Row) -> ProblemSummary:
    of = dict(zip(PROBLEMS.columns, row, strict=False))
    count, told_first, called_first, not_told = row[len(PROBLEMS.columns) :]
    summary = ProblemSummary(
        problem_id=str(as_uuid(of["id"])),
        title=of["title"],
        state=of["state"],
        priority=of["priority"],
        scope=e.Scope.FromString(bytes(of["scope"])),
        cause=of["cause"],
        remedy=of["remedy"],
        opened_at=timestamp_of(of["opened_at"]),
        affected=count,
        told_first=told_first,
        called_first=called_first,
        not_told=not_told,
        version=of["version"],
    )
    if of["expected_until"] is not None:
        summary.expected_until.CopyFrom(timestamp_of(of["expected_until"]))
    if of["resolved_at"] is not None:
        summary.resolved_at.CopyFrom(timestamp_of(of["resolved_at"]))
    return summary
