"""A morning in a cell, as its services would tell it: for the console's pages. Time stands at NOW."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from kept.case.v1 import service_pb2 as case
from kept.cell.v1 import service_pb2 as cell
from kept.customer.v1 import service_pb2 as customer
from kept.notification.v1 import service_pb2 as notification
from kept.partner_network.v1 import service_pb2 as partner
from kept.sla.v1 import service_pb2 as sla

from tests.gateway.fakes import Answer, Open

NOW = datetime(2026, 3, 10, 1, 30, tzinfo=UTC)  # 09:30 in Shanghai


def at(**ahead: float) -> str:
    """RFC 3339, so far from now."""
    return (NOW + timedelta(**ahead)).strftime("%Y-%m-%dT%H:%M:%SZ")


def an_id(name: str) -> str:
    return str(uuid5(NAMESPACE_URL, name))


CASE, CUSTOMER, PROBLEM, PARTNER, CLOCK = (an_id(name) for name in ("case", "customer", "problem", "partner", "clock"))
NAMES = ("桐庐华兴制造有限公司", "Wang Fang", "Hangzhou Riverside Hotel", "李建国", "Erased", "陈晓梅")
CUSTOMERS = [CUSTOMER, *(an_id(f"customer {n}") for n in range(1, len(NAMES)))]


def summary(n: int, **fields: Any) -> dict[str, Any]:
    """One of the queue's cases."""
    kinds = ("INCIDENT", "SERVICE_REQUEST", "COMPLAINT", "INQUIRY")
    return {
        "case_id": CASE if n == 0 else an_id(f"case {n}"),
        "customer_id": CUSTOMERS[n % len(CUSTOMERS)],
        "classification": {"kind": f"CASE_KIND_{kinds[n % 4]}", "category": "boiler", "subcategory": "no hot water"},
        "item_id": an_id("item"),
        "priority": f"PRIORITY_{('CRITICAL', 'HIGH', 'MODERATE', 'LOW')[n % 4]}",
        "state": "CASE_STATE_IN_PROGRESS",
        "team": "north desk",
        "region": "330122",
        "opened_at": at(hours=-3 - n),
        "external_reference": f"INC00451{n:02}",
        "version": 4,
        **fields,
    }


CASES = [
    summary(0, deadline_at=at(minutes=-12), state="CASE_STATE_ACKNOWLEDGED", team="", reopen_count=1),
    summary(1, deadline_at=at(minutes=4, seconds=10), assignee="zhou.min"),
    summary(2, deadline_at=at(minutes=95), state="CASE_STATE_PENDING", waiting_for="WAITING_FOR_CUSTOMER"),
    summary(3, deadline_at=at(hours=5, minutes=20), state="CASE_STATE_HELD", waiting_for="WAITING_FOR_PARTS"),
    summary(4, deadline_at=at(days=1, hours=6), team="", partner="Qiandao Heating"),
    summary(5),
]

CLOCKS = [
    {
        "clock_id": CLOCK, "case_id": CASE, "target": "TARGET_KIND_TIME_TO_RESOLVE", "budget_s": "14400",
        "pins": {"policy": "standard", "policy_version": 3, "calendar": "cn-office", "calendar_version": 2},
        "due_at": at(hours=2, minutes=10), "warned_percents": [50, 80],
    },
    {
        "clock_id": an_id("clock 2"), "case_id": CASE, "target": "TARGET_KIND_TIME_TO_OWN", "budget_s": "1800",
        "pins": {"policy": "standard", "policy_version": 3, "calendar": "cn-office", "calendar_version": 2},
        "due_at": at(hours=-2), "outcome": "OUTCOME_BROKEN", "decided_at": at(hours=-2),
    },
]  # fmt: skip

_WORKDAY = [{"from_s": 28800, "until_s": 43200}, {"from_s": 48600, "until_s": 64800}]
EXPLAINED = {
    "clock": CLOCKS[0],
    "rule": {
        "target": "TARGET_KIND_TIME_TO_RESOLVE", "kind": "CASE_KIND_INCIDENT", "priority": "PRIORITY_CRITICAL",
        "budget_s": "14400", "calendar": "cn-office", "warn_percents": [50, 80],
        "pause_on": ["WAITING_FOR_CUSTOMER"], "on_reopen": "ON_REOPEN_RESUME", "boundary": "BOUNDARY_CLOSING_TIME",
    },
    "calendar": {
        "time_zone": "Asia/Shanghai",
        "weekdays": [{"weekday": day, "spans": _WORKDAY} for day in range(1, 6)],
        "exceptions": [{"date": "2026-03-14", "spans": _WORKDAY}, {"date": "--10-01"}],
    },
    "steps": [
        {"event_id": "1", "type": "kept.sla.v1.ClockArmed", "occurred_at": at(hours=-3), "due_at": at(hours=1),
         "cause_type": "kept.case.v1.CaseOpened"},
        {"event_id": "2", "type": "kept.sla.v1.ClockReplanned", "occurred_at": at(hours=-1), "used_s": "7200",
         "due_at": at(hours=2, minutes=10), "cause_type": "kept.case.v1.CaseResumed"},
        {"event_id": "3", "type": "kept.sla.v1.ThresholdReached", "occurred_at": at(minutes=-30), "used_s": "7200",
         "due_at": at(hours=2, minutes=10)},
    ],
    "stretches": [
        {"from": at(hours=-3), "until": at(hours=-1)}, {"from": at(minutes=10), "until": at(hours=2, minutes=10)},
    ],
}  # fmt: skip

