"""CaseService over gRPC."""

from typing import Any
from uuid import UUID

import grpc
from kept.case.v1 import service_pb2 as m
from kept.case.v1.events_pb2 import CaseState
from kept.case.v1.service_pb2_grpc import CaseServiceServicer
from kept.customer.v1.service_pb2 import TimelineItem

from services.case import problems, views
from services.case.application import CaseApplication
from services.case.domain import Case, Problem
from services.case.timeline import TIMELINE
from services.kernel import timelines
from services.kernel.application import Command
from services.kernel.events import log_event
from services.kernel.facts import described
from services.kernel.house import House
from services.kernel.privacy import opened
from services.kernel.rpc.interceptors import current_caller
from services.kernel.validation import check_enum, check_text, check_uuid
from services.kernel.views import ViewReader

# Timelines open what was said in cases and written in notices. Contact data and sites are shown where they belong.
SPOKEN = ("kept.case.", "kept.notification.")


class CaseServicer(CaseServiceServicer):
    def __init__(self, house: House) -> None:
        self._application = CaseApplication(house)
        self._reader = ViewReader.of(views.VIEWS, house)
        self._sealer = house.sealer
        self._log = house.log

    def Open(self, request: m.OpenRequest, context: grpc.ServicerContext) -> m.OpenResponse:
        return m.OpenResponse(receipt=self._application.open(self._command(request), request))

    def Acknowledge(self, request: m.AcknowledgeRequest, context: grpc.ServicerContext) -> m.AcknowledgeResponse:
        return m.AcknowledgeResponse(receipt=self._application.acknowledge(self._command(request), request.case_id))

    def Assign(self, request: m.AssignRequest, context: grpc.ServicerContext) -> m.AssignResponse:
        return m.AssignResponse(receipt=self._application.assign(self._command(request), request))

    def Hold(self, request: m.HoldRequest, context: grpc.ServicerContext) -> m.HoldResponse:
        receipt = self._application.hold(
            self._command(request), request.case_id, waiting_for=request.waiting_for, reason=request.reason
        )
        return m.HoldResponse(receipt=receipt)

    def Resume(self, request: m.ResumeRequest, context: grpc.ServicerContext) -> m.ResumeResponse:
        receipt = self._application.resume(self._command(request), request.case_id, reason=request.reason)
        return m.ResumeResponse(receipt=receipt)

    def Resolve(self, request: m.ResolveRequest, context: grpc.ServicerContext) -> m.ResolveResponse:
        receipt = self._application.resolve(self._command(request), request.case_id, reason=request.reason)
        return m.ResolveResponse(receipt=receipt)

    def Reopen(self, request: m.ReopenRequest, context: grpc.ServicerContext) -> m.ReopenResponse:
        receipt = self._application.reopen(self._command(request), request.case_id, reason=request.reason)
        return m.ReopenResponse(receipt=receipt)

    def Close(self, request: m.CloseRequest, context: grpc.ServicerContext) -> m.CloseResponse:
        receipt = self._application.close_case(
            self._command(request),
            request.case_id,
            customer_confirmed=request.customer_confirmed,
            reason=request.reason,
        )
        return m.CloseResponse(receipt=receipt)

    def Cancel(self, request: m.CancelRequest, context: grpc.ServicerContext) -> m.CancelResponse:
        receipt = self._application.cancel(self._command(request), request.case_id, reason=request.reason)
        return m.CancelResponse(receipt=receipt)

    def Reject(self, request: m.RejectRequest, context: grpc.ServicerContext) -> m.RejectResponse:
        receipt = self._application.reject(self._command(request), request.case_id, reason=request.reason)
        return m.RejectResponse(receipt=receipt)

    def Prioritize(self, request: m.PrioritizeRequest, context: grpc.ServicerContext) -> m.PrioritizeResponse:
        receipt = self._application.prioritize(
            self._command(request), request.case_id, priority=request.priority, reason=request.reason
        )
        return m.PrioritizeResponse(receipt=receipt)

    def Classify(self, request: m.ClassifyRequest, context: grpc.ServicerContext) -> m.ClassifyResponse:
        receipt = self._application.classify(self._command(request), request.case_id, request.classification)
        return m.ClassifyResponse(receipt=receipt)

    def AddNote(self, request: m.AddNoteRequest, context: grpc.ServicerContext) -> m.AddNoteResponse:
        receipt = self._application.add_note(
            self._command(request), request.case_id, audience=request.audience, text=request.text
        )
        return m.AddNoteResponse(receipt=receipt)

    def GetCase(self, request: m.GetCaseRequest, context: grpc.ServicerContext) -> m.GetCaseResponse:
        case_id = check_uuid("case_id", request.case_id)
        with self._reader.read(request.after_position) as session:
            found = views.find(session, current_caller().tenant, case_id)
            if found is None:
                raise Case.not_found(case_id)
            notes = views.notes(session, case_id)
        return self._opened(case_id, *found, notes)

    def ListCases(self, request: m.ListCasesRequest, context: grpc.ServicerContext) -> m.ListCasesResponse:
        if request.customer_id:
            check_uuid("customer_id", request.customer_id)
        for field in ("team", "partner"):
            check_text(field, getattr(request, field), optional=True)
        for at, state in enumerate(request.states):
            check_enum(f"states[{at}]", state, CaseState)
        with self._reader.read(request.after_position) as session:
            cases, token = views.page(session, current_caller().tenant, request)
        return m.ListCasesResponse(cases=cases, next_page_token=token)

    def GetCaseTimeline(
        self, request: m.GetCaseTimelineRequest, context: grpc.ServicerContext
    ) -> m.GetCaseTimelineResponse:
        case_id = check_uuid("case_id", request.case_id)
        with self._reader.read(request.after_position) as session:
            if views.find(session, current_caller().tenant, case_id) is None:
                raise Case.not_found(case_id)
            positions, token = timelines.page(session, TIMELINE, (case_id,), request)
        recorded = self._log.at(positions)
        items = [TimelineItem(**described(log_event(recorded[at]), self._sealer, SPOKEN)) for at in positions]
        return m.GetCaseTimelineResponse(items=items, next_page_token=token)

    def OpenProblem(self, request: m.OpenProblemRequest, context: grpc.ServicerContext) -> m.OpenProblemResponse:
        return m.OpenProblemResponse(receipt=self._application.open_problem(self._command(request), request))

    def FindRootCause(self, request: m.FindRootCauseRequest, context: grpc.ServicerContext) -> m.FindRootCauseResponse:
        return m.FindRootCauseResponse(receipt=self._application.find_root_cause(self._command(request), request))

    def LinkCase(self, request: m.LinkCaseRequest, context: grpc.ServicerContext) -> m.LinkCaseResponse:
        receipt = self._application.link_case(self._command(request), request.problem_id, case_id=request.case_id)
        return m.LinkCaseResponse(receipt=receipt)

    def ResolveProblem(
        self, request: m.ResolveProblemRequest, context: grpc.ServicerContext
    ) -> m.ResolveProblemResponse:
        receipt = self._application.resolve_problem(self._command(request), request.problem_id, remedy=request.remedy)
        return m.ResolveProblemResponse(receipt=receipt)

    def CloseProblem(self, request: m.CloseProblemRequest, context: grpc.ServicerContext) -> m.CloseProblemResponse:
        receipt = self._application.close_problem(self._command(request), request.problem_id, reason=request.reason)
        return m.CloseProblemResponse(receipt=receipt)

    def GetProblem(self, request: m.GetProblemRequest, context: grpc.ServicerContext) -> m.GetProblemResponse:
        problem_id = check_uuid("problem_id", request.problem_id)
        with self._reader.read(request.after_position) as session:
            found = problems.find(session, current_caller().tenant, problem_id)
            if found is None:
                raise Problem.not_found(problem_id)
            return m.GetProblemResponse(problem=found, case_ids=problems.cases(session, problem_id))

    def ListProblems(self, request: m.ListProblemsRequest, context: grpc.ServicerContext) -> m.ListProblemsResponse:
        with self._reader.read(request.after_position) as session:
            page, token = problems.page(session, current_caller().tenant, request)
        return m.ListProblemsResponse(problems=page, next_page_token=token)

    def ListAffected(self, request: m.ListAffectedRequest, context: grpc.ServicerContext) -> m.ListAffectedResponse:
        problem_id = check_uuid("problem_id", request.problem_id)
        with self._reader.read(request.after_position) as session:
            if problems.find(session, current_caller().tenant, problem_id) is None:
                raise Problem.not_found(problem_id)
            affected, token = problems.affected(session, problem_id, request)
        return m.ListAffectedResponse(affected=affected, next_page_token=token)

    def CountCases(self, request: m.CountCasesRequest, context: grpc.ServicerContext) -> m.CountCasesResponse:
        with self._reader.read(request.after_position) as session:
            return m.CountCasesResponse(counts=views.count(session, current_caller().tenant))

    def _command(self, request: Any) -> Command:
        return self._application.command(current_caller(), request)

    def _opened(
        self, case_id: UUID, case: m.CaseSummary, need: bytes, urgency: bytes, notes: list[tuple[m.Note, bytes]]
    ) -> m.GetCaseResponse:
        answer = m.GetCaseResponse(case=case)
        answer.need, answer.erased = opened(self._sealer, need, case_id, "need")
        answer.urgency, _ = opened(self._sealer, urgency, case_id, "urgency")
        for note, text in notes:
            note.text, _ = opened(self._sealer, text, case_id, "text")
            answer.notes.append(note)
        return answer
