"""A case's states and commands: what is recorded, what is refused, what says nothing new."""

from collections.abc import Callable

import pytest
from google.protobuf.message import Message
from kept.case.v1 import events_pb2 as e

from services.case.domain import Case
from tests.given import ID, given

Command = Callable[[Case], None]

CUSTOMER = "0b9c7a52-6d6b-5c1e-9d3a-2f6c8a1e4b70"
BROKEN_ROUTER = e.Classification(kind=e.CASE_KIND_INCIDENT, category="network", subcategory="router", symptom="off")
OPENED = e.CaseOpened(customer_id=CUSTOMER, classification=BROKEN_ROUTER, priority=e.PRIORITY_HIGH)
NORTH = e.CaseAssigned(team="north", assignee="li")
SLOW_ROUTER = e.Classification(kind=e.CASE_KIND_COMPLAINT, category="network", symptom="slow")

HISTORIES: dict[str, tuple[Message, ...]] = {
    "acknowledged": (OPENED,),
    "pending": (OPENED, e.CaseHeld(waiting_for=e.WAITING_FOR_CUSTOMER, reason="serial number?")),
    "held": (OPENED, e.CaseHeld(waiting_for=e.WAITING_FOR_PARTNER, reason="visit")),
    "in_progress": (OPENED, e.CaseAcknowledged()),
    "resolved": (OPENED, e.CaseResolved(reason="replaced")),
    "closed": (OPENED, e.CaseResolved(reason="replaced"), e.CaseClosed(customer_confirmed=True)),
    "cancelled": (OPENED, e.CaseCancelled(reason="bought another")),
    "rejected": (OPENED, e.CaseRejected(reason="not our product")),
}
# Each command, what it records, and the state that follows; none where the state stays.
COMMANDS: dict[str, tuple[Command, Message, str]] = {
    "acknowledge": (Case.acknowledge, e.CaseAcknowledged(), "in_progress"),
    "assign": (lambda case: case.assign(NORTH), NORTH, ""),
    "hold": (
        lambda case: case.hold(waiting_for=e.WAITING_FOR_PARTS, reason="fuse"),
        e.CaseHeld(waiting_for=e.WAITING_FOR_PARTS, reason="fuse"),
        "held",
    ),
    "resume": (lambda case: case.resume(reason="here"), e.CaseResumed(reason="here"), "in_progress"),
    "resolve": (lambda case: case.resolve(reason="done"), e.CaseResolved(reason="done"), "resolved"),
    "reopen": (lambda case: case.reopen(reason="again"), e.CaseReopened(reason="again"), "in_progress"),
    "close": (
        lambda case: case.close(customer_confirmed=False, reason="silent for 30 days"),
        e.CaseClosed(reason="silent for 30 days"),
        "closed",
    ),
    "cancel": (lambda case: case.cancel(reason="sold"), e.CaseCancelled(reason="sold"), "cancelled"),
    "reject": (lambda case: case.reject(reason="spam"), e.CaseRejected(reason="spam"), "rejected"),
    "prioritize": (
        lambda case: case.prioritize(priority=e.PRIORITY_CRITICAL, reason="hospital"),
        e.CasePrioritized(priority=e.PRIORITY_CRITICAL, reason="hospital"),
        "",
    ),
    "classify": (lambda case: case.classify(SLOW_ROUTER), e.CaseClassified(classification=SLOW_ROUTER), ""),
    "add_note": (
        lambda case: case.add_note(e.NoteAdded(audience=e.NOTE_AUDIENCE_INTERNAL)),
        e.NoteAdded(audience=e.NOTE_AUDIENCE_INTERNAL),
        "",
    ),
}
# yes: recorded; same: already so, nothing to record; else the refusal.
LEGAL = """
             acknowledged pending held     in_progress resolved closed   cancelled rejected
acknowledge  yes          same    same     same        open     open     open      open
assign       yes          yes     yes      yes         open     open     open      open
hold         yes          yes     yes      yes         open     open     open      open
resume       held         yes     yes      held        held     held     held      held
resolve      yes          yes     yes      yes         same     open     open      open
reopen       resolved     resolved resolved resolved   yes      yes      resolved  resolved
close        resolved     resolved resolved resolved   yes      same     resolved  resolved
cancel       yes          yes     yes      yes         open     open     same      open
reject       yes          taken   taken    taken       taken    taken    taken     same
prioritize   yes          yes     yes      yes         open     open     open      open
classify     yes          yes     yes      yes         open     open     open      open
add_note     yes          yes     yes      yes         yes      yes      yes       yes
"""
SLUGS = {
    "open": "case-not-open",
    "held": "case-not-held",
    "resolved": "case-not-resolved",
    "taken": "case-already-acknowledged",
}


def transitions() -> list[tuple[str, str, str]]:
    states, *rows = (line.split() for line in LEGAL.strip().splitlines())
    return [(command, state, word) for command, *words in rows for state, word in zip(states, words, strict=True)]


def state_name(case: Case) -> str:
    return e.CaseState.Name(case.state).removeprefix("CASE_STATE_").lower()


def test_the_table_has_every_state_and_every_command() -> None:
    states = {name.removeprefix("CASE_STATE_").lower() for name, number in e.CaseState.items() if number}
    public = {name for name in vars(Case) if not name.startswith("_")} - {"noun", "born_by", "evolve", "open"}
    assert {(command, state) for command, state, _ in transitions()} == {(c, s) for c in public for s in states}
    assert set(HISTORIES) == states
    assert set(COMMANDS) == public


