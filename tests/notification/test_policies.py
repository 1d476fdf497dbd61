"""From what happens to customers to what they are told: what the policy plans and cancels, for whom, and why."""

import pytest
from google.protobuf.message import Message
from kept.case.v1 import events_pb2 as case
from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import events_pb2 as e
from kept.partner_network.v1 import events_pb2 as partner
from kept.sla.v1 import events_pb2 as sla

from services.kernel.clock import micros_of, timestamp_of
from tests.notification.desk import (
    DEFAULT,
    EMAIL,
    OWN,
    SMS,
    WECHAT,
    Desk,
    Told,
    accepted,
    affected,
    armed,
    consent,
    desk,
    id_of,
    installed,
    judged,
    of_case,
    of_clock,
    offered,
    opened,
    problem,
    problem_resolved,
    published,
    registered,
    reopened,
    resolved,
    retracted,
    sent,
    sla_policy,
    warned,
)
from tests.sla.desk import at

BROKEN, KEPT = sla.OUTCOME_BROKEN, sla.OUTCOME_KEPT
SERVICE, SAFETY, MARKETING = (
    customer.CONSENT_PURPOSE_SERVICE,
    customer.CONSENT_PURPOSE_SAFETY,
    customer.CONSENT_PURPOSE_MARKETING,
)

# What a notice has


def test_a_plan_says_whom_how_when_with_which_facts_and_why() -> None:
    told = desk().when(opened("06 09:00", item_id=id_of("router")))

    planned = told.planned()
    assert planned == e.NoticePlanned(
        customer_id=id_of("ana"),
        party_id=id_of("ana-party"),
        occasion=e.OCCASION_CASE_OPENED,
        about=e.About(case_id=id_of("A"), item_id=id_of("router")),
        rule_set="standard",
        rule_set_version=1,
        language="zh-CN",
        time_zone="Asia/Shanghai",
        channels=[WECHAT, SMS],
        next_touch_at=timestamp_of(at("07 09:00")),
        facts={
            "case_number": e.Fact(text="NO-A"),
            "opened_at": e.Fact(moment=timestamp_of(at("06 09:00"))),
            "product": e.Fact(text="Router R-1"),
        },
        because=[
            told.event_id(case.CaseOpened),
            told.event_id(customer.ItemInstalled),
            told.event_id(customer.PartyRegistered),
        ],
    )
    (decision,) = told.last
    assert (decision.at, decision.event.record.actor) == (at("06 09:00"), "policy:notification@1")
    assert decision.event.record.causation_id == told.event_id(case.CaseOpened)
    assert decision.event.record.customer_id == id_of("ana")


def test_a_case_without_a_reference_is_numbered_by_its_id() -> None:
    planned = desk().when(opened("06 09:00")._replace(body=case.CaseOpened(customer_id=id_of("ana")))).planned()

    assert planned.facts["case_number"].text == id_of("A")[:8].upper()


def test_who_named_no_channel_gets_a_text_message() -> None:
    assert Desk(published(), *registered(channels=[])).when(opened("06 09:00")).planned().channels == [SMS]


def test_preferences_are_those_of_the_moment() -> None:
    wanted = customer.Preferences(language="en-GB", time_zone="Europe/London", channels=[EMAIL])
    told = desk(Told(customer.PreferencesChanged(preferences=wanted), at("02 00:00"), "ana-party"))

    planned = told.when(opened("06 17:00")).planned()

    assert (planned.language, planned.time_zone, list(planned.channels)) == ("en", "Europe/London", [EMAIL])
    assert told.event_id(customer.PreferencesChanged) in planned.because


def test_without_rules_or_without_that_notice_nobody_is_told() -> None:
    assert Desk(*registered()).when(opened("06 09:00")).last == []
    only_found = (
        DEFAULT.replace("  case-opened:", "  CUT").split("  CUT")[0] + DEFAULT[DEFAULT.index("  problem-found:") :]
    )
    only_found = only_found[: only_found.index("# Sentences")]
    assert Desk(published(only_found), *registered()).when(opened("06 09:00")).last == []


