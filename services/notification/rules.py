"""A rule set as it is meant: which notices there are, when they may go out, and their words. Read by reading.py.

Immutable, and safe to share. Durations are whole seconds; times of day are wall-clock seconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import events_pb2 as e

from services.kernel.hours import DAY, Hours

# A template: literal text, and the fact that follows it; the last has none.
Template = tuple[tuple[str, str | None], ...]
CARD = ("what", "when", "where", "who", "how_to_change")
NEXT_TOUCH_FIELD = "next_touch"


@dataclass(frozen=True, slots=True)
class Words:
    """One occasion in one language. `card` has the fields of CARD."""

    title: Template
    text: Template
    card: Mapping[str, Template]


@dataclass(frozen=True, slots=True)
class Notice:
    """What the rule set says of one occasion. An urgent one goes out in quiet hours too."""

    purpose: customer.ConsentPurpose.ValueType
    urgent: bool
    next_touch_s: int
    words: Mapping[str, Words]


@dataclass(frozen=True, slots=True)
class When:
    """The history that a personal sentence is for; what is None is not asked for."""

    cases_at_least: int | None = None
    broken_last_time: bool | None = None
    stage: customer.CustomerStage.ValueType | None = None


@dataclass(frozen=True, slots=True)
class Personal:
    """A sentence that is added where it applies; on every occasion where none is named."""

    key: str
    when: When
    occasions: frozenset[e.Occasion.ValueType]
    words: Mapping[str, Template]

    def is_for(self, occasion: e.Occasion.ValueType) -> bool:
        return not self.occasions or occasion in self.occasions


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `from_s` until `until_s` by the recipient's clock; overnight where it ends before it begins."""

    from_s: int
    until_s: int

    def over(self, at: datetime, zone: str) -> datetime:
        """`at` itself outside quiet hours, else the moment when they are over, UTC."""
        return _loud(self.from_s, self.until_s, zone).next_open(at)


@dataclass(frozen=True, slots=True)
class Rules:
    """`languages` most general last resort first. `fallbacks` by language and fact; `labels` by language and card field."""

    languages: tuple[str, ...]
    quiet_hours: QuietHours | None
    labels: Mapping[str, Mapping[str, str]]
    fallbacks: Mapping[str, Mapping[str, str]]
    notices: Mapping[e.Occasion.ValueType, Notice]
    personal: tuple[Personal, ...]

    def release(self, notice: Notice, at: datetime, zone: str) -> datetime:
        """When a notice that is ready at that moment may go out: at once, or when quiet hours are over."""
        if notice.urgent or self.quiet_hours is None:
            return at
        return self.quiet_hours.over(at, zone)


@lru_cache(maxsize=512)
def _loud(from_s: int, until_s: int, zone: str) -> Hours:
    """The hours outside of the quiet ones."""
    spans = ((until_s, from_s),) if until_s < from_s else ((0, from_s), (until_s, DAY))
    return Hours(ZoneInfo(zone), [tuple(span for span in spans if span[0] < span[1])] * 7)