_SAID = "We have your case. Zhou Min looks after it and will call you before 11:00."
_CARD = {
    "what": "No hot water: repair on site", "when": "10 March, 11:00 to 13:00", "where": "18 Yingchun Road, Tonglu",
    "who": "Xu Lei, Qiandao Heating", "how_to_change": "Call 0571-6400 0000 or answer this message",
    "next_touch": "We call you when the technician sets out",
}  # fmt: skip


def notice(n: int, **fields: Any) -> dict[str, Any]:
    return {
        "notice_id": an_id(f"notice {n}"), "customer_id": CUSTOMERS[n % len(CUSTOMERS)], "occasion": "OCCASION_CASE_OPENED",
        "about": {"case_id": CASE}, "state": "NOTICE_STATE_COMPLETED", "rule_set": "default", "rule_set_version": 2,
        "language": "en", "planned_at": at(hours=-3), "ended_at": at(hours=-3, seconds=40), "channel": "CHANNEL_WECHAT",
        "title": "We are on it", "body": f"We are on it\n{_SAID}\nYour service desk", "card": _CARD,
        "next_touch_at": at(hours=1, minutes=30), **fields,
    }  # fmt: skip


NOTICES = [
    notice(0, occasion="OCCASION_WORK_ORDER_ACCEPTED", title="Your visit is agreed"),
    notice(1, state="NOTICE_STATE_INITIAL", ended_at=None, body="", title="", card=None, not_before=at(hours=6),
           channel="CHANNEL_UNSPECIFIED"),
    notice(2, state="NOTICE_STATE_FAILED", occasion="OCCASION_PROBLEM_FOUND", reason="no-address",
           about={"problem_id": PROBLEM}),
    notice(3, state="NOTICE_STATE_CANCELLED", reason="the problem is over", body="", card=None),
    notice(4, erased=True, title="", body="", card=None),
]  # fmt: skip


def event(
    n: int, name: str, hours: float, actor: str = "user:zhou.min", texts: Any = None, **facts: str
) -> dict[str, Any]:
    return {
        "event_id": str(n), "position": str(n), "type": f"kept.{name}", "stream": CASE, "actor": actor,
        "occurred_at": at(hours=hours), "facts": {key.replace("__", "."): value for key, value in facts.items()},
        "texts": texts or {},
    }  # fmt: skip


_POLICY = "policy:sla@1"
TIMELINE = [
    event(14, "partner_network.v1.WorkOrderAccepted", -0.2, "partner:qiandao", partner_name="Qiandao Heating",
          arrival__from=at(hours=1.5), arrival__until=at(hours=3.5), round="1"),
    event(13, "partner_network.v1.WorkOrderOffered", -0.4, partner_ids=PARTNER, window__from=at(hours=1.5),
          window__until=at(hours=3.5), expires_at=at(minutes=20)),
    event(12, "notification.v1.NoticeSent", -0.5, "service:sender", {"title": "We are on it", "body": _SAID},
          channel="wechat", occasion="case_opened"),
    event(11, "sla.v1.ThresholdReached", -0.5, _POLICY, percent="80", due_at=at(hours=2)),
    event(10, "sla.v1.ClockReplanned", -1, _POLICY, due_at=at(hours=2), used_s="7200", budget_s="14400"),
    event(9, "case.v1.CaseResumed", -1, reason="the customer sent photos"),
    event(8, "case.v1.NoteAdded", -1.5, texts={"text": "Pressure gauge reads 0.4 bar; <b>ask for photos</b>."},
          audience="internal"),
    event(7, "case.v1.CaseHeld", -1.6, waiting_for="customer", reason="photos asked for"),
    event(6, "sla.v1.VerdictReached", -2, _POLICY, outcome="broken", used_s="1800", budget_s="1800"),
    event(5, "case.v1.CaseAssigned", -2.2, team="north desk", assignee="zhou.min"),
    event(4, "sla.v1.ClockArmed", -3, _POLICY, target="time_to_resolve", due_at=at(hours=1), budget_s="14400"),
    event(3, "case.v1.CustomerAffected", -3, "policy:impact@1", product="boiler", began_at=at(hours=-5)),
    event(2, "case.v1.CaseOpened", -3, classification__kind="incident", channel="phone", priority="critical"),
    event(1, "future.v1.SomethingNew", -4),
]  # fmt: skip

