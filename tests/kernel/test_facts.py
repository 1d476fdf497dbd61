"""What a timeline says of an event: open fields as facts, and words opened only where words are."""

from uuid import UUID

import pytest
from google.protobuf.message import Message
from kept.case.v1 import events_pb2 as case
from kept.common.v1.sealed_pb2 import Sealed
from kept.customer.v1 import events_pb2 as e
from kept.notification.v1 import events_pb2 as notification
from kept.sla.v1 import events_pb2 as sla

from services.kernel.events import event_id, full_name
from services.kernel.facts import described, facts, texts
from services.kernel.house import House
from services.kernel.privacy import Place
from tests.scene import UNKNOWN, at, logged

ID = UUID(UNKNOWN)
SEALED = Sealed(subject="s", purpose="p", nonce=b"n", ciphertext=b"c")
FACTS: list[tuple[Message, dict[str, str]]] = [
    (e.ConsentGiven(purpose=e.CONSENT_PURPOSE_MARKETING), {"purpose": "marketing"}),
    (e.CustomerStageEntered(stage=e.CUSTOMER_STAGE_WON_BACK, reason="r"), {"stage": "won_back", "reason": "r"}),
    (case.CaseAcknowledged(), {}),
    (case.CaseClosed(customer_confirmed=True), {"customer_confirmed": "true"}),
    (case.NoteAdded(audience=case.NOTE_AUDIENCE_INTERNAL, text=SEALED), {"audience": "internal"}),
    (
        case.CaseOpened(
            customer_id="c",
            classification=case.Classification(kind=case.CASE_KIND_SERVICE_REQUEST, category="net"),
            need=SEALED,
            urgency=SEALED,
        ),
        {"customer_id": "c", "classification.kind": "service_request", "classification.category": "net"},
    ),
    (
        e.PartyRegistered(
            kind=e.PARTY_KIND_ORGANIZATION,
            contact=e.Contact(name=SEALED, phones=[SEALED]),
            preferences=e.Preferences(language="de", channels=[e.CHANNEL_SMS, e.CHANNEL_APP]),
        ),
        {"kind": "organization", "preferences.language": "de", "preferences.channels": "sms, app"},
    ),
    (
        sla.ClockReplanned(pins=sla.Pins(policy="gold", policy_version=2), used_s=90, due_at=at(1.5)),
        {"pins.policy": "gold", "pins.policy_version": "2", "used_s": "90", "due_at": "2024-05-06T08:01:30Z"},
    ),
    # Deeper than one level, and lists of messages.
    (
        sla.CalendarPublished(
            name="n",
            definition=sla.CalendarDefinition(time_zone="UTC", weekdays=[sla.Weekday(weekday=1)]),
        ),
        {"name": "n", "definition.time_zone": "UTC"},
    ),
    (sla.PolicyPublished(name="n", definition=sla.PolicyDefinition(rules=[sla.TargetRule()])), {"name": "n"}),
    # A value that only a newer Kept knows.
    (e.ConsentGiven.FromString(b"\x08\x63"), {"purpose": "99"}),
]


@pytest.mark.parametrize(("body", "expected"), FACTS, ids=[type(body).__name__ for body, _ in FACTS])
def test_the_facts_of_an_event_are_its_open_fields_by_name(body: Message, expected: dict[str, str]) -> None:
    assert facts(body) == expected


def sealed(house: House, text: str, body: type[Message], field: str, subject: UUID = ID) -> Sealed:
    return house.sealer.seal(text, Place(subject, "words", ID, full_name(body), field))


def test_texts_are_opened_by_the_names_of_their_fields_one_level_deep(sqlite_house: House) -> None:
    kind = notification.NoticeSent
    sent = kind(
        notice_id="n",
        body=sealed(sqlite_house, "We are coming", kind, "body"),
        card=notification.Card(when=sealed(sqlite_house, "Tomorrow at nine", kind, "card.when")),
    )
    assert texts(sent, ID, sqlite_house.sealer) == {"body": "We are coming", "card.when": "Tomorrow at nine"}


def test_lists_of_sealed_values_are_not_opened(sqlite_house: House) -> None:
    kind = e.PartyRegistered
    contact = e.Contact(phones=[sealed(sqlite_house, "110", kind, "contact.phones[0]")])
    assert texts(kind(contact=contact), ID, sqlite_house.sealer) == {}


def test_erased_texts_are_left_out(sqlite_house: House) -> None:
    kind, other = case.CaseOpened, UUID(int=7)
    opened = kind(
        need=sealed(sqlite_house, "gone", kind, "need", other), urgency=sealed(sqlite_house, "here", kind, "urgency")
    )
    sqlite_house.keys.destroy(other)
    assert texts(opened, ID, sqlite_house.sealer) == {"urgency": "here"}


def test_a_text_from_another_stream_is_refused(sqlite_house: House) -> None:
    kind = case.NoteAdded
    with pytest.raises(ValueError, match="sealed for stream"):
        texts(kind(text=sealed(sqlite_house, "words", kind, "text")), UUID(int=7), sqlite_house.sealer)


def test_an_event_is_described_and_its_words_only_where_words_are(sqlite_house: House) -> None:
    kind = case.NoteAdded
    event = logged(ID, kind(text=sealed(sqlite_house, "words", kind, "text")), position=3, minutes=2)
    shown = described(event, sqlite_house.sealer, ("kept.case.",))
    assert shown == {
        "event_id": event_id(ID, 1),
        "position": 3,
        "type": "kept.case.v1.NoteAdded",
        "stream": str(ID),
        "occurred_at": at(2),
        "actor": "user:ana",
        "facts": {},
        "texts": {"text": "words"},
    }
    assert described(event, sqlite_house.sealer, ("kept.notification.",)) == {**shown, "texts": {}}
