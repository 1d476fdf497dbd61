"""Commands on cases against a real log: sealed, exactly once, refused without a trace."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kept.case.v1 import events_pb2 as e
from kept.case.v1 import service_pb2 as m

from services.kernel.config import read_settings
from services.kernel.errors import Invalid, KeptError, RequestIdReused
from services.kernel.house import House
from tests.scene import UNKNOWN, Scene, at, edited, install_item, open_case

MEGABYTE = "x" * 1_000_000
NUL = "a\0b"
NOTE = "She called again about the till"


@pytest.fixture
def scene(sqlite_house: House) -> Scene:
    return Scene(sqlite_house)


def changes(case_id: str) -> dict[str, Message]:
    """A good request of every kind, each possible after those before it; `close` and `reopen` need a resolved case."""
    kind = e.Classification(kind=e.CASE_KIND_COMPLAINT, category="network")
    return {
        "assign_team": m.AssignRequest(case_id=case_id, team="north", assignee="li"),
        "assign_partner": m.AssignRequest(case_id=case_id, partner="Fast Repairs"),
        "acknowledge": m.AcknowledgeRequest(case_id=case_id),
        "hold": m.HoldRequest(case_id=case_id, waiting_for=e.WAITING_FOR_PARTS, reason="fuse"),
        "resume": m.ResumeRequest(case_id=case_id, reason="it came"),
        "prioritize": m.PrioritizeRequest(case_id=case_id, priority=e.PRIORITY_CRITICAL, reason="hospital"),
        "classify": m.ClassifyRequest(case_id=case_id, classification=kind),
        "add_note": m.AddNoteRequest(case_id=case_id, audience=e.NOTE_AUDIENCE_INTERNAL, text=NOTE),
        "resolve": m.ResolveRequest(case_id=case_id, reason="replaced"),
        "close": m.CloseRequest(case_id=case_id, customer_confirmed=True),
        "reopen": m.ReopenRequest(case_id=case_id, reason="off again"),
        "cancel": m.CancelRequest(case_id=case_id, reason="sold"),
    }


# What is recorded


def test_a_case_is_opened_for_its_customer(scene: Scene) -> None:
    customer_id = scene.customer()
    receipt = scene.tell(open_case(customer_id), minutes=5)
    opened = scene.recorded()[-1]
    assert (receipt.id, receipt.version, receipt.position) == (opened.record.stream, 1, opened.position)
    assert (opened.record.customer_id, opened.record.occurred_at) == (customer_id, at(5))
    assert isinstance(opened.body, e.CaseOpened)
    said = open_case(customer_id)
    for field in ("customer_id", "classification", "priority", "channel", "region", "entitlement", "product_stage"):
        assert getattr(opened.body, field) == getattr(said, field)
    assert opened.body.external_reference == "INC0000045"


def test_a_case_may_concern_an_item(scene: Scene) -> None:
    customer_id = scene.customer()
    item_id = scene.tell(install_item(customer_id)).id
    scene.tell(edited(open_case(customer_id), {"item_id": item_id}))
    opened = scene.recorded()[-1].body
    assert isinstance(opened, e.CaseOpened)
    assert opened.item_id == item_id


def test_a_case_does_not_concern_another_customers_item(scene: Scene) -> None:
    owner, other = scene.customer(minutes=0), scene.customer(minutes=1)
    item_id = scene.tell(install_item(owner)).id

    scene.refused(edited(open_case(other), {"item_id": item_id}), "item-not-found")


def test_every_change_is_recorded_on_the_case_with_its_customer(scene: Scene) -> None:
    customer_id = scene.customer()
    case_id = scene.case(customer_id)
    for request in changes(case_id).values():
        scene.tell(request)
    other = scene.case(customer_id)
    scene.tell(m.RejectRequest(case_id=other, reason="not ours"))
    events = scene.recorded()[2:]
    assert [event.record.type.removeprefix("kept.case.v1.") for event in events] == [
        "CaseOpened",
        "CaseAssigned",
        "CaseAssigned",
        "CaseAcknowledged",
        "CaseHeld",
        "CaseResumed",
        "CasePrioritized",
        "CaseClassified",
        "NoteAdded",
        "CaseResolved",
        "CaseClosed",
        "CaseReopened",
        "CaseCancelled",
        "CaseOpened",
        "CaseRejected",
    ]
    assert {event.record.customer_id for event in events} == {customer_id}
    assert [event.record.version for event in events] == [*range(1, 14), 1, 2]
    assert [event.body for event in events[1:3]] == [
        e.CaseAssigned(team="north", assignee="li"),
        e.CaseAssigned(partner="Fast Repairs"),
    ]


def test_the_same_request_again_gets_the_same_answer_and_is_recorded_once(scene: Scene) -> None:
    request = edited(open_case(scene.customer()), {"request_id": "r-1"})
    first = scene.send(request)
    assert scene.send(request) == first
    with pytest.raises(RequestIdReused):
        scene.send(edited(request, {"need": "something else"}))
    assert len(scene.recorded()) == 3


def test_what_is_so_already_is_answered_and_not_recorded(scene: Scene) -> None:
    case_id = scene.case(scene.customer())
    assign = m.AssignRequest(case_id=case_id, team="north")
    first, second = scene.tell(assign), scene.tell(assign)
    assert (second.id, second.version, second.position) == (case_id, 2, first.position)


# Sealing


def test_what_the_customer_says_is_sealed_for_its_place_and_opens_there(scene: Scene) -> None:
    customer_id = scene.customer()
    case_id = scene.case(customer_id)
    scene.tell(changes(case_id)["add_note"])
    opened, noted = (event.body for event in scene.recorded()[-2:])
    assert isinstance(opened, e.CaseOpened)
    assert isinstance(noted, e.NoteAdded)
    sealed = [opened.need, opened.urgency, noted.text]
    assert {(one.subject, one.purpose, one.stream) for one in sealed} == {(customer_id, "case", case_id)}
    assert [(one.type, one.field) for one in sealed] == [
        ("kept.case.v1.CaseOpened", "need"),
        ("kept.case.v1.CaseOpened", "urgency"),
        ("kept.case.v1.NoteAdded", "text"),
    ]
    said = open_case(customer_id)
    assert [scene.house.sealer.open(one, stream=UUID(case_id)) for one in sealed] == [said.need, said.urgency, NOTE]


def test_no_file_of_the_cell_holds_what_the_customer_says_in_the_clear(scene: Scene) -> None:
    case_id = scene.case(scene.customer())
    scene.tell(changes(case_id)["add_note"])
    scene.drain()
    assert scene.found_in_files([open_case("").need, open_case("").urgency, NOTE]) == set()
    # The search itself finds what is open.
    assert scene.found_in_files(["INC0000045", "no light"]) == {"INC0000045", "no light"}


def test_after_an_erasure_nothing_more_is_sealed_for_that_customer(scene: Scene) -> None:
    customer_id = scene.customer()
    case_id = scene.case(customer_id)
    scene.house.keys.destroy(UUID(customer_id))
    scene.refused(changes(case_id)["add_note"], "subject-erased")
    scene.refused(open_case(customer_id), "subject-erased")
    # What is not personal goes on.
    scene.tell(changes(case_id)["resolve"])


# Refusals leave no trace


class Settled:
    """A customer with a case and an item, and good requests about them that nobody has sent."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.customer_id = scene.customer()
        self.case_id = scene.case(self.customer_id)
        self.item_id = scene.tell(install_item(self.customer_id)).id
        self.good: dict[str, Message] = {
            "open": edited(open_case(self.customer_id), {"item_id": self.item_id}),
            "reject": m.RejectRequest(case_id=self.case_id, reason="not ours"),
            **changes(self.case_id),
        }


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settled]:
    """Shared, since every test that takes it leaves no trace."""
    house = House(read_settings({}, tmp_path_factory.mktemp("cell")))
    house.make()
    yield Settled(Scene(house))
    house.close()


