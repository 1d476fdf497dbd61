"""How rows of a ServiceNow incident log become commands. No gRPC, no I/O, no clock.

One incident is one case, one caller one customer, a location a region. What a row says is compared with what the
incident's row before said; only what is new becomes a command, at the row's own time:

| The file says | The command |
|---|---|
| a caller for the first time | RegisterCustomer; region is the location of that row; `?` is one "unknown caller" |
| an incident for the first time | Open |
| Active | Acknowledge; Resume when it was waiting |
| Awaiting User Info, Awaiting Evidence | Hold for the customer |
| Awaiting Vendor, Awaiting Problem | Hold for the partner, for the problem; a note where the party stays the same |
| Resolved, Closed | Resolve, Close with a reason: the file never says that the customer confirmed |
| any of the above that needs a step before it | that step first: Acknowledge, Reopen, Resolve |
| category, subcategory or symptom; priority | Classify; Prioritize with the impact and urgency that changed |
| assignment group, assignee, vendor | Assign |
| other columns, and the two above where the case takes no such change now | one internal AddNote, "location: A -> B" |
| nothing new | nothing: the row is a repeated one |

**Team or partner.** An assignment group is a team, unless the person who imports names it as a partner company; whether
a group is a vendor's desk could only be guessed from later rows, and no value is used before its time. While a row's
`vendor` names one, the case is that partner's; afterwards it is the group's again. A group that is missing (`?`) is
not known rather than nobody: the case stays where it is, and a note says so.
"""

from collections.abc import Generator, Set
from enum import IntEnum
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp
from kept.case.v1 import events_pb2 as case_events
from kept.case.v1 import service_pb2 as case
from kept.customer.v1 import events_pb2 as customer_events
from kept.customer.v1 import service_pb2 as customer

from services.cli.imports.rows import COLUMNS, MISSING, PRIORITIES, Row

Request = (
    customer.RegisterCustomerRequest
    | case.OpenRequest
    | case.AcknowledgeRequest
    | case.AssignRequest
    | case.HoldRequest
    | case.ResumeRequest
    | case.ResolveRequest
    | case.ReopenRequest
    | case.CloseRequest
    | case.PrioritizeRequest
    | case.ClassifyRequest
    | case.AddNoteRequest
)


class Command(NamedTuple):
    """One call to make. The request lacks only its request id. `makes` is set where the receipt's id is a new one."""

    service: str
    method: str
    request: Request
    makes: bool = False


# Yields commands, is sent the id of each one's receipt, and is closed when one was refused.
Plan = Generator[Command, str, None]


class Stage(IntEnum):
    """How far a case is; everything before RESOLVED is open."""

    NEW = 1
    WORKING = 2
    WAITING = 3
    RESOLVED = 4
    CLOSED = 5


GOALS = {
    "New": Stage.NEW,
    "Active": Stage.WORKING,
    "Awaiting User Info": Stage.WAITING,
    "Awaiting Evidence": Stage.WAITING,
    "Awaiting Vendor": Stage.WAITING,
    "Awaiting Problem": Stage.WAITING,
    "Resolved": Stage.RESOLVED,
    "Closed": Stage.CLOSED,
}
WAITING_FOR = {
    "Awaiting User Info": case_events.WAITING_FOR_CUSTOMER,
    "Awaiting Evidence": case_events.WAITING_FOR_CUSTOMER,
    "Awaiting Vendor": case_events.WAITING_FOR_PARTNER,
    "Awaiting Problem": case_events.WAITING_FOR_PROBLEM,
}
# "Direct opening" by staff came through no channel of the customer's.
CHANNELS = {
    "Phone": customer_events.CHANNEL_PHONE,
    "IVR": customer_events.CHANNEL_PHONE,
    "Email": customer_events.CHANNEL_EMAIL,
    "Self service": customer_events.CHANNEL_APP,
}
PRIORITY = {text: case_events.Priority.ValueType(rank) for text, rank in PRIORITIES.items()}
LANGUAGE = "en"  # of the file's own texts; it does not say what its callers speak
CLOSED_WITHOUT = "closed in ServiceNow, which does not say that the customer confirmed"

_COLUMN_OF = {attribute: column for column, attribute in COLUMNS.items()}
# What no command but a note can tell; in the file's order of columns.
_NOTED = (
    "caller",
    "contact",
    "location",
    "cmdb_ci",
    "problem_id",
    "rfc",
    "caused_by",
    "knowledge",
    "priority_confirmed",
    "notify",
)

_Assigned = tuple[str, str, str]  # "team" or "partner", its name, the person within
_Class = tuple[str, str, str]


