"""Cases (TMF621), the problems behind them (TMF656), and whom a problem touches. Source: protos/kept/case/v1/events.proto."""

from uuid import NAMESPACE_URL, UUID, uuid5

from google.protobuf.message import Message
from kept.case.v1 import events_pb2 as e

from services.kernel.aggregate import Aggregate
from services.kernel.errors import Refused

_NAMES = uuid5(NAMESPACE_URL, "kept:case")
WAITING = (e.CASE_STATE_PENDING, e.CASE_STATE_HELD)
OPEN = (e.CASE_STATE_ACKNOWLEDGED, e.CASE_STATE_IN_PROGRESS, *WAITING)


class Case(Aggregate):
    """One request of one customer, before, during or after a sale."""

    noun = "case"
    born_by = (e.CaseOpened,)

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.state: e.CaseState.ValueType = e.CASE_STATE_UNSPECIFIED
        self.waiting_for: e.WaitingFor.ValueType = e.WAITING_FOR_UNSPECIFIED
        self.priority: e.Priority.ValueType = e.PRIORITY_UNSPECIFIED
        self.classification = e.Classification()
        self.assigned = e.CaseAssigned()

    def open(self, opened: e.CaseOpened) -> None:
        self.record(opened)

    def acknowledge(self) -> None:
        """Somebody takes it in hand. Raises case-not-open."""
        self._require_open()
        if self.state == e.CASE_STATE_ACKNOWLEDGED:
            self.record(e.CaseAcknowledged())

    def assign(self, assigned: e.CaseAssigned) -> None:
        """Raises case-not-open."""
        self._require_open()
        if assigned != self.assigned:
            self.record(assigned)

    def hold(self, *, waiting_for: e.WaitingFor.ValueType, reason: str) -> None:
        """Raises case-not-open."""
        self._require_open()
        if self.waiting_for != waiting_for:
            self.record(e.CaseHeld(waiting_for=waiting_for, reason=reason))

    def resume(self, *, reason: str) -> None:
        """Raises case-not-held."""
        if self.state not in WAITING:
            raise self._refused("case-not-held")
        self.record(e.CaseResumed(reason=reason))

    def resolve(self, *, reason: str) -> None:
        """Raises case-not-open."""
        if self.state == e.CASE_STATE_RESOLVED:
            return
        self._require_open()
        self.record(e.CaseResolved(reason=reason))

    def reopen(self, *, reason: str) -> None:
        """Raises case-not-resolved."""
        if self.state not in (e.CASE_STATE_RESOLVED, e.CASE_STATE_CLOSED):
            raise self._refused("case-not-resolved")
        self.record(e.CaseReopened(reason=reason))

    def close(self, *, customer_confirmed: bool, reason: str) -> None:
        """Raises case-not-resolved."""
        if self.state == e.CASE_STATE_CLOSED:
            return
        if self.state != e.CASE_STATE_RESOLVED:
            raise self._refused("case-not-resolved")
        self.record(e.CaseClosed(customer_confirmed=customer_confirmed, reason=reason))

    def cancel(self, *, reason: str) -> None:
        """Raises case-not-open."""
        if self.state == e.CASE_STATE_CANCELLED:
            return
        self._require_open()
        self.record(e.CaseCancelled(reason=reason))

    def reject(self, *, reason: str) -> None:
        """Raises case-already-acknowledged once somebody took it in hand."""
        if self.state == e.CASE_STATE_REJECTED:
            return
        if self.state != e.CASE_STATE_ACKNOWLEDGED:
            raise self._refused("case-already-acknowledged")
        self.record(e.CaseRejected(reason=reason))

    def prioritize(self, *, priority: e.Priority.ValueType, reason: str) -> None:
        """Raises case-not-open."""
        self._require_open()
        if self.priority != priority:
            self.record(e.CasePrioritized(priority=priority, reason=reason))

    def classify(self, classification: e.Classification) -> None:
        """Raises case-not-open."""
        self._require_open()
        if self.classification != classification:
            self.record(e.CaseClassified(classification=classification))

    def add_note(self, note: e.NoteAdded) -> None:
        self.record(note)

    def evolve(self, event: Message) -> None:
        match event:
            case e.CaseOpened():
                self.customer_id = event.customer_id
                self.state = e.CASE_STATE_ACKNOWLEDGED
                self.priority, self.classification = event.priority, event.classification
            case e.CaseAcknowledged() | e.CaseResumed() | e.CaseReopened():
                self.state, self.waiting_for = e.CASE_STATE_IN_PROGRESS, e.WAITING_FOR_UNSPECIFIED
            case e.CaseAssigned():
                self.assigned = event
            case e.CaseHeld():
                self.state, self.waiting_for = waiting_state(event.waiting_for), event.waiting_for
            case e.CaseResolved():
                self.state, self.waiting_for = e.CASE_STATE_RESOLVED, e.WAITING_FOR_UNSPECIFIED
            case e.CaseClosed():
                self.state = e.CASE_STATE_CLOSED
            case e.CaseCancelled():
                self.state, self.waiting_for = e.CASE_STATE_CANCELLED, e.WAITING_FOR_UNSPECIFIED
            case e.CaseRejected():
                self.state = e.CASE_STATE_REJECTED
            case e.CasePrioritized():
                self.priority = event.priority
            case e.CaseClassified():
                self.classification = event.classification

    def _require_open(self) -> None:
        if self.state not in OPEN:
            raise self._refused("case-not-open")

    def _refused(self, slug: str) -> Refused:
        state = e.CaseState.Name(self.state).removeprefix("CASE_STATE_").lower()
        return Refused(slug, f"the case is {state}, so this cannot be done now", case=self.id, state=state)


