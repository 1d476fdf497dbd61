"""Publishing calendars and policies: what is recorded, and how each mistake is named."""

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest
from kept.case.v1 import events_pb2 as case
from kept.common.v1.record_pb2 import Receipt
from kept.sla.v1 import events_pb2 as e
from kept.sla.v1 import service_pb2 as m

from services.kernel.application import Caller, Command
from services.kernel.config import read_settings
from services.kernel.errors import Invalid, KeptError, NotFound, Refused, RequestIdReused
from services.kernel.events import log_event
from services.kernel.house import House
from services.sla.application import MOST_BUDGET_S, MOST_RULES, SlaApplication
from services.sla.domain import PublishedCalendar, calendar_id, policy_id
from tests.sla.desk import ALWAYS, HOUR, OFFICE, rule

MEGABYTE, NUL = "x" * 1_000_000, "a\0b"


class Office:
    """Publishes as a caller of one company would."""

    def __init__(self, house: House, tenant: str = "main") -> None:
        self.house = house
        self.application = SlaApplication(house)
        self._tenant = tenant
        self._numbers = count(1)

    def calendar(self, name: str, definition: e.CalendarDefinition, *, request_id: str = "") -> Receipt:
        request = m.PublishCalendarRequest(name=name, definition=definition)
        return self.application.publish_calendar(self._command(request, request_id), name, definition)

    def policy(self, *rules: e.TargetRule, name: str = "standard", request_id: str = "") -> Receipt:
        definition = e.PolicyDefinition(rules=rules)
        request = m.PublishPolicyRequest(name=name, definition=definition)
        return self.application.publish_policy(self._command(request, request_id), name, definition)

    def recorded(self) -> list[Any]:
        return [log_event(one).body for one in self.house.log.read(0, 1000)]

    def _command(self, request: Any, request_id: str) -> Command:
        method = type(request).__name__
        request.request_id = request_id or f"{self._tenant}-{next(self._numbers)}"
        return self.application.command(Caller("user:ana", self._tenant, method), request)


@pytest.fixture
def office(house: House) -> Office:
    return Office(house)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """With a calendar; shared by tests that record nothing."""
    house = House(read_settings({}, tmp_path_factory.mktemp("cell")))
    house.make()
    office = Office(house)
    office.calendar("office", OFFICE)
    yield office
    house.close()


def test_publishing_records_each_version_once(office: Office) -> None:
    first, again, second = (office.calendar("office", one) for one in (OFFICE, OFFICE, ALWAYS))

    assert [receipt.version for receipt in (first, again, second)] == [1, 1, 2]
    assert {receipt.id for receipt in (first, again, second)} == {str(calendar_id("main", "office"))}
    assert office.recorded() == [
        e.CalendarPublished(name="office", version=1, definition=OFFICE),
        e.CalendarPublished(name="office", version=2, definition=ALWAYS),
    ]


def test_a_policy_counts_its_versions_up_by_name(office: Office) -> None:
    office.calendar("office", OFFICE)
    receipts = [
        office.policy(rule()),
        office.policy(rule(), rule(HOUR)),
        office.policy(rule(), name="other"),
        office.policy(rule(), rule(HOUR)),
    ]

    assert [receipt.version for receipt in receipts] == [1, 2, 1, 2]
    assert receipts[1].id == receipts[3].id == str(policy_id("main", "standard")) != receipts[2].id
    assert [body.version for body in office.recorded() if isinstance(body, e.PolicyPublished)] == [1, 2, 1]


def test_the_same_request_gets_the_same_answer(office: Office) -> None:
    first = office.calendar("office", OFFICE, request_id="r")
    office.calendar("office", ALWAYS)

    assert office.calendar("office", OFFICE, request_id="r") == first
    with pytest.raises(RequestIdReused):
        office.calendar("office", ALWAYS, request_id="r")
    assert len(office.recorded()) == 2


def test_a_policy_needs_its_calendars_published_first(office: Office) -> None:
    office.calendar("office", OFFICE)

    with pytest.raises(
        Refused, match=r"definition\.rules\[1\]\.calendar: publish the calendar 'night' first"
    ) as caught:
        office.policy(rule(), rule(calendar="night"))
    assert caught.value.slug == "calendar-not-found"
    assert caught.value.facts == {"calendar": "night"}
    assert len(office.recorded()) == 1


def test_another_companys_calendar_is_not_found(office: Office) -> None:
    office.calendar("office", OFFICE)
    south = Office(office.house, "south")

    with pytest.raises(Refused) as caught:
        south.policy(rule())
    assert caught.value.slug == "calendar-not-found"
    with pytest.raises(NotFound):
        south.application.load(PublishedCalendar, str(calendar_id("main", "office")), tenant="south")


def spanned(*spans: tuple[int, int], weekday: int = 1) -> e.CalendarDefinition:
    hours = [e.Span(from_s=since, until_s=until) for since, until in spans]
    return e.CalendarDefinition(time_zone="Asia/Shanghai", weekdays=[e.Weekday(weekday=weekday, spans=hours)])


