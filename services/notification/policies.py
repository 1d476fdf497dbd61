"""From what happens to customers to what they are told. Reads nothing sealed (I5), and sends nothing (I10).

A case's opening is told with its deadline where it has one: at CaseOpened when the sla policy in force sets such a case no
clock to resolve, else when that clock is armed. Which of the two follows from the log's order alone, as it does for
the sla policy itself.

A notice that waits for the end of quiet hours is cancelled when what it says is over before then (E5).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from kept.case.v1 import events_pb2 as case
from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import events_pb2 as e
from kept.partner_network.v1 import events_pb2 as partner
from kept.sla.v1 import events_pb2 as sla

from services.kernel.clock import micros_of
from services.kernel.database import uuid_of
from services.kernel.events import LogEvent, full_name
from services.kernel.policy import Policy, Work
from services.notification import known
from services.notification.domain import Notice, notice_id
from services.notification.known import Row
from services.notification.planning import Facts, moment_fact, number_fact, plan, text_fact
from services.notification.reading import read_rules

ENDS = (case.CaseResolved, case.CaseClosed, case.CaseCancelled, case.CaseRejected)
NO_CASE = UUID(int=0)
VISIT_ENDS = (partner.WorkOrderCancelled, partner.TechnicianArrived, partner.WorkOrderCompleted)


class NoticePolicy(Policy):
    name = "notification"
    version = "1"
    reads = frozenset(
        full_name(event)
        for event in (
            e.RuleSetPublished, e.NoticeSent, e.NoticeFailed,
            customer.PartyRegistered, customer.PreferencesChanged, customer.CustomerRegistered,
            customer.CustomerStageEntered, customer.ConsentGiven, customer.ConsentWithdrawn, customer.ItemInstalled,
            case.CaseOpened, case.CaseAssigned, case.CaseReopened, *ENDS,
            case.ProblemOpened, case.RootCauseFound, case.ProblemResolved, case.ProblemClosed,
            case.CustomerAffected, case.AffectedRetracted,
            sla.PolicyPublished, sla.ClockArmed, sla.ClockReplanned, sla.ThresholdReached, sla.VerdictReached,
            sla.VerdictCorrected,
            partner.WorkOrderOffered, partner.WorkOrderAccepted, *VISIT_ENDS,
        )
    )  # fmt: skip
    tables = known.TABLES

    def decide(self, work: Work, event: LogEvent) -> None:
        known.learn(work.session, event)
        _Reaction(self, work, event).react()


@dataclass
class _Telling:
    """What one notice is about, until it is planned. `because` begins with nothing: the event itself comes first."""

    occasion: e.Occasion.ValueType
    subject: str
    occurrence: int
    customer_id: UUID
    about: e.About
    facts: Facts
    because: list[str] = field(default_factory=list)
    # The case that it is about, whose own promise is not history yet.
    case_id: UUID = NO_CASE


class _Reaction:
    """One event, and what follows from it."""

    def __init__(self, policy: NoticePolicy, work: Work, event: LogEvent) -> None:
        self._policy = policy
        self._work = work
        self._session = work.session
        self._event = event
        self._stream = uuid_of(event.record.stream)

    def react(self) -> None:
        body = self._event.body
        match body:
            case case.CaseOpened():
                self._open_case(body)
            case case.CaseReopened():
                self._reopen_case()
            case case.CaseResolved() | case.CaseClosed() | case.CaseCancelled() | case.CaseRejected():
                self._end_case()
            case sla.ClockArmed():
                self._arm(body)
            case sla.ClockReplanned():
                self._follow_clock(due_at=micros_of(body.due_at), due_by=self._event.record.id)
            case sla.ThresholdReached():
                self._warn(body)
            case sla.VerdictReached() | sla.VerdictCorrected():
                self._judge(body)
            case partner.WorkOrderAccepted():
                self._announce_visit(body)
            case partner.WorkOrderCancelled() | partner.TechnicianArrived() | partner.WorkOrderCompleted():
                self._cancel("visit-over", work_order_id=str(self._stream))
            case case.CustomerAffected():
                self._find_problem(body)
            case case.ProblemResolved() | case.ProblemClosed():
                self._end_problem(resolved=isinstance(body, case.ProblemResolved))
            case case.AffectedRetracted():
                self._retract(body)
            case customer.ConsentWithdrawn():
                self._respect(body.purpose)
            case e.NoticeSent() | e.NoticeFailed():
                known.drop(self._session, known.WAITING, uuid_of(body.notice_id))

    # Cases

    def _open_case(self, opened: case.CaseOpened) -> None:
        event, record = self._event, self._event.record
        promised = known.promises(self._session, record.tenant, opened)
        row: Row = {
            "case_id": self._stream, "customer_id": uuid_of(opened.customer_id), "opened_at": event.occurred_at,
            "number": opened.external_reference or record.stream[:8].upper(), "item_id": opened.item_id,
            "opened_by": record.id, "over": 0, "episode": 1, "warned": 0, "team": "", "team_by": "",
            "promised": int(promised), "due_at": None, "due_by": "", "outcome": 0, "judged": 0, "judged_by": "",
        }  # fmt: skip
        known.put(self._session, known.CASES, row)
        if not promised:
            self._tell_case(e.OCCASION_CASE_OPENED, row)

    def _arm(self, armed: sla.ClockArmed) -> None:
        if armed.target != sla.TARGET_KIND_TIME_TO_RESOLVE:
            return
        known.put(self._session, known.CLOCKS, {"clock_id": self._stream, "case_id": uuid_of(armed.case_id)})
        row = self._follow_clock(due_at=micros_of(armed.due_at), due_by=self._event.record.id)
        if row is not None and row["promised"] and not row["over"]:
            self._tell_case(e.OCCASION_CASE_OPENED, row)

    def _follow_clock(self, **changes: object) -> Row | None:
        """The case whose clock this is, with these changes; None where it is not one to resolve."""
        clock = known.get(self._session, known.CLOCKS, self._stream)
        if clock is None:
            return None
        row = {**known.need(self._session, known.CASES, clock["case_id"]), **changes}
        known.put(self._session, known.CASES, row)
        return row

    def _warn(self, reached: sla.ThresholdReached) -> None:
        """Once for each time that the case was opened."""
        row = self._follow_clock()
        if row is None or row["over"] or row["warned"] == row["episode"]:
            return
        row["warned"] = row["episode"]
        known.put(self._session, known.CASES, row)
        row["due_at"] = micros_of(reached.due_at)
        self._tell_case(e.OCCASION_DEADLINE_AT_RISK, row, percent=number_fact(reached.percent))

    def _judge(self, verdict: sla.VerdictReached | sla.VerdictCorrected) -> None:
        row = self._follow_clock()
        if row is None or verdict.outcome not in (sla.OUTCOME_KEPT, sla.OUTCOME_BROKEN):
            return
        broken = verdict.outcome == sla.OUTCOME_BROKEN
        judged = {"outcome": verdict.outcome, "judged": self._event.position, "judged_by": self._event.record.id}
        known.put(self._session, known.CASES, {**row, **judged})
        if not broken:
            self._cancel("promise-kept", case_id=str(row["case_id"]), occasions={e.OCCASION_PROMISE_BROKEN})
        elif not row["over"]:  # late news of a case that is resolved tells the customer nothing
            row["due_at"] = micros_of(verdict.due_at)
            self._cancel("promise-broken", case_id=str(row["case_id"]), occasions={e.OCCASION_DEADLINE_AT_RISK})
            self._tell_case(e.OCCASION_PROMISE_BROKEN, row)

    def _end_case(self) -> None:
        before = known.need(self._session, known.CASES, self._stream)
        row = {**before, "over": 1}
        known.put(self._session, known.CASES, row)
        resolved = isinstance(self._event.body, case.CaseResolved) and not before["over"]
        keep = {e.OCCASION_CASE_RESOLVED} if isinstance(self._event.body, case.CaseClosed) else set()
        self._cancel("case-resolved" if resolved else "case-over", case_id=str(self._stream), keep=keep)
        if resolved:
            at = moment_fact(self._event.occurred_at)
            self._tell_case(e.OCCASION_CASE_RESOLVED, row, resolved_at=at)

    def _reopen_case(self) -> None:
        row = known.need(self._session, known.CASES, self._stream)
        row |= {"over": 0, "episode": row["episode"] + 1}
        known.put(self._session, known.CASES, row)
        self._cancel("case-reopened", case_id=str(self._stream), occasions={e.OCCASION_CASE_RESOLVED})
        self._tell_case(e.OCCASION_CASE_REOPENED, row, reopened_at=moment_fact(self._event.occurred_at))

    def _tell_case(self, occasion: e.Occasion.ValueType, row: Row, **facts: e.Fact) -> None:
        self._plan(self._of_case(occasion, row, **facts))

    def _of_case(self, occasion: e.Occasion.ValueType, row: Row, **facts: e.Fact) -> _Telling:
        told: Facts = {"case_number": text_fact(row["number"]), "opened_at": moment_fact(row["opened_at"]), **facts}
        because = [row["opened_by"]]
        if row["due_at"] is not None:
            told["due_at"] = moment_fact(row["due_at"])
            because.append(row["due_by"])
        if row["team"]:
            told["team"] = text_fact(row["team"])
            because.append(row["team_by"])
        item = known.get(self._session, known.ITEMS, uuid_of(row["item_id"])) if row["item_id"] else None
        if item is not None:
            told["product"] = text_fact(item["product"])
            because.append(item["event_id"])
        case_id = str(row["case_id"])
        about = e.About(case_id=case_id, item_id=row["item_id"])
        return _Telling(
            occasion, case_id, row["episode"], row["customer_id"], about, told, because, case_id=row["case_id"]
        )

    # Visits

    def _announce_visit(self, accepted: partner.WorkOrderAccepted) -> None:
        order = known.need(self._session, known.WORK_ORDERS, self._stream)
        row = known.need(self._session, known.CASES, uuid_of(order["case_id"]))
        telling = self._of_case(
            e.OCCASION_WORK_ORDER_ACCEPTED,
            row,
            partner=text_fact(accepted.partner_name),
            arrives_from=moment_fact(micros_of(getattr(accepted.arrival, "from"))),
            arrives_until=moment_fact(micros_of(accepted.arrival.until)),
        )
        if order["product"]:
            telling.facts["product"] = text_fact(order["product"])
        telling.subject, telling.occurrence = str(self._stream), max(1, accepted.round)
        telling.about.work_order_id = telling.subject
        telling.because.append(order["event_id"])
        self._plan(telling)

    # Problems

    def _find_problem(self, affected: case.CustomerAffected) -> None:
        """Once, until it is taken back. Nothing is said of a problem that is over."""
        problem_id, customer_id = uuid_of(affected.problem_id), uuid_of(self._event.record.customer_id)
        before = known.get(self._session, known.AFFECTED, problem_id, customer_id)
        problem = known.need(self._session, known.PROBLEMS, problem_id)
        if problem["over"] or (before is not None and before["affected"]):
            return
        row: Row = {
            "problem_id": problem_id, "customer_id": customer_id, "episode": before["episode"] + 1 if before else 1,
            "affected": 1, "product": affected.product, "item_id": next(iter(affected.item_ids), ""), "found": "",
            "items": len(affected.item_ids), "began_at": micros_of(affected.began_at),
            "event_id": self._event.record.id,
        }  # fmt: skip
        telling = self._of_problem(e.OCCASION_PROBLEM_FOUND, problem, row, items=number_fact(row["items"]))
        if problem["expected_until"] is not None:
            telling.facts["expected_until"] = moment_fact(problem["expected_until"])
        found = self._plan(telling)
        known.put(self._session, known.AFFECTED, {**row, "found": str(found) if found else ""})

    def _end_problem(self, *, resolved: bool) -> None:
        """Everybody who was told hears that it is over; who was still to be told hears only that."""
        problem = known.need(self._session, known.PROBLEMS, self._stream)
        where = "problem_id = ? AND affected = 1 ORDER BY customer_id"
        for row in known.select(self._session, known.AFFECTED, where, self._stream):
            known.put(self._session, known.AFFECTED, {**row, "affected": 0})
            self._cancel("problem-over", problem_id=str(self._stream), customer_id=row["customer_id"])
            if resolved and row["found"]:
                at = moment_fact(self._event.occurred_at)
                self._plan(self._of_problem(e.OCCASION_PROBLEM_RESOLVED, problem, row, resolved_at=at))

    def _retract(self, retracted: case.AffectedRetracted) -> None:
        """Who has not been told yet is not told at all."""
        problem_id, customer_id = uuid_of(retracted.problem_id), uuid_of(self._event.record.customer_id)
        row = known.get(self._session, known.AFFECTED, problem_id, customer_id)
        if row is None or not row["affected"]:
            return
        known.put(self._session, known.AFFECTED, {**row, "affected": 0})
        told_in_time = not self._cancel("retracted", problem_id=str(problem_id))
        if row["found"] and told_in_time:
            problem = known.need(self._session, known.PROBLEMS, problem_id)
            self._plan(self._of_problem(e.OCCASION_PROBLEM_RETRACTED, problem, row))

    def _of_problem(self, occasion: e.Occasion.ValueType, problem: Row, row: Row, **facts: e.Fact) -> _Telling:
        told: Facts = {
            "product": text_fact(row["product"]),
            "problem": text_fact(problem["title"]),
            "began_at": moment_fact(row["began_at"]),
            **facts,
        }
        problem_id = str(row["problem_id"])
        about = e.About(problem_id=problem_id, item_id=row["item_id"])
        because = [row["event_id"], problem["event_id"]]
        return _Telling(occasion, problem_id, row["episode"], row["customer_id"], about, told, because)

    # Consent

    def _respect(self, withdrawn: customer.ConsentPurpose.ValueType) -> None:
        """What waits for the morning is not sent to who has said no meanwhile."""
        published = known.newest_rules(self._session, self._event.record.tenant)
        if published is None or withdrawn == customer.CONSENT_PURPOSE_SAFETY:
            return
        notices = read_rules(published["source"]).notices
        if occasions := {one for one, notice in notices.items() if notice.purpose == withdrawn}:
            self._cancel("consent-withdrawn", occasions=occasions)

    # Deciding

    def _plan(self, telling: _Telling) -> UUID | None:
        """The notice's id; None where this customer is not told."""
        planned = plan(
            self._session,
            self._event,
            telling.occasion,
            customer_id=telling.customer_id,
            about=telling.about,
            facts=telling.facts,
            because=telling.because,
            case_id=telling.case_id,
        )
        if planned is None:
            return None
        made = notice_id(telling.occasion, telling.subject, planned.customer_id, telling.occurrence)
        if planned.HasField("not_before"):
            of = {name: getattr(planned.about, name) for name in ("case_id", "problem_id", "work_order_id")}
            waits = {"notice_id": made, "customer_id": telling.customer_id, "occasion": telling.occasion, **of}
            known.put(self._session, known.WAITING, {**waits, "not_before": micros_of(planned.not_before)})
        self._work.decide(Notice, made, self._policy.stamp(self._event), lambda notice: notice.plan(planned))
        return made

    def _cancel(
        self,
        reason: str,
        *,
        customer_id: UUID | None = None,
        occasions: Iterable[int] = (),
        keep: Iterable[int] = (),
        **about: str,
    ) -> Sequence[Row]:
        """Those of the customer's waiting notices that are about this, and of these occasions where some are named."""
        whose = customer_id or uuid_of(self._event.record.customer_id)
        cancelled = [
            row
            for row in known.waiting_of(self._session, whose, self._event.occurred_at)
            if all(row[name] == value for name, value in about.items())
            and (not occasions or row["occasion"] in occasions)
            and row["occasion"] not in keep
        ]
        for row in cancelled:
            known.drop(self._session, known.WAITING, row["notice_id"])
            stamp = self._policy.stamp(self._event)
            self._work.decide(Notice, row["notice_id"], stamp, lambda notice: notice.cancel(reason=reason))
        return cancelled
