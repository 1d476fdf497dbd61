"""Partners, what they have taken on, and where they come from; beside them the work orders."""

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from uuid import UUID

from kept.partner_network.v1 import events_pb2 as e
from kept.partner_network.v1 import service_pb2 as m

from services.kernel.clock import micros_of, timestamp_of
from services.kernel.database import Row, Session, as_uuid, marks, uuid_of
from services.kernel.events import LogEvent, full_name
from services.kernel.paging import make_token, page_size, read_token
from services.kernel.tables import Table
from services.kernel.validation import check_uuid
from services.kernel.views import ViewSet
from services.partner_network import work_orders
from services.partner_network.help import Candidate

# `sort_name` is the name's UTF-8: it sorts the same on both databases, whatever their collation.
PARTNERS = Table(
    "partner",
    {"id": "uuid", "tenant": "text", "name": "text", "sort_name": "bytes", "state": "int"},
    key=("id",),
    indexes=(("tenant", "sort_name", "id"),),
)
# As valid as it is: one that was ended is valid until that moment.
AGREEMENTS = Table(
    "partner_agreement",
    {"partner_id": "uuid", "number": "text", "tenant": "text", "version": "int", "agreement": "bytes"},
    key=("partner_id", "number"),
    indexes=(("tenant",),),
)
# Open ones only.
SERVICE_POINTS = Table(
    "service_point",
    {"id": "uuid", "tenant": "text", "partner_id": "uuid", "name": "text", "place": "bytes"},
    key=("id",),
    indexes=(("tenant",), ("partner_id",)),
)
READS = (
    e.PartnerRegistered, e.PartnerAdmitted, e.PartnerPutOnProbation, e.PartnerSuspended, e.AgreementSigned,
    e.AgreementEnded, e.ServicePointOpened, e.ServicePointClosed,
)  # fmt: skip


def apply(session: Session, event: LogEvent) -> None:
    stream, tenant, body = uuid_of(event.record.stream), event.record.tenant, event.body
    match body:
        case e.PartnerRegistered():
            row = (stream, tenant, body.name, body.name.encode(), e.ADMISSION_STATE_UNSPECIFIED)
            session.execute(f"INSERT INTO partner VALUES ({marks(5)})", row)
        case e.PartnerAdmitted():
            _enter(session, stream, e.ADMISSION_STATE_ADMITTED)
        case e.PartnerPutOnProbation():
            _enter(session, stream, e.ADMISSION_STATE_PROBATION)
        case e.PartnerSuspended():
            _enter(session, stream, e.ADMISSION_STATE_SUSPENDED)
        case e.AgreementSigned():
            packed = body.agreement.SerializeToString(deterministic=True)
            signed = (stream, body.number, tenant, event.record.version, packed)
            session.execute(f"INSERT INTO partner_agreement VALUES ({marks(5)})", signed)
        case e.AgreementEnded():
            _end(session, stream, body.number, event.occurred_at)
        case e.ServicePointOpened():
            packed = body.place.SerializeToString(deterministic=True)
            point = (stream, tenant, uuid_of(body.partner_id), body.name, packed)
            session.execute(f"INSERT INTO service_point VALUES ({marks(5)})", point)
        case e.ServicePointClosed():
            session.execute("DELETE FROM service_point WHERE id = ?", (stream,))
        case _:
            work_orders.apply(session, event)


VIEWS = ViewSet(
    "partner_network",
    version=1,
    tables=(PARTNERS, AGREEMENTS, SERVICE_POINTS, *work_orders.TABLES),
    reads=frozenset(full_name(event) for event in (*READS, *work_orders.READS)),
    apply=apply,
)


def _enter(session: Session, partner_id: UUID, state: e.AdmissionState.ValueType) -> None:
    session.execute("UPDATE partner SET state = ? WHERE id = ?", (state, partner_id))


def _end(session: Session, partner_id: UUID, number: str, at: int) -> None:
    key = (partner_id, number)
    row = session.execute("SELECT agreement FROM partner_agreement WHERE partner_id = ? AND number = ?", key).fetchone()
    assert row is not None, "only what was signed is ended"
    agreement = e.Agreement.FromString(bytes(row[0]))
    if not agreement.HasField("valid_until") or at < micros_of(agreement.valid_until):
        agreement.valid_until.CopyFrom(timestamp_of(at))
    packed = agreement.SerializeToString(deterministic=True)
    session.execute("UPDATE partner_agreement SET agreement = ? WHERE partner_id = ? AND number = ?", (packed, *key))


