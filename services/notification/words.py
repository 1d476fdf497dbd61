"""Languages that notices can be told in: how each writes a moment, and a line of the card."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

_WEEKDAYS_ZH = "一二三四五六日"
_WEEKDAYS_EN = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS_EN = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Language:
    """`moment` writes a local time; `colon` stands between a label and what it labels."""

    moment: Callable[[datetime], str]
    colon: str


def _moment_zh(at: datetime) -> str:
    return f"{at.month}月{at.day}日（周{_WEEKDAYS_ZH[at.weekday()]}）{at:%H:%M}"


def _moment_en(at: datetime) -> str:
    return f"{_WEEKDAYS_EN[at.weekday()]} {at.day} {_MONTHS_EN[at.month - 1]}, {at:%H:%M}"


LANGUAGES: Mapping[str, Language] = {"zh-CN": Language(_moment_zh, "："), "en": Language(_moment_en, ": ")}


def told(at: datetime, zone: str, language: str) -> str:
    """An aware moment as it is told to somebody in that zone, for example 11月23日（周一）14:30."""
    try:
        local = at.astimezone(ZoneInfo(zone))
    except OverflowError:  # the last day of the year 9999, which callers give for "never"
        local = at
    return LANGUAGES[language].moment(local)


def choose(wanted: str, offered: Sequence[str]) -> str:
    """The language itself, else one with the same first part (zh-Hans falls to zh-CN, en-GB to en), else the first."""
    if wanted in offered:
        return wanted
    primary = wanted.partition("-")[0]
    return next((one for one in offered if one.partition("-")[0] == primary), offered[0])
