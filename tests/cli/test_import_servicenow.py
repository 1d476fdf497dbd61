"""The mapping: what each thing that a row says becomes, and that nothing is said twice or too early."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from kept.case.v1 import events_pb2 as case_events
from kept.case.v1 import service_pb2 as case
from kept.customer.v1 import events_pb2 as customer_events
from kept.customer.v1 import service_pb2 as customer

from services.cli.imports.servicenow import Command, Planner
from tests.cli.importing import ZONE, commands_of, incident, log, methods, plan, rows_of, table_of

CASE_ID = "Open INC1 2"
PREPARED = {"assignment_group": "?"}  # so that no Assign stands between what a test is about


@pytest.fixture
def told(tmp_path: Path) -> Any:
    """told(row, change, ..., partners=...) -> the commands of every row of one incident."""

    def tell(*changes: Mapping[str, str], partners: frozenset[str] = frozenset(), **first: str) -> list[list[Command]]:
        return commands_of(table_of(log(tmp_path / "log.csv", incident(*changes, **first))), partners=partners)

    return tell


def state(text: str, **more: str) -> dict[str, str]:
    return {"incident_state": text, **more}


def note(commands: list[Command]) -> str:
    (only,) = commands
    assert isinstance(only.request, case.AddNoteRequest)
    assert only.request.audience == case_events.NOTE_AUDIENCE_INTERNAL
    return only.request.text


def test_the_first_row_registers_the_caller_and_opens_the_case(told: Any) -> None:
    (commands,) = told()

    at = Timestamp(seconds=1456833600)
    assert [command.request for command in commands] == [
        customer.RegisterCustomerRequest(
            occurred_at=at,
            party=customer.PartyInput(
                kind=customer_events.PARTY_KIND_INDIVIDUAL,
                contact=customer.ContactInput(name="Caller 1"),
                preferences=customer_events.Preferences(language="en", time_zone=ZONE, region="Location 7"),
            ),
            stage=customer_events.CUSTOMER_STAGE_ACTIVE,
        ),
        case.OpenRequest(
            occurred_at=at,
            customer_id="RegisterCustomer INC1 1",
            classification=case_events.Classification(
                kind=case_events.CASE_KIND_INCIDENT,
                category="Category 55",
                subcategory="Subcategory 170",
                symptom="Symptom 72",
            ),
            priority=case_events.PRIORITY_MODERATE,
            need="Category 55 / Subcategory 170 / Symptom 72",
            urgency="urgency 2 - Medium, impact 2 - Medium",
            channel=customer_events.CHANNEL_PHONE,
            region="Location 7",
            external_reference="INC1",
        ),
        case.AssignRequest(occurred_at=at, case_id=CASE_ID, team="Group 56"),
    ]
    assert [(command.service, command.makes) for command in commands] == [
        ("customer", True),
        ("case", True),
        ("case", False),
    ]


def test_what_is_missing_stays_empty(told: Any) -> None:
    nothing = dict.fromkeys(("caller_id", "location", "category", "subcategory", "u_symptom", "contact_type"), "?")
    ((register, opened),) = told(**nothing, **PREPARED)

    assert register.request.party.contact.name == "unknown caller"
    assert register.request.party.preferences.region == ""
    assert opened.request.classification == case_events.Classification(kind=case_events.CASE_KIND_INCIDENT)
    assert (opened.request.need, opened.request.region) == ("not stated", "")
    assert opened.request.channel == customer_events.CHANNEL_UNSPECIFIED


@pytest.mark.parametrize(
    ("contact", "channel"),
    [
        ("Phone", "PHONE"),
        ("IVR", "PHONE"),
        ("Email", "EMAIL"),
        ("Self service", "APP"),
        ("Direct opening", "UNSPECIFIED"),
    ],
)
def test_channels(contact: str, channel: str, told: Any) -> None:
    ((_, opened, *_rest),) = told(contact_type=contact)

    assert opened.request.channel == customer_events.Channel.Value(f"CHANNEL_{channel}")


@pytest.mark.parametrize(
    ("text", "priority"),
    [
        ("1 - Critical", "CRITICAL"),
        ("2 - High", "HIGH"),
        ("3 - Moderate", "MODERATE"),
        ("4 - Low", "LOW"),
        ("?", "UNSPECIFIED"),
    ],
)
def test_priorities(text: str, priority: str, told: Any) -> None:
    ((_, opened, *_rest),) = told(priority=text)

    assert opened.request.priority == case_events.Priority.Value(f"PRIORITY_{priority}")


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (["New"], [[]]),
        (["Active"], [["Acknowledge"]]),
        (["Awaiting User Info"], [["Acknowledge", "Hold"]]),
        (["Resolved"], [["Acknowledge", "Resolve"]]),
        (["Closed"], [["Acknowledge", "Resolve", "Close"]]),
        (["New", "Active"], [[], ["Acknowledge"]]),
        (["New", "Awaiting Vendor"], [[], ["Acknowledge", "Hold"]]),
        (["New", "Resolved"], [[], ["Acknowledge", "Resolve"]]),
        (["New", "Closed"], [[], ["Acknowledge", "Resolve", "Close"]]),
        (["Active", "New"], [["Acknowledge"], []]),
        (["Active", "Awaiting Evidence", "Active"], [["Acknowledge"], ["Hold"], ["Resume"]]),
        (["Awaiting Problem", "Awaiting Vendor"], [["Acknowledge", "Hold"], ["Hold"]]),
        (["Awaiting User Info", "Awaiting Evidence"], [["Acknowledge", "Hold"], ["AddNote"]]),
        (["Awaiting Vendor", "Awaiting Vendor"], [["Acknowledge", "Hold"], []]),
        (["Awaiting Vendor", "Resolved"], [["Acknowledge", "Hold"], ["Resolve"]]),
        (["Awaiting Vendor", "Closed"], [["Acknowledge", "Hold"], ["Resolve", "Close"]]),
        (["Awaiting Vendor", "New"], [["Acknowledge", "Hold"], ["Resume"]]),
        (["Resolved", "Closed", "Closed"], [["Acknowledge", "Resolve"], ["Close"], []]),
        (["Resolved", "Active"], [["Acknowledge", "Resolve"], ["Reopen"]]),
        (["Resolved", "New"], [["Acknowledge", "Resolve"], ["Reopen"]]),
        (["Resolved", "Awaiting User Info"], [["Acknowledge", "Resolve"], ["Reopen", "Hold"]]),
        (["Closed", "Active", "Resolved"], [["Acknowledge", "Resolve", "Close"], ["Reopen"], ["Resolve"]]),
        (["Closed", "Resolved"], [["Acknowledge", "Resolve", "Close"], ["Reopen", "Resolve"]]),
    ],
)
def test_states_become_steps(states: list[str], expected: list[list[str]], told: Any) -> None:
    first, *rest = told(*[state(text) for text in states[1:]], incident_state=states[0], **PREPARED)

    assert [methods(first)[2:], *map(methods, rest)] == expected


@pytest.mark.parametrize(
    ("text", "waiting_for"),
    [
        ("Awaiting User Info", "CUSTOMER"),
        ("Awaiting Evidence", "CUSTOMER"),
        ("Awaiting Vendor", "PARTNER"),
        ("Awaiting Problem", "PROBLEM"),
    ],
)
def test_whom_we_wait_for(text: str, waiting_for: str, told: Any) -> None:
    _, (_acknowledge, hold) = told(state(text), **PREPARED)

    assert hold.request.waiting_for == case_events.WaitingFor.Value(f"WAITING_FOR_{waiting_for}")
    assert hold.request.reason == text


def test_another_wait_for_the_same_party_is_noted(told: Any) -> None:
    _, _, noted, nothing = told(state("Awaiting User Info"), state("Awaiting Evidence"), {})

    assert note(noted) == "incident_state: Awaiting User Info -> Awaiting Evidence"
    assert nothing == []


def test_closing_never_claims_that_the_customer_confirmed(told: Any) -> None:
    *_, (close,) = told(state("Resolved"), state("Closed"))

    assert not close.request.customer_confirmed
    assert "does not say that the customer confirmed" in close.request.reason


def test_a_new_group_is_assigned_before_the_step_and_after_a_reopening(told: Any) -> None:
    _, first, resolved, reopened = told(
        state("Active", assignment_group="Group 2", assigned_to="Resolver 2"),
        state("Resolved", assignment_group="Group 3", assigned_to="Resolver 3"),
        state("Active", assignment_group="Group 4", assigned_to="Resolver 4"),
    )

    assert methods(first) == ["Assign", "Acknowledge"]
    assert methods(resolved) == ["Assign", "Resolve"]
    assert methods(reopened) == ["Reopen", "Assign"]
    assert (reopened[1].request.team, reopened[1].request.assignee) == ("Group 4", "Resolver 4")


def test_a_named_group_is_a_partner_and_no_other(told: Any) -> None:
    first, second = told({"assignment_group": "Group 70"}, partners=frozenset({"Group 70"}))

    assert (first[2].request.team, first[2].request.partner) == ("Group 56", "")
    assert (second[0].request.team, second[0].request.partner) == ("", "Group 70")


def test_the_case_is_the_vendors_while_the_row_names_one(told: Any) -> None:
    _, given, changed, back = told(
        state("Awaiting Vendor", vendor="Vendor 1"),
        {"assignment_group": "Group 9", "assigned_to": "Resolver 1"},
        state("Resolved", vendor="?"),
    )

    assert methods(given) == ["Assign", "Acknowledge", "Hold"]
    assert (given[0].request.partner, given[0].request.assignee) == ("Vendor 1", "")
    assert note(changed) == "assignment_group: Group 56 -> Group 9; assigned_to: ? -> Resolver 1"
    assert methods(back) == ["Assign", "Resolve"]
    assert (back[0].request.team, back[0].request.assignee) == ("Group 9", "Resolver 1")


def test_a_missing_group_is_noted_and_the_case_stays_where_it_is(told: Any) -> None:
    _, gone, back = told({"assignment_group": "?"}, {"assignment_group": "Group 56"})

    assert note(gone) == "assignment_group: Group 56 -> ?"
    assert methods(back) == ["Assign"]


def test_a_person_without_a_group_is_noted(told: Any) -> None:
    first, second = told({"assigned_to": "Resolver 2"}, assignment_group="?", assigned_to="Resolver 1")

    assert note(first[2:]) == "assigned_to: ? -> Resolver 1"
    assert note(second) == "assigned_to: Resolver 1 -> Resolver 2"


def test_class_and_priority_changes(told: Any) -> None:
    _, commands = told(
        {"subcategory": "?", "u_symptom": "Symptom 1", "impact": "1 - High", "priority": "2 - High"},
    )

    classify, prioritize = commands
    assert classify.request.classification == case_events.Classification(
        kind=case_events.CASE_KIND_INCIDENT, category="Category 55", symptom="Symptom 1"
    )
    assert prioritize.request.priority == case_events.PRIORITY_HIGH
    assert prioritize.request.reason == "impact: 2 - Medium -> 1 - High"


def test_a_priority_that_changes_by_itself_says_so(told: Any) -> None:
    _, (prioritize,) = told({"priority": "4 - Low"})

    assert prioritize.request.reason == "priority: 3 - Moderate -> 4 - Low"


def test_everything_else_that_changed_is_one_note(told: Any) -> None:
    change = {
        "caller_id": "Caller 2",
        "contact_type": "Email",
        "location": "Location 8",
        "cmdb_ci": "cmdb_ci 1",
        "problem_id": "Problem ID  3",
        "rfc": "CHG1",
        "caused_by": "CHG2",
        "knowledge": "true",
        "u_priority_confirmation": "true",
        "notify": "Send Email",
        "urgency": "1 - High",
    }
    _, (register, *rest) = told(change)

    assert register.request.party.contact.name == "Caller 2"  # first seen here
    assert note(rest) == (
        "urgency: 2 - Medium -> 1 - High; caller_id: Caller 1 -> Caller 2; contact_type: Phone -> Email; "
        "location: Location 7 -> Location 8; cmdb_ci: ? -> cmdb_ci 1; problem_id: ? -> Problem ID  3; rfc: ? -> CHG1; "
        "caused_by: ? -> CHG2; knowledge: false -> true; u_priority_confirmation: false -> true; "
        "notify: Do Not Notify -> Send Email"
    )


def test_what_the_first_row_says_beyond_opening_is_noted(told: Any) -> None:
    (commands,) = told(problem_id="Problem ID  3", knowledge="true", u_priority_confirmation="?")

    assert note(commands[3:]) == "problem_id: ? -> Problem ID  3; knowledge: false -> true"


def test_what_a_resolved_case_does_not_take_is_noted_and_told_when_it_is_open_again(told: Any) -> None:
    _, _, noted, nothing, reopened = told(
        state("Resolved"),
        {"assignment_group": "Group 2", "u_symptom": "?", "priority": "4 - Low"},
        {},
        state("Active"),
    )

    assert note(noted) == (
        "u_symptom: Symptom 72 -> ?; priority: 3 - Moderate -> 4 - Low; assignment_group: Group 56 -> Group 2"
    )
    assert nothing == []
    assert methods(reopened) == ["Reopen", "Classify", "Prioritize", "Assign"]


def test_counters_and_stamps_are_no_news(told: Any) -> None:
    _, nothing = told({"sys_mod_count": "9", "sys_updated_by": "Updated by 2", "reassignment_count": "3"})

    assert nothing == []


def test_a_caller_is_registered_once(tmp_path: Path) -> None:
    path = log(tmp_path / "log.csv", [*incident(), *incident(number="INC2")])

    first, second = commands_of(table_of(path))

    assert methods(first) == ["RegisterCustomer", "Open", "Assign"]
    assert methods(second) == ["Open", "Assign"]
    assert second[0].request.customer_id == first[1].request.customer_id  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("refused", "next_row"),
    [
        ("RegisterCustomer", ["RegisterCustomer", "Open", "Assign", "Acknowledge", "AddNote"]),
        ("Open", ["Open", "Assign", "Acknowledge", "AddNote"]),
        ("Assign", ["Assign", "Acknowledge", "AddNote"]),
        ("Acknowledge", ["Acknowledge", "AddNote"]),
        ("AddNote", ["AddNote"]),
    ],
)
def test_what_was_refused_is_told_by_the_next_row(refused: str, next_row: list[str], tmp_path: Path) -> None:
    first, second, third = rows_of(
        table_of(log(tmp_path / "log.csv", incident({}, {}, incident_state="Active", rfc="CHG1")))
    )
    planner = Planner(time_zone=ZONE)

    plan(planner, first, refuse=lambda command: command.method == refused)

    assert methods(plan(planner, second)) == next_row
    assert methods(plan(planner, third)) == []


def test_a_row_that_takes_back_what_was_half_told_is_no_repeated_one(tmp_path: Path) -> None:
    rows = rows_of(
        table_of(log(tmp_path / "log.csv", incident(state("Awaiting Vendor", rfc="CHG1"), state("New", rfc="?"))))
    )
    planner = Planner(time_zone=ZONE)
    plan(planner, rows[0])

    plan(planner, rows[1], refuse=lambda command: command.method == "AddNote")

    assert methods(plan(planner, rows[2])) == ["Resume"]
