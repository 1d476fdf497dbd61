"""Who and what the story is about: a county without service, a guesthouse, a maker of heat pumps. All made up."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp
from kept.case.v1 import events_pb2 as case
from kept.customer.v1 import events_pb2 as customer
from kept.customer.v1 import service_pb2 as customers
from kept.partner_network.v1 import events_pb2 as partners
from kept.sla.v1 import events_pb2 as sla

TENANT = "hq"
ZONE = ZoneInfo("Asia/Shanghai")
TONGLU, JIANDE, WEST_LAKE = "330122", "330182", "330106"  # GB/T 2260: two counties and a district of Hangzhou
PRODUCT, SKILL = "HP-9 空气源热泵", "heat-pump"
CALENDAR, POLICY = "service-hours", "standard"
HOUR = 3600
BEGINS, ENDS_S = 8 * HOUR, 18 * HOUR


def at(text: str) -> Timestamp:
    """A moment of autumn 2026, by the wall clock in Zhejiang: `09-07 09:10`."""
    moment = datetime.fromisoformat(f"2026-{text.replace(' ', 'T')}").replace(tzinfo=ZONE).astimezone(UTC)
    stamp = Timestamp()
    stamp.FromDatetime(moment.replace(tzinfo=None))
    return stamp


def every_day() -> list[sla.Weekday]:
    span = sla.Span(from_s=BEGINS, until_s=ENDS_S)
    return [sla.Weekday(weekday=weekday, spans=[span]) for weekday in range(1, 8)]


def calendar() -> sla.CalendarDefinition:
    return sla.CalendarDefinition(time_zone=ZONE.key, weekdays=every_day())


def policy() -> sla.PolicyDefinition:
    """In hand within two service hours, resolved within ten; a warning when three quarters are used."""

    def rule(target: sla.TargetKind.ValueType, hours: int) -> sla.TargetRule:
        return sla.TargetRule(
            target=target,
            budget_s=hours * HOUR,
            calendar=CALENDAR,
            warn_percents=[75],
            pause_on=[case.WAITING_FOR_CUSTOMER],
            on_reopen=sla.ON_REOPEN_RESUME,
            boundary=sla.BOUNDARY_CLOSING_TIME,
        )

    return sla.PolicyDefinition(rules=[rule(sla.TARGET_KIND_TIME_TO_OWN, 2), rule(sla.TARGET_KIND_TIME_TO_RESOLVE, 10)])


def agreement(region: str, begins: Timestamp) -> partners.Agreement:
    return partners.Agreement(
        regions=[region],
        products=[PRODUCT],
        skills=[SKILL],
        hours=partners.Hours(time_zone=ZONE.key, weekdays=every_day()),
        valid_from=begins,
    )


def party(name: str, phone: str, region: str) -> customers.PartyInput:
    return customers.PartyInput(
        kind=customer.PARTY_KIND_INDIVIDUAL,
        contact=customers.ContactInput(name=name, phones=[phone]),
        preferences=customer.Preferences(
            language="zh-CN", time_zone=ZONE.key, region=region, channels=[customer.CHANNEL_SMS, customer.CHANNEL_PHONE]
        ),
    )


HEROINE = ("沈芳", "+86 138 0571 0019", "桐庐县富春江镇芦茨村 18 号，芦茨溪民宿")
_SURNAMES = "王李张刘陈杨黄赵周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程"
_GIVEN = (
    "伟",
    "静",
    "敏",
    "丽",
    "强",
    "磊",
    "洋",
    "勇",
    "艳",
    "杰",
    "娟",
    "涛",
    "明",
    "超",
    "秀兰",
    "霞",
    "平",
    "桂英",
)
_VILLAGES = ("芦茨村", "石舍村", "梅蓉村", "环溪村", "荻浦村", "深澳村")


def neighbour(number: int) -> tuple[str, str, str]:
    """Name, phone and site of one more customer."""
    name = _SURNAMES[number % len(_SURNAMES)] + _GIVEN[(7 * number) % len(_GIVEN)]
    return name, f"+86 139 0571 {number:04}", f"{_VILLAGES[number % len(_VILLAGES)]} {number + 1} 号"
