"""What a notice can tell, by occasion: the facts that its templates may name. Declared here and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from kept.notification.v1 import events_pb2 as e


class Kind(Enum):
    TEXT = "text"
    MOMENT = "moment"
    NUMBER = "number"
    # Sealed: never planned with, filled in by the sender alone.
    PERSONAL = "personal"


@dataclass(frozen=True, slots=True)
class Declared:
    """One fact. One that `may_miss` needs words for when it is missing, in every language."""

    kind: Kind
    may_miss: bool = False


TEXT, MOMENT, NUMBER = Declared(Kind.TEXT), Declared(Kind.MOMENT), Declared(Kind.NUMBER)
MAYBE_TEXT, MAYBE_MOMENT = Declared(Kind.TEXT, may_miss=True), Declared(Kind.MOMENT, may_miss=True)
PERSONAL, MAYBE_PERSONAL = Declared(Kind.PERSONAL), Declared(Kind.PERSONAL, may_miss=True)

CUSTOMER_NAME, SITE, TECHNICIAN, NEXT_TOUCH = "customer_name", "site", "technician", "next_touch_at"
CASES_THIS_MONTH = "cases_this_month"

_ALWAYS: Mapping[str, Declared] = {
    CUSTOMER_NAME: PERSONAL,
    NEXT_TOUCH: MOMENT,
    "product": MAYBE_TEXT,
    SITE: MAYBE_PERSONAL,
}
_OF_CASE = {**_ALWAYS, "case_number": TEXT, "opened_at": MOMENT, "team": MAYBE_TEXT}
_OF_PROBLEM = {**_ALWAYS, "product": TEXT, "problem": TEXT, "began_at": MOMENT}

OFFERED: Mapping[e.Occasion.ValueType, Mapping[str, Declared]] = {
    e.OCCASION_CASE_OPENED: {**_OF_CASE, "due_at": MAYBE_MOMENT},
    e.OCCASION_DEADLINE_AT_RISK: {**_OF_CASE, "due_at": MOMENT, "percent": NUMBER},
    e.OCCASION_PROMISE_BROKEN: {**_OF_CASE, "due_at": MOMENT},
    e.OCCASION_CASE_RESOLVED: {**_OF_CASE, "resolved_at": MOMENT},
    e.OCCASION_CASE_REOPENED: {**_OF_CASE, "reopened_at": MOMENT},
    e.OCCASION_WORK_ORDER_ACCEPTED: {
        **_OF_CASE,
        "partner": TEXT,
        TECHNICIAN: MAYBE_PERSONAL,
        "arrives_from": MOMENT,
        "arrives_until": MOMENT,
    },
    e.OCCASION_PROBLEM_FOUND: {**_OF_PROBLEM, "expected_until": MAYBE_MOMENT, "items": NUMBER},
    e.OCCASION_PROBLEM_RESOLVED: {**_OF_PROBLEM, "resolved_at": MOMENT},
    e.OCCASION_PROBLEM_RETRACTED: _OF_PROBLEM,
}
OCCASIONS: Mapping[str, e.Occasion.ValueType] = {
    e.Occasion.Name(occasion).removeprefix("OCCASION_").lower().replace("_", "-"): occasion for occasion in OFFERED
}
EVERY_FACT: Mapping[str, Declared] = {name: one for offered in OFFERED.values() for name, one in offered.items()}
# Those that may be missing on some occasion, for which a rule set may have words.
MAY_MISS = frozenset(name for offered in OFFERED.values() for name, one in offered.items() if one.may_miss)
