"""The timeline of a case: everything that happened to it, whoever recorded it, and nothing of another's."""

from typing import Any
from uuid import UUID, uuid5

import pytest
from google.protobuf.message import Message
from kept.case.v1 import events_pb2 as e
from kept.case.v1 import service_pb2 as m
from kept.customer.v1 import service_pb2 as customer
from kept.notification.v1 import events_pb2 as notification
from kept.partner_network.v1 import events_pb2 as partner_network
from kept.sla.v1 import events_pb2 as sla

from services.case import timeline, views
from services.kernel.errors import Invalid
from services.kernel.events import event_classes, full_name
from services.kernel.house import House
from services.kernel.paging import make_token
from services.kernel.privacy import Place
from tests.scene import UNKNOWN, Scene, Told, edited, follow, install_item, open_case, rows

NAMES = uuid5(UUID(UNKNOWN), "timeline")
CLOCK, ORDER, OFFER, NOTICE, DELIVERY, PROBLEM = (
    uuid5(NAMES, name) for name in ("clock", "order", "offer", "notice", "delivery", "problem")
)


@pytest.fixture
def scene(sqlite_house: House) -> Scene:
    return Scene(sqlite_house)


@pytest.fixture
def both(house: House) -> Scene:
    """On SQLite and on PostgreSQL."""
    return Scene(house)


def shown(scene: Scene, case_id: str, **wanted: Any) -> list[Any]:
    scene.drain()
    answer = scene.send(m.GetCaseTimelineRequest(case_id=case_id, page_size=100, **wanted))
    assert answer.next_page_token == ""
    return list(answer.items)


def types(items: list[Any]) -> list[str]:
    return [item.type.rpartition(".")[2] for item in items]