def waiting_state(waiting_for: e.WaitingFor.ValueType) -> e.CaseState.ValueType:
    """TMF621: pending waits for the customer, held for anybody or anything else."""
    return e.CASE_STATE_PENDING if waiting_for == e.WAITING_FOR_CUSTOMER else e.CASE_STATE_HELD


class Problem(Aggregate):
    """One cause behind many cases: what it touches, its root cause, its remedy. It is no one customer's."""

    noun = "problem"
    born_by = (e.ProblemOpened,)

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.scope = e.Scope()
        self.found = e.RootCauseFound()
        self.case_ids: set[str] = set()
        self.resolved = False
        self.closed = False

    def open(self, opened: e.ProblemOpened) -> None:
        self.record(opened)

    def find_root_cause(self, found: e.RootCauseFound) -> None:
        """What we thought before was wrong, or not all; a scope that does not say since when keeps the beginning that is
        known. Raises problem-not-open."""
        self._require_open()
        known = e.RootCauseFound(scope=e.Scope(began_at=self.scope.began_at))
        known.MergeFrom(found)
        if known != self.found:
            self.record(known)

    def link_case(self, case_id: str) -> None:
        """Raises problem-not-open."""
        self._require_open()
        if case_id not in self.case_ids:
            self.record(e.CaseLinked(case_id=case_id))

    def resolve(self, *, remedy: str) -> None:
        """Raises problem-not-open once it is closed."""
        if self.resolved and not self.closed:
            return
        self._require_open()
        self.record(e.ProblemResolved(remedy=remedy))

    def close(self, *, reason: str) -> None:
        """Raises problem-not-resolved."""
        if self.closed:
            return
        if not self.resolved:
            raise Refused("problem-not-resolved", "resolve the problem before it is closed", problem=self.id)
        self.record(e.ProblemClosed(reason=reason))

    def evolve(self, event: Message) -> None:
        match event:
            case e.ProblemOpened():
                self.scope = event.scope
            case e.RootCauseFound():
                self.found, self.scope = event, event.scope
            case e.CaseLinked():
                self.case_ids.add(event.case_id)
            case e.ProblemResolved():
                self.resolved = True
            case e.ProblemClosed():
                self.closed = True

    def _require_open(self) -> None:
        if self.resolved or self.closed:
            state = "closed" if self.closed else "resolved"
            raise Refused(
                "problem-not-open",
                f"the problem is {state}, so this cannot be done now",
                problem=self.id,
                state=state,
            )


def impact_id(problem_id: UUID, customer_id: UUID) -> UUID:
    return uuid5(_NAMES, f"{problem_id}/impact/{customer_id}")


class Impact(Aggregate):
    """What one problem means for one customer, as far as we know. Only the impact policy decides on it."""

    noun = "impact"
    born_by = (e.CustomerAffected,)

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.affected = False

    def affect(self, affected: e.CustomerAffected, *, customer_id: str) -> None:
        if not self.affected:
            self.customer_id = customer_id
            self.record(affected)

    def retract(self, *, problem_id: str) -> None:
        if self.affected:
            self.record(e.AffectedRetracted(problem_id=problem_id))

    def evolve(self, event: Message) -> None:
        match event:
            case e.CustomerAffected():
                self.affected = True
            case e.AffectedRetracted():
                self.affected = False
