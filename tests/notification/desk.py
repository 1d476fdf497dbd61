"""The notification policy at its desk, without a log: events are told to it, and one looks at what it decides.

Times are May 2024 in Shanghai: `at("06 09:00")` is Monday the 6th, nine o'clock. Quiet hours are 22:00 to 08:00.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self
from uuid import UUID

from google.protobuf.message import Message
from kept.case.v1 import events_pb2 as case
from kept.common.v1.sealed_pb2 import Sealed
from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import events_pb2 as e
from kept.partner_network.v1 import events_pb2 as partner
from kept.sla.v1 import events_pb2 as sla

from services.kernel.clock import timestamp_of
from services.kernel.database import ScratchSQLite
from services.kernel.events import DomainEvent, LogEvent, ProtobufMapper, Stamp, log_event
from services.kernel.log.port import Recorded
from services.kernel.policy import Aggregates, Work, migrate_policy
from services.notification import rules as rules_module
from services.notification.policies import NoticePolicy
from tests.sla.desk import at, stream_of

DEFAULT = (Path(rules_module.__file__).parent / "default_rules.yaml").read_text(encoding="utf-8")
RESOLVE, OWN = sla.TARGET_KIND_TIME_TO_RESOLVE, sla.TARGET_KIND_TIME_TO_OWN
SMS, EMAIL, WECHAT = customer.CHANNEL_SMS, customer.CHANNEL_EMAIL, customer.CHANNEL_WECHAT
SEALED = Sealed(ciphertext=b"nobody here can open this")


class Told(NamedTuple):
    """An event of the stream with that name, about that customer; empty where it concerns none."""

    body: Message
    at: int
    stream: str
    customer: str = ""


# What is told


def published(source: str = DEFAULT, version: int = 1, when: str = "01 00:00") -> Told:
    return Told(e.RuleSetPublished(name="standard", version=version, source=source), at(when), "rules")


def registered(
    name: str = "ana",
    *,
    language: str = "zh-CN",
    zone: str = "Asia/Shanghai",
    channels: Sequence[customer.Channel.ValueType] = (WECHAT, SMS),
) -> tuple[Told, Told]:
    """The party and the customer."""
    wanted = customer.Preferences(language=language, time_zone=zone, channels=channels)
    party = customer.PartyRegistered(contact=customer.Contact(name=SEALED), preferences=wanted)
    role = customer.CustomerRegistered(party_id=id_of(f"{name}-party"), stage=customer.CUSTOMER_STAGE_ACTIVE)
    return Told(party, at("01 00:00"), f"{name}-party"), Told(role, at("01 00:00"), name, name)


def consent(when: str, purpose: customer.ConsentPurpose.ValueType, *, given: bool, name: str = "ana") -> Told:
    kind = customer.ConsentGiven if given else customer.ConsentWithdrawn
    return Told(kind(purpose=purpose), at(when), name, name)


def installed(item: str = "router", product: str = "Router R-1", name: str = "ana") -> Told:
    body = customer.ItemInstalled(customer_id=id_of(name), product=product, site=SEALED)
    return Told(body, at("01 00:00"), item, name)


def sla_policy(**rule: Any) -> Told:
    rules = [sla.TargetRule(target=RESOLVE, budget_s=3600, calendar="office", **rule)]
    return Told(sla.PolicyPublished(definition=sla.PolicyDefinition(rules=rules)), at("01 00:00"), "sla policy")


def opened(when: str, name: str = "A", of: str = "ana", **fields: Any) -> Told:
    body = case.CaseOpened(customer_id=id_of(of), need=SEALED, external_reference=f"NO-{name}", **fields)
    return Told(body, at(when), name, of)


def of_case(body: Message, when: str, name: str = "A", of: str = "ana") -> Told:
    return Told(body, at(when), name, of)


def resolved(when: str, name: str = "A", of: str = "ana") -> Told:
    return of_case(case.CaseResolved(reason="done"), when, name, of)


def reopened(when: str, name: str = "A") -> Told:
    return of_case(case.CaseReopened(reason="again"), when, name)


def armed(when: str, due: str, name: str = "A", target: sla.TargetKind.ValueType = RESOLVE, of: str = "ana") -> Told:
    body = sla.ClockArmed(case_id=id_of(name), target=target, budget_s=3600, due_at=timestamp_of(at(due)))
    return Told(body, at(when), f"{name}-clock-{target}", of)


def of_clock(body: Message, when: str, name: str = "A", of: str = "ana") -> Told:
    return Told(body, at(when), f"{name}-clock-{RESOLVE}", of)


def warned(when: str, due: str, percent: int = 75, name: str = "A") -> Told:
    return of_clock(sla.ThresholdReached(percent=percent, due_at=timestamp_of(at(due))), when, name)


def judged(when: str, outcome: sla.Outcome.ValueType, name: str = "A", of: str = "ana") -> Told:
    return of_clock(sla.VerdictReached(outcome=outcome, due_at=timestamp_of(at(when))), when, name, of)


def offered(when: str, order: str = "visit", of_case: str = "A") -> Told:
    return Told(partner.WorkOrderOffered(case_id=id_of(of_case), product="Router R-1"), at(when), order, "ana")


def accepted(when: str, since: str, until: str, order: str = "visit", round_: int = 1) -> Told:
    window = partner.VisitWindow(until=timestamp_of(at(until)), **{"from": timestamp_of(at(since))})
    body = partner.WorkOrderAccepted(partner_name="South Repairs", technician=SEALED, arrival=window, round=round_)
    return Told(body, at(when), order, "ana")


def problem(when: str, name: str = "P", until: str = "") -> Told:
    body = case.ProblemOpened(title="no signal", expected_until=timestamp_of(at(until)) if until else None)
    return Told(body, at(when), name)


def affected(when: str, of: str = "ana", name: str = "P") -> Told:
    body = case.CustomerAffected(
        problem_id=id_of(name), item_ids=[id_of("router")], product="Router R-1", began_at=timestamp_of(at(when))
    )
    return Told(body, at(when), f"{name}-{of}", of)


def retracted(when: str, of: str = "ana", name: str = "P") -> Told:
    return Told(case.AffectedRetracted(problem_id=id_of(name)), at(when), f"{name}-{of}", of)


def problem_resolved(when: str, name: str = "P") -> Told:
    return Told(case.ProblemResolved(remedy="restarted"), at(when), name)


def sent(when: str, notice: str, of: str = "ana") -> Told:
    """`notice` is its id."""
    return Told(e.NoticeSent(notice_id=notice), at(when), f"delivery of {notice}", of)


def id_of(name: str) -> str:
    return str(stream_of(name))


# The desk


class Decided(NamedTuple):
    """One decision; `notice` is its stream."""

    body: Any
    at: int
    notice: str
    event: LogEvent


class Desk:
    """A policy with its tables in memory."""

    def __init__(self, *given: Told) -> None:
        self.policy = NoticePolicy()
        self._database = ScratchSQLite(":memory:")
        migrate_policy(self.policy, self._database)
        self._streams: dict[UUID, int] = {}
        self._aggregates = Aggregates(lambda _stream: [], most=10**9)
        self._position = 0
        self.last: list[Decided] = []
        self.all: list[Decided] = []
        self.told: list[LogEvent] = []
        self.when(*given)

    def when(self, *told: Told) -> Self:
        self.last = [decision for one in told for decision in self.hear(self._logged(one))]
        return self

    def hear(self, event: LogEvent) -> list[Decided]:
        if event.record.type not in self.policy.reads:
            return []
        with self._database.write() as session:
            work = Work(session, self._aggregates)
            self.policy.decide(work, event)
        events = [log_event(Recorded(0, entry.topic, 0, entry.state)) for entry in work.decided]
        decided = [Decided(one.body, one.occurred_at, one.record.stream, one) for one in events]
        self.all += decided
        return decided

    def planned(self) -> e.NoticePlanned:
        """The one decision of the last telling."""
        (decision,) = self.last
        assert isinstance(decision.body, e.NoticePlanned)
        return decision.body

    def occasions(self) -> list[str]:
        """What was planned and cancelled at the last telling, for example case-opened or cancelled: retracted."""
        return [
            f"cancelled: {one.body.reason}"
            if isinstance(one.body, e.NoticeCancelled)
            else e.Occasion.Name(one.body.occasion).removeprefix("OCCASION_").lower().replace("_", "-")
            for one in self.last
        ]

    def event_id(self, body: type[Message], last: int = -1) -> str:
        """The id of the last event of that type that was told."""
        return [one.record.id for one in self.told if isinstance(one.body, body)][last]

    def _logged(self, told: Told) -> LogEvent:
        stream = stream_of(told.stream)
        version = self._streams[stream] = self._streams.get(stream, 0) + 1
        stamp = Stamp("main", "user:ana", told.at, correlation_id="because")
        whose = id_of(told.customer) if told.customer else ""
        entry = ProtobufMapper().to_stored_event(DomainEvent(stream, version, told.body, stamp, whose))
        self._position += 1
        event = log_event(Recorded(self._position, entry.topic, told.at, entry.state))
        self.told.append(event)
        return event


def desk(*given: Told) -> Desk:
    """With the default rules, one customer and their router."""
    return Desk(published(), *registered(), installed(), *given)