def test_the_newest_rules_count_and_are_pinned() -> None:
    told = desk(published(DEFAULT.replace("next_touch: 1d", "next_touch: 2d"), version=2))

    planned = told.when(opened("06 09:00")).planned()

    assert (planned.rule_set_version, micros_of(planned.next_touch_at)) == (2, at("08 09:00"))


# A case's opening, with its deadline where it has one


def test_a_case_that_gets_a_clock_is_told_once_it_is_armed() -> None:
    told = desk(sla_policy())

    assert told.when(opened("06 09:00")).last == []
    assert told.when(armed("06 09:00", "06 11:00", target=OWN)).last == []
    planned = told.when(armed("06 09:00", "06 17:00")).planned()

    assert planned.facts["due_at"].moment == timestamp_of(at("06 17:00"))
    assert planned.because[:2] == [told.event_id(sla.ClockArmed), told.event_id(case.CaseOpened)]


@pytest.mark.parametrize(
    ("rule", "waits"),
    [
        ({"priority": case.PRIORITY_HIGH}, True),
        ({"priority": case.PRIORITY_LOW}, False),
        ({"kind": case.CASE_KIND_INCIDENT, "entitlement": "gold"}, True),
        ({"entitlement": "silver"}, False),
        ({"product_stage": customer.PRODUCT_STAGE_LAUNCH}, False),
    ],
)
def test_a_case_that_the_policy_promises_nothing_is_told_at_once(rule: dict[str, object], waits: bool) -> None:
    kind = case.Classification(kind=case.CASE_KIND_INCIDENT)
    told = desk(sla_policy(**rule))

    told.when(opened("06 09:00", classification=kind, priority=case.PRIORITY_HIGH, entitlement="gold"))

    assert told.occasions() == ([] if waits else ["case-opened"])


def test_a_case_that_ended_before_its_clock_was_armed_is_not_told_of_as_new() -> None:
    told = desk(sla_policy(), opened("06 09:00"), resolved("06 09:30"))

    assert told.when(armed("06 09:00", "06 17:00")).last == []


# What becomes of a case


def test_a_case_is_told_of_from_its_opening_to_its_end() -> None:
    told = desk(sla_policy(), opened("06 09:00"), armed("06 09:00", "06 17:00"))

    assert told.when(warned("06 15:00", "06 17:00")).occasions() == ["deadline-at-risk"]
    assert told.last[0].body.facts["percent"].number == 75
    assert told.when(judged("06 17:00", BROKEN)).occasions() == ["promise-broken"]
    assert told.when(resolved("06 18:00")).occasions() == ["case-resolved"]
    assert told.when(reopened("07 09:00")).occasions() == ["case-reopened"]
    assert told.when(resolved("07 10:00")).occasions() == ["case-resolved"]
    assert len({one.notice for one in told.all}) == len(told.all)


def test_a_warning_that_waits_for_the_morning_is_overtaken_by_the_broken_promise() -> None:
    told = desk(sla_policy(), opened("06 09:00"), armed("06 09:00", "06 23:30"), warned("06 22:30", "06 23:30"))

    assert told.when(judged("06 23:30", BROKEN)).occasions() == ["cancelled: promise-broken", "promise-broken"]


def test_a_risk_is_told_once_until_the_case_is_reopened() -> None:
    told = desk(sla_policy(), opened("06 09:00"), armed("06 09:00", "06 17:00"), warned("06 13:00", "06 17:00", 50))

    assert told.when(warned("06 15:00", "06 17:00", 75)).last == []
    told.when(resolved("06 16:00"), reopened("07 09:00"))
    assert told.when(warned("07 09:30", "07 10:00", 90)).occasions() == ["deadline-at-risk"]