class Story:
    """A case with a clock, a work order, two notices and a problem, each event a minute after the one before."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.customer_id = scene.customer()
        self.case_id = scene.case(self.customer_id)
        self.other_id = scene.case(self.customer_id)
        self.about = notification.About(case_id=self.case_id)
        title = Place(UUID(self.customer_id), "notice", DELIVERY, full_name(notification.NoticeSent), "title")
        sent = notification.NoticeSent(about=self.about, title=scene.house.sealer.seal("We are coming", title))
        self.told: list[tuple[UUID, Message]] = [
            (CLOCK, sla.ClockArmed(case_id=self.case_id)),
            (ORDER, partner_network.WorkOrderOffered(case_id=self.case_id, customer_id=self.customer_id)),
            (OFFER, partner_network.OfferExpired(work_order_id=str(ORDER), round=1)),
            (ORDER, partner_network.WorkOrderReoffered(round=2)),
            (ORDER, partner_network.WorkOrderDeclined(partner_id=UNKNOWN)),
            (ORDER, partner_network.WorkOrderAccepted(partner_id=UNKNOWN, partner_name="Fast Repairs")),
            (ORDER, partner_network.TechnicianArrived()),
            (ORDER, partner_network.WorkOrderCompleted(outcome="replaced")),
            (ORDER, partner_network.WorkOrderCancelled(reason="r")),
            (NOTICE, notification.NoticePlanned(about=self.about)),
            (DELIVERY, sent),
            (uuid5(DELIVERY, "2"), notification.NoticeFailed(about=self.about)),
            (NOTICE, notification.NoticeCancelled(reason="r")),
            (CLOCK, sla.ThresholdReached(percent=75)),
            (CLOCK, sla.ClockReplanned(used_s=9)),
            (CLOCK, sla.VerdictReached(outcome=sla.OUTCOME_BROKEN)),
            (CLOCK, sla.VerdictCorrected(outcome=sla.OUTCOME_KEPT)),
            (PROBLEM, e.CaseLinked(case_id=self.case_id)),
        ]
        self._append(1, self.told)

    def elsewhere(self) -> None:
        """Events of the same kinds that are about another case, or about none."""
        other = notification.About(case_id=self.other_id)
        streams: list[tuple[UUID, Message]] = [
            (uuid5(CLOCK, "2"), sla.ClockArmed(case_id=self.other_id)),
            (uuid5(ORDER, "2"), partner_network.WorkOrderOffered(case_id=self.other_id, customer_id=self.customer_id)),
            (uuid5(OFFER, "2"), partner_network.OfferExpired(work_order_id=str(uuid5(ORDER, "2")))),
            (uuid5(NOTICE, "2"), notification.NoticePlanned(about=other)),
            (uuid5(NOTICE, "3"), notification.NoticePlanned()),
            (uuid5(NOTICE, "3"), notification.NoticeCancelled(reason="r")),
            (uuid5(DELIVERY, "3"), notification.NoticeSent()),
            (uuid5(DELIVERY, "4"), notification.NoticeFailed()),
            (uuid5(ORDER, "lost"), partner_network.WorkOrderCompleted()),
        ]
        self._append(40, streams)

    def _append(self, start: int, told: list[tuple[UUID, Message]]) -> None:
        versions: dict[UUID, int] = {}
        for minutes, (stream, body) in enumerate(told, start):
            one = Told(stream, [body], self.customer_id, after=versions.get(stream, 0))
            versions[stream] = versions.get(stream, 0) + 1
            self.scene.append(one, minutes=minutes)


def test_everything_that_happened_to_a_case_is_told_newest_first(both: Scene) -> None:
    story = Story(both)
    both.tell(m.AcknowledgeRequest(case_id=story.case_id), minutes=30)
    story.elsewhere()
    expected = ["CaseAcknowledged", *(type(body).__name__ for _, body in reversed(story.told)), "CaseOpened"]
    items = shown(both, story.case_id)
    assert types(items) == expected
    assert types(shown(both, story.other_id)) == [
        "NoticePlanned",
        "OfferExpired",
        "WorkOrderOffered",
        "ClockArmed",
        "CaseOpened",
    ]
    by_position = {event.position: event.record for event in both.recorded()}
    assert [(item.event_id, item.stream, item.occurred_at) for item in items] == [
        (record.id, record.stream, record.occurred_at) for record in (by_position[item.position] for item in items)
    ]
    assert items[expected.index("WorkOrderCompleted")].facts["outcome"] == "replaced"


def test_every_kind_of_event_that_can_happen_to_a_case_is_read(scene: Scene) -> None:
    story = Story(scene)
    own = {name for name in event_classes() if name.startswith("kept.case.v1.Case")} | {full_name(e.NoteAdded)}
    told = {full_name(body) for _, body in story.told}
    assert own | told == timeline.READS
    assert all(name in views.VIEWS.reads for name in timeline.READS)


def test_what_was_said_and_written_is_opened(scene: Scene) -> None:
    story = Story(scene)
    scene.tell(m.AddNoteRequest(case_id=story.case_id, audience=e.NOTE_AUDIENCE_INTERNAL, text="Be kind"), minutes=30)
    items = {item.type.rpartition(".")[2]: dict(item.texts) for item in shown(scene, story.case_id) if item.texts}
    said = open_case("")
    assert items == {
        "NoteAdded": {"text": "Be kind"},
        "NoticeSent": {"title": "We are coming"},
        "CaseOpened": {"need": said.need, "urgency": said.urgency},
    }
    scene.house.keys.destroy(UUID(story.customer_id))
    assert [dict(item.texts) for item in shown(scene, story.case_id) if item.texts] == []


def test_pages_of_every_size_hold_every_event_once_and_in_order(both: Scene) -> None:
    story = Story(both)
    whole = [item.position for item in shown(both, story.case_id)]
    for size in (1, 2, 7, len(whole), len(whole) + 1):
        got: list[int] = []
        request = m.GetCaseTimelineRequest(case_id=story.case_id, page_size=size)
        while True:
            answer = both.send(request)
            got.extend(item.position for item in answer.items)
            if not answer.next_page_token:
                break
            assert len(answer.items) == size
            request.page_token = answer.next_page_token
        assert got == whole


def test_an_unknown_case_has_no_timeline(scene: Scene) -> None:
    case_id = scene.case(scene.customer())
    scene.drain()
    scene.refused_read(m.GetCaseTimelineRequest(case_id=UNKNOWN), "case-not-found")
    Scene(scene.house, tenant="south").refused_read(m.GetCaseTimelineRequest(case_id=case_id), "case-not-found")
    for bad in ("", "x", UNKNOWN.upper()):
        scene.refused_read(m.GetCaseTimelineRequest(case_id=bad), "invalid-argument")


def test_a_bad_page_request_names_its_field(both: Scene) -> None:
    case_id = both.case(both.customer())
    both.drain()
    bad: dict[str, list[Any]] = {"page_size": [-1, 101], "page_token": ["x", make_token(1), make_token(2**70, 1)]}
    for path, values in bad.items():
        for value in values:
            with pytest.raises(Invalid) as caught:
                both.send(edited(m.GetCaseTimelineRequest(case_id=case_id), {path: value}))
            assert caught.value.field == path


def test_a_case_shows_the_item_it_concerns(both: Scene) -> None:
    customer_id = both.customer()
    item_id = both.tell(install_item(customer_id)).id
    request = edited(open_case(customer_id), {"item_id": item_id})
    case_id = both.tell(request).id
    bare = both.case(customer_id)
    both.drain()
    listed = {one.case_id: one.item_id for one in both.send(m.ListCasesRequest()).cases}
    assert listed == {case_id: item_id, bare: ""}
    assert both.send(m.GetCaseRequest(case_id=case_id)).case.item_id == item_id


def test_the_customers_timeline_has_the_notices_words_too(scene: Scene) -> None:
    story = Story(scene)
    scene.drain()
    items = scene.send(customer.GetTimelineRequest(customer_id=story.customer_id, page_size=100)).items
    assert [dict(item.texts) for item in items if item.type == "kept.notification.v1.NoticeSent"] == [
        {"title": "We are coming"}
    ]


def test_rebuilt_rows_equal_the_live_ones_in_batches_of_any_size(both: Scene) -> None:
    story = Story(both)
    both.drain()
    story.elsewhere()
    both.drain()
    live = rows(views.VIEWS, both.house.views_database("case"))
    assert [len(live[name]) for name in ("case_event", "case_stream")] == [2 + 18 + 4, 6]
    for batch in (1, 3, 500):
        fresh = both.house.database(f"views_rebuilt_{batch}")
        views.VIEWS.migrate(fresh)
        follow(both.house, views.VIEWS, fresh, batch)
        assert rows(views.VIEWS, fresh) == live
