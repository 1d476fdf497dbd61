"""Whether, when and how one customer is told: consent, channels, language, quiet hours, and what their history adds."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID
from zoneinfo import ZoneInfo

from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import events_pb2 as e
from kept.sla.v1 import events_pb2 as sla

from services.kernel.clock import micros, moment, timestamp, timestamp_of
from services.kernel.database import Session
from services.kernel.events import LogEvent
from services.notification import known
from services.notification.facts import CASES_THIS_MONTH, OFFERED
from services.notification.known import Row
from services.notification.reading import read_rules
from services.notification.rules import Rules, When
from services.notification.words import choose

MOST_CAUSES = 20  # cases that a sentence names as its causes: a notice is one event
Facts = dict[str, e.Fact]


def text_fact(text: str) -> e.Fact:
    return e.Fact(text=text)


def moment_fact(at: int) -> e.Fact:
    """Microseconds UTC."""
    return e.Fact(moment=timestamp_of(at))


def number_fact(number: int) -> e.Fact:
    return e.Fact(number=number)


def plan(
    session: Session,
    event: LogEvent,
    occasion: e.Occasion.ValueType,
    *,
    customer_id: UUID,
    about: e.About,
    facts: Facts,
    because: Iterable[str],
    case_id: UUID,
) -> e.NoticePlanned | None:
    """None where the rules have no such notice, or the customer does not want it. Facts that the occasion does not
    offer are left out."""
    published = known.newest_rules(session, event.record.tenant)
    if published is None:
        return None
    rules = read_rules(published["source"])
    notice = rules.notices.get(occasion)
    whose = known.need(session, known.CUSTOMERS, customer_id)
    party = known.need(session, known.PARTIES, whose["party_id"])
    agreed = _agreed(session, customer_id, notice.purpose) if notice else None
    if notice is None or agreed is None:
        return None
    at = moment(event.occurred_at)
    released = rules.release(notice, at, party["time_zone"])
    next_touch = rules.release(notice, moment(micros(released) + notice.next_touch_s * 1_000_000), party["time_zone"])
    history = _History(session, whose, party["time_zone"], at, case_id)
    personal = [one.key for one in rules.personal if one.is_for(occasion) and history.has(one.when)]
    planned = e.NoticePlanned(
        customer_id=str(customer_id),
        party_id=str(whose["party_id"]),
        occasion=occasion,
        about=about,
        rule_set=published["name"],
        rule_set_version=published["version"],
        language=choose(party["language"], rules.languages),
        time_zone=party["time_zone"],
        channels=_channels(party),
        not_before=timestamp(released) if released > at else None,
        next_touch_at=timestamp(next_touch),
        personal=personal,
    )
    told = {name: fact for name, fact in facts.items() if name in OFFERED[occasion]}
    if any(one.when.cases_at_least is not None for one in rules.personal if one.key in personal):
        told[CASES_THIS_MONTH] = number_fact(len(history.cases))
    for name, fact in told.items():
        planned.facts[name].CopyFrom(fact)
    learnt = history.learnt_from(rules, personal)
    planned.because.extend(dict.fromkeys(filter(None, (event.record.id, *because, *learnt, party["event_id"], agreed))))
    return planned


def _agreed(session: Session, customer_id: UUID, purpose: customer.ConsentPurpose.ValueType) -> str | None:
    """The event by which they agreed, empty where nobody asks for one; None where they are not to be told. Safety
    concerns everybody; marketing those who asked for it."""
    row = known.get(session, known.CONSENTS, customer_id, purpose)
    if purpose == customer.CONSENT_PURPOSE_SAFETY:
        return ""
    if row is None:
        return None if purpose == customer.CONSENT_PURPOSE_MARKETING else ""
    return str(row["event_id"]) if row["given"] else None


def _channels(party: Row) -> list[customer.Channel.ValueType]:
    return [customer.Channel.ValueType(int(one)) for one in party["channels"].split(",") if one] or [
        customer.CHANNEL_SMS
    ]


@dataclass
class _History:
    """What this customer has been through until that moment; `case_id` is the case that is told of."""

    session: Session
    whose: Row
    time_zone: str
    at: datetime
    case_id: UUID

    def __post_init__(self) -> None:
        local = self.at.astimezone(ZoneInfo(self.time_zone))
        month = datetime(local.year, local.month, 1, tzinfo=local.tzinfo).astimezone(UTC)
        customer_id = self.whose["customer_id"]
        self.cases = known.cases_since(self.session, customer_id, micros(month), micros(self.at))
        self.judged = known.last_judged(self.session, customer_id, self.case_id)

    def has(self, when: When) -> bool:
        broken = self.judged is not None and self.judged["outcome"] == sla.OUTCOME_BROKEN
        return (
            (when.cases_at_least is None or len(self.cases) >= when.cases_at_least)
            and (when.broken_last_time is None or when.broken_last_time == broken)
            and (when.stage is None or when.stage == self.whose["stage"])
        )

    def learnt_from(self, rules: Rules, personal: Iterable[str]) -> list[str]:
        """The events behind the sentences that apply."""
        found: list[str] = []
        for when in (one.when for one in rules.personal if one.key in personal):
            if when.cases_at_least is not None:
                found.extend(row["opened_by"] for row in self.cases[-MOST_CAUSES:])
            if when.broken_last_time is not None and self.judged is not None:
                found.append(self.judged["judged_by"])
            if when.stage is not None:
                found.append(self.whose["event_id"])
        return found