@pytest.mark.parametrize("outcome", [KEPT, sla.OUTCOME_RELEASED])
def test_a_promise_that_was_not_broken_is_not_spoken_of(outcome: sla.Outcome.ValueType) -> None:
    told = desk(sla_policy(), opened("06 09:00"), armed("06 09:00", "06 17:00"))

    assert told.when(judged("06 16:00", outcome)).last == []


def test_that_a_promise_was_broken_is_no_news_once_the_case_is_resolved() -> None:
    told = desk(sla_policy(), opened("06 09:00"), armed("06 09:00", "06 17:00"), resolved("06 18:00"))

    assert told.when(judged("06 17:00", BROKEN)).last == []


def test_a_clock_to_own_is_nothing_to_the_customer() -> None:
    told = desk(sla_policy(), opened("06 09:00"), armed("06 09:00", "06 10:00", target=OWN))
    breach = Told(sla.VerdictReached(outcome=BROKEN), at("06 10:00"), f"A-clock-{OWN}", "ana")

    assert told.when(breach).last == []


def test_a_visit_is_told_with_its_window_and_company() -> None:
    told = desk(opened("06 09:00"), offered("06 10:00"))

    planned = told.when(accepted("06 11:00", "07 09:00", "07 11:00")).planned()

    assert planned.about == e.About(case_id=id_of("A"), work_order_id=id_of("visit"))
    assert planned.facts["partner"].text == "South Repairs"
    assert planned.facts["arrives_from"].moment == timestamp_of(at("07 09:00"))
    assert planned.facts["arrives_until"].moment == timestamp_of(at("07 11:00"))
    assert planned.because[0] == told.event_id(partner.WorkOrderAccepted)


# Problems


def test_of_a_problem_only_the_affected_are_told_each_once() -> None:
    told = desk(*registered("bo"), *registered("chen"), problem("06 09:00", until="06 18:00"))

    assert [one.body.customer_id for one in told.when(affected("06 09:00"), affected("06 09:00", "bo")).last] == [
        id_of("ana"),
        id_of("bo"),
    ]
    assert told.last[0].body.facts["expected_until"].moment == timestamp_of(at("06 18:00"))
    assert told.when(affected("06 10:00")).last == [], "more items, and the same news"
    told.when(problem_resolved("06 12:00"))
    assert sorted(one.body.customer_id for one in told.last) == sorted([id_of("ana"), id_of("bo")])
    assert told.occasions() == ["problem-resolved"] * 2


def test_who_is_not_affected_after_all_is_told_so_and_may_be_affected_again() -> None:
    told = desk(problem("06 09:00"), affected("06 09:00"))

    assert told.when(retracted("06 10:00")).occasions() == ["problem-retracted"]
    assert told.when(retracted("06 10:30")).last == []
    assert told.when(affected("06 11:00")).occasions() == ["problem-found"]
    assert told.when(problem_resolved("06 12:00")).occasions() == ["problem-resolved"]
    assert len({one.notice for one in told.all}) == 4


def test_a_problem_that_is_over_is_not_told_of_as_found() -> None:
    told = desk(problem("06 09:00"), problem_resolved("06 09:30"))

    assert told.when(affected("06 09:00")).last == []


def test_who_did_not_want_to_hear_of_a_problem_does_not_hear_of_its_end() -> None:
    unwanted = DEFAULT.replace("purpose: safety", "purpose: service")
    told = Desk(published(unwanted), *registered(), consent("02 00:00", SERVICE, given=False), problem("06 09:00"))

    told.when(affected("06 09:00"), consent("06 10:00", SERVICE, given=True), problem_resolved("06 12:00"))

    assert told.last == []


# Quiet hours, and what is over before they are


def test_at_night_a_notice_waits_for_the_morning() -> None:
    planned = desk().when(opened("06 23:30")).planned()

    assert planned.not_before == timestamp_of(at("07 08:00"))
    assert planned.next_touch_at == timestamp_of(at("08 08:00"))


def test_nobody_is_promised_a_call_in_the_night() -> None:
    told = desk(sla_policy(), opened("06 09:00"), armed("06 09:00", "06 23:00"))

    planned = told.when(warned("06 19:00", "06 23:00")).planned()

    assert not planned.HasField("not_before")
    assert planned.next_touch_at == timestamp_of(at("07 08:00")), "four hours later is eleven at night"


