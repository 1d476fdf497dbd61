"""The acts. What is told of them comes from the log (`teller`), not from here."""

from dataclasses import dataclass, field

from kept.case.v1 import events_pb2 as case
from kept.case.v1 import service_pb2 as cases
from kept.common.v1.money_pb2 import Money
from kept.customer.v1 import events_pb2 as customer
from kept.customer.v1 import service_pb2 as customers
from kept.notification.v1 import events_pb2 as notice
from kept.notification.v1 import service_pb2 as notices
from kept.partner_network.v1 import events_pb2 as partners
from kept.partner_network.v1 import service_pb2 as network
from kept.sla.v1 import events_pb2 as sla
from kept.sla.v1 import service_pb2 as slas

from services.cli.story import scenery
from services.cli.story.play import Play
from services.cli.story.scenery import HEROINE, JIANDE, PRODUCT, SKILL, TONGLU, WEST_LAKE, at

NEIGHBOURS, CALLERS, LATE_CALLERS = 24, 3, 2
LOST_BID = Money(currency="CNY", minor_units=186_000_00)


@dataclass
class Cast:
    """Whom the story has made, by id."""

    heroine: str = ""
    item: str = ""
    neighbours: list[tuple[str, str]] = field(default_factory=list)
    partner: str = ""
    problem: str = ""
    broken_clocks: list[str] = field(default_factory=list)


def prologue(play: Play, rules: str) -> Cast:
    """The company as it was: its promises, its notices, its customers in the county, one partner somewhere else."""
    play.until(at("09-01 08:00"))
    cast = Cast()
    play.tell(
        "sla", "PublishCalendar", slas.PublishCalendarRequest(name=scenery.CALENDAR, definition=scenery.calendar())
    )
    play.tell("sla", "PublishPolicy", slas.PublishPolicyRequest(name=scenery.POLICY, definition=scenery.policy()))
    play.tell("notification", "PublishRuleSet", notices.PublishRuleSetRequest(name="standard", source=rules))
    cast.heroine, cast.item = _customer(play, *HEROINE, region=TONGLU)
    play.teller.customer_id = cast.heroine
    for number in range(NEIGHBOURS):
        region = JIANDE if number % 4 == 3 else TONGLU
        cast.neighbours.append(_customer(play, *scenery.neighbour(number), region=region))
    far = play.tell(
        "partner_network", "RegisterPartner", network.RegisterPartnerRequest(name="杭州西湖热能服务有限公司")
    ).id
    _admit(play, far, WEST_LAKE, number="HQ-2025-031", point="西湖站", place=(30.26, 120.13))
    play.settle()
    return cast


def act_one(play: Play, cast: Cast) -> None:
    """Nobody serves the county: headquarters answers late, and a bid is lost."""
    play.until(at("09-07 09:10"))
    case_id = _call(play, cast.heroine, cast.item, "民宿没有热水，今晚有客人入住。", "Guests arrive tonight.")
    play.settle()
    found = _who_can_help(play)
    if not found.helpers and found.HasField("nearest"):
        near = found.nearest
        play.teller.say(
            f"  谁能去？没有服务商覆盖 {TONGLU}；最近的是{near.service_point_name}，{near.distance_km:.0f} 公里外",
            f"  who can help? nobody covers {TONGLU}; the nearest is {near.service_point_name}, {near.distance_km:.0f} km away",
        )
    play.until(at("09-07 11:30"))
    play.until(at("09-08 10:00"))
    play.tell("case", "Acknowledge", cases.AcknowledgeRequest(case_id=case_id))
    play.tell("case", "Assign", cases.AssignRequest(case_id=case_id, team="headquarters"))
    play.until(at("09-08 18:30"))
    play.until(at("09-11 16:20"))
    play.tell("case", "Resolve", cases.ResolveRequest(case_id=case_id, reason="总部派人换了主控板"))
    play.settle()
    clocks = play.ask("sla", "ListClocks", slas.ListClocksRequest(case_ids=[case_id])).clocks
    cast.broken_clocks = [clock.clock_id for clock in clocks if clock.outcome == sla.OUTCOME_BROKEN]
    play.until(at("09-21 15:00"))
    lost = customers.RecordLostDealRequest(
        customer_id=cast.heroine,
        subject="芦茨溪民宿 2027 年维保",
        sum=LOST_BID,
        reason=customer.LOSS_REASON_SERVICE,
        clock_ids=cast.broken_clocks,
    )
    play.tell("customer", "RecordLostDeal", lost)
    play.settle()


def admit_partner(play: Play, cast: Cast) -> None:
    """A company of the county is admitted."""
    play.until(at("10-08 09:00"))
    cast.partner = play.tell(
        "partner_network", "RegisterPartner", network.RegisterPartnerRequest(name="桐庐安心家电服务有限公司")
    ).id
    _admit(play, cast.partner, TONGLU, number="HQ-2026-017", point="桐庐县城站", place=(29.80, 119.69))
    play.settle()


def act_two_call(play: Play, cast: Cast) -> str:
    """The customer calls again; a visit is offered. Returns the case."""
    play.until(at("10-09 09:00"))
    case_id = _call(play, cast.heroine, cast.item, "热水又不够热了。", "")
    play.tell("case", "Acknowledge", cases.AcknowledgeRequest(case_id=case_id))
    play.settle()
    helpers = _who_can_help(play).helpers
    names = "、".join(helper.partner_name for helper in helpers)
    play.teller.say(f"  谁能去？{names}", f"  who can help? {names}")
    offer = network.OfferWorkOrderRequest(
        case_id=case_id,
        product=PRODUCT,
        skill=SKILL,
        region=TONGLU,
        partner_ids=[helper.partner_id for helper in helpers],
        window=_window("10-09 13:00", "10-09 17:00"),
        expires_at=at("10-09 11:00"),
    )
    play.tell("partner_network", "OfferWorkOrder", offer)
    play.tell("case", "Assign", cases.AssignRequest(case_id=case_id, partner=cast.partner))
    play.settle()
    return case_id