class _Case:
    """What the cell was told of one incident. None: a note told it last, so the next change is a command again."""

    __slots__ = ("assigned", "classified", "id", "priority", "settled", "stage", "told", "waiting_for")

    def __init__(self, case_id: str, row: Row) -> None:
        self.id = case_id
        self.stage = Stage.NEW
        self.waiting_for: case_events.WaitingFor.ValueType = case_events.WAITING_FOR_UNSPECIFIED
        self.assigned: _Assigned | None = None
        self.classified: _Class | None = (row.category, row.subcategory, row.symptom)
        self.priority: str | None = row.priority
        self.told = _nothing_but_opened(row)
        self.settled = False


class Planner:
    """Turns rows into commands, in the order in which it is given them, and remembers what the cell was told.

    `time_zone` is the callers'; `partners` are the assignment groups that are partner companies.
    """

    def __init__(self, *, time_zone: str, partners: Set[str] = frozenset()) -> None:
        self._time_zone = time_zone
        self._partners = partners
        self._customers: dict[str, str] = {}
        self._cases: dict[str, _Case] = {}

    @property
    def cases(self) -> dict[str, str]:
        """Incident number -> case id."""
        return {number: known.id for number, known in self._cases.items()}

    @property
    def customers(self) -> int:
        return len(self._customers)

    def plan(self, row: Row) -> Plan:
        """The commands that tell what is new in `row`; none where nothing is.

        What a command changes is remembered only when the receipt comes back, so after a refusal the incident's next
        row tells the rest.
        """
        known = self._cases.get(row.number)
        if known is not None and known.settled and known.told[2:] == row[2:]:
            return
        at = Timestamp(seconds=row.at)
        customer_id = self._customers.get(row.caller)
        if customer_id is None:
            customer_id = self._customers[row.caller] = yield self._register(row, at)
        if known is None:
            case_id = yield _open(row, at, customer_id)
            known = self._cases[row.number] = _Case(case_id, row)
        known.settled = False
        goal = GOALS[row.state]
        if known.stage >= Stage.RESOLVED and goal < known.stage:
            request = case.ReopenRequest(occurred_at=at, case_id=known.id, reason=row.state)
            yield Command("case", "Reopen", request)
            known.stage = Stage.WORKING
        if known.stage < Stage.RESOLVED:
            yield from self._arrange(known, row, at)
        yield from _move(known, row, at)
        yield from self._note(known, row, at)
        known.told, known.settled = row, True

    def _register(self, row: Row, at: Timestamp) -> Command:
        request = customer.RegisterCustomerRequest(
            occurred_at=at,
            party=customer.PartyInput(
                kind=customer_events.PARTY_KIND_INDIVIDUAL,
                contact=customer.ContactInput(name="unknown caller" if row.caller == MISSING else row.caller),
                preferences=customer_events.Preferences(
                    language=LANGUAGE, time_zone=self._time_zone, region=_text(row.location)
                ),
            ),
            stage=customer_events.CUSTOMER_STAGE_ACTIVE,
        )
        return Command("customer", "RegisterCustomer", request, makes=True)

    def _arrange(self, known: _Case, row: Row, at: Timestamp) -> Plan:
        """What only an open case takes: its class, its priority, and who has it."""
        told = known.told
        classified = (row.category, row.subcategory, row.symptom)
        if known.classified != classified:
            yield Command(
                "case",
                "Classify",
                case.ClassifyRequest(occurred_at=at, case_id=known.id, classification=_classification(row)),
            )
            known.classified = classified
        if known.priority != row.priority and row.priority in PRIORITY:
            reason = _changes(told, row, ("impact", "urgency")) or f"priority: {told.priority} -> {row.priority}"
            request = case.PrioritizeRequest(
                occurred_at=at, case_id=known.id, priority=PRIORITY[row.priority], reason=reason
            )
            yield Command("case", "Prioritize", request)
            known.priority = row.priority
            known.told = told._replace(impact=row.impact, urgency=row.urgency)
        assigned = self._assigned(row)
        if assigned is not None and known.assigned != assigned:
            kind, name, assignee = assigned
            yield Command("case", "Assign", _assign(at, known.id, kind=kind, name=name, assignee=assignee))
            known.assigned = assigned

    def _assigned(self, row: Row) -> _Assigned | None:
        if row.vendor != MISSING:
            return "partner", row.vendor, ""
        if row.group == MISSING:
            return None
        return "partner" if row.group in self._partners else "team", row.group, _text(row.assignee)

    def _note(self, known: _Case, row: Row, at: Timestamp) -> Plan:
        """One internal note of all that is new in the row and was told by no command."""
        columns: list[str] = []
        if row.state in WAITING_FOR and WAITING_FOR[row.state] == WAITING_FOR.get(known.told.state):
            columns.append("state")  # waits for the same party, which is no other Hold
        unclassified = known.classified != (row.category, row.subcategory, row.symptom)
        unprioritized = known.priority != row.priority
        assigned = self._assigned(row)
        unassigned = assigned is None or known.assigned != assigned
        if unclassified:
            columns += ("category", "subcategory", "symptom")
        columns += ("impact", "urgency")
        if unprioritized:
            columns.append("priority")
        if unassigned:
            columns += ("group", "assignee", "vendor")
        elif row.vendor != MISSING:
            columns += ("group", "assignee")
        text = _changes(known.told, row, (*columns, *_NOTED))
        if not text:
            return
        yield Command(
            "case",
            "AddNote",
            case.AddNoteRequest(
                occurred_at=at, case_id=known.id, audience=case_events.NOTE_AUDIENCE_INTERNAL, text=text
            ),
        )
        if unclassified:
            known.classified = None
        if unprioritized:
            known.priority = None
        if unassigned:
            known.assigned = None


