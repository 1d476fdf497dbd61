"""Commands on cases and problems: check, seal, decide, append."""

from collections.abc import Sequence
from uuid import UUID

from kept.case.v1 import events_pb2 as e
from kept.case.v1.service_pb2 import AssignRequest, FindRootCauseRequest, OpenProblemRequest, OpenRequest
from kept.common.v1.record_pb2 import Receipt
from kept.common.v1.sealed_pb2 import Sealed
from kept.customer.v1 import events_pb2 as customer

from services.case.domain import Case, Problem
from services.kernel.application import Application, Command
from services.kernel.clock import micros, timestamp_of
from services.kernel.errors import Invalid, NotFound
from services.kernel.events import full_name
from services.kernel.house import House
from services.kernel.privacy import Place
from services.kernel.regions import check_region
from services.kernel.validation import TEXT_MOST, check_enum, check_moment, check_text, check_uuid

PURPOSE = "case"
REGIONS_MOST = 100


class CaseApplication(Application):
    """Raises, beside what each command says: invalid-argument, case-not-found, request-id-reused, version-conflict."""

    def __init__(self, house: House) -> None:
        super().__init__(house.recorder, house.keys, house.clock, house.aggregates)
        self._sealer = house.sealer

    def open(self, command: Command, request: OpenRequest) -> Receipt:
        """Records CaseOpened. Raises customer-not-found, item-not-found, subject-erased."""
        customer_id = check_uuid("customer_id", request.customer_id)
        check_classification("classification", request.classification)
        check_enum("priority", request.priority, e.Priority)
        check_enum("channel", request.channel, customer.Channel, optional=True)
        check_enum("product_stage", request.product_stage, customer.ProductStage, optional=True)
        check_text("need", request.need, most=TEXT_MOST)
        check_text("urgency", request.urgency, most=TEXT_MOST, optional=True)
        for field in ("region", "entitlement", "external_reference"):
            check_text(field, getattr(request, field), optional=True)
        if request.item_id:
            check_uuid("item_id", request.item_id)

        def make() -> Sequence[Case]:
            self.require_stream("customer", request.customer_id, customer.CustomerRegistered, command)
            if request.item_id:
                item = self.require_stream("item", request.item_id, customer.ItemInstalled, command)
                if item.customer_id != request.customer_id:
                    message = f"item_id: {request.item_id} is not this customer's"
                    raise NotFound("item-not-found", message, item=request.item_id)
            case = Case(command.new_id("case"))
            case.stamp = command.stamp
            case.open(
                e.CaseOpened(
                    customer_id=request.customer_id,
                    classification=request.classification,
                    priority=request.priority,
                    need=self._seal(request.need, customer_id, case.id, e.CaseOpened, "need"),
                    urgency=self._seal(request.urgency, customer_id, case.id, e.CaseOpened, "urgency"),
                    channel=request.channel,
                    region=request.region,
                    item_id=request.item_id,
                    entitlement=request.entitlement,
                    product_stage=request.product_stage,
                    external_reference=request.external_reference,
                )
            )
            return (case,)

        return self.create(command, make)

    def acknowledge(self, command: Command, case_id: str) -> Receipt:
        """Records CaseAcknowledged. Raises case-not-open."""
        return self.change(command, Case, case_id, Case.acknowledge)

    def assign(self, command: Command, request: AssignRequest) -> Receipt:
        """Records CaseAssigned. Raises case-not-open."""
        to = request.WhichOneof("assigned_to")
        if to is None:
            raise Invalid("assigned_to", "give a team or a partner")
        check_text(to, request.team or request.partner)
        check_text("assignee", request.assignee, optional=True)
        if to == "team":
            assigned = e.CaseAssigned(team=request.team, assignee=request.assignee)
        else:
            assigned = e.CaseAssigned(partner=request.partner, assignee=request.assignee)
        return self.change(command, Case, request.case_id, lambda case: case.assign(assigned))

    def hold(self, command: Command, case_id: str, *, waiting_for: e.WaitingFor.ValueType, reason: str) -> Receipt:
        """Records CaseHeld. Raises case-not-open."""
        check_enum("waiting_for", waiting_for, e.WaitingFor)
        check_text("reason", reason)
        return self.change(command, Case, case_id, lambda case: case.hold(waiting_for=waiting_for, reason=reason))

    def resume(self, command: Command, case_id: str, *, reason: str) -> Receipt:
        """Records CaseResumed. Raises case-not-held."""
        check_text("reason", reason)
        return self.change(command, Case, case_id, lambda case: case.resume(reason=reason))

    def resolve(self, command: Command, case_id: str, *, reason: str) -> Receipt:
        """Records CaseResolved. Raises case-not-open."""
        check_text("reason", reason)
        return self.change(command, Case, case_id, lambda case: case.resolve(reason=reason))

    def reopen(self, command: Command, case_id: str, *, reason: str) -> Receipt:
        """Records CaseReopened. Raises case-not-resolved."""
        check_text("reason", reason)
        return self.change(command, Case, case_id, lambda case: case.reopen(reason=reason))

    def close_case(self, command: Command, case_id: str, *, customer_confirmed: bool, reason: str) -> Receipt:
        """Records CaseClosed. Raises case-not-resolved."""
        check_text("reason", reason, optional=customer_confirmed)
        return self.change(
            command, Case, case_id, lambda case: case.close(customer_confirmed=customer_confirmed, reason=reason)
        )

    def cancel(self, command: Command, case_id: str, *, reason: str) -> Receipt:
        """Records CaseCancelled. Raises case-not-open."""
        check_text("reason", reason)
        return self.change(command, Case, case_id, lambda case: case.cancel(reason=reason))

    def reject(self, command: Command, case_id: str, *, reason: str) -> Receipt:
        """Records CaseRejected. Raises case-already-acknowledged."""
        check_text("reason", reason)
        return self.change(command, Case, case_id, lambda case: case.reject(reason=reason))

    def prioritize(self, command: Command, case_id: str, *, priority: e.Priority.ValueType, reason: str) -> Receipt:
        """Records CasePrioritized. Raises case-not-open."""
        check_enum("priority", priority, e.Priority)
        check_text("reason", reason)
        return self.change(command, Case, case_id, lambda case: case.prioritize(priority=priority, reason=reason))

    def classify(self, command: Command, case_id: str, classification: e.Classification) -> Receipt:
        """Records CaseClassified. Raises case-not-open."""
        check_classification("classification", classification)
        return self.change(command, Case, case_id, lambda case: case.classify(classification))

    def add_note(self, command: Command, case_id: str, *, audience: e.NoteAudience.ValueType, text: str) -> Receipt:
        """Records NoteAdded. Raises subject-erased."""
        check_enum("audience", audience, e.NoteAudience)
        check_text("text", text, most=TEXT_MOST)

        def note(case: Case) -> None:
            sealed = self._seal(text, UUID(case.customer_id), case.id, e.NoteAdded, "text")
            case.add_note(e.NoteAdded(audience=audience, text=sealed))

        return self.change(command, Case, case_id, note)

    # Problems

    def open_problem(self, command: Command, request: OpenProblemRequest) -> Receipt:
        """Records ProblemOpened."""
        check_text("title", request.title)
        check_enum("priority", request.priority, e.Priority)
        check_scope("scope", request.scope)
        opened = e.ProblemOpened(title=request.title, scope=request.scope, priority=request.priority)
        if not opened.scope.HasField("began_at"):
            opened.scope.began_at.CopyFrom(timestamp_of(command.stamp.occurred_at))
        if request.HasField("expected_until"):
            check_moment("expected_until", request.expected_until)
            opened.expected_until.CopyFrom(request.expected_until)

        def make() -> Sequence[Problem]:
            check_begun("scope", request.scope, command)
            problem = Problem(command.new_id("problem"))
            problem.stamp = command.stamp
            problem.open(opened)
            return (problem,)

        return self.create(command, make)

    def find_root_cause(self, command: Command, request: FindRootCauseRequest) -> Receipt:
        """Records RootCauseFound. Raises problem-not-found, problem-not-open."""
        check_text("cause", request.cause)
        check_scope("scope", request.scope)
        found = e.RootCauseFound(cause=request.cause, scope=request.scope)
        if request.HasField("expected_until"):
            check_moment("expected_until", request.expected_until)
            found.expected_until.CopyFrom(request.expected_until)

        def find(problem: Problem) -> None:
            check_begun("scope", request.scope, command)
            problem.find_root_cause(found)

        return self.change(command, Problem, request.problem_id, find)

    def link_case(self, command: Command, problem_id: str, *, case_id: str) -> Receipt:
        """Records CaseLinked. Raises problem-not-found, problem-not-open, case-not-found."""
        check_uuid("case_id", case_id)

        def link(problem: Problem) -> None:
            self.require_stream("case", case_id, e.CaseOpened, command)
            problem.link_case(case_id)

        return self.change(command, Problem, problem_id, link)

    def resolve_problem(self, command: Command, problem_id: str, *, remedy: str) -> Receipt:
        """Records ProblemResolved. Raises problem-not-found, problem-not-open."""
        check_text("remedy", remedy)
        return self.change(command, Problem, problem_id, lambda problem: problem.resolve(remedy=remedy))

    def close_problem(self, command: Command, problem_id: str, *, reason: str) -> Receipt:
        """Records ProblemClosed. Raises problem-not-found, problem-not-resolved."""
        check_text("reason", reason)
        return self.change(command, Problem, problem_id, lambda problem: problem.close(reason=reason))

    def _seal(
        self, text: str, subject: UUID, stream: UUID, event: type[e.CaseOpened | e.NoteAdded], field: str
    ) -> Sealed | None:
        return self._sealer.seal(text, Place(subject, PURPOSE, stream, full_name(event), field)) if text else None


