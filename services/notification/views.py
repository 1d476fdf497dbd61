"""Notices as people look for them: of a customer, a case or a problem, the newest first, with their sealed texts."""

from typing import Any
from uuid import UUID

from kept.customer.v1.events_pb2 import Channel
from kept.notification.v1 import events_pb2 as e
from kept.notification.v1 import service_pb2 as m

from services.kernel.clock import micros_of, timestamp_of
from services.kernel.database import Session, as_uuid, marks, uuid_of
from services.kernel.events import LogEvent, full_name
from services.kernel.paging import make_token, page_size, read_token
from services.kernel.privacy import Sealer, opened
from services.kernel.tables import Table
from services.kernel.validation import check_uuid
from services.kernel.views import ViewSet
from services.notification.domain import delivery_id

CARD = tuple(field.name for field in e.Card.DESCRIPTOR.fields)
# Column -> the field that it was sealed for.
SEALED = {"title": "title", "body": "body", **{f"card_{name}": f"card.{name}" for name in CARD}}

NOTICES = Table(
    "notice_row",
    {
        "id": "uuid", "delivery_id": "uuid", "tenant": "text", "customer_id": "uuid", "occasion": "int", "state": "int",
        "case_id": "text", "problem_id": "text", "work_order_id": "text", "item_id": "text", "rule_set": "text",
        "rule_set_version": "int", "language": "text", "planned_at": "int", "not_before": "int", "next_touch_at": "int",
        "ended_at": "int", "channel": "int", "reason": "text", "personal": "text", **dict.fromkeys(SEALED, "bytes"),
    },
    key=("id",),
    indexes=(
        ("tenant", "planned_at", "id"),
        ("customer_id", "planned_at", "id"),
        ("case_id", "planned_at", "id"),
        ("problem_id", "planned_at", "id"),
        ("tenant", "occasion", "state"),
    ),
    sealed=tuple(SEALED),
    stream="delivery_id",
)  # fmt: skip
ABOUT = ("case_id", "problem_id", "work_order_id", "item_id")


def apply(session: Session, event: LogEvent) -> None:
    body, at = event.body, event.occurred_at
    match body:
        case e.NoticePlanned():
            _insert(session, event, body)
        case e.NoticeCancelled():
            # One that went out already stays what it is.
            session.execute(
                "UPDATE notice_row SET state = ?, ended_at = ?, reason = ? WHERE id = ? AND state = ?",
                (m.NOTICE_STATE_CANCELLED, at, body.reason, uuid_of(event.record.stream), m.NOTICE_STATE_INITIAL),
            )
        case e.NoticeSent():
            texts = {"title": body.title, "body": body.body}
            texts |= {f"card_{name}": getattr(body.card, name) for name in CARD}
            sealed = {name: text.SerializeToString() for name, text in texts.items()}
            _end(session, body.notice_id, m.NOTICE_STATE_COMPLETED, at, channel=body.channel, reason="", **sealed)
        case e.NoticeFailed():
            _end(session, body.notice_id, m.NOTICE_STATE_FAILED, at, reason=_told(body))


VIEWS = ViewSet(
    "notification",
    version=1,
    tables=(NOTICES,),
    reads=frozenset(full_name(event) for event in (e.NoticePlanned, e.NoticeCancelled, e.NoticeSent, e.NoticeFailed)),
    apply=apply,
)


def _insert(session: Session, event: LogEvent, planned: e.NoticePlanned) -> None:
    stream = uuid_of(event.record.stream)
    row: dict[str, object] = {
        "id": stream, "delivery_id": delivery_id(stream), "tenant": event.record.tenant,
        "customer_id": uuid_of(planned.customer_id), "occasion": planned.occasion, "state": m.NOTICE_STATE_INITIAL,
        **{name: getattr(planned.about, name) for name in ABOUT}, "rule_set": planned.rule_set,
        "rule_set_version": planned.rule_set_version, "language": planned.language, "planned_at": event.occurred_at,
        "not_before": micros_of(planned.not_before) if planned.HasField("not_before") else None,
        "next_touch_at": micros_of(planned.next_touch_at), "ended_at": None, "channel": 0, "reason": "",
        "personal": " ".join(planned.personal), **dict.fromkeys(SEALED, b""),
    }  # fmt: skip
    session.execute(
        f"INSERT INTO notice_row ({', '.join(row)}) VALUES ({marks(len(row))})",
        tuple(row.values()),
    )