def test_what_is_urgent_goes_through_the_night() -> None:
    urgent = DEFAULT.replace("    purpose: safety\n", "    purpose: safety\n    urgent: true\n")
    told = Desk(published(urgent), *registered(), problem("06 23:00"))

    assert not told.when(affected("06 23:00")).planned().HasField("not_before")


@pytest.mark.parametrize(
    ("before", "over", "then"),
    [
        ([affected("06 23:00")], problem_resolved("07 02:00"), ["cancelled: problem-over", "problem-resolved"]),
        ([affected("06 23:00")], retracted("07 02:00"), ["cancelled: retracted"]),
        (
            [affected("06 23:00")],
            Told(case.ProblemClosed(reason="x"), at("07 02:00"), "P"),
            ["cancelled: problem-over"],
        ),
        ([opened("06 23:00")], resolved("07 02:00"), ["cancelled: case-resolved", "case-resolved"]),
        ([opened("06 23:00")], of_case(case.CaseCancelled(reason="x"), "07 02:00"), ["cancelled: case-over"]),
        ([opened("06 23:00")], of_case(case.CaseRejected(reason="x"), "07 02:00"), ["cancelled: case-over"]),
        ([opened("06 09:00"), resolved("06 23:00")], of_case(case.CaseClosed(), "07 02:00"), []),
        (
            [opened("06 09:00"), resolved("06 23:00")],
            reopened("07 02:00"),
            ["cancelled: case-reopened", "case-reopened"],
        ),
        (
            [opened("06 09:00"), offered("06 09:30"), accepted("06 23:00", "07 06:00", "07 07:00")],
            Told(partner.WorkOrderCancelled(reason="x"), at("07 02:00"), "visit", "ana"),
            ["cancelled: visit-over"],
        ),
    ],
)
def test_what_is_over_in_the_morning_was_not_told_in_the_night(before: list[Told], over: Told, then: list[str]) -> None:
    told = desk(problem("06 22:30"), *before)

    assert told.when(over).occasions() == then


def test_a_verdict_that_was_corrected_in_the_night_is_not_apologized_for() -> None:
    told = desk(sla_policy(), opened("06 09:00"), armed("06 09:00", "06 23:00"), judged("06 23:00", BROKEN))

    corrected = of_clock(sla.VerdictCorrected(outcome=KEPT, due_at=timestamp_of(at("06 23:00"))), "07 02:00")

    assert told.when(corrected).occasions() == ["cancelled: promise-kept"]


def test_what_came_out_in_the_morning_is_followed_by_its_end() -> None:
    told = desk(problem("06 23:00"), affected("06 23:00"))

    assert told.when(retracted("07 08:00")).occasions() == ["problem-retracted"]


def test_late_news_do_not_take_back_what_was_sent() -> None:
    told = desk(problem("06 23:00"), affected("06 23:00"))
    told.when(sent("07 08:00", told.all[-1].notice))

    assert told.when(retracted("07 07:00")).occasions() == ["problem-retracted"]


def test_one_customers_night_is_not_anothers() -> None:
    told = desk(
        *registered("bo", zone="America/Sao_Paulo"),
        problem("06 23:00"),
        affected("06 23:00"),
        affected("06 23:00", "bo"),
    )

    assert told.when(problem_resolved("07 02:00")).occasions().count("cancelled: problem-over") == 1
    assert told.occasions().count("problem-resolved") == 2


# Consent


