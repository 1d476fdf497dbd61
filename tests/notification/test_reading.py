"""Rule sets are read whole or not at all: every mistake is told with its line and column, all of them at once."""

import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import events_pb2 as e

from services.kernel.errors import Invalid
from services.notification import rules as rules_module
from services.notification.facts import OCCASIONS, OFFERED, Kind
from services.notification.nodes import MOST_TOLD
from services.notification.reading import read_rules
from services.notification.words import choose

DEFAULT = (Path(rules_module.__file__).parent / "default_rules.yaml").read_text(encoding="utf-8")
SMALL = """\
languages: [zh-CN, en]
quiet_hours: {from: "22:00", until: "08:00"}
labels:
  what: {zh-CN: 事项, en: What}
  when: {zh-CN: 时间, en: When}
  where: {zh-CN: 地点, en: Where}
  who: {zh-CN: 人员, en: Who}
  how_to_change: {zh-CN: 更改, en: Change}
  next_touch: {zh-CN: 下次, en: Next}
fallbacks:
  site: {zh-CN: 登记地址, en: your address}
occasions:
  case-opened:
    purpose: service
    urgent: false
    next_touch: 4h
    title: {zh-CN: "编号 {case_number}", en: "Number {case_number}"}
    text: {zh-CN: 收到。, en: Received.}
    card:
      what: {zh-CN: 请求, en: A request}
      when: {zh-CN: "{opened_at}", en: "{opened_at}"}
      where: {zh-CN: "{site}", en: "{site}"}
      who: {zh-CN: 我们, en: We}
      how_to_change: {zh-CN: 回复, en: Reply}
personal:
  - key: often
    when: {cases_this_month: {at_least: 3}}
    zh-CN: "第 {cases_this_month} 次"
    en: "{cases_this_month} times"
"""


def mistakes(source: str) -> list[tuple[int, int, str]]:
    """What is told, taken apart again."""
    with pytest.raises(Invalid) as caught:
        read_rules(source)
    assert caught.value.field == "source"
    told = re.split(r"(?:^|; )line (\d+), column (\d+): ", caught.value.description)[1:]
    return [(int(line), int(column), text) for line, column, text in zip(*[iter(told)] * 3, strict=True)]


def marked(source: str) -> tuple[str, tuple[int, int]]:
    """The source without its § mark, and where that was."""
    before = source[: source.index("§")]
    return source.replace("§", ""), (before.count("\n") + 1, len(before) - before.rfind("\n"))


def test_the_small_rule_set_says_what_it_says() -> None:
    rules = read_rules(SMALL)

    notice = rules.notices[e.OCCASION_CASE_OPENED]
    assert rules.languages == ("zh-CN", "en")
    assert rules.quiet_hours == rules_module.QuietHours(22 * 3600, 8 * 3600)
    assert (notice.purpose, notice.urgent, notice.next_touch_s) == (customer.CONSENT_PURPOSE_SERVICE, False, 4 * 3600)
    assert notice.words["en"].title == (("Number ", "case_number"),)
    assert rules.labels["zh-CN"]["who"] == "人员"
    assert [(one.key, one.when.cases_at_least) for one in rules.personal] == [("often", 3)]


def test_the_default_has_every_occasion_in_both_languages() -> None:
    rules = read_rules(DEFAULT)

    assert set(rules.notices) == set(OFFERED)
    assert all(set(notice.words) == {"zh-CN", "en"} for notice in rules.notices.values())
    assert rules.quiet_hours is not None
    assert rules.personal


