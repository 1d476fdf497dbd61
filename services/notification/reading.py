"""A rule set's file (YAML) to Rules. All mistakes are told in one refusal, each with its line and column."""

import re
import string
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import TypeVar

from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import events_pb2 as e
from yaml.nodes import Node

from services.notification.facts import CASES_THIS_MONTH, EVERY_FACT, MAY_MISS, NUMBER, OCCASIONS, OFFERED, Declared
from services.notification.nodes import Mistakes, compose
from services.notification.rules import (
    CARD,
    NEXT_TOUCH_FIELD,
    Notice,
    Personal,
    QuietHours,
    Rules,
    Template,
    When,
    Words,
)
from services.notification.words import LANGUAGES

PURPOSES = {
    "service": customer.CONSENT_PURPOSE_SERVICE,
    "safety": customer.CONSENT_PURPOSE_SAFETY,
    "marketing": customer.CONSENT_PURPOSE_MARKETING,
}
STAGES = {
    name.removeprefix("CUSTOMER_STAGE_").lower().replace("_", "-"): stage
    for name, stage in customer.CustomerStage.items()
    if stage
}
LABELS = (*CARD, NEXT_TOUCH_FIELD)
MOST_TITLE, MOST_CASES = 100, 1000
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_DURATION = re.compile(r"([1-9][0-9]{0,3})(m|h|d)")
_UNIT_S = {"m": 60, "h": 3600, "d": 86_400}
_KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
Offered = Mapping[str, Declared]
T = TypeVar("T")


@lru_cache(maxsize=64)
def read_rules(source: str) -> Rules:
    """Raises invalid-argument for `source`."""
    mistakes = Mistakes()
    root = compose(source, mistakes)
    rules = _Reader(mistakes).rules(root) if root is not None else None
    mistakes.refuse("source")
    assert rules is not None
    return rules