PROBLEMS = [
    {
        "problem_id": PROBLEM, "title": "Burner control units of March lock up", "state": "PROBLEM_STATE_CAUSE_FOUND",
        "priority": "PRIORITY_HIGH", "scope": {"product": "boiler", "regions": ["330122", "330127"], "began_at": at(hours=-5)},
        "cause": "firmware 4.2 mistakes frost for flame", "opened_at": at(hours=-4), "expected_until": at(hours=8),
        "affected": 214, "told_first": 180, "called_first": 9, "not_told": 25, "version": 3,
    },
    {
        "problem_id": an_id("problem 2"), "title": "Hotline was silent", "state": "PROBLEM_STATE_RESOLVED",
        "priority": "PRIORITY_MODERATE", "scope": {"product": "hotline", "regions": ["33"], "began_at": at(days=-9)},
        "remedy": "second trunk line", "opened_at": at(days=-9), "resolved_at": at(days=-8), "affected": 12, "told_first": 12,
    },
]  # fmt: skip
AFFECTED = [
    {"customer_id": CUSTOMERS[0], "item_ids": ["a", "b"], "told_at": at(hours=-3)},
    {"customer_id": CUSTOMERS[1], "item_ids": ["c"], "told_at": at(hours=-2), "called_at": at(hours=-2.5)},
    {"customer_id": CUSTOMERS[2], "item_ids": ["d"]},
]

PARTNERS = [
    {
        "partner_id": PARTNER,
        "name": "Qiandao Heating",
        "state": "ADMISSION_STATE_ADMITTED",
        "offered": 2,
        "accepted": 1,
    },
    {"partner_id": an_id("partner 2"), "name": "富春暖通", "state": "ADMISSION_STATE_PROBATION"},
    {"partner_id": an_id("partner 3"), "name": "Old Mill Services"},
]


def order(n: int, **fields: Any) -> dict[str, Any]:
    return {
        "work_order_id": an_id(f"order {n}"), "case_id": CASE, "customer_id": CUSTOMERS[n], "product": "boiler",
        "skill": "gas-fitter", "region": "330122", "state": "WORK_ORDER_STATE_OFFERED", "round": 1,
        "partner_ids": [PARTNER], "window": {"from": at(hours=1.5), "until": at(hours=3.5)},
        "expires_at": at(minutes=18), "offered_at": at(minutes=-24), **fields,
    }  # fmt: skip


ORDERS = [
    order(0),
    order(1, round=2, expires_at=at(minutes=-1)),
    order(2, state="WORK_ORDER_STATE_ACCEPTED", partner_id=PARTNER, technician="Xu Lei",
          arrival={"from": at(hours=1.5), "until": at(hours=2.5)}),
    order(3, state="WORK_ORDER_STATE_COMPLETED", partner_id=PARTNER, technician="Xu Lei", outcome="valve replaced",
          completed_at=at(days=-1)),
]  # fmt: skip

HELP = {
    "helpers": [
        {"partner_id": PARTNER, "partner_name": "Qiandao Heating", "state": "ADMISSION_STATE_ADMITTED",
         "service_point_name": "Tonglu", "distance_km": 4.2, "open": True},
        {"partner_id": an_id("partner 2"), "partner_name": "富春暖通", "state": "ADMISSION_STATE_PROBATION",
         "opens_at": at(days=1)},
    ],
    "others": [{"partner_id": an_id("partner 3"), "partner_name": "Old Mill Services", "why": "WHY_NOT_SKILL"}],
}  # fmt: skip