def _end(session: Session, notice: str, state: m.NoticeState.ValueType, at: int, **changes: object) -> None:
    values: dict[str, object] = {"state": state, "ended_at": at, **changes}
    assignments = ", ".join(f"{name} = ?" for name in values)
    session.execute(f"UPDATE notice_row SET {assignments} WHERE id = ?", (*values.values(), uuid_of(notice)))


def _told(failed: e.NoticeFailed) -> str:
    """For example email: address-refused, sms: no-address."""
    names = [Channel.Name(one.channel).removeprefix("CHANNEL_").lower() for one in failed.attempts]
    return ", ".join(f"{name}: {one.reason}" for name, one in zip(names, failed.attempts, strict=True))


# Queries


def page(session: Session, tenant: str, request: m.ListNoticesRequest) -> tuple[list[dict[str, Any]], str]:
    """One page of rows, newest first, and the token of the next; empty on the last. Raises invalid-argument."""
    size = page_size(request.page_size)
    where, wanted = ["tenant = ?"], [tenant]
    if request.customer_id:
        where.append("customer_id = ?")
        wanted.append(UUID(request.customer_id))  # type: ignore[arg-type]  # what the column holds
    for column in ("case_id", "problem_id"):
        if value := getattr(request, column):
            where.append(f"{column} = ?")
            wanted.append(value)
    last = read_token(request.page_token, int, str)
    if last is not None:
        where.append("(planned_at, id) < (?, ?)")
        wanted.extend((last[0], check_uuid("page_token", str(last[1]))))  # type: ignore[arg-type]
    names = ", ".join(NOTICES.columns)
    sql = f"SELECT {names} FROM notice_row WHERE {' AND '.join(where)} ORDER BY planned_at DESC, id DESC LIMIT ?"
    found = session.execute(sql, (*wanted, size + 1)).fetchall()
    rows = [dict(zip(NOTICES.columns, row, strict=True)) for row in found]
    more = len(rows) > size
    token = make_token(rows[size - 1]["planned_at"], str(as_uuid(rows[size - 1]["id"]))) if more else ""
    return rows[:size], token


def count(session: Session, tenant: str) -> list[m.NoticeCount]:
    rows = session.execute(
        "SELECT occasion, state, count(*) FROM notice_row WHERE tenant = ? GROUP BY occasion, state ORDER BY 1, 2",
        (tenant,),
    )
    return [m.NoticeCount(occasion=occasion, state=state, notices=notices) for occasion, state, notices in rows]


def notice(row: dict[str, Any], sealer: Sealer) -> m.Notice:
    """With its opened texts."""
    shown = m.Notice(
        notice_id=str(as_uuid(row["id"])),
        customer_id=str(as_uuid(row["customer_id"])),
        about=e.About(**{name: row[name] for name in ABOUT}),
        planned_at=timestamp_of(row["planned_at"]),
        next_touch_at=timestamp_of(row["next_touch_at"]),
        personal=row["personal"].split(),
        **{
            name: row[name]
            for name in ("occasion", "state", "rule_set", "rule_set_version", "language", "channel", "reason")
        },
    )
    for moment in ("not_before", "ended_at"):
        if row[moment] is not None:
            getattr(shown, moment).CopyFrom(timestamp_of(row[moment]))
    stream, texts = as_uuid(row["delivery_id"]), {}
    for column, field in SEALED.items():
        texts[column], erased = opened(sealer, bytes(row[column]), stream, field)
        shown.erased = shown.erased or erased
    shown.title, shown.body = texts["title"], texts["body"]
    shown.card.CopyFrom(m.RenderedCard(**{name: texts[f"card_{name}"] for name in CARD}))
    return shown