def check_classification(field: str, classification: e.Classification) -> None:
    check_enum(f"{field}.kind", classification.kind, e.CaseKind)
    for name in ("category", "subcategory", "symptom"):
        check_text(f"{field}.{name}", getattr(classification, name), optional=True)


def check_scope(field: str, scope: e.Scope) -> None:
    """A product, and 1 to 100 regions, each once."""
    check_text(f"{field}.product", scope.product)
    if not 0 < len(scope.regions) <= REGIONS_MOST:
        raise Invalid(f"{field}.regions", f"are {len(scope.regions)}; give 1 to {REGIONS_MOST}")
    for at, region in enumerate(scope.regions):
        check_region(f"{field}.regions[{at}]", region)
        if region in scope.regions[:at]:
            raise Invalid(f"{field}.regions[{at}]", "is named twice; give each region once")


def check_begun(field: str, scope: e.Scope, command: Command) -> None:
    """A beginning that is not after the time of what is said. By the clock, so of a new request alone: a repeated one
    keeps its answer."""
    if scope.HasField("began_at"):
        began_at = micros(check_moment(f"{field}.began_at", scope.began_at))
        if began_at > command.stamp.occurred_at:
            raise Invalid(f"{field}.began_at", "lies after occurred_at; a problem is known only once it began")
