"""The console in a real browser: every page in both languages, wide and narrow, by keyboard, by the clock, and live."""

import re
from collections.abc import Iterator

import pytest
from kept.audit.v1 import service_pb2 as audit
from kept.case.v1 import events_pb2 as e
from kept.case.v1 import service_pb2 as case
from kept.common.v1.record_pb2 import Receipt, Record
from kept.notification.v1 import service_pb2 as notification
from kept.partner_network.v1 import service_pb2 as partner
from playwright.sync_api import Browser, expect

from tests.gateway.desk import NARROW, WIDE, Desk, sit_down
from tests.gateway.fakes import Answer, FakeCell, Open, Refusal, serving
from tests.gateway.process import gateway_up
from tests.gateway.sample import CASE, CUSTOMER, CUSTOMERS, PARTNER, PROBLEM

PAGES = {
    "home": "/", "queue": "/queue", "case": f"/cases/{CASE}", "customers": "/customers", "customer": f"/customers/{CUSTOMER}",
    "problems": "/problems", "problem": f"/problems/{PROBLEM}", "partners": "/partners", "partner": f"/partners/{PARTNER}",
    "notices": "/notices",
}  # fmt: skip
RECEIPT = Receipt(id=CASE, version=5, position=41)


@pytest.fixture(scope="module")
def desks(chromium: Browser) -> Iterator[dict[str, Desk]]:
    """One page for each language, used by all tests."""
    with serving(FakeCell()) as cell, gateway_up(cell.targets(), KEPT_TENANTS="main,north") as (_, address):
        yield {language: sit_down(chromium, address, cell, language) for language in ("en", "zh-CN")}


@pytest.fixture
def desk(desks: dict[str, Desk]) -> Iterator[Desk]:
    """In English; whatever a test does, the browser has nothing to complain of."""
    found = desks["en"]
    yield found
    assert found.errors == []


