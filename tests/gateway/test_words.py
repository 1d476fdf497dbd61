"""The console's words: the same in both languages, a sentence for every event, a name for every value."""

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from playwright.sync_api import Browser, Page

from gateway.pages import CONSOLE
from tests.gateway.process import gateway_up

NOUNS = ("cell", "customer", "case", "sla", "partner_network", "notification")
# What an event is made of; every other message of an events.proto is an event.
PARTS = {
    "Preferences", "Contact", "Classification", "Scope", "Span", "Weekday", "DateException", "CalendarDefinition",
    "TargetRule", "PolicyDefinition", "Pins", "Place", "Hours", "Agreement", "VisitWindow", "About", "Fact", "Card",
    "FailedAttempt",
}  # fmt: skip
UNSHOWN_ENUMS = {"cell_mode"}
MODULES = [path for path in sorted(CONSOLE.rglob("*.js")) if path.parent.name != "words"]


@pytest.fixture(scope="module")
def page(chromium: Browser) -> Iterator[Page]:
    with gateway_up({"cell": "unix:/nowhere/kept.sock"}) as (_, address):
        opened = chromium.new_page()
        opened.goto(f"{address}/static/icon.svg")
        yield opened


@pytest.fixture(scope="module")
def words(page: Page) -> dict[str, dict[str, str]]:
    return {one: exported(page, f"words/{one}.js", "default") for one in ("en", "zh-CN")}


@pytest.fixture(scope="module")
def sentences(page: Page) -> dict[str, list[str]]:
    return exported(page, "sentences.js", "SENTENCES")


def test_both_languages_have_the_same_words_with_the_same_places(words: dict[str, dict[str, str]]) -> None:
    english, chinese = words["en"], words["zh-CN"]

    assert english.keys() == chinese.keys()
    assert {key for key in english if places(english[key]) != places(chinese[key])} == set()
    assert [key for key, text in words["zh-CN"].items() if not text.strip()] == []


def test_every_word_that_the_console_asks_for_is_there(words: dict[str, dict[str, str]]) -> None:
    asked = {key for path in MODULES for key in re.findall(r"\bt\('([\w.]+)'", path.read_text(encoding="utf-8"))}

    assert len(asked) > 100
    assert asked - words["en"].keys() == set()


def test_every_value_that_a_service_may_answer_has_a_name(words: dict[str, dict[str, str]]) -> None:
    enums = {enum.name: enum for noun in NOUNS for enum in enums_of(noun)}
    keys = {
        f"{snake}.{value.name.removeprefix(snake.upper() + '_').lower()}"
        for name, enum in enums.items()
        for value in enum.values
        if value.number and (snake := re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()) not in UNSHOWN_ENUMS
    }

    assert len(keys) > 60
    assert keys - words["en"].keys() == set()


def test_every_event_has_a_sentence_in_both_languages(sentences: dict[str, list[str]]) -> None:
    events = {event.full_name for event in event_types()}

    assert len(events) > 50
    assert sentences.keys() == events
    for kind, *texts in sentences.values():
        assert kind
        assert len(texts) == 2
        assert all(texts)


def test_a_sentence_names_only_what_its_event_says(sentences: dict[str, list[str]]) -> None:
    for event in event_types():
        _, english, chinese = sentences[event.full_name]
        said = {name for text in (english, chinese) for name in re.findall(r"{([\w.]+)", text)}
        assert said - facts(event) == set(), event.full_name


def test_a_sentence_reads_like_one(page: Page) -> None:
    assert told(page, "kept.case.v1.CaseAssigned", {"team": "north"}) == "Assigned to team north"
    assert (
        told(page, "kept.case.v1.CaseAssigned", {"partner": "Qiandao", "assignee": "Xu"})
        == "Assigned to partner Qiandao, Xu"
    )
    assert told(page, "kept.case.v1.CaseHeld", {"waiting_for": "parts"}) == "Put on hold, waiting for parts"
    assert told(page, "kept.case.v1.CaseClosed", {"customer_confirmed": "true"}) == "Closed; the customer confirmed"
    assert told(page, "kept.sla.v1.VerdictReached", {"outcome": "kept", "used_s": "90", "budget_s": "3600"}) == (
        "Promise kept; 1 min of 1 h used"
    )
    assert "SomethingNew" in told(page, "kept.future.v1.SomethingNew", {})


def exported(page: Page, module: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(f"import('/static/{module}').then((one) => one['{name}'])")
    return found


def told(page: Page, kind: str, said: dict[str, str]) -> str:
    script = "([type, facts]) => import('/static/sentences.js').then((one) => one.sentence(type, facts))"
    return str(page.evaluate(script, [kind, said]))


def places(text: str) -> set[str]:
    return set(re.findall(r"{(\w+)}", text))


def event_types() -> list[Descriptor]:
    return [
        message
        for noun in NOUNS
        for name, message in import_module(f"kept.{noun}.v1.events_pb2").DESCRIPTOR.message_types_by_name.items()
        if name not in PARTS
    ]


def facts(event: Descriptor, prefix: str = "") -> set[str]:
    """The names under which a timeline may tell its open fields: as customer views have them."""
    found = set()
    for field in event.fields:
        inner = field.message_type
        if inner is None or inner.full_name == "google.protobuf.Timestamp":
            found.add(prefix + field.name)
        elif not prefix and field.type == FieldDescriptor.TYPE_MESSAGE and not field.is_repeated:
            found |= facts(inner, f"{field.name}.")
    return found


def enums_of(noun: str) -> list[Any]:
    files = [import_module(f"kept.{noun}.v1.{part}_pb2").DESCRIPTOR for part in ("events", "service")]
    return [enum for file in files for enum in file.enum_types_by_name.values()]
