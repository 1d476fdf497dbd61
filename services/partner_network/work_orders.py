"""Work orders as people look for them: by partner, state or case, what expires or begins soonest first."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from kept.partner_network.v1 import events_pb2 as e
from kept.partner_network.v1 import service_pb2 as m

from services.kernel.clock import micros_of, timestamp_of
from services.kernel.database import Session, as_uuid, marks, uuid_of
from services.kernel.events import LogEvent
from services.kernel.paging import make_token, page_size, read_token
from services.kernel.tables import Table
from services.kernel.validation import check_uuid

NEVER = 2**62  # sorts after every moment, on both databases

OFFERED, DECLINED, EXPIRED = m.WORK_ORDER_STATE_OFFERED, m.WORK_ORDER_STATE_DECLINED, m.WORK_ORDER_STATE_EXPIRED
ACCEPTED, ARRIVED = m.WORK_ORDER_STATE_ACCEPTED, m.WORK_ORDER_STATE_ARRIVED
COMPLETED, CANCELLED = m.WORK_ORDER_STATE_COMPLETED, m.WORK_ORDER_STATE_CANCELLED

# `next_at` is the next moment that matters: the expiry while offered, then the beginning of the visit, at last NEVER.
WORK_ORDERS = Table(
    "work_order",
    {
        "id": "uuid", "tenant": "text", "case_id": "uuid", "customer_id": "uuid", "product": "text", "skill": "text",
        "region": "text", "state": "int", "round": "int", "window_from": "int", "window_until": "int",
        "expires_at": "int", "offered_at": "int", "partner_id": "uuid", "technician": "bytes", "arrival_from": "int",
        "arrival_until": "int", "completed_at": "int", "outcome": "text", "version": "int", "next_at": "int",
    },
    key=("id",),
    indexes=(("tenant", "next_at", "id"), ("tenant", "state", "next_at", "id"), ("case_id", "next_at", "id")),
    sealed=("technician",),
    stream="id",
)  # fmt: skip
# Whom the last round was offered to, in the order of the offer; `declined` is the version of the answer, 0 without one.
ASKED = Table(
    "work_order_partner",
    {"work_order_id": "uuid", "place": "int", "partner_id": "uuid", "declined": "int"},
    key=("work_order_id", "place"),
    indexes=(("partner_id", "work_order_id"),),
)
TABLES = (WORK_ORDERS, ASKED)
READS = (
    e.WorkOrderOffered, e.WorkOrderReoffered, e.WorkOrderAccepted, e.WorkOrderDeclined, e.TechnicianArrived,
    e.WorkOrderCompleted, e.WorkOrderCancelled, e.OfferExpired,
)  # fmt: skip


def apply(session: Session, event: LogEvent) -> None:
    """One event's rows. Every event of a work order moves its row's version; the expiry of its offer is not its own."""
    body, order_id = event.body, uuid_of(event.record.stream)
    changes: Mapping[str, object]
    match body:
        case e.WorkOrderOffered():
            _insert(session, order_id, event, body)
            return
        case e.OfferExpired():
            _expire(session, body)
            return
        case e.WorkOrderReoffered():
            _ask(session, order_id, body.partner_ids)
            changes = {"state": OFFERED, "round": body.round, **_round(event, body)}
        case e.WorkOrderAccepted():
            changes = _accepted(body)
        case e.WorkOrderDeclined():
            changes = _decline(session, order_id, event, body)
        case e.TechnicianArrived():
            changes = {"state": ARRIVED}
        case e.WorkOrderCompleted():
            done = {"outcome": body.outcome, "completed_at": event.occurred_at}
            changes = {"state": COMPLETED, "next_at": NEVER, **done}
        case e.WorkOrderCancelled():
            changes = {"state": CANCELLED, "next_at": NEVER}
        case _:
            raise TypeError(f"{event.record.type} is no event of a work order")
    _update(session, order_id, {"version": event.record.version, **changes})


def _insert(session: Session, order_id: UUID, event: LogEvent, body: e.WorkOrderOffered) -> None:
    row = {
        "id": order_id, "tenant": event.record.tenant, "case_id": uuid_of(body.case_id),
        "customer_id": uuid_of(body.customer_id), "product": body.product, "skill": body.skill, "region": body.region,
        "state": OFFERED, "round": 1, **_round(event, body), "technician": b"", "outcome": "", "version": 1,
    }  # fmt: skip
    sql = f"INSERT INTO work_order ({', '.join(row)}) VALUES ({marks(len(row))})"
    session.execute(sql, tuple(row.values()))
    _ask(session, order_id, body.partner_ids)


def _round(event: LogEvent, body: e.WorkOrderOffered | e.WorkOrderReoffered) -> Mapping[str, object]:
    since, until = _moments(body.window)
    expires_at = micros_of(body.expires_at)
    at = {"offered_at": event.occurred_at, "expires_at": expires_at, "next_at": expires_at}
    return {"window_from": since, "window_until": until, **at}


def _ask(session: Session, order_id: UUID, partner_ids: Sequence[str]) -> None:
    session.execute("DELETE FROM work_order_partner WHERE work_order_id = ?", (order_id,))
    rows = [(order_id, place, uuid_of(partner_id), 0) for place, partner_id in enumerate(partner_ids)]
    session.executemany("INSERT INTO work_order_partner VALUES (?, ?, ?, ?)", rows)


def _accepted(body: e.WorkOrderAccepted) -> Mapping[str, object]:
    since, until = _moments(body.arrival)
    who = {"partner_id": uuid_of(body.partner_id), "technician": body.technician.SerializeToString()}
    return {"state": ACCEPTED, "arrival_from": since, "arrival_until": until, "next_at": since, **who}


def _decline(session: Session, order_id: UUID, event: LogEvent, body: e.WorkOrderDeclined) -> Mapping[str, object]:
    session.execute(
        "UPDATE work_order_partner SET declined = ? WHERE work_order_id = ? AND partner_id = ?",
        (event.record.version, order_id, uuid_of(body.partner_id)),
    )
    left = session.execute("SELECT 1 FROM work_order_partner WHERE work_order_id = ? AND declined = 0", (order_id,))
    if left.fetchone() is not None:
        return {}
    return {"state": DECLINED, "next_at": _window_from(session, order_id)}


def _expire(session: Session, body: e.OfferExpired) -> None:
    """Unless somebody had answered before, and that was read before."""
    session.execute(
        "UPDATE work_order SET state = ?, next_at = window_from WHERE id = ? AND round = ? AND state = ?",
        (EXPIRED, uuid_of(body.work_order_id), body.round, OFFERED),
    )


def _window_from(session: Session, order_id: UUID) -> int:
    row = session.execute("SELECT window_from FROM work_order WHERE id = ?", (order_id,)).fetchone()
    assert row is not None, "declined only after it was offered"
    return int(row[0])


def _update(session: Session, order_id: UUID, changes: Mapping[str, object]) -> None:
    assignments = ", ".join(f"{name} = ?" for name in changes)
    session.execute(f"UPDATE work_order SET {assignments} WHERE id = ?", (*changes.values(), order_id))


def _moments(window: e.VisitWindow) -> tuple[int, int]:
    return micros_of(getattr(window, "from")), micros_of(window.until)  # a word of the language


# Queries


def page(
    session: Session, tenant: str, request: m.ListWorkOrdersRequest
) -> tuple[list[tuple[m.WorkOrder, bytes]], str]:
    """One page, each with its sealed technician, and the token of the next; empty on the last. Raises
    invalid-argument."""
    size = page_size(request.page_size)
    where = ["tenant = ?"]
    wanted: list[object] = [tenant]
    states = sorted(set(request.states))
    if states:
        where.append(f"state IN ({marks(len(states))})")
        wanted.extend(states)
    if request.case_id:
        where.append("case_id = ?")
        wanted.append(check_uuid("case_id", request.case_id))
    if request.partner_id:
        where.append("id IN (SELECT work_order_id FROM work_order_partner WHERE partner_id = ?)")
        wanted.append(check_uuid("partner_id", request.partner_id))
    last = read_token(request.page_token, int, str)
    if last is not None:
        where.append("(next_at, id) > (?, ?)")
        wanted.extend((last[0], check_uuid("page_token", str(last[1]))))
    sql = f"SELECT * FROM work_order WHERE {' AND '.join(where)} ORDER BY next_at, id LIMIT ?"
    found = session.execute(sql, (*wanted, size + 1)).fetchall()
    more, rows = len(found) > size, [dict(zip(WORK_ORDERS.columns, row, strict=True)) for row in found[:size]]
    asked = _asked(session, [as_uuid(row["id"]) for row in rows])
    token = make_token(rows[-1]["next_at"], str(as_uuid(rows[-1]["id"]))) if more else ""
    return [(_work_order(row, asked), bytes(row["technician"])) for row in rows], token


def counts(session: Session, partner_ids: Iterable[UUID]) -> Mapping[UUID, tuple[int, int]]:
    """For each of these partners: work orders offered and not answered yet; accepted and not completed yet."""
    ids = list(partner_ids)
    if not ids:
        return {}
    rows = session.execute(
        f"""SELECT a.partner_id, w.state, count(*) FROM work_order_partner a JOIN work_order w ON w.id = a.work_order_id
            WHERE a.partner_id IN ({marks(len(ids))}) AND (w.state = ? AND a.declined = 0
            OR w.state IN (?, ?) AND w.partner_id = a.partner_id) GROUP BY a.partner_id, w.state""",
        (*ids, OFFERED, ACCEPTED, ARRIVED),
    )
    found = dict.fromkeys(ids, (0, 0))
    for partner_id, state, number in rows.fetchall():
        offered, accepted = found[as_uuid(partner_id)]
        waits = state == OFFERED
        found[as_uuid(partner_id)] = (offered + number, accepted) if waits else (offered, accepted + number)
    return found


def _asked(session: Session, order_ids: Sequence[UUID]) -> Mapping[UUID, list[tuple[str, int]]]:
    """For each work order, the partners of its last round, with the version of their declining."""
    asked: dict[UUID, list[tuple[str, int]]] = {order_id: [] for order_id in order_ids}
    if order_ids:
        rows = session.execute(
            f"""SELECT work_order_id, partner_id, declined FROM work_order_partner
                WHERE work_order_id IN ({marks(len(order_ids))}) ORDER BY place""",
            order_ids,
        )
        for order_id, partner_id, declined in rows.fetchall():
            asked[as_uuid(order_id)].append((str(as_uuid(partner_id)), declined))
    return asked


def _work_order(of: Mapping[str, Any], asked: Mapping[UUID, list[tuple[str, int]]]) -> m.WorkOrder:
    partners = asked[as_uuid(of["id"])]
    declined = sorted((version, partner_id) for partner_id, version in partners if version)
    plain = {name: of[name] for name in ("product", "skill", "region", "state", "round", "outcome", "version")}
    return m.WorkOrder(
        work_order_id=str(as_uuid(of["id"])),
        case_id=str(as_uuid(of["case_id"])),
        customer_id=str(as_uuid(of["customer_id"])),
        partner_ids=[partner_id for partner_id, _ in partners],
        declined_by=[partner_id for _, partner_id in declined],
        window=_window(of["window_from"], of["window_until"]),
        partner_id="" if of["partner_id"] is None else str(as_uuid(of["partner_id"])),
        arrival=_window(of["arrival_from"], of["arrival_until"]),
        expires_at=_timestamp(of["expires_at"]),
        offered_at=_timestamp(of["offered_at"]),
        completed_at=_timestamp(of["completed_at"]),
        **plain,
    )


def _window(since: int | None, until: int | None) -> e.VisitWindow | None:
    if since is None:
        return None
    return e.VisitWindow(**{"from": _timestamp(since), "until": _timestamp(until)})


def _timestamp(at: int | None) -> Timestamp | None:
    return None if at is None else timestamp_of(at)