# What is replaced in the small rule set, by what (§ is where the mistake is told), and what is told of it.
MISTAKES = [
    ('until: "08:00"}\nlabels', 'until: "08:00"\n§labels', "is no YAML"),
    ("personal:\n  - key", "personal: [\n  §- key", "is no YAML"),
    ("quiet_hours:", "§silent_hours:", "a rule set has no 'silent_hours'"),
    ("languages: [zh-CN, en]\n", "§", "'languages' is missing"),
    ("[zh-CN, en]", "[zh-CN, §fr]", "there is no 'fr'; known are zh-CN, en"),
    ("[zh-CN, en]", "[zh-CN, §zh-CN]", "given twice"),
    ("[zh-CN, en]", "§[]", "give at least one of"),
    ("[zh-CN, en]", "§zh-CN", "give a list, not a single value"),
    ('from: "22:00"', 'from: §"24:00"', "a time of day such as 22:00, not '24:00'"),
    ('from: "22:00"', "from: §10 pm", "a time of day"),
    ('from: "22:00"', 'from: "08:00"', "until is from"),
    ('{from: "22:00", until: "08:00"}', '§{from: "22:00"}', "'until' is missing"),
    ("  who: {zh-CN: 人员, en: Who}\n", "", "labels: 'who' is missing"),
    ("{zh-CN: 人员, en: Who}", "§{zh-CN: 人员}", "label who: 'en' is missing"),
    ("  site: {zh", "  §sight: {zh", "'sight' is no fact that may be missing"),
    ("  site: {zh-CN: 登记地址, en: your address}", "  site: §{zh-CN: 登记地址}", "fallback site: 'en' is missing"),
    ("  case-opened:", "  §case-open:", "there is no occasion 'case-open'; known are case-opened, "),
    ("purpose: service", "purpose: §selling", "there is no 'selling'; known are service, safety, marketing"),
    ("    purpose: service\n", "", "case-opened: 'purpose' is missing"),
    ("urgent: false", "urgent: §maybe", "true or false, not 'maybe'"),
    ("urgent: false", "§hurry: false", "case-opened has no 'hurry'"),
    ("next_touch: 4h", "next_touch: §4 hours", "a duration such as 30m, 4h or 1d, not '4 hours'"),
    ("next_touch: 4h", "next_touch: §0h", "a duration"),
    ("next_touch: 4h", "next_touch:§ ", "is empty"),
    ("text: {zh-CN: 收到。, en: Received.}", "text: §{zh-CN: 收到。}", "case-opened text: 'en' is missing"),
    ("en: Received.", "§nl: Ontvangen., en: Received.", "case-opened text has no 'nl'"),
    ("en: Received.", "en: §[Received]", "give a text, not a list"),
    ("en: Received.", "en: §!!python/name:os.system x", "give a text"),
    ('en: "Number {case_number}"', 'en: §"Number {case_nr}"', "the fact 'case_nr' is unknown; known are case_number, "),
    ('en: "Number {case_number}"', 'en: §"Number {arrives_from}"', "the fact 'arrives_from' is not known here"),
    ('en: "Number {case_number}"', 'en: §"{case_number.real}"', "a fact is its name in braces alone"),
    ('en: "Number {case_number}"', 'en: §"{case_number[0]}"', "a fact is its name in braces alone"),
    ('en: "Number {case_number}"', 'en: §"{case_number!r}"', "a fact is its name in braces alone"),
    ('en: "Number {case_number}"', 'en: §"{case_number:>9}"', "a fact is its name in braces alone"),
    ('en: "Number {case_number}"', 'en: §"Number {}"', "a fact is its name in braces alone"),
    ('en: "Number {case_number}"', 'en: §"Number {case_number"', "a brace itself is written twice"),
    ('en: "Number {case_number}"', 'en: §"Two\\nlines"', "has more than one line"),
    ('en: "Number {case_number}"', 'en: §"{product}"', "'product' may be missing; give fallbacks for it in zh-CN, en"),
    ("      who: {zh-CN: 我们, en: We}\n", "", "case-opened card: 'who' is missing"),
    ("how_to_change: {zh-CN: 回复, en: Reply}", "how_to_change: §{en: Reply}", "how_to_change: 'zh-CN' is missing"),
    ("      who: {zh", "      §whom: {zh", "case-opened card has no 'whom'"),
    ("key: often", "key: §Very Often", "lower-case words with hyphens"),
    ("at_least: 3", "at_least: §0", "a whole number from 1 to 1000, not '0'"),
    ("at_least: 3", "at_least: §many", "a whole number"),
    ("{cases_this_month: {at_least: 3}}", "§{}", "say at least one of"),
    ("{cases_this_month: {at_least: 3}}", "{§cases: 3}", "has no 'cases'"),
    ("{cases_this_month: {at_least: 3}}", "{customer_stage: §gone}", "there is no 'gone'"),
    ('    en: "{cases_this_month} times"\n', "", "personal: 'en' is missing"),
    ('en: "{cases_this_month} times"', 'en: §"{opened_at}"', "'opened_at' is not known here"),
    ("key: often\n", "key: often\n    occasions: [§case-opening]\n", "there is no 'case-opening'"),
    ("urgent: false", "urgent: false\n    §urgent: true", "'urgent' is given twice"),
    ("[zh-CN, en]", "§&all [zh-CN, en]", "anchors and aliases are not read"),
    ("[zh-CN, en]", "[zh-CN, en, [[[[[[[[§[[x]]]]]]]]]]", "nested more than 10 deep"),
    ("Received.", "Received§\ufffe.", "a character that YAML does not allow"),
]