@pytest.mark.parametrize(
    ("purpose", "said", "is_told"),
    [
        ("service", None, True),
        ("service", False, False),
        ("service", True, True),
        ("safety", None, True),
        ("safety", False, True),
        ("marketing", None, False),
        ("marketing", False, False),
        ("marketing", True, True),
    ],
)
def test_consent_is_asked_for_as_the_purpose_has_it(purpose: str, said: bool | None, is_told: bool) -> None:
    kinds = {"service": SERVICE, "safety": SAFETY, "marketing": MARKETING}
    told = Desk(published(DEFAULT.replace("purpose: service", f"purpose: {purpose}")), *registered())
    if said is not None:
        told.when(consent("02 00:00", kinds[purpose], given=said))

    assert bool(told.when(opened("06 09:00")).last) == is_told
    if is_told and said and purpose != "safety":
        assert told.event_id(customer.ConsentGiven) in told.planned().because


# What history adds


def test_the_third_case_of_a_month_is_answered_as_such() -> None:
    told = desk(opened("01 00:30", "before"), opened("06 09:00", "A"), opened("07 09:00", "B"))

    planned = told.when(opened("08 09:00", "C")).planned()

    assert planned.personal == ["many-cases-this-month"]
    assert planned.facts["cases_this_month"].number == 4
    assert (
        len(set(planned.because) & {one.record.id for one in told.told if isinstance(one.body, case.CaseOpened)}) == 4
    )


def test_a_month_begins_where_the_customer_lives() -> None:
    """Half past midnight in Shanghai on the first is the month before in London."""
    history = [opened("01 00:30", "A"), opened("06 09:00", "B")]
    shanghai = desk(*history).when(opened("08 17:00", "C")).planned()
    london = Desk(published(), *registered(zone="Europe/London"), *history).when(opened("08 17:00", "C")).planned()

    assert (list(shanghai.personal), list(london.personal)) == (["many-cases-this-month"], [])
    assert "cases_this_month" not in london.facts


def test_a_broken_promise_is_remembered_until_the_next_one_is_kept() -> None:
    told = desk(sla_policy(priority=case.PRIORITY_HIGH), opened("06 09:00", priority=case.PRIORITY_HIGH))
    told.when(armed("06 09:00", "06 17:00"), judged("06 17:00", BROKEN))

    planned = told.when(opened("07 09:00", "B")).planned()
    assert planned.personal == ["promise-broken-last-time"]
    assert told.event_id(sla.VerdictReached) in planned.because

    told.when(of_clock(sla.VerdictCorrected(outcome=KEPT), "07 10:00"))
    assert told.when(opened("07 11:00", "D")).planned().personal == ["many-cases-this-month"]


def test_the_promise_that_is_told_of_is_not_history_yet() -> None:
    told = desk(sla_policy(), opened("06 09:00"), armed("06 09:00", "06 17:00"), judged("06 17:00", BROKEN))

    told.when(resolved("06 18:00"))

    assert told.when(reopened("07 09:00")).planned().personal == []


def test_a_customer_who_came_back_is_welcomed() -> None:
    came_back = customer.CustomerStageEntered(stage=customer.CUSTOMER_STAGE_WON_BACK, reason="price")
    told = desk(Told(came_back, at("02 00:00"), "ana", "ana"))

    planned = told.when(opened("06 09:00")).planned()

    assert planned.personal == ["welcome-back"]
    assert told.event_id(customer.CustomerStageEntered) in planned.because


def test_nothing_sealed_is_read() -> None:
    """Whatever is sealed is gone, and the decisions are the same."""

    def erased(told: Told) -> Told:
        body = type(told.body).FromString(told.body.SerializeToString())
        for field, value in body.ListFields():
            if field.message_type is not None and field.message_type.name in ("Sealed", "Contact"):
                value.Clear()
        return told._replace(body=body)

    history: list[Told] = [
        published(), *registered(), installed(), opened("06 09:00", item_id=id_of("router")), offered("06 10:00"),
        accepted("06 11:00", "07 09:00", "07 11:00"), problem("06 12:00"), affected("06 12:00"), resolved("06 13:00"),
    ]  # fmt: skip

    decisions: list[list[Message]] = [[one.body for one in Desk(*told).all] for told in (history, map(erased, history))]

    assert decisions[0] == decisions[1]
    assert len(decisions[0]) == 4