def act_two_ends(play: Play, case_id: str) -> None:
    play.tell("case", "Resolve", cases.ResolveRequest(case_id=case_id, reason="更换混水阀，水温正常"))
    play.tell("case", "Close", cases.CloseRequest(case_id=case_id, customer_confirmed=True))
    play.settle()


def act_three(play: Play, cast: Cast) -> None:
    """An outage: a few call first, and everybody else is told before they notice."""
    play.until(at("10-20 10:05"))
    callers = cast.neighbours[:CALLERS]
    linked = [_call(play, *one, "热泵离线，没有热水。", "") for one in callers]
    play.until(at("10-20 10:25"))
    opened = cases.OpenProblemRequest(
        title="HP-9 云控制服务离线",
        scope=case.Scope(product=PRODUCT, regions=[TONGLU], began_at=at("10-20 09:58")),
        priority=case.PRIORITY_CRITICAL,
        expected_until=at("10-20 15:00"),
    )
    cast.problem = play.tell("case", "OpenProblem", opened).id
    for case_id in linked:
        play.tell("case", "LinkCase", cases.LinkCaseRequest(problem_id=cast.problem, case_id=case_id))
    play.settle()
    play.until(at("10-20 10:40"))
    for one in cast.neighbours[CALLERS + 1 : CALLERS + 1 + LATE_CALLERS]:
        _call(play, *one, "收到通知了，想确认几点恢复。", "")
    play.until(at("10-20 11:30"))
    cause = cases.FindRootCauseRequest(
        problem_id=cast.problem,
        cause="固件 4.2.1 的证书过期，控制器连不上云端",
        scope=case.Scope(product=PRODUCT, regions=[TONGLU, JIANDE], began_at=at("10-20 09:58")),
        expected_until=at("10-20 14:30"),
    )
    play.tell("case", "FindRootCause", cause)
    play.settle()
    play.until(at("10-20 14:10"))
    play.tell(
        "case",
        "ResolveProblem",
        cases.ResolveProblemRequest(problem_id=cast.problem, remedy="证书已更新，控制器重新上线"),
    )
    play.settle()


def notice_to(play: Play, customer_id: str, occasion: notice.Occasion.ValueType) -> notices.Notice:
    """The last notice of that kind that went out to the customer."""
    found = play.ask("notification", "ListNotices", notices.ListNoticesRequest(customer_id=customer_id)).notices
    sent: notices.Notice = next(
        one for one in found if one.occasion == occasion and one.state == notices.NOTICE_STATE_COMPLETED
    )
    return sent


def _customer(play: Play, name: str, phone: str, site: str, *, region: str) -> tuple[str, str]:
    """Customer and item."""
    register = customers.RegisterCustomerRequest(
        party=scenery.party(name, phone, region), stage=customer.CUSTOMER_STAGE_ACTIVE
    )
    customer_id = play.tell("customer", "RegisterCustomer", register).id
    install = customers.InstallItemRequest(
        customer_id=customer_id,
        product=PRODUCT,
        site=site,
        region=region,
        product_stage=customer.PRODUCT_STAGE_GROWTH,
    )
    return customer_id, play.tell("customer", "InstallItem", install).id


def _admit(play: Play, partner_id: str, region: str, *, number: str, point: str, place: tuple[float, float]) -> None:
    decide = network.DecideAdmissionRequest(
        partner_id=partner_id, state=partners.ADMISSION_STATE_ADMITTED, reason="资质与能力审核通过"
    )
    play.tell("partner_network", "DecideAdmission", decide)
    agreement = scenery.agreement(region, play.now)
    sign = network.SignAgreementRequest(partner_id=partner_id, agreement=agreement, number=number)
    play.tell("partner_network", "SignAgreement", sign)
    at_place = partners.Place(region=region, latitude_deg=place[0], longitude_deg=place[1])
    play.tell(
        "partner_network",
        "OpenServicePoint",
        network.OpenServicePointRequest(partner_id=partner_id, name=point, place=at_place),
    )


def _call(play: Play, customer_id: str, item_id: str, need: str, urgency: str) -> str:
    request = cases.OpenRequest(
        customer_id=customer_id,
        classification=case.Classification(kind=case.CASE_KIND_INCIDENT, category="heating", symptom="no hot water"),
        priority=case.PRIORITY_HIGH,
        need=need,
        urgency=urgency,
        channel=customer.CHANNEL_PHONE,
        region=TONGLU,
        item_id=item_id,
        product_stage=customer.PRODUCT_STAGE_GROWTH,
    )
    return play.tell("case", "Open", request).id


def _who_can_help(play: Play) -> network.FindHelpResponse:
    # The guesthouse's own place.
    place = partners.Place(region=TONGLU, latitude_deg=29.74, longitude_deg=119.66)
    found: network.FindHelpResponse = play.ask(
        "partner_network", "FindHelp", network.FindHelpRequest(place=place, product=PRODUCT, skill=SKILL)
    )
    return found


def _window(begins: str, ends: str) -> partners.VisitWindow:
    window = partners.VisitWindow(until=at(ends))
    getattr(window, "from").CopyFrom(at(begins))
    return window