def _move(known: _Case, row: Row, at: Timestamp) -> Plan:
    """The steps that bring an open case to the row's state; a case that is to be open again is so already."""
    goal = GOALS[row.state]
    if known.stage is Stage.NEW and goal > Stage.NEW:
        yield Command("case", "Acknowledge", case.AcknowledgeRequest(occurred_at=at, case_id=known.id))
        known.stage = Stage.WORKING
    waiting_for = WAITING_FOR.get(row.state, case_events.WAITING_FOR_UNSPECIFIED)
    if goal is Stage.WAITING and known.waiting_for != waiting_for:
        request = case.HoldRequest(occurred_at=at, case_id=known.id, waiting_for=waiting_for, reason=row.state)
        yield Command("case", "Hold", request)
        known.stage, known.waiting_for = Stage.WAITING, waiting_for
    if goal < Stage.WAITING and known.stage is Stage.WAITING:
        yield Command("case", "Resume", case.ResumeRequest(occurred_at=at, case_id=known.id, reason=row.state))
        known.stage, known.waiting_for = Stage.WORKING, waiting_for
    if goal >= Stage.RESOLVED and known.stage < Stage.RESOLVED:
        yield Command("case", "Resolve", case.ResolveRequest(occurred_at=at, case_id=known.id, reason=row.state))
        known.stage, known.waiting_for = Stage.RESOLVED, waiting_for
    if goal is Stage.CLOSED and known.stage is Stage.RESOLVED:
        yield Command("case", "Close", case.CloseRequest(occurred_at=at, case_id=known.id, reason=CLOSED_WITHOUT))
        known.stage = Stage.CLOSED


def _open(row: Row, at: Timestamp, customer_id: str) -> Command:
    request = case.OpenRequest(
        occurred_at=at,
        customer_id=customer_id,
        classification=_classification(row),
        priority=PRIORITY.get(row.priority, case_events.PRIORITY_UNSPECIFIED),
        need=" / ".join(text for text in (row.category, row.subcategory, row.symptom) if text != MISSING)
        or "not stated",
        urgency=f"urgency {row.urgency}, impact {row.impact}",
        channel=CHANNELS.get(row.contact, customer_events.CHANNEL_UNSPECIFIED),
        region=_text(row.location),
        external_reference=row.number,
    )
    return Command("case", "Open", request, makes=True)


def _assign(at: Timestamp, case_id: str, *, kind: str, name: str, assignee: str) -> case.AssignRequest:
    if kind == "partner":
        return case.AssignRequest(occurred_at=at, case_id=case_id, partner=name, assignee=assignee)
    return case.AssignRequest(occurred_at=at, case_id=case_id, team=name, assignee=assignee)


def _classification(row: Row) -> case_events.Classification:
    return case_events.Classification(
        kind=case_events.CASE_KIND_INCIDENT,
        category=_text(row.category),
        subcategory=_text(row.subcategory),
        symptom=_text(row.symptom),
    )


def _nothing_but_opened(row: Row) -> Row:
    """What Open has told of an incident's first row; the rest is missing, or as ServiceNow sets it by itself."""
    return row._replace(
        group=MISSING,
        assignee=MISSING,
        vendor=MISSING,
        cmdb_ci=MISSING,
        problem_id=MISSING,
        rfc=MISSING,
        caused_by=MISSING,
        knowledge=row.knowledge if row.knowledge == MISSING else "false",
        priority_confirmed=row.priority_confirmed if row.priority_confirmed == MISSING else "false",
        notify=row.notify if row.notify == MISSING else "Do Not Notify",
    )


def _changes(told: Row, row: Row, attributes: tuple[str, ...]) -> str:
    changed = [(name, old, new) for name in attributes if (old := getattr(told, name)) != (new := getattr(row, name))]
    return "; ".join(f"{_COLUMN_OF[name]}: {old} -> {new}" for name, old, new in changed)


def _text(value: str) -> str:
    return "" if value == MISSING else value
