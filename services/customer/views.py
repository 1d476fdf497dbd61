"""A customer at a glance: party, stage, consents, items; and the timeline of everything that happened to them."""

from dataclasses import dataclass
from uuid import UUID

from kept.common.v1.money_pb2 import Money
from kept.customer.v1 import events_pb2 as e
from kept.customer.v1 import service_pb2 as m

from services.kernel import timelines
from services.kernel.clock import micros_of, timestamp_of
from services.kernel.database import Row, Session, as_uuid, marks, uuid_of
from services.kernel.events import EveryType, LogEvent
from services.kernel.paging import MOST, make_token, page_size, read_token
from services.kernel.tables import Table
from services.kernel.validation import check_uuid
from services.kernel.views import ViewSet

NO_WARRANTY = 0

PARTIES = Table(
    "party_row",
    {
        "id": "uuid", "tenant": "text", "kind": "int", "name": "bytes", "email": "bytes", "language": "text",
        "time_zone": "text", "region": "text", "channels": "text",
    },
    key=("id",),
    sealed=("name", "email"),
    stream="id",
)  # fmt: skip
PHONES = Table(
    "party_phone",
    {"party_id": "uuid", "place": "int", "phone": "bytes"},
    key=("party_id", "place"),
    sealed=("phone",),
    stream="party_id",
)
CUSTOMERS = Table(
    "customer_row",
    {"id": "uuid", "tenant": "text", "party_id": "uuid", "stage": "int"},
    key=("id",),
    indexes=(("tenant", "id"),),
)
CONSENTS = Table("customer_consent", {"customer_id": "uuid", "purpose": "int"}, key=("customer_id", "purpose"))
ITEMS = Table(
    "item_row",
    {
        "id": "uuid", "customer_id": "uuid", "product": "text", "serial": "text", "site": "bytes", "region": "text",
        "product_stage": "int", "installed_at": "int", "warranty_until": "int",
    },
    key=("id",),
    indexes=(("customer_id", "installed_at", "id"),),
    sealed=("site",),
    stream="id",
)  # fmt: skip
# `clock_ids` with a blank between.
DEALS = Table(
    "customer_deal",
    {
        "id": "uuid", "customer_id": "uuid", "subject": "text", "currency": "text", "minor_units": "int",
        "reason": "int", "clock_ids": "text", "lost_at": "int",
    },
    key=("id",),
    indexes=(("customer_id", "lost_at", "id"),),
)  # fmt: skip
# The subject is the customer, or the party for what concerns every customer that it is.
TIMELINE = timelines.timeline_table("customer_event")
OF_PARTIES = (e.PartyRegistered, e.ContactChanged, e.PreferencesChanged)


def apply(session: Session, event: LogEvent) -> None:
    """One event's rows: its place on a timeline, and what it changes of a customer."""
    record, body = event.record, event.body
    subject = record.customer_id or (record.stream if isinstance(body, OF_PARTIES) else "")
    if not subject:
        return
    place = (uuid_of(subject), event.occurred_at, event.position)
    session.execute("INSERT INTO customer_event VALUES (?, ?, ?)", place)
    if record.type.startswith("kept.customer."):
        _change(session, uuid_of(record.stream), event)


VIEWS = ViewSet(
    "customer",
    version=2,
    tables=(PARTIES, PHONES, CUSTOMERS, CONSENTS, ITEMS, DEALS, TIMELINE),
    reads=EveryType(but="kept.cell."),
    apply=apply,
)


