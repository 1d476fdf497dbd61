"""A problem's states and commands, and what a problem means for one customer."""

from collections.abc import Callable

import pytest
from google.protobuf.message import Message
from kept.case.v1 import events_pb2 as e

from services.case.domain import Impact, Problem
from tests.given import ID, given
from tests.scene import UNKNOWN, at

CUSTOMER = "0b9c7a52-6d6b-5c1e-9d3a-2f6c8a1e4b70"
SCOPE = e.Scope(product="Pump P-2", regions=["330122"], began_at=at(5))
OPENED = e.ProblemOpened(title="No pressure", scope=SCOPE, priority=e.PRIORITY_HIGH)
FOUND = e.RootCauseFound(cause="A valve", scope=e.Scope(product="Pump P-2", regions=["330100"], began_at=at(3)))
RESOLVED, CLOSED = e.ProblemResolved(remedy="A new valve"), e.ProblemClosed(reason="It holds")
LINKED = e.CaseLinked(case_id=UNKNOWN)
HISTORIES: dict[str, tuple[Message, ...]] = {
    "open": (OPENED,),
    "found": (OPENED, FOUND),
    "resolved": (OPENED, RESOLVED),
    "closed": (OPENED, RESOLVED, CLOSED),
}
COMMANDS: dict[str, tuple[Callable[[Problem], None], Message]] = {
    "find": (lambda problem: problem.find_root_cause(FOUND), FOUND),
    "link": (lambda problem: problem.link_case(UNKNOWN), LINKED),
    "resolve": (lambda problem: problem.resolve(remedy="A new valve"), RESOLVED),
    "close": (lambda problem: problem.close(reason="It holds"), CLOSED),
}
# yes: recorded; same: already so, nothing to record; else the refusal.
LEGAL = """
         open         found        resolved closed
find     yes          same         open     open
link     yes          yes          open     open
resolve  yes          yes          same     open
close    resolved     resolved     yes      same
"""
TRANSITIONS = [
    (command, state, word)
    for states, *rows in [[line.split() for line in LEGAL.strip().splitlines()]]
    for command, *words in rows
    for state, word in zip(states, words, strict=True)
]


def test_a_problem_is_opened_and_is_no_one_customers() -> None:
    problem = given(Problem).when(lambda problem: problem.open(OPENED)).then(OPENED)
    assert (problem.customer_id, problem.scope) == ("", SCOPE)


@pytest.mark.parametrize(("command", "state", "word"), TRANSITIONS)
def test_every_command_in_every_state(command: str, state: str, word: str) -> None:
    decide, event = COMMANDS[command]
    told = given(Problem, *HISTORIES[state]).when(decide)
    if word == "yes":
        told.then(event)
    elif word == "same":
        told.then_nothing()
    else:
        assert told.then_refused(f"problem-not-{word}").facts["problem"] == str(ID)


def test_another_root_cause_is_recorded_and_keeps_the_beginning_where_it_says_none() -> None:
    other = e.RootCauseFound(cause="The pipe", scope=e.Scope(product="Pipe", regions=["330122"]))
    expected = e.RootCauseFound(cause="The pipe", scope=e.Scope(product="Pipe", regions=["330122"], began_at=at(3)))
    problem = given(Problem, OPENED, FOUND).when(lambda problem: problem.find_root_cause(other)).then(expected)
    assert problem.scope == expected.scope
    assert not other.scope.HasField("began_at")
    given(Problem, OPENED, FOUND, expected).when(lambda problem: problem.find_root_cause(other)).then_nothing()


def test_a_case_is_linked_once() -> None:
    given(Problem, OPENED, LINKED).when(lambda problem: problem.link_case(UNKNOWN)).then_nothing()
    given(Problem, OPENED, LINKED).when(lambda problem: problem.link_case(CUSTOMER)).then(
        e.CaseLinked(case_id=CUSTOMER)
    )


# Impact

AFFECTED = e.CustomerAffected(problem_id=UNKNOWN, item_ids=[UNKNOWN], product="Pump P-2", began_at=at(5))
RETRACTED = e.AffectedRetracted(problem_id=UNKNOWN)


def test_a_customer_is_affected_once_until_it_is_taken_back() -> None:
    given(Impact).when(lambda impact: impact.affect(AFFECTED, customer_id="")).then(AFFECTED)
    for history in ((AFFECTED,), (AFFECTED, RETRACTED, AFFECTED)):
        given(Impact, *history).when(lambda impact: impact.affect(AFFECTED, customer_id="")).then_nothing()
        given(Impact, *history).when(lambda impact: impact.retract(problem_id=UNKNOWN)).then(RETRACTED)
    given(Impact, AFFECTED, RETRACTED).when(lambda impact: impact.retract(problem_id=UNKNOWN)).then_nothing()


def test_one_who_was_not_affected_after_all_may_be_affected_again() -> None:
    again = given(Impact, AFFECTED, RETRACTED).when(lambda impact: impact.affect(AFFECTED, customer_id=""))
    assert len(again.aggregate.pending) == 1
    assert again.aggregate.pending[0].body == AFFECTED
