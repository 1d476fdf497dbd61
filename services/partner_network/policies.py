"""From offers to their expiry: an offer that nobody took in time has expired at that very moment."""

from collections.abc import Sequence
from uuid import UUID

from kept.cell.v1.events_pb2 import TimeAdvanced
from kept.partner_network.v1 import events_pb2 as e

from services.kernel.clock import micros_of
from services.kernel.database import Row, Session, as_uuid, marks, uuid_of
from services.kernel.events import LogEvent, Stamp, full_name
from services.kernel.policy import Policy, Work
from services.kernel.tables import Table
from services.partner_network.domain import Offer, offer_id

DUE_AT_ONCE = 200

# The round that is open now; `waiting` counts the partners that have not declined.
OPEN_OFFERS = Table(
    "partner_network_offer",
    {
        "work_order_id": "uuid", "round": "int", "tenant": "text", "customer_id": "text", "correlation_id": "text",
        "cause_id": "text", "waiting": "int", "expires_at": "int",
    },
    key=("work_order_id",),
    indexes=(("expires_at", "work_order_id"),),
)  # fmt: skip


class OfferPolicy(Policy):
    """Says that an offer has expired, where nobody accepted, not all declined and nobody cancelled by then."""

    name = "partner_network"
    version = "1"
    reads = frozenset(
        full_name(event)
        for event in (
            TimeAdvanced, e.WorkOrderOffered, e.WorkOrderReoffered, e.WorkOrderAccepted, e.WorkOrderDeclined,
            e.WorkOrderCancelled,
        )
    )  # fmt: skip
    tables = (OPEN_OFFERS,)

    def decide(self, work: Work, event: LogEvent) -> None:
        body = event.body
        if isinstance(body, TimeAdvanced):
            self.due(work, micros_of(body.now))
            return
        order_id = uuid_of(event.record.stream)
        self._catch_up(work, order_id, event.occurred_at)
        match body:
            case e.WorkOrderOffered():
                _open(work.session, event, 1, body)
            case e.WorkOrderReoffered():
                _open(work.session, event, body.round, body)
            case e.WorkOrderDeclined():
                _decline(work.session, order_id)
            case e.WorkOrderAccepted() | e.WorkOrderCancelled():
                _close(work.session, order_id)

    def due(self, work: Work, now: int) -> None:
        while rows := _due(work.session, now):
            for row in rows:
                self._fire(work, row)

    def next_due(self, session: Session) -> int | None:
        row = session.execute("SELECT min(expires_at) FROM partner_network_offer").fetchone()
        return None if row is None or row[0] is None else int(row[0])

    def _catch_up(self, work: Work, order_id: UUID, at: int) -> None:
        """What expired before the event was true, or in the same moment, comes before it: an answer was too late then."""
        row = work.session.execute(
            "SELECT * FROM partner_network_offer WHERE work_order_id = ? AND expires_at <= ?", (order_id, at)
        ).fetchone()
        if row is not None:
            self._fire(work, row)

    def _fire(self, work: Work, row: Row) -> None:
        order_id, number, tenant, customer_id, correlation_id, cause_id, _, expires_at = row
        order_id = as_uuid(order_id)
        _close(work.session, order_id)
        stamp = Stamp(tenant, self.actor, expires_at, correlation_id, causation_id=cause_id)
        expired = e.OfferExpired(work_order_id=str(order_id), round=number)
        work.decide(
            Offer, offer_id(order_id, number), stamp, lambda offer: offer.expire(expired, customer_id=customer_id)
        )


def _open(session: Session, event: LogEvent, number: int, offered: e.WorkOrderOffered | e.WorkOrderReoffered) -> None:
    record = event.record
    facts = (record.tenant, record.customer_id, record.correlation_id, record.id)
    row = (uuid_of(record.stream), number, *facts, len(offered.partner_ids), micros_of(offered.expires_at))
    session.execute(f"INSERT INTO partner_network_offer VALUES ({marks(len(row))})", row)  # noqa: S608 - our own names


def _decline(session: Session, order_id: UUID) -> None:
    """Where all have declined, nothing is open any more. News of it after the expiry changes nothing."""
    session.execute("UPDATE partner_network_offer SET waiting = waiting - 1 WHERE work_order_id = ?", (order_id,))
    session.execute("DELETE FROM partner_network_offer WHERE work_order_id = ? AND waiting = 0", (order_id,))


def _close(session: Session, order_id: UUID) -> None:
    session.execute("DELETE FROM partner_network_offer WHERE work_order_id = ?", (order_id,))


def _due(session: Session, before: int) -> Sequence[Row]:
    return session.execute(
        "SELECT * FROM partner_network_offer WHERE expires_at < ? ORDER BY expires_at, work_order_id LIMIT ?",
        (before, DUE_AT_ONCE),
    ).fetchall()
