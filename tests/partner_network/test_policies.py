"""From offers to their expiry: what the policy decides, and when that was true."""

import pytest

from tests.partner_network.desk import (
    CUSTOMER,
    SLOW,
    Desk,
    Told,
    accepted,
    at,
    cancelled,
    declined,
    expired,
    offered,
    passed,
    reoffered,
)

MOMENT = 1 / 60_000_000  # a microsecond, in minutes
BOTH_DECLINED = (declined(10), declined(20, partner_id=SLOW))


def test_an_offer_that_nobody_takes_expires_at_its_moment_and_not_before() -> None:
    desk = Desk().given(offered())

    desk.when(passed(30), passed(60)).then_nothing()
    desk.when(passed(60 + MOMENT)).then(expired(60))


def test_an_offer_expires_once_however_much_time_passes() -> None:
    Desk().given(offered(), passed(61)).when(passed(62), passed(10_000)).then_nothing()


def test_what_expired_says_whose_it_was_and_why() -> None:
    desk = Desk().given(offered(), passed(61))

    (record,) = (one.record for one in desk.records)
    assert (record.actor, record.tenant, record.customer_id) == ("policy:partner_network@1", "main", CUSTOMER)
    assert (record.correlation_id, bool(record.causation_id)) == ("because of A", True)


@pytest.mark.parametrize(
    "answers",
    [
        (accepted(59),),
        (declined(10), accepted(59, partner_id=SLOW)),
        BOTH_DECLINED,
        (cancelled(30),),
        (declined(10), cancelled(30)),
        (accepted(10), cancelled(70)),
    ],
)
def test_an_offer_that_was_answered_or_called_off_does_not_expire(answers: tuple[Told, ...]) -> None:
    desk = Desk().given(offered())

    desk.when(*answers, passed(1000)).then_nothing()
    assert desk.due() is None


def test_an_offer_that_not_all_have_declined_expires() -> None:
    Desk().given(offered()).when(declined(10), passed(61)).then(expired(60))


@pytest.mark.parametrize("minutes", [60, 60 + MOMENT, 90])
def test_who_calls_it_off_after_the_expiry_finds_it_expired(minutes: float) -> None:
    """A worker that was down reads the cancelling before it sees that time has passed."""
    Desk().given(offered()).when(cancelled(minutes)).then(expired(60))


def test_news_of_another_work_order_let_nothing_expire() -> None:
    Desk().given(offered(), offered(name="B", expires=200)).when(cancelled(90, "B")).then_nothing()


def test_an_acceptance_that_is_told_after_the_expiry_changes_nothing_here() -> None:
    Desk().given(offered(), passed(61)).when(accepted(59), passed(1000)).then_nothing()


def test_each_round_expires_for_itself() -> None:
    desk = Desk().given(offered())

    desk.when(reoffered(70, expires=120)).then(expired(60))
    desk.when(passed(121)).then(expired(120, number=2))
    desk.when(reoffered(130, 3, expires=180), accepted(140, number=3), passed(1000)).then_nothing()


def test_a_round_that_begins_when_the_last_expires_comes_after_it() -> None:
    Desk().given(offered()).when(reoffered(60, expires=120)).then(expired(60))


def test_a_round_after_all_declined_leaves_no_expiry_behind() -> None:
    desk = Desk().given(offered(), *BOTH_DECLINED, reoffered(30, expires=90))

    desk.when(passed(61)).then_nothing()
    assert desk.due() == at(90)
    desk.when(declined(70, number=2), passed(1000)).then_nothing()


def test_offers_expire_in_the_order_of_their_moments() -> None:
    desk = Desk().given(offered(expires=80), offered(name="B", expires=60), offered(name="C", expires=70))

    assert desk.due() == at(60)
    desk.when(passed(75)).then(expired(60, "B"), expired(70, "C"))
    assert desk.due() == at(80)


def test_another_companys_offer_expires_as_its_own() -> None:
    desk = Desk()
    desk.when(offered(), tenant="south").when(passed(61)).then(expired(60))

    assert [one.record.tenant for one in desk.records] == ["south"]


def test_more_offers_than_are_read_at_once_all_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.partner_network.policies.DUE_AT_ONCE", 2)
    desk = Desk().given(*(offered(name=name) for name in "ABC"))

    desk.when(passed(61))
    assert sorted(one.order for one in desk._expired) == ["A", "B", "C"]
