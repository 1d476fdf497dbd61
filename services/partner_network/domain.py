"""Partner companies, the places they come from, and the work orders offered to them.

Source: protos/kept/partner_network/v1/events.proto.
"""

from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID, uuid5

from google.protobuf.message import Message
from kept.partner_network.v1 import events_pb2 as e

from services.kernel.aggregate import Aggregate
from services.kernel.clock import micros_of
from services.kernel.errors import Invalid, NotFound, Refused
from services.partner_network.coverage import Need, barred, covering, overlap


class Partner(Aggregate):
    """A company that serves our customers for us: whether it may, and what it has taken on."""

    noun = "partner"
    born_by = (e.PartnerRegistered,)

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.name = ""
        self.state: e.AdmissionState.ValueType = e.ADMISSION_STATE_UNSPECIFIED
        self.agreements: dict[str, e.AgreementSigned] = {}
        self.ended: set[str] = set()

    def register(self, *, name: str) -> None:
        self.record(e.PartnerRegistered(name=name))

    def decide_admission(self, state: e.AdmissionState.ValueType, *, reason: str) -> None:
        if self.state == state:
            return
        match state:
            case e.ADMISSION_STATE_ADMITTED:
                self.record(e.PartnerAdmitted(reason=reason))
            case e.ADMISSION_STATE_PROBATION:
                self.record(e.PartnerPutOnProbation(reason=reason))
            case e.ADMISSION_STATE_SUSPENDED:
                self.record(e.PartnerSuspended(reason=reason))

    def sign(self, signed: e.AgreementSigned) -> None:
        """Raises agreement-exists, agreement-overlaps."""
        known = self.agreements.get(signed.number)
        if known == signed and signed.number not in self.ended:
            return
        if known is not None:
            message = f"number: {signed.number} is the number of another agreement of this partner; give a new one"
            raise Refused("agreement-exists", message, partner=self.id, number=signed.number)
        for other in self.valid_agreements():
            if overlap(signed.agreement, other.agreement):
                message = (
                    f"agreement {other.number} covers the same region, product and skill at the same time; end it first"
                )
                raise Refused("agreement-overlaps", message, partner=self.id, number=other.number)
        self.record(signed)

    def end_agreement(self, number: str, *, reason: str) -> None:
        """Raises agreement-not-found, agreement-ended."""
        if number not in self.agreements:
            message = f"number: this partner has no agreement {number}"
            raise NotFound("agreement-not-found", message, partner=self.id, number=number)
        if number in self.ended:
            message = f"agreement {number} has ended already"
            raise Refused("agreement-ended", message, partner=self.id, number=number)
        self.record(e.AgreementEnded(number=number, reason=reason))

    def require_eligible(self, need: Need) -> None:
        """Raises partner-not-eligible."""
        obstacle = barred(self.state) or covering(self.valid_agreements(), need)[1]
        if obstacle is not None:
            why = obstacle.name.lower().replace("_", "-")
            message = f"{self.name} ({self.id}) gets no offer: {obstacle}"
            raise Refused("partner-not-eligible", message, partner=self.id, why=why)

    def require_in_service(self) -> None:
        """Raises partner-not-eligible."""
        if (obstacle := barred(self.state)) is not None:
            why = obstacle.name.lower().replace("_", "-")
            raise Refused("partner-not-eligible", f"{self.name} ({self.id}): {obstacle}", partner=self.id, why=why)

    def valid_agreements(self) -> Sequence[e.AgreementSigned]:
        """Those that nobody has ended."""
        return [signed for number, signed in self.agreements.items() if number not in self.ended]

    def evolve(self, event: Message) -> None:
        match event:
            case e.PartnerRegistered():
                self.name = event.name
            case e.PartnerAdmitted():
                self.state = e.ADMISSION_STATE_ADMITTED
            case e.PartnerPutOnProbation():
                self.state = e.ADMISSION_STATE_PROBATION
            case e.PartnerSuspended():
                self.state = e.ADMISSION_STATE_SUSPENDED
            case e.AgreementSigned():
                self.agreements[event.number] = event
            case e.AgreementEnded():
                self.ended.add(event.number)


class ServicePoint(Aggregate):
    """A place from which a partner's people come."""

    noun = "service point"
    born_by = (e.ServicePointOpened,)

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.closed = False

    def open(self, opened: e.ServicePointOpened) -> None:
        self.record(opened)

    def close(self, *, reason: str) -> None:
        """Raises service-point-closed."""
        if self.closed:
            raise Refused("service-point-closed", "it is closed already", service_point=self.id)
        self.record(e.ServicePointClosed(reason=reason))

    def evolve(self, event: Message) -> None:
        if isinstance(event, e.ServicePointClosed):
            self.closed = True