PERSON = {
    "customer_id": CUSTOMER, "party_id": an_id("party"), "kind": "PARTY_KIND_ORGANIZATION", "stage": "CUSTOMER_STAGE_ACTIVE",
    "contact": {"name": NAMES[0], "phones": ["0571-6400 1234"], "email": "service@huaxing.example"},
    "preferences": {"language": "zh-CN", "time_zone": "Asia/Shanghai", "region": "330122",
                    "channels": ["CHANNEL_WECHAT", "CHANNEL_PHONE"]},
    "consents": ["CONSENT_PURPOSE_SERVICE", "CONSENT_PURPOSE_SAFETY"],
    "items": [
        {"item_id": an_id("item"), "product": "boiler GX-40", "serial": "GX40-2291", "site": "迎春南路 18 号",
         "product_stage": "PRODUCT_STAGE_MATURE", "installed_at": at(days=-800), "warranty_until": at(days=300)},
    ],
    "lost_deals": [
        {"deal_id": an_id("deal"), "subject": "maintenance 2027, Tonglu", "sum": {"currency": "CNY", "minor_units": "4800000"},
         "reason": "LOSS_REASON_SERVICE", "lost_at": at(days=-30)},
    ],
}  # fmt: skip


def answers() -> dict[str, Answer]:
    """What every service says on this morning."""
    found: dict[str, tuple[type[Message], dict[str, Any]]] = {
        "GetCell": (cell.GetCellResponse, {"cell": "local", "mode": "CELL_MODE_LIVE", "now": at(), "position": "40"}),
        "ListCases": (case.ListCasesResponse, {"cases": CASES}),
        "CountCases": (case.CountCasesResponse, {"counts": [
            {"state": "CASE_STATE_ACKNOWLEDGED", "cases": "7"}, {"state": "CASE_STATE_IN_PROGRESS", "cases": "31"},
            {"state": "CASE_STATE_CLOSED", "cases": "1204"}]}),
        "GetCase": (case.GetCaseResponse, {
            "case": CASES[0], "need": "早上起来没有热水，压力表一直掉。", "urgency": "家里有婴儿"}),
        "GetCaseTimeline": (case.GetCaseTimelineResponse, {"items": TIMELINE}),
        "ListProblems": (case.ListProblemsResponse, {"problems": PROBLEMS}),
        "GetProblem": (case.GetProblemResponse, {"problem": PROBLEMS[0], "case_ids": [CASE]}),
        "ListAffected": (case.ListAffectedResponse, {"affected": AFFECTED}),
        "ListClocks": (sla.ListClocksResponse, {"clocks": CLOCKS}),
        "ExplainClock": (sla.ExplainClockResponse, EXPLAINED),
        "CountVerdicts": (sla.CountVerdictsResponse, {"counts": [
            {"target": "TARGET_KIND_TIME_TO_OWN", "outcome": "OUTCOME_KEPT", "clocks": "812"},
            {"target": "TARGET_KIND_TIME_TO_OWN", "outcome": "OUTCOME_BROKEN", "clocks": "23"}]}),
        "GetCustomer": (customer.GetCustomerResponse, PERSON),
        "GetTimeline": (customer.GetTimelineResponse, {"items": TIMELINE}),
        "ListPartners": (partner.ListPartnersResponse, {"partners": PARTNERS}),
        "GetPartner": (partner.GetPartnerResponse, {
            "partner": PARTNERS[0],
            "agreements": [{"number": "QD-2026-01", "agreement": {"regions": ["330122"], "products": ["boiler"],
                            "skills": ["gas-fitter"], "valid_from": at(days=-60)}}],
            "service_points": [{"service_point_id": "1", "partner_id": PARTNER, "name": "Tonglu",
                                "place": {"region": "330122"}}]}),
        "ListWorkOrders": (partner.ListWorkOrdersResponse, {"work_orders": ORDERS}),
        "FindHelp": (partner.FindHelpResponse, HELP),
        "ListNotices": (notification.ListNoticesResponse, {"notices": NOTICES}),
        "CountNotices": (notification.CountNoticesResponse, {"counts": [
            {"occasion": "OCCASION_CASE_OPENED", "state": "NOTICE_STATE_COMPLETED", "notices": "611"},
            {"occasion": "OCCASION_CASE_OPENED", "state": "NOTICE_STATE_INITIAL", "notices": "3"},
            {"occasion": "OCCASION_CASE_OPENED", "state": "NOTICE_STATE_FAILED", "notices": "2"}]}),
    }  # fmt: skip
    made: dict[str, Answer] = {name: ParseDict(fields, kind()) for name, (kind, fields) in found.items()}
    return made | {"ListCustomers": _customers, "StreamEvents": Open()}


def _customers(request: customer.ListCustomersRequest) -> customer.ListCustomersResponse:
    wanted = request.customer_ids or CUSTOMERS
    listed = [(one, name) for one, name in zip(CUSTOMERS, NAMES, strict=True) if one in wanted]
    return customer.ListCustomersResponse(
        customers=[
            customer.CustomerSummary(
                customer_id=one, name=name * (name != "Erased"), erased=name == "Erased", region="330122",
                language="zh-CN",
            )
            for one, name in listed
        ]
    )  # fmt: skip