def _change(session: Session, stream: UUID, event: LogEvent) -> None:
    tenant, body = event.record.tenant, event.body
    match body:
        case e.PartyRegistered():
            session.execute("INSERT INTO party_row (id, tenant, kind) VALUES (?, ?, ?)", (stream, tenant, body.kind))
            _set_contact(session, stream, body.contact)
            _set_preferences(session, stream, body.preferences)
        case e.ContactChanged():
            session.execute("DELETE FROM party_phone WHERE party_id = ?", (stream,))
            _set_contact(session, stream, body.contact)
        case e.PreferencesChanged():
            _set_preferences(session, stream, body.preferences)
        case e.CustomerRegistered():
            row = (stream, tenant, uuid_of(body.party_id), body.stage)
            session.execute("INSERT INTO customer_row VALUES (?, ?, ?, ?)", row)
        case e.CustomerStageEntered():
            session.execute("UPDATE customer_row SET stage = ? WHERE id = ?", (body.stage, stream))
        case e.ConsentGiven():
            session.execute("INSERT INTO customer_consent VALUES (?, ?)", (stream, body.purpose))
        case e.ConsentWithdrawn():
            sql = "DELETE FROM customer_consent WHERE customer_id = ? AND purpose = ?"
            session.execute(sql, (stream, body.purpose))
        case e.ItemInstalled():
            _insert_item(session, stream, event.occurred_at, body)
        case e.ItemStageEntered():
            session.execute("UPDATE item_row SET product_stage = ? WHERE id = ?", (body.product_stage, stream))
        case e.ItemRemoved():
            session.execute("DELETE FROM item_row WHERE id = ?", (stream,))
        case e.DealLost():
            _insert_deal(session, stream, event.occurred_at, body)


def _set_contact(session: Session, party_id: UUID, contact: e.Contact) -> None:
    changes = (contact.name.SerializeToString(), contact.email.SerializeToString(), party_id)
    session.execute("UPDATE party_row SET name = ?, email = ? WHERE id = ?", changes)
    for place, phone in enumerate(contact.phones):
        session.execute("INSERT INTO party_phone VALUES (?, ?, ?)", (party_id, place, phone.SerializeToString()))


def _set_preferences(session: Session, party_id: UUID, preferences: e.Preferences) -> None:
    channels = ",".join(map(str, preferences.channels))
    changes = (preferences.language, preferences.time_zone, preferences.region, channels, party_id)
    session.execute("UPDATE party_row SET language = ?, time_zone = ?, region = ?, channels = ? WHERE id = ?", changes)


def _insert_item(session: Session, item_id: UUID, installed_at: int, body: e.ItemInstalled) -> None:
    warranty_until = micros_of(body.warranty_until) if body.HasField("warranty_until") else NO_WARRANTY
    row = (
        item_id, uuid_of(body.customer_id), body.product, body.serial, body.site.SerializeToString(), body.region,
        body.product_stage, installed_at, warranty_until,
    )  # fmt: skip
    session.execute(f"INSERT INTO item_row VALUES ({marks(len(row))})", row)


def _insert_deal(session: Session, deal_id: UUID, lost_at: int, body: e.DealLost) -> None:
    row = (
        deal_id, uuid_of(body.customer_id), body.subject, body.sum.currency, body.sum.minor_units, body.reason,
        " ".join(body.clock_ids), lost_at,
    )  # fmt: skip
    session.execute(f"INSERT INTO customer_deal VALUES ({marks(len(row))})", row)


# Queries


@dataclass(frozen=True, slots=True)
class Found:
    """A customer, and the party whose contact is still sealed: name, e-mail, phones in order."""

    customer: m.GetCustomerResponse
    party_id: UUID
    name: bytes
    email: bytes
    phones: list[bytes]


def find(session: Session, tenant: str, customer_id: UUID) -> Found | None:
    """With consents, without items."""
    row = session.execute(
        """SELECT c.party_id, p.kind, c.stage, p.language, p.time_zone, p.region, p.channels, p.name, p.email
           FROM customer_row c JOIN party_row p ON p.id = c.party_id WHERE c.id = ? AND c.tenant = ?""",
        (customer_id, tenant),
    ).fetchone()
    if row is None:
        return None
    party_id = as_uuid(row[0])
    kind, stage, language, time_zone, region, channels, name, email = row[1:]
    preferences = e.Preferences(language=language, time_zone=time_zone, region=region)
    preferences.channels.extend(map(e.Channel.ValueType, map(int, filter(None, channels.split(",")))))
    purposes = session.execute(
        "SELECT purpose FROM customer_consent WHERE customer_id = ? ORDER BY purpose", (customer_id,)
    )
    customer = m.GetCustomerResponse(
        customer_id=str(customer_id),
        party_id=str(party_id),
        kind=kind,
        stage=stage,
        preferences=preferences,
        consents=[purpose for (purpose,) in purposes],
    )
    phones = session.execute("SELECT phone FROM party_phone WHERE party_id = ? ORDER BY place", (party_id,))
    return Found(customer, party_id, bytes(name), bytes(email), [bytes(phone) for (phone,) in phones])