@pytest.mark.parametrize("state", HISTORIES)
def test_each_history_leads_to_its_state(state: str) -> None:
    assert state_name(given(Case, *HISTORIES[state]).aggregate) == state


@pytest.mark.parametrize(("command", "state", "word"), transitions())
def test_every_command_in_every_state(command: str, state: str, word: str) -> None:
    decide, event, then = COMMANDS[command]
    decided = given(Case, *HISTORIES[state]).when(decide)
    if word == "yes":
        assert state_name(decided.then(event)) == (then or state)
    elif word == "same":
        decided.then_nothing()
    else:
        refusal = decided.then_refused(SLUGS[word])
        assert refusal.status == "FAILED_PRECONDITION"
        assert refusal.facts == {"case": str(ID), "state": state}


def test_a_case_opens_acknowledged_for_its_customer() -> None:
    case = given(Case).when(lambda case: case.open(OPENED)).then(OPENED)
    assert (state_name(case), case.customer_id, case.version) == ("acknowledged", CUSTOMER, 1)


# Said again: nothing new is recorded


@pytest.mark.parametrize(
    ("said", "command"),
    [
        (e.CaseAcknowledged(), Case.acknowledge),
        (NORTH, lambda case: case.assign(NORTH)),
        (
            e.CaseHeld(waiting_for=e.WAITING_FOR_PARTS, reason="fuse"),
            lambda case: case.hold(waiting_for=e.WAITING_FOR_PARTS, reason="still the fuse"),
        ),
        (
            e.CasePrioritized(priority=e.PRIORITY_LOW, reason="spare one"),
            lambda case: case.prioritize(priority=e.PRIORITY_LOW, reason="said again"),
        ),
        (e.CaseClassified(classification=SLOW_ROUTER), lambda case: case.classify(SLOW_ROUTER)),
        (e.CaseResolved(reason="replaced"), lambda case: case.resolve(reason="said again")),
        (e.CaseCancelled(reason="sold"), lambda case: case.cancel(reason="said again")),
        (e.CaseRejected(reason="spam"), lambda case: case.reject(reason="said again")),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Message) else "",
)
def test_what_is_so_already_is_not_recorded_again(said: Message, command: Command) -> None:
    given(Case, OPENED, said).when(command).then_nothing()


def test_what_was_said_at_the_opening_is_not_recorded_again() -> None:
    given(Case, OPENED).when(lambda case: case.prioritize(priority=e.PRIORITY_HIGH, reason="as said")).then_nothing()
    given(Case, OPENED).when(lambda case: case.classify(BROKEN_ROUTER)).then_nothing()


@pytest.mark.parametrize(
    ("before", "again"),
    [
        (NORTH, e.CaseAssigned(team="north", assignee="wang")),
        (NORTH, e.CaseAssigned(partner="north", assignee="li")),
        (NORTH, e.CaseAssigned(team="north")),
    ],
)
def test_another_team_partner_or_person_is_another_assignment(before: e.CaseAssigned, again: e.CaseAssigned) -> None:
    given(Case, OPENED, before).when(lambda case: case.assign(again)).then(again)


def test_a_note_said_twice_is_two_notes() -> None:
    note = e.NoteAdded(audience=e.NOTE_AUDIENCE_CUSTOMER)
    given(Case, OPENED, note).when(lambda case: case.add_note(note)).then(note)


# Waiting


@pytest.mark.parametrize("waiting_for", [number for _, number in e.WaitingFor.items() if number])
def test_a_case_is_pending_for_the_customer_and_held_for_anybody_else(waiting_for: e.WaitingFor.ValueType) -> None:
    held = e.CaseHeld(waiting_for=waiting_for, reason="r")
    case = given(Case, OPENED).when(lambda case: case.hold(waiting_for=waiting_for, reason="r")).then(held)
    assert state_name(case) == ("pending" if waiting_for == e.WAITING_FOR_CUSTOMER else "held")
    assert case.waiting_for == waiting_for


@pytest.mark.parametrize("command", ["resume", "resolve", "cancel"])
def test_what_ends_the_waiting_ends_it_for_the_next_hold_too(command: str) -> None:
    decide, event, _ = COMMANDS[command]
    case = given(Case, *HISTORIES["held"]).when(decide).then(event)
    assert case.waiting_for == e.WAITING_FOR_UNSPECIFIED


def test_a_reopened_case_can_be_held_for_the_same_again() -> None:
    history = (*HISTORIES["held"], e.CaseResolved(reason="r"), e.CaseReopened(reason="r"))
    held = e.CaseHeld(waiting_for=e.WAITING_FOR_PARTNER, reason="again")
    given(Case, *history).when(lambda case: case.hold(waiting_for=e.WAITING_FOR_PARTNER, reason="again")).then(held)


def test_an_event_of_a_newer_kept_changes_nothing_of_what_is_known() -> None:
    case = given(Case, *HISTORIES["held"]).aggregate
    before = (case.state, case.waiting_for, case.assigned)
    case.evolve(e.Classification(kind=e.CASE_KIND_CLAIM))
    assert (case.state, case.waiting_for, case.assigned) == before