ON_CASES = (*changes(""), "reject")
TEXTS: list[Any] = ["", "  ", "x" * 201, MEGABYTE, NUL]
LONG_TEXTS: list[Any] = ["", "  ", "x" * 4001, MEGABYTE, NUL]
OPTIONAL_TEXTS: list[Any] = [" ", "x" * 201, MEGABYTE, NUL]
ENUM: list[Any] = [0, 99, -1]
OPTIONAL_ENUM: list[Any] = [99, -1]
IDS: list[Any] = ["x", UNKNOWN.upper(), f"{{{UNKNOWN}}}", MEGABYTE, NUL]

BAD: list[tuple[str, str, list[Any]]] = [
    *((name, "request_id", ["", " ", "x" * 129, MEGABYTE, NUL]) for name in ("open", *ON_CASES)),
    *(
        (name, "occurred_at", [at(60 * 24 * 365 * 200), Timestamp(seconds=-1), Timestamp(nanos=-1)])
        for name in ("open", *ON_CASES)
    ),
    ("open", "customer_id", ["", *IDS]),
    ("open", "item_id", IDS),
    ("open", "classification", [None]),
    *(
        (name, f"classification.{field}", values)
        for name in ("open", "classify")
        for field, values in (
            ("kind", ENUM),
            ("category", OPTIONAL_TEXTS),
            ("subcategory", OPTIONAL_TEXTS),
            ("symptom", OPTIONAL_TEXTS),
        )
    ),
    ("open", "priority", ENUM),
    ("open", "need", LONG_TEXTS),
    ("open", "urgency", LONG_TEXTS[1:]),
    ("open", "channel", OPTIONAL_ENUM),
    ("open", "region", OPTIONAL_TEXTS),
    ("open", "entitlement", OPTIONAL_TEXTS),
    ("open", "product_stage", OPTIONAL_ENUM),
    ("open", "external_reference", OPTIONAL_TEXTS),
    ("assign_team", "team", TEXTS),
    ("assign_team", "assignee", OPTIONAL_TEXTS),
    ("assign_partner", "partner", TEXTS),
    ("hold", "waiting_for", ENUM),
    ("prioritize", "priority", ENUM),
    ("add_note", "audience", ENUM),
    ("add_note", "text", LONG_TEXTS),
    *((name, "reason", TEXTS) for name in ("hold", "resume", "resolve", "reopen", "cancel", "reject", "prioritize")),
    ("close", "customer_confirmed", [False]),  # without a reason
    ("close", "reason", OPTIONAL_TEXTS),
]


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, path, _ in BAD])
def test_bad_input_names_its_field_and_leaves_no_trace(settled: Settled, name: str, path: str) -> None:
    scene, good = settled.scene, edited(settled.good[name], {"request_id": "r", "occurred_at": at(0)})
    (values,) = (values for *where, values in BAD if where == [name, path])
    before = scene.trace()
    for value in values:
        with pytest.raises(Invalid) as caught:
            scene.send(edited(good, {path: value}))
        named = caught.value.field
        assert named == "reason" if path == "customer_confirmed" else named.startswith(path), (value, named)
        assert len(str(caught.value)) < 300  # what was sent is not sent back
    assert scene.trace() == before