class Stage(StrEnum):
    """How far a work order has come; whether its offer has expired is a matter of the time."""

    OFFERED = "offered"
    ACCEPTED = "accepted"
    ARRIVED = "arrived"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class WorkOrder(Aggregate):
    """A visit for a case, offered to partner companies, round by round. Exactly one of them can have it."""

    noun = "work order"
    born_by = (e.WorkOrderOffered,)

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.stage = Stage.OFFERED
        self.round = 0
        self.offered = e.WorkOrderOffered()  # with the partners, the window and the expiry of the last round
        self.declined: set[str] = set()
        self.partner_id = ""
        self.outcome = ""

    def offer(self, offered: e.WorkOrderOffered) -> None:
        self.record(offered)

    def reoffer(self, reoffered: e.WorkOrderReoffered, *, now: int) -> None:
        """The next round. Raises what require_reofferable does."""
        self.require_reofferable(now=now)
        numbered = e.WorkOrderReoffered()
        numbered.CopyFrom(reoffered)
        numbered.round = self.round + 1
        self.record(numbered)

    def require_reofferable(self, *, now: int) -> None:
        """`now` in microseconds UTC. Raises work-order-taken, work-order-ended, offer-still-open."""
        self._require_untaken()
        if not self._all_declined() and now < micros_of(self.offered.expires_at):
            message = "not everybody has answered, and the offer has not expired; wait, or cancel the work order"
            raise Refused("offer-still-open", message, work_order=self.id, round=self.round)

    def require_answerable(self, partner_id: str, arrival: e.VisitWindow | None = None, *, now: int) -> None:
        """That this partner may accept, for this arrival, or decline now (microseconds UTC).

        Raises work-order-taken, also for the one that has it, work-order-ended, not-offered, already-declined,
        offer-expired; and invalid-argument for an arrival outside the window.
        """
        self._require_untaken()
        if partner_id not in self.offered.partner_ids:
            message = "this round was not offered to that partner"
            raise Refused("not-offered", message, work_order=self.id, partner=partner_id, round=self.round)
        if partner_id in self.declined:
            message = "that partner has declined this round"
            raise Refused("already-declined", message, work_order=self.id, partner=partner_id, round=self.round)
        if now >= micros_of(self.offered.expires_at):
            message = "nobody can answer any more; offer it again"
            raise Refused("offer-expired", message, work_order=self.id, round=self.round)
        if arrival is not None and not _within(arrival, self.offered.window):
            raise Invalid("arrival", "must lie within the window that was offered")

    def accept(self, accepted: e.WorkOrderAccepted, *, now: int) -> None:
        """An unset arrival is the window that was offered. Raises what require_answerable does."""
        arrival = accepted.arrival if accepted.HasField("arrival") else None
        self.require_answerable(accepted.partner_id, arrival, now=now)
        numbered = e.WorkOrderAccepted()
        numbered.CopyFrom(accepted)
        numbered.round = self.round
        if arrival is None:
            numbered.arrival.CopyFrom(self.offered.window)
        self.record(numbered)

    def decline(self, partner_id: str, *, reason: str, now: int) -> None:
        """Raises what require_answerable does."""
        self.require_answerable(partner_id, now=now)
        self.record(e.WorkOrderDeclined(partner_id=partner_id, reason=reason, round=self.round))

    def arrive(self) -> None:
        """Raises work-order-not-accepted."""
        if self.stage == Stage.ARRIVED:
            return
        self._require(Stage.ACCEPTED)
        self.record(e.TechnicianArrived())

    def complete(self, *, outcome: str) -> None:
        """Raises work-order-not-accepted."""
        if self.stage == Stage.COMPLETED and self.outcome == outcome:
            return
        self._require(Stage.ACCEPTED, Stage.ARRIVED)
        self.record(e.WorkOrderCompleted(outcome=outcome))

    def cancel(self, *, reason: str) -> None:
        """Raises work-order-ended."""
        if self.stage == Stage.CANCELLED:
            return
        if self.stage == Stage.COMPLETED:
            raise self._refused("work-order-ended")
        self.record(e.WorkOrderCancelled(reason=reason))

    def evolve(self, event: Message) -> None:
        match event:
            case e.WorkOrderOffered():
                self.customer_id = event.customer_id
                self.offered, self.round = event, 1
            case e.WorkOrderReoffered():
                self._offer_again(event)
            case e.WorkOrderAccepted():
                self.stage, self.partner_id = Stage.ACCEPTED, event.partner_id
            case e.WorkOrderDeclined():
                self.declined.add(event.partner_id)
            case e.TechnicianArrived():
                self.stage = Stage.ARRIVED
            case e.WorkOrderCompleted():
                self.stage, self.outcome = Stage.COMPLETED, event.outcome
            case e.WorkOrderCancelled():
                self.stage = Stage.CANCELLED

    def _offer_again(self, event: e.WorkOrderReoffered) -> None:
        first, self.round = self.offered, event.round
        self.offered = e.WorkOrderOffered(
            case_id=first.case_id,
            customer_id=first.customer_id,
            product=first.product,
            skill=first.skill,
            region=first.region,
            partner_ids=event.partner_ids,
            window=event.window,
            expires_at=event.expires_at,
        )
        self.declined.clear()

    def _all_declined(self) -> bool:
        return self.declined.issuperset(self.offered.partner_ids)

    def _require_untaken(self) -> None:
        if self.stage in (Stage.ACCEPTED, Stage.ARRIVED):
            raise self._refused("work-order-taken", partner=self.partner_id)
        if self.stage != Stage.OFFERED:
            raise self._refused("work-order-ended")

    def _require(self, *stages: Stage) -> None:
        if self.stage not in stages:
            raise self._refused("work-order-not-accepted")

    def _refused(self, slug: str, **facts: object) -> Refused:
        message = f"the work order is {self.stage}, so this cannot be done now"
        return Refused(slug, message, work_order=self.id, state=self.stage, **facts)


def offer_id(work_order_id: UUID, number: int) -> UUID:
    """Of one round of a work order."""
    return uuid5(work_order_id, str(number))


class Offer(Aggregate):
    """One round of a work order, once it has expired. Only the offer policy decides on it."""

    noun = "offer"
    born_by = (e.OfferExpired,)

    def expire(self, expired: e.OfferExpired, *, customer_id: str) -> None:
        if not self.version:
            self.customer_id = customer_id
            self.record(expired)

    def evolve(self, event: Message) -> None:
        """It is there or it is not; nothing else is to be known of it."""


def _within(arrival: e.VisitWindow, window: e.VisitWindow) -> bool:
    return _begin(window) <= _begin(arrival) and micros_of(arrival.until) <= micros_of(window.until)


def _begin(window: e.VisitWindow) -> int:
    return micros_of(getattr(window, "from"))  # a word of the language
