"""A planned notice to its words: a pure function of the plan, the rule set, and the personal facts that were opened."""

from collections.abc import Mapping
from dataclasses import dataclass

from kept.notification.v1 import events_pb2 as e

from services.kernel.clock import moment_of
from services.notification.facts import NEXT_TOUCH
from services.notification.rules import NEXT_TOUCH_FIELD, Rules, Template
from services.notification.words import LANGUAGES, told


@dataclass(frozen=True, slots=True)
class Rendered:
    """`body` is the whole text, card included; `card` by field."""

    title: str
    body: str
    card: Mapping[str, str]


def render(planned: e.NoticePlanned, rules: Rules, personal: Mapping[str, str]) -> Rendered:
    """`personal` has the facts that only the sender can fill, those that are known."""
    language = planned.language
    values = _values(planned, {**rules.fallbacks[language], **personal})
    words = rules.notices[planned.occasion].words[language]
    sentences = {one.key: one.words[language] for one in rules.personal}
    card = {field: _line(template, values) for field, template in words.card.items()}
    card[NEXT_TOUCH_FIELD] = values[NEXT_TOUCH]
    colon = LANGUAGES[language].colon
    paragraphs = [
        _fill(words.text, values),
        *(_fill(sentences[key], values) for key in planned.personal),
        "\n".join(f"{rules.labels[language][field]}{colon}{text}" for field, text in card.items()),
    ]
    return Rendered(_line(words.title, values), "\n\n".join(paragraphs) + "\n", card)


def _values(planned: e.NoticePlanned, known: Mapping[str, str]) -> dict[str, str]:
    """Every fact as it is told to this recipient; what the plan has counts, else what is known beside it."""
    values = dict(known)
    for name, fact in planned.facts.items():
        match fact.WhichOneof("value"):
            case "moment":
                values[name] = told(moment_of(fact.moment), planned.time_zone, planned.language)
            case "number":
                values[name] = str(fact.number)
            case _:
                values[name] = fact.text
    values[NEXT_TOUCH] = told(moment_of(planned.next_touch_at), planned.time_zone, planned.language)
    return values


def _fill(template: Template, values: Mapping[str, str]) -> str:
    return "".join(literal + (values[fact] if fact is not None else "") for literal, fact in template)


def _line(template: Template, values: Mapping[str, str]) -> str:
    """On one line, whatever line breaks the facts have."""
    return " ".join(_fill(template, values).split())