def test_an_assignment_to_nobody_is_bad_input(settled: Settled) -> None:
    before = settled.scene.trace()
    with pytest.raises(Invalid, match="assigned_to"):
        settled.scene.tell(m.AssignRequest(case_id=settled.case_id, assignee="li"))
    assert settled.scene.trace() == before


@pytest.mark.parametrize("name", ON_CASES)
def test_an_unknown_case_is_not_found(settled: Settled, name: str) -> None:
    good = settled.good[name]
    for other in (UNKNOWN, settled.customer_id, settled.item_id):
        assert settled.scene.refused(edited(good, {"case_id": other}), "case-not-found").status == "NOT_FOUND"
    Scene(settled.scene.house, tenant="south").refused(good, "case-not-found")


@pytest.mark.parametrize("name", ON_CASES)
def test_an_id_that_is_none_leaves_no_trace(settled: Settled, name: str) -> None:
    before = settled.scene.trace()
    for value in ("", "x", MEGABYTE, NUL):
        with pytest.raises(KeptError) as caught:
            settled.scene.tell(edited(settled.good[name], {"case_id": value}))
        assert caught.value.status == "INVALID_ARGUMENT"
    assert settled.scene.trace() == before


def test_a_case_needs_a_customer_and_an_item_of_its_company(settled: Settled) -> None:
    scene, good = settled.scene, settled.good["open"]
    for other in (UNKNOWN, settled.case_id, settled.item_id):
        scene.refused(edited(good, {"customer_id": other}), "customer-not-found")
    for other in (UNKNOWN, settled.case_id, settled.customer_id):
        scene.refused(edited(good, {"item_id": other}), "item-not-found")
    Scene(scene.house, tenant="south").refused(good, "customer-not-found")


def test_what_the_state_does_not_allow_is_refused(settled: Settled) -> None:
    settled.scene.refused(settled.good["resume"], "case-not-held")
    settled.scene.refused(settled.good["reopen"], "case-not-resolved")
    settled.scene.refused(settled.good["close"], "case-not-resolved")


def test_a_refused_request_id_can_be_used_for_the_corrected_request(scene: Scene) -> None:
    request = edited(open_case(scene.customer()), {"request_id": "r-1"})
    with pytest.raises(Invalid):
        scene.send(edited(request, {"need": ""}))
    assert scene.send(request).receipt.version == 1