@pytest.mark.parametrize("language", ["en", "zh-CN"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_readable_and_fits_the_screen(desks: dict[str, Desk], name: str, language: str) -> None:
    desk = desks[language]
    page = desk.open(PAGES[name])

    for width, height in (WIDE, NARROW):
        page.set_viewport_size({"width": width, "height": height})
        desk.keep_screenshot(f"{name}-{language}-{width}")
        assert desk.overflow() <= 0
        assert desk.barriers() == []

    page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
    assert page.get_attribute("html", "lang") == language
    assert page.locator(".trouble:visible").count() == 0
    assert desk.errors == []


def test_the_queue_counts_down_and_marks_what_is_overdue_by_more_than_colour(desk: Desk) -> None:
    page = desk.open("/queue")
    overdue, soon = page.locator(".countdown").nth(0), page.locator(".countdown").nth(1)

    expect(overdue.locator(".sign")).to_have_text("!")
    expect(overdue).to_contain_text("overdue by 12 min")
    expect(soon).to_contain_text(re.compile("in 4 min"))

    page.clock.fast_forward("03:30")
    expect(soon).to_contain_text(re.compile(r"in [1-4]\d s"))
    page.clock.fast_forward("01:30")
    expect(soon).to_contain_text("overdue by")
    expect(soon.locator(".sign")).to_have_text("!")


def test_the_queue_is_worked_through_by_keyboard(desk: Desk) -> None:
    page = desk.open("/queue")
    desk.cell.answers["Acknowledge"] = case.AcknowledgeResponse(receipt=RECEIPT)
    rows = page.locator("tbody tr")

    for key, row in (("j", 0), ("j", 1), ("k", 0), ("k", 0)):
        page.keyboard.press(key)
        expect(rows.nth(row).locator("a").first).to_be_focused()

    page.keyboard.press("a")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert desk.cell.called("Acknowledge").request.case_id == CASE

    expect(rows.nth(0).locator("a").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/cases/{CASE}$"))


def test_keys_lead_to_every_page_and_the_help_names_them(desk: Desk) -> None:
    page = desk.open("/")

    for key, path in (
        ("q", "/queue"),
        ("c", "/customers"),
        ("p", "/problems"),
        ("r", "/partners"),
        ("n", "/notices"),
        ("h", "/"),
    ):
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page).to_have_url(desk.address + path)

    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    assert desk.barriers() == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_keys_are_silent_in_a_field_and_when_switched_off(desk: Desk) -> None:
    page = desk.open("/queue")

    page.keyboard.press("/")
    expect(page.locator("#filter-state")).to_be_focused()
    page.focus("#filter-team")
    page.keyboard.type("gq?j")
    expect(page.locator("#filter-team")).to_have_value("gq?j")
    page.locator("h1").click()

    page.keyboard.press("?")
    page.uncheck("#keys-off")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    assert page.locator("tbody a:focus").count() == 0

    page.keyboard.press("?")
    page.check("#keys-off")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator("tbody a").first).to_be_focused()


def test_the_queue_is_filtered_and_the_address_keeps_it(desk: Desk) -> None:
    page = desk.open("/queue")

    page.fill("#filter-team", "north desk")
    page.select_option("#filter-state", "CASE_STATE_HELD")
    expect(page).to_have_url(re.compile(r"state=CASE_STATE_HELD&team=north"))
    page.wait_for_selector("main:not([aria-busy]) tbody")
    expect(page.locator("#filter-team")).to_have_value("north desk")

    asked = desk.cell.called("ListCases").request
    assert (list(asked.states), asked.team) == ([e.CASE_STATE_HELD], "north desk")


def test_the_language_is_switched_and_stays(desk: Desk) -> None:
    page = desk.open("/queue")

    page.click("#language")
    expect(page.locator("h1")).to_have_text("工单队列")
    expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    desk.go("/queue")
    expect(page.locator("h1")).to_have_text("工单队列")
    assert page.title() == "工单队列 · Kept"

    page.click("#language")
    expect(page.locator("h1")).to_have_text("Queue")
    expect(page.locator("#language")).to_be_focused()


def test_another_company_is_chosen(desk: Desk) -> None:
    page = desk.open("/queue")

    page.get_by_role("combobox", name="Company").select_option("north")
    expect(page.locator("h1")).to_have_text("Overview")
    expect(page.locator("main:not([aria-busy]) .tiles")).to_be_visible()
    assert desk.cell.called("CountCases").metadata["kept-tenant"] == "north"

    page.context.clear_cookies(name="kept-tenant")


def test_what_people_wrote_is_text_and_never_markup(desk: Desk) -> None:
    page = desk.open(f"/cases/{CASE}")

    expect(page.locator(".timeline")).to_contain_text("<b>ask for photos</b>")
    assert page.locator("main b").count() == 0


def test_why_a_promise_is_due_then_is_explained(desk: Desk) -> None:
    page = desk.open(f"/cases/{CASE}")

    page.get_by_role("button", name="Why is this due then?").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("is due 11:40, because the policy standard, version 3, grants 4 h")
    for told in (
        "08:00–12:00, 13:30–18:00",
        "closed",
        "2026-03-14",
        "the deadline moved",
        "work was resumed",
        "Together: 4 h",
    ):
        expect(dialog).to_contain_text(told)
    desk.keep_screenshot("why-en-1280")
    assert desk.barriers() == []
    page.keyboard.press("Escape")


def test_a_note_is_sent_once_and_what_is_read_next_has_it(desk: Desk) -> None:
    page = desk.open(f"/cases/{CASE}")
    desk.cell.answers["AddNote"] = refusing(Refusal("UNAVAILABLE", "not now", slug="unavailable"))

    page.keyboard.press("n")
    page.fill("textarea[name=text]", "Called back.")
    page.get_by_role("button", name="Add note").last.click()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("cannot be reached right now")

    desk.cell.answers["AddNote"] = case.AddNoteResponse(receipt=RECEIPT)
    page.get_by_role("button", name="Add note").last.click()
    expect(page.get_by_role("dialog")).to_be_hidden()

    first, second = (call.request for call in desk.cell.calls if call.method == "AddNote")
    assert first == second
    assert second.audience == e.NOTE_AUDIENCE_INTERNAL
    expect(page.locator("#said")).to_have_text("Done. The page is up to date.")
    assert desk.cell.called("GetCase").request.after_position == 41


@pytest.mark.parametrize(
    ("button", "method", "fill", "sent"),
    [
        ("assign", "Assign", {"name": "west"}, {"team": "west"}),
        ("hold", "Hold", {"reason": "a valve"}, {"waiting_for": e.WAITING_FOR_CUSTOMER, "reason": "a valve"}),
        ("resolve", "Resolve", {"reason": "bled the pipes"}, {"reason": "bled the pipes"}),
    ],
)
def test_an_action_posts_its_command(
    desk: Desk, button: str, method: str, fill: dict[str, str], sent: dict[str, object]
) -> None:
    page = desk.open(f"/cases/{CASE}")
    desk.cell.answers[method] = getattr(case, f"{method}Response")(receipt=RECEIPT)

    page.click(f"#do-{button}")
    for name, text in fill.items():
        page.fill(f"dialog [name={name}]", text)
    page.locator("dialog button.main").click()
    expect(page.get_by_role("dialog")).to_be_hidden()

    asked = desk.cell.called(method).request
    assert asked.case_id == CASE
    assert {name: getattr(asked, name) for name in sent} == sent


def test_a_visit_is_offered_to_whom_can_help(desk: Desk) -> None:
    page = desk.open(f"/cases/{CASE}")
    desk.cell.answers["OfferWorkOrder"] = partner.OfferWorkOrderResponse(receipt=RECEIPT)

    page.click("#do-offer")
    page.fill("[name=skill]", "gas-fitter")
    page.get_by_role("button", name="Find help").click()
    expect(page.get_by_role("dialog")).to_contain_text("4.2 km")
    assert desk.barriers() == []
    page.get_by_role("button", name="Offer to those chosen").click()
    expect(page.get_by_role("dialog")).to_be_hidden()

    found, offered = desk.cell.called("FindHelp").request, desk.cell.called("OfferWorkOrder").request
    assert (found.place.region, found.product, found.skill) == ("330122", "boiler GX-40", "gas-fitter")
    assert (list(offered.partner_ids), offered.case_id, offered.region) == ([PARTNER], CASE, "330122")
    assert offered.window.until.seconds - getattr(offered.window, "from").seconds == 7200


def test_a_partner_accepts_an_offer(desk: Desk) -> None:
    page = desk.open(f"/partners/{PARTNER}")
    desk.cell.answers["AcceptWorkOrder"] = partner.AcceptWorkOrderResponse(receipt=RECEIPT)

    page.get_by_role("button", name="Accept").first.click()
    page.fill("[name=technician]", "Xu Lei")
    page.locator("dialog button.main").click()
    expect(page.get_by_role("dialog")).to_be_hidden()

    asked = desk.cell.called("AcceptWorkOrder").request
    assert (asked.partner_id, asked.technician) == (PARTNER, "Xu Lei")
    assert getattr(asked.arrival, "from").ToJsonString() == "2026-03-10T03:00:00Z"


def test_a_change_elsewhere_is_seen_without_reloading(desk: Desk) -> None:
    page = desk.open(f"/cases/{CASE}")
    expect(page.locator(".head .badge").first).to_have_text("New")

    page.locator("aside summary").first.click()

    taken = case.GetCaseResponse()
    taken.CopyFrom(desk.cell.answers["GetCase"])  # type: ignore[arg-type]  # the sample's is a message
    taken.case.state = e.CASE_STATE_IN_PROGRESS
    desk.cell.answers["GetCase"] = taken
    record = Record(type="kept.case.v1.CaseAcknowledged", stream=CASE, customer_id=CUSTOMER)
    desk.cell.answers["StreamEvents"] = Open(audit.StreamEventsResponse(position=41, record=record.SerializeToString()))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # nothing: it listens already
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.evaluate("Object.defineProperty(document, 'hidden', {value: false, configurable: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    expect(page.locator(".head .badge").first).to_have_text("In progress")
    expect(page.locator("#live")).to_have_text("Live")
    expect(page.locator("aside details").first).to_have_attribute("open", "")  # what was being read stays open


def test_nothing_to_show_tells_what_to_do(desk: Desk) -> None:
    desk.open("/queue")
    desk.cell.answers["ListCases"] = case.ListCasesResponse()
    desk.cell.answers["ListNotices"] = notification.ListNoticesResponse()

    expect(desk.go("/queue").locator(".empty")).to_contain_text("Clear the filters")
    expect(desk.go("/notices").locator(".empty")).to_contain_text("Notices appear here when")


def test_a_page_that_fails_says_so_and_tries_again(desk: Desk) -> None:
    desk.open("/queue")
    whole = desk.cell.answers["ListProblems"]
    desk.cell.answers["ListProblems"] = refusing(Refusal("UNAVAILABLE", "down", slug="unavailable"))

    page = desk.go("/problems")
    expect(page.get_by_role("alert")).to_contain_text("Wait a moment, then try again")
    desk.cell.answers["ListProblems"] = whole
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("h1")).to_have_text("Problems")


def test_a_service_that_is_missing_leaves_the_rest_of_the_page(desk: Desk) -> None:
    desk.open("/")
    for method in ("ListWorkOrders", "ListNotices", "CountNotices", "ListPartners", "GetCaseTimeline"):
        del desk.cell.answers[method]

    expect(desk.go("/").locator(".tiles li")).to_have_count(4)
    page = desk.go(f"/cases/{CASE}")
    expect(page.locator(".empty").first).to_contain_text("does not have that service yet")
    expect(page.locator(".cards").first).to_contain_text("Broken")


def test_an_address_that_no_page_has_leads_on(desk: Desk) -> None:
    page = desk.open("/nothing")

    expect(page.get_by_role("alert")).to_contain_text("There is no such page")
    page.get_by_role("link", name="Go to the overview").click()
    expect(page.locator("h1")).to_have_text("Overview")


def test_going_back_is_where_one_was(desk: Desk) -> None:
    page = desk.open("/customers")

    page.get_by_role("link", name="Wang Fang").click()
    expect(page).to_have_url(desk.address + f"/customers/{CUSTOMERS[1]}")
    page.go_back()
    expect(page.locator("h1")).to_have_text("Customers")


def refusing(refusal: Refusal) -> Answer:
    def refuse(_: object) -> object:
        raise refusal

    return refuse