def items(session: Session, customer_id: UUID) -> list[tuple[m.Item, bytes]]:
    """What the customer has, longest first, each with its sealed site."""
    rows = session.execute(
        """SELECT id, product, serial, region, product_stage, installed_at, warranty_until, site
           FROM item_row WHERE customer_id = ? ORDER BY installed_at, id""",
        (customer_id,),
    )
    return [(_item(row), bytes(row[-1])) for row in rows]


def party_of(session: Session, tenant: str, customer_id: UUID) -> UUID | None:
    """None when there is no such customer."""
    sql = "SELECT party_id FROM customer_row WHERE id = ? AND tenant = ?"
    row = session.execute(sql, (customer_id, tenant)).fetchone()
    return None if row is None else as_uuid(row[0])


def timeline(session: Session, subjects: tuple[UUID, UUID], request: m.GetTimelineRequest) -> tuple[list[int], str]:
    """Positions of one page, newest first, and the token of the next; empty on the last. Raises invalid-argument."""
    return timelines.page(session, TIMELINE, subjects, request)


def deals(session: Session, customer_id: UUID) -> list[m.LostDeal]:
    """What was lost, newest first, at most as many as a page holds."""
    rows = session.execute(
        """SELECT id, subject, currency, minor_units, reason, clock_ids, lost_at
           FROM customer_deal WHERE customer_id = ? ORDER BY lost_at DESC, id DESC LIMIT ?""",
        (customer_id, MOST),
    )
    return [
        m.LostDeal(
            deal_id=str(as_uuid(deal_id)),
            subject=subject,
            sum=Money(currency=currency, minor_units=minor_units),
            reason=reason,
            clock_ids=clock_ids.split(),
            lost_at=timestamp_of(lost_at),
        )
        for deal_id, subject, currency, minor_units, reason, clock_ids, lost_at in rows
    ]


@dataclass(frozen=True, slots=True)
class Listed:
    """A customer of a list, and the party whose name is still sealed."""

    customer: m.CustomerSummary
    party_id: UUID
    name: bytes


def page(session: Session, tenant: str, request: m.ListCustomersRequest) -> tuple[list[Listed], str]:
    """One page in the order of ids, and the token of the next; empty on the last. Raises invalid-argument."""
    size = page_size(request.page_size)
    where, wanted = ["c.tenant = ?"], list[object]((tenant,))
    if request.customer_ids:
        where.append(f"c.id IN ({marks(len(request.customer_ids))})")
        wanted.extend(map(UUID, request.customer_ids))
    last = read_token(request.page_token, str)
    if last is not None:
        where.append("c.id > ?")
        wanted.append(check_uuid("page_token", str(last[0])))
    rows = session.execute(
        f"""SELECT c.id, c.stage, p.region, p.language, c.party_id, p.name
            FROM customer_row c JOIN party_row p ON p.id = c.party_id WHERE {" AND ".join(where)} ORDER BY c.id LIMIT ?""",
        (*wanted, size + 1),
    ).fetchall()
    token = make_token(str(as_uuid(rows[size - 1][0]))) if len(rows) > size else ""
    return [_listed(row) for row in rows[:size]], token


def _listed(row: Row) -> Listed:
    customer_id, stage, region, language, party_id, name = row
    customer = m.CustomerSummary(customer_id=str(as_uuid(customer_id)), stage=stage, region=region, language=language)
    return Listed(customer, as_uuid(party_id), bytes(name))


def _item(row: Row) -> m.Item:
    item_id, product, serial, region, product_stage, installed_at, warranty_until, _ = row
    item = m.Item(
        item_id=str(as_uuid(item_id)),
        product=product,
        serial=serial,
        region=region,
        product_stage=product_stage,
        installed_at=timestamp_of(installed_at),
    )
    if warranty_until != NO_WARRANTY:
        item.warranty_until.CopyFrom(timestamp_of(warranty_until))
    return item