def dated(date: str) -> e.CalendarDefinition:
    return e.CalendarDefinition(
        time_zone="UTC",
        weekdays=OFFICE.weekdays,
        exceptions=[e.DateException(date="--05-01"), e.DateException(date=date)],
    )


CALENDARS: list[tuple[str, e.CalendarDefinition]] = [
    ("definition.time_zone", e.CalendarDefinition(weekdays=OFFICE.weekdays)),
    ("definition.time_zone", e.CalendarDefinition(time_zone="Mars/Base", weekdays=OFFICE.weekdays)),
    ("definition.time_zone", e.CalendarDefinition(time_zone=NUL, weekdays=OFFICE.weekdays)),
    ("definition.time_zone", e.CalendarDefinition(time_zone=MEGABYTE, weekdays=OFFICE.weekdays)),
    ("definition.weekdays", e.CalendarDefinition(time_zone="UTC")),
    ("definition.weekdays[0].weekday", spanned((0, 60), weekday=0)),
    ("definition.weekdays[0].weekday", spanned((0, 60), weekday=8)),
    ("definition.weekdays[0].spans[0]", spanned((60, 0))),
    ("definition.weekdays[0].spans[0]", spanned((60, 60))),
    ("definition.weekdays[0].spans[0]", spanned((-1, 60))),
    ("definition.weekdays[0].spans[1]", spanned((0, 60), (0, 86_401))),
    ("definition.weekdays[0].spans[1]", spanned((0, 60), (59, 70))),
    ("definition.weekdays[0].spans", spanned(*((at, at + 1) for at in range(97)))),
    ("definition.exceptions[1].date", dated("2024-02-30")),
    ("definition.exceptions[1].date", dated("6 May")),
    ("definition.exceptions[1].date", dated("--05-01")),
    ("definition.exceptions[1].date", dated(MEGABYTE)),
]


@pytest.mark.parametrize(("field", "definition"), CALENDARS)
def test_a_bad_calendar_is_refused_by_the_path_of_its_mistake(
    quiet: Office, field: str, definition: e.CalendarDefinition
) -> None:
    assert refused(quiet, lambda: quiet.calendar("other", definition)).field == field


@pytest.mark.parametrize("name", ["", " ", "x" * 101, NUL, MEGABYTE])
def test_a_bad_name_is_refused(quiet: Office, name: str) -> None:
    assert refused(quiet, lambda: quiet.calendar(name, OFFICE)).field == "name"
    assert refused(quiet, lambda: quiet.policy(rule(), name=name)).field == "name"


RULES: list[tuple[str, dict[str, Any]]] = [
    ("target", {"target": e.TARGET_KIND_UNSPECIFIED}),
    ("target", {"target": 99}),
    ("kind", {"kind": 99}),
    ("priority", {"priority": -1}),
    ("product_stage", {"product_stage": 99}),
    ("on_reopen", {"on_reopen": e.ON_REOPEN_UNSPECIFIED}),
    ("boundary", {"boundary": e.BOUNDARY_UNSPECIFIED}),
    ("entitlement", {"entitlement": "x" * 201}),
    ("entitlement", {"entitlement": NUL}),
    ("budget_s", {"budget_s": 0}),
    ("budget_s", {"budget_s": -1}),
    ("budget_s", {"budget_s": MOST_BUDGET_S + 1}),
    ("warn_percents", {"warn_percents": [0]}),
    ("warn_percents", {"warn_percents": [100]}),
    ("warn_percents", {"warn_percents": [75, 50]}),
    ("warn_percents", {"warn_percents": [50, 50]}),
    ("pause_on[1]", {"pause_on": [case.WAITING_FOR_CUSTOMER, case.WAITING_FOR_UNSPECIFIED]}),
    ("pause_on[0]", {"pause_on": [99]}),
    ("calendar", {"calendar": ""}),
    ("calendar", {"calendar": MEGABYTE}),
]


@pytest.mark.parametrize(("field", "changes"), RULES)
def test_a_bad_rule_is_refused_by_the_path_of_its_mistake(quiet: Office, field: str, changes: dict[str, Any]) -> None:
    assert refused(quiet, lambda: quiet.policy(rule(), rule(**changes))).field == f"definition.rules[1].{field}"


@pytest.mark.parametrize("rules", [(), (rule(),) * (MOST_RULES + 1)])
def test_a_policy_has_rules_but_not_endlessly_many(quiet: Office, rules: tuple[e.TargetRule, ...]) -> None:
    assert refused(quiet, lambda: quiet.policy(*rules)).field == "definition.rules"


def test_the_largest_rule_is_taken(office: Office) -> None:
    office.calendar("office", OFFICE)
    largest = rule(
        MOST_BUDGET_S, entitlement="x" * 200, warn_percents=range(1, 100), pause_on=case.WaitingFor.values()[1:]
    )

    assert office.policy(*(largest,) * 10).version == 1


def refused(office: Office, publish: Any) -> Invalid:
    """The refusal; asserts that it left nothing behind."""
    before = office.house.log.head()
    with pytest.raises(KeptError) as caught:
        publish()
    assert office.house.log.head() == before
    assert isinstance(caught.value, Invalid), caught.value
    return caught.value