@pytest.mark.parametrize(("old", "new", "told"), MISTAKES)
def test_a_mistake_is_told_with_its_line_and_column(old: str, new: str, told: str) -> None:
    assert SMALL.count(old) == 1
    source = SMALL.replace(old, new)
    place = None
    if "§" in source:
        source, place = marked(source)

    found = mistakes(source)

    assert any(told in text and place in (None, (line, column)) for line, column, text in found), found


def test_mistakes_are_told_all_at_once_in_the_files_order() -> None:
    source = SMALL.replace("purpose: service", "purpose: x").replace("at_least: 3", "at_least: x")
    source = source.replace("[zh-CN, en]", "[zh-CN, en, fr]")

    assert [(line, column) for line, column, _ in mistakes(source)] == [(1, 24), (14, 14), (27, 41)]


def test_without_a_language_its_other_mistakes_are_not_made_up() -> None:
    assert len(mistakes(SMALL.replace("where: {zh-CN: 地点, en: Where}", "where: {en: Where}"))) == 1


def test_a_flood_of_mistakes_is_cut_off() -> None:
    source = SMALL + "".join(f"more{number}: x\n" for number in range(MOST_TOLD + 7))

    assert len(found := mistakes(source)) == MOST_TOLD
    assert found[-1][2].endswith("; and 7 more")


@pytest.mark.parametrize("source", ["", "# nothing\n", "- a\n- b\n", "just words", "{}", "--- a\n--- b\n", "\t\n"])
def test_what_is_no_rule_set_is_refused(source: str) -> None:
    assert mistakes(source)


@pytest.mark.parametrize("escape", ["\\ud800", "\\0", "\\x07", "\\UFFFFFFFF"])
def test_an_escape_that_no_text_can_have_is_told(escape: str) -> None:
    assert mistakes(SMALL.replace("en: Where", f'en: "{escape}"'))
    assert mistakes(SMALL + f'"{escape}": x\n')


def test_a_directive_beyond_all_numbers_is_told() -> None:
    assert mistakes(f"%YAML 1.{'1' * 5000}\n---\n{SMALL}")


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_change_of_a_rule_set_is_read_or_refused_and_never_more(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(SMALL)))
    until = data.draw(st.integers(at, min(len(SMALL), at + 12)))
    source = SMALL[:at] + data.draw(st.text("{}[]:,-&*!|>'\"%@` \n\tabc0中\x85\u2028", max_size=8)) + SMALL[until:]
    with suppress(Invalid):
        read_rules(source)


def test_facts_are_declared_for_every_occasion() -> None:
    assert set(OCCASIONS.values()) == set(e.Occasion.values()) - {e.OCCASION_UNSPECIFIED}
    personal = {name for offered in OFFERED.values() for name, one in offered.items() if one.kind is Kind.PERSONAL}
    assert personal == {"customer_name", "site", "technician"}


@pytest.mark.parametrize(
    ("wanted", "spoken"),
    [("zh-CN", "zh-CN"), ("zh", "zh-CN"), ("zh-Hans", "zh-CN"), ("en", "en"), ("en-GB", "en"), ("fr", "zh-CN")],
)
def test_the_nearest_language_is_spoken(wanted: str, spoken: str) -> None:
    assert choose(wanted, ("zh-CN", "en")) == spoken


def test_where_the_languages_stand_does_not_matter_to_who_has_one_of_them() -> None:
    assert (choose("zh-Hans", ("en", "zh-CN")), choose("fr", ("en", "zh-CN"))) == ("zh-CN", "en")