class _Reader:
    """Reads on after a mistake, so that the next one is found too."""

    def __init__(self, mistakes: Mistakes) -> None:
        self._mistakes = mistakes
        self._languages: tuple[str, ...] = ()
        self._fallbacks: dict[str, dict[str, str]] = {}

    def rules(self, root: Node) -> Rules:
        top = self._mistakes.mapping(
            root, "a rule set", needs=("languages", "labels", "occasions"), may=("quiet_hours", "fallbacks", "personal")
        )
        self._languages = self._read_languages(top.get("languages"))
        self._fallbacks = self._read_fallbacks(top.get("fallbacks"))
        labels = self._mistakes.mapping(top.get("labels"), "labels", needs=LABELS)
        by_field = {name: self._by_language(node, f"label {name}", self._plain) for name, node in labels.items()}
        return Rules(
            languages=self._languages,
            quiet_hours=self._read_quiet_hours(top.get("quiet_hours")),
            labels={one: {name: texts.get(one, "") for name, texts in by_field.items()} for one in self._languages},
            fallbacks=self._fallbacks,
            notices=dict(self._read_notices(top.get("occasions"))),
            personal=tuple(self._read_personal(top.get("personal"))),
        )

    def _read_languages(self, node: Node | None) -> tuple[str, ...]:
        known = {name: name for name in LANGUAGES}
        found: list[str] = []
        for one in self._mistakes.items(node, "languages"):
            language = self._mistakes.choice(one, "languages", known)
            if language in found:
                self._mistakes.at(one, f"languages: {language} is given twice")
            elif language:
                found.append(language)
        if node is not None and not found:
            self._mistakes.at(node, f"languages: give at least one of {', '.join(LANGUAGES)}")
        return tuple(found)

    def _read_fallbacks(self, node: Node | None) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {language: {} for language in self._languages}
        for fact, (key, value) in self._mistakes.entries(node, "fallbacks"):
            if fact not in MAY_MISS:
                self._mistakes.at(
                    key, f"fallbacks: {fact!r} is no fact that may be missing; such are {_list(MAY_MISS)}"
                )
            for language, text in self._by_language(value, f"fallback {fact}", self._plain).items():
                found[language][fact] = text
        return found

    def _read_quiet_hours(self, node: Node | None) -> QuietHours | None:
        if node is None:
            return None
        ends = self._mistakes.mapping(node, "quiet_hours", needs=("from", "until"))
        since, until = (self._time(ends.get(name), f"quiet_hours {name}") for name in ("from", "until"))
        if since is None or until is None:
            return None
        if since == until:
            self._mistakes.at(ends["until"], "quiet_hours: until is from; leave quiet_hours out where there are none")
            return None
        return QuietHours(since, until)

    def _time(self, node: Node | None, what: str) -> int | None:
        text = self._mistakes.text(node, what)
        if node is None or text is None:
            return None
        match = _TIME.fullmatch(text)
        if match is None:
            self._mistakes.at(node, f"{what}: a time of day such as 22:00, not {text[:40]!r}")
            return None
        return int(match[1]) * 3600 + int(match[2]) * 60

    def _read_notices(self, node: Node | None) -> Iterable[tuple[e.Occasion.ValueType, Notice]]:
        for name, (key, value) in self._mistakes.entries(node, "occasions"):
            occasion = OCCASIONS.get(name)
            if occasion is None:
                self._mistakes.at(key, f"there is no occasion {name!r}; known are {', '.join(OCCASIONS)}")
            else:
                yield occasion, self._read_notice(name, value, OFFERED[occasion])

    def _read_notice(self, name: str, node: Node, offered: Offered) -> Notice:
        fields = self._mistakes.mapping(
            node, name, needs=("purpose", "next_touch", "title", "text", "card"), may=("urgent",)
        )
        card = self._mistakes.mapping(fields.get("card"), f"{name} card", needs=CARD)
        title = self._by_language(fields.get("title"), f"{name} title", self._template(offered, one_line=True))
        text = self._by_language(fields.get("text"), f"{name} text", self._template(offered))
        told = {
            one: self._by_language(card.get(one), f"{name} card {one}", self._template(offered, one_line=True))
            for one in CARD
        }
        nothing: Template = ()
        return Notice(
            purpose=self._mistakes.choice(fields.get("purpose"), f"{name} purpose", PURPOSES)
            or customer.CONSENT_PURPOSE_SERVICE,
            urgent=self._mistakes.flag(fields.get("urgent"), f"{name} urgent"),
            next_touch_s=self._duration(fields.get("next_touch"), f"{name} next_touch"),
            words={
                one: Words(
                    title.get(one, nothing),
                    text.get(one, nothing),
                    {field: texts.get(one, nothing) for field, texts in told.items()},
                )
                for one in self._languages
            },
        )

    def _duration(self, node: Node | None, what: str) -> int:
        text = self._mistakes.text(node, what)
        if node is None or text is None:
            return 0
        match = _DURATION.fullmatch(text)
        if match is None:
            self._mistakes.at(node, f"{what}: a duration such as 30m, 4h or 1d, not {text[:40]!r}")
            return 0
        return int(match[1]) * _UNIT_S[match[2]]

    def _read_personal(self, node: Node | None) -> Iterable[Personal]:
        seen: set[str] = set()
        for one in self._mistakes.items(node, "personal"):
            fields = self._mistakes.mapping(
                one, "personal", needs=("key", "when", *self._languages), may=("occasions",)
            )
            key = self._mistakes.text(fields.get("key"), "personal key", most=60) or ""
            if key and not _KEY.fullmatch(key):
                self._mistakes.at(fields["key"], f"personal key: lower-case words with hyphens, not {key!r}")
            if key in seen:
                self._mistakes.at(fields["key"], f"personal key: {key!r} is given twice")
            seen.add(key)
            yield self._read_sentence(key, fields)

    def _read_sentence(self, key: str, fields: Mapping[str, Node]) -> Personal:
        found = [
            self._mistakes.choice(one, f"personal {key} occasions", OCCASIONS)
            for one in self._mistakes.items(fields.get("occasions"), f"personal {key} occasions")
        ]
        occasions = frozenset(occasion for occasion in found if occasion is not None)
        when, asked = self._read_when(key, fields.get("when"))
        offered = _common(occasions)
        if CASES_THIS_MONTH in asked:
            offered = {**offered, CASES_THIS_MONTH: NUMBER}
        read = self._template(offered)
        words = {one: read(fields[one], f"personal {key} {one}") for one in self._languages if one in fields}
        return Personal(
            key, when, occasions, {one: template for one, template in words.items() if template is not None}
        )

    def _read_when(self, key: str, node: Node | None) -> tuple[When, Collection[str]]:
        """And what it asks for, by name."""
        what = f"personal {key} when"
        may = (CASES_THIS_MONTH, "promise_broken_last_time", "customer_stage")
        asked = self._mistakes.mapping(node, what, needs=(), may=may)
        if node is not None and not asked:
            self._mistakes.at(node, f"{what}: say at least one of {', '.join(may)}")
        cases = self._mistakes.mapping(asked.get(CASES_THIS_MONTH), f"{what} {CASES_THIS_MONTH}", needs=("at_least",))
        broken = asked.get("promise_broken_last_time")
        when = When(
            self._mistakes.number(cases.get("at_least"), f"{what} at_least", least=1, most=MOST_CASES),
            None if broken is None else self._mistakes.flag(broken, f"{what} promise_broken_last_time"),
            self._mistakes.choice(asked.get("customer_stage"), f"{what} customer_stage", STAGES),
        )
        return when, asked

    def _by_language(self, node: Node | None, what: str, read: Callable[[Node, str], T | None]) -> dict[str, T]:
        nodes = self._mistakes.mapping(node, what, needs=self._languages)
        read_all = {one: read(nodes[one], f"{what} {one}") for one in self._languages if one in nodes}
        return {one: value for one, value in read_all.items() if value is not None}

    def _plain(self, node: Node, what: str) -> str | None:
        text = self._mistakes.text(node, what, most=MOST_TITLE)
        if text is not None and "\n" in text.strip():
            self._mistakes.at(node, f"{what}: has more than one line")
        return text and text.strip()

    def _template(self, offered: Offered, *, one_line: bool = False) -> Callable[[Node, str], Template | None]:
        def read(node: Node, what: str) -> Template | None:
            text = self._mistakes.text(node, what)
            if text is None:
                return None
            if one_line and "\n" in text.strip():
                self._mistakes.at(node, f"{what}: has more than one line")
            try:
                parts = list(string.Formatter().parse(text.strip()))
            except ValueError as error:
                self._mistakes.at(node, f"{what}: {error}; a fact stands in braces, a brace itself is written twice")
                return None
            for _, fact, specification, conversion in parts:
                if fact is not None:
                    self._check_fact(node, what, offered, fact, bool(specification or conversion))
            return tuple((literal, fact) for literal, fact, _, _ in parts)

        return read

    def _check_fact(self, node: Node, what: str, offered: Offered, fact: str, formatted: bool) -> None:
        if formatted or not fact.isidentifier():
            self._mistakes.at(node, f"{what}: a fact is its name in braces alone, such as {{product}}")
        elif fact not in offered:
            known = "is not known here" if fact in EVERY_FACT else "is unknown"
            self._mistakes.at(node, f"{what}: the fact {fact!r} {known}; known are {_list(offered)}")
        elif offered[fact].may_miss:
            without = [language for language in self._languages if fact not in self._fallbacks[language]]
            if without:
                message = f"{what}: {fact!r} may be missing; give fallbacks for it in {', '.join(without)}"
                self._mistakes.at(node, message)


def _common(occasions: Iterable[e.Occasion.ValueType]) -> Offered:
    """What all of these offer, or all there are where none is named; a fact that may miss on one may miss."""
    tables = [OFFERED[occasion] for occasion in occasions] or list(OFFERED.values())
    shared = set(tables[0]).intersection(*tables)
    return {fact: max((table[fact] for table in tables), key=lambda one: one.may_miss) for fact in shared}


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