# Queries


def find(session: Session, tenant: str, partner_id: UUID) -> m.GetPartnerResponse | None:
    """The partner with its agreements, as they were signed one after the other, and its open service points by name."""
    where, wanted = "tenant = ? AND partner_id = ?", (tenant, partner_id)
    partners = session.execute("SELECT * FROM partner WHERE tenant = ? AND id = ?", wanted).fetchall()
    if not partners:
        return None
    agreements = session.execute(f"SELECT * FROM partner_agreement WHERE {where} ORDER BY version", wanted).fetchall()
    points = session.execute(f"SELECT * FROM service_point WHERE {where} ORDER BY id", wanted).fetchall()
    return m.GetPartnerResponse(
        partner=_summaries(session, partners)[0],
        agreements=[
            m.SignedAgreement(number=number, agreement=_agreement(bytes(row))) for _, number, *_, row in agreements
        ],
        service_points=sorted(map(_service_point, points), key=lambda point: point.name),
    )


def page(session: Session, tenant: str, request: m.ListPartnersRequest) -> tuple[list[m.PartnerSummary], str]:
    """One page by name, and the token of the next; empty on the last. Raises invalid-argument."""
    size = page_size(request.page_size)
    where = "tenant = ?"
    wanted: list[object] = [tenant]
    last = read_token(request.page_token, str, str)
    if last is not None:
        where += " AND (sort_name, id) > (?, ?)"
        wanted.extend((str(last[0]).encode(), check_uuid("page_token", str(last[1]))))
    sql = f"SELECT * FROM partner WHERE {where} ORDER BY sort_name, id LIMIT ?"
    rows = session.execute(sql, (*wanted, size + 1)).fetchall()
    summaries = _summaries(session, rows[:size])
    token = make_token(summaries[-1].name, summaries[-1].partner_id) if len(rows) > size else ""
    return summaries, token


def candidates(session: Session, tenant: str) -> Sequence[Candidate]:
    """Every partner of the company as it is now; without its work orders, which do not matter for that."""
    signed: dict[UUID, list[e.AgreementSigned]] = defaultdict(list)
    points: dict[UUID, list[m.ServicePoint]] = defaultdict(list)
    for row in session.execute("SELECT * FROM partner_agreement WHERE tenant = ?", (tenant,)).fetchall():
        signed[as_uuid(row[0])].append(e.AgreementSigned(number=row[1], agreement=_agreement(bytes(row[-1]))))
    for row in session.execute("SELECT * FROM service_point WHERE tenant = ?", (tenant,)).fetchall():
        points[as_uuid(row[2])].append(_service_point(row))
    partners = session.execute("SELECT * FROM partner WHERE tenant = ?", (tenant,)).fetchall()
    return [Candidate(_summary(row), signed[as_uuid(row[0])], points[as_uuid(row[0])]) for row in partners]


def _summaries(session: Session, rows: Sequence[Row]) -> list[m.PartnerSummary]:
    counts = work_orders.counts(session, [as_uuid(row[0]) for row in rows])
    made = []
    for row in rows:
        summary = _summary(row)
        summary.offered, summary.accepted = counts[as_uuid(row[0])]
        made.append(summary)
    return made


def _summary(row: Row) -> m.PartnerSummary:
    partner_id, _, name, _, state = row
    return m.PartnerSummary(partner_id=str(as_uuid(partner_id)), name=name, state=state)


def _service_point(row: Row) -> m.ServicePoint:
    point_id, _, partner_id, name, place = row
    return m.ServicePoint(
        service_point_id=str(as_uuid(point_id)),
        partner_id=str(as_uuid(partner_id)),
        name=name,
        place=e.Place.FromString(bytes(place)),
    )


@lru_cache(maxsize=4096)
def _agreement(packed: bytes) -> e.Agreement:
    """Parsed once for all questions; not to be changed."""
    return e.Agreement.FromString(packed)
