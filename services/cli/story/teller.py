"""The story's voice: a line for what the log says has happened, in Chinese or English. Reads events alone, never the plot."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from kept.case.v1 import events_pb2 as case
from kept.common.v1.record_pb2 import Record
from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import events_pb2 as notice
from kept.partner_network.v1 import events_pb2 as partners
from kept.sla.v1 import events_pb2 as sla

from services.cli.story.scenery import ZONE

_KNOWN: tuple[type[Message], ...] = (
    case.CaseOpened, case.CaseAcknowledged, case.CaseResolved, case.CaseClosed, case.ProblemOpened,
    case.RootCauseFound, case.ProblemResolved, case.CustomerAffected, sla.VerdictReached, customer.DealLost,
    partners.PartnerRegistered, partners.PartnerAdmitted, partners.AgreementSigned, partners.WorkOrderOffered,
    partners.WorkOrderAccepted, partners.TechnicianArrived, partners.WorkOrderCompleted, notice.NoticeSent,
)  # fmt: skip
EVENTS = {kind.DESCRIPTOR.full_name: kind for kind in _KNOWN}

_TARGETS = {
    sla.TARGET_KIND_TIME_TO_OWN: ("有人接手", "taken in hand"),
    sla.TARGET_KIND_TIME_TO_RESOLVE: ("解决", "resolved"),
}
_OCCASIONS = {
    notice.OCCASION_CASE_OPENED: ("受理告知", "we have your request"),
    notice.OCCASION_DEADLINE_AT_RISK: ("可能延误的提醒", "it may be late"),
    notice.OCCASION_PROMISE_BROKEN: ("未能守约的致歉", "we broke our promise"),
    notice.OCCASION_CASE_RESOLVED: ("解决告知", "it is resolved"),
    notice.OCCASION_CASE_REOPENED: ("重新受理告知", "we took it up again"),
    notice.OCCASION_WORK_ORDER_ACCEPTED: ("上门安排", "who comes, and when"),
    notice.OCCASION_PROBLEM_FOUND: ("故障告知", "an outage concerns you"),
    notice.OCCASION_PROBLEM_RESOLVED: ("故障恢复告知", "the outage is over"),
    notice.OCCASION_PROBLEM_RETRACTED: ("更正：您未受影响", "you are not affected after all"),
}


class Teller:
    """Tells what concerns one customer, and what concerns all; of the crowd only how many there were."""

    def __init__(self, language: str, say: Callable[[str], None], customer_id: str = "") -> None:
        self._chinese = language.startswith("zh")
        self._say = say
        self.customer_id = customer_id
        self._targets: dict[str, sla.TargetKind.ValueType] = {}
        self._crowd: dict[str, int] = {}

    def pick(self, chinese: str, english: str) -> str:
        return chinese if self._chinese else english

    def say(self, chinese: str, english: str) -> None:
        self._say(self.pick(chinese, english))

    def hear(self, record: Record) -> None:
        """One event of the log."""
        if record.type == sla.ClockArmed.DESCRIPTOR.full_name:
            self._targets[record.stream] = sla.ClockArmed.FromString(record.data).target
            return
        kind = EVENTS.get(record.type)
        if kind is None:
            return
        body = kind.FromString(record.data)
        if record.customer_id and record.customer_id != self.customer_id:
            self._count(body)
            return
        line = self._line(record, body)
        if line:
            self._say(f"  {self._when(record.occurred_at)}  {line}")

    def tell_crowd(self) -> None:
        """What happened to the others, since the last time."""
        if affected := self._crowd.pop("affected", 0):
            self.say(f"  另有 {affected} 位客户受影响", f"  {affected} more customers are affected")
        if called := self._crowd.pop("called", 0):
            self.say(f"  另有 {called} 位客户来电报修", f"  {called} more customers called")
        if told := self._crowd.pop("told", 0):
            self.say(f"  已向另外 {told} 位客户发出故障告知", f"  {told} more customers were told of the outage")
        self._crowd.clear()

    def _count(self, body: Message) -> None:
        match body:
            case case.CustomerAffected():
                name = "affected"
            case case.CaseOpened():
                name = "called"
            case notice.NoticeSent(occasion=notice.OCCASION_PROBLEM_FOUND):
                name = "told"
            case _:
                return
        self._crowd[name] = self._crowd.get(name, 0) + 1

    def _line(self, record: Record, body: Any) -> str:
        pick = self.pick
        match body:
            case case.CaseOpened():
                return pick("客户报修，工单开立", "the customer calls; a case is opened")
            case case.CaseAcknowledged():
                return pick("有人接手了工单", "somebody takes the case in hand")
            case case.CaseResolved():
                return pick(f"工单解决：{body.reason}", f"the case is resolved: {body.reason}")
            case case.CaseClosed():
                return pick("客户确认，工单关闭", "the customer confirms; the case is closed")
            case sla.VerdictReached():
                return self._verdict(record, body)
            case customer.DealLost():
                return self._loss(body)
            case partners.PartnerRegistered():
                return pick(f"合作公司登记：{body.name}", f"a partner company is registered: {body.name}")
            case partners.PartnerAdmitted():
                return pick("合作公司准入", "the partner company is admitted")
            case partners.AgreementSigned():
                regions = "、".join(body.agreement.regions)
                return pick(
                    f"协议 {body.number} 签订，区域 {regions}", f"agreement {body.number} is signed, for {regions}"
                )
            case partners.WorkOrderOffered():
                return pick("上门工单派出，等待接单", "a work order is offered")
            case partners.WorkOrderAccepted():
                when = self._window(body)
                return pick(f"{body.partner_name} 接单，{when} 上门", f"{body.partner_name} accepts and comes {when}")
            case partners.TechnicianArrived():
                return pick("师傅到了", "the technician is there")
            case partners.WorkOrderCompleted():
                return pick(f"上门完成：{body.outcome}", f"the visit is done: {body.outcome}")
            case case.ProblemOpened():
                return pick(f"发现故障：{body.title}", f"a problem is found: {body.title}")
            case case.RootCauseFound():
                return pick(f"找到根因：{body.cause}", f"its root cause: {body.cause}")
            case case.ProblemResolved():
                return pick(f"故障排除：{body.remedy}", f"the problem is solved: {body.remedy}")
            case case.CustomerAffected():
                return pick("她也受影响", "she is affected too")
            case notice.NoticeSent():
                told = _OCCASIONS[body.occasion]
                return pick(f"✉ 通知已发出：{told[0]}", f"✉ a notice goes out: {told[1]}")
        return ""

    def _verdict(self, record: Record, verdict: sla.VerdictReached) -> str:
        chinese, english = _TARGETS[self._targets[record.stream]]
        if verdict.outcome == sla.OUTCOME_BROKEN:
            return self.pick(
                f"✗ 承诺没有守住：应在此刻前{chinese}", f"✗ a promise is broken: by now it was to be {english}"
            )
        if verdict.outcome == sla.OUTCOME_KEPT:
            return self.pick(f"✓ 承诺守住了：按时{chinese}", f"✓ a promise is kept: {english} in time")
        return ""

    def _loss(self, lost: customer.DealLost) -> str:
        total = f"{lost.sum.currency} {lost.sum.minor_units / 100:,.2f}"
        broken = len(lost.clock_ids)
        return self.pick(
            f"✗ 丢单：{lost.subject}，{total}，原因是服务；起因是 {broken} 个没有守住的承诺",
            f"✗ a bid is lost: {lost.subject}, {total}, for service; {broken} broken promises caused it",
        )

    def _window(self, accepted: partners.WorkOrderAccepted) -> str:
        begins = getattr(accepted.arrival, "from")
        return f"{self._when(begins)}–{self._clock(accepted.arrival.until)}"

    def _when(self, stamp: Timestamp) -> str:
        return _local(stamp).strftime("%m-%d %H:%M")

    def _clock(self, stamp: Timestamp) -> str:
        return _local(stamp).strftime("%H:%M")


def _local(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC).astimezone(ZONE)
