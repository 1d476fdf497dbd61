"""A small demo, played into a cell in this process: the same streams from the same seed, and all of it verified."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kept.cell.v1 import service_pb2 as cell
from kept.customer.v1 import service_pb2 as customer

from services.cli.client import RefusedError
from services.cli.demo.command import played
from services.cli.demo.company import HQ
from services.cli.demo.mark import NotOurs
from services.cli.demo.player import DIRECTOR
from services.cli.demo.script import FIRST_DAY, Step
from services.cli.demo.story import Size
from services.cli.demo.summary import Summary
from services.cli.digest import digest_of
from services.kernel.config import read_settings
from services.kernel.errors import KeptError
from tests.history import Played, verified

SMALL = Size(customers=60, days=5)
WHOLE_PLOT = Size(customers=150, days=60)


class Folder:
    """A cell on this folder, and what each play of the demo into it came to."""

    def __init__(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self.data = data
        self.cell = Played(read_settings({}, data))

    def call(self, step: Step) -> Any:
        try:
            return self.cell.call(step.service, step.method, step.request, tenant=step.tenant, principal=step.actor)
        except KeptError as error:
            raise RefusedError(error.slug, str(error)) from error

    def play(self, seed: int = 1, size: Size = SMALL) -> Summary:
        summary = played(self.call, self.data, seed=seed, size=size)
        self.cell.drain()
        return summary

    def digest(self) -> str:
        return digest_of(self.cell.house)[0]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    one = Folder(tmp_path / "one")
    yield one
    one.cell.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Folder, Summary]]:
    """All sixty days, of a few customers."""
    one = Folder(tmp_path_factory.mktemp("whole"))
    yield one, one.play(size=WHOLE_PLOT)
    one.cell.close()


def test_the_same_seed_gives_the_same_streams(folder: Folder, tmp_path: Path) -> None:
    other = Folder(tmp_path / "other")
    folder.play()
    other.play()

    assert folder.digest() == other.digest()
    other.cell.close()


def test_another_seed_gives_others(folder: Folder, tmp_path: Path) -> None:
    other = Folder(tmp_path / "other")
    folder.play()
    other.play(seed=2)

    assert folder.digest() != other.digest()
    other.cell.close()


def test_what_was_played_replays_the_same(whole: tuple[Folder, Summary]) -> None:
    verdict = verified(whole[0].data)

    assert not verdict.findings, verdict.findings.first
    assert verdict.decisions > 300


def test_the_summary_counts_what_the_services_hold(whole: tuple[Folder, Summary]) -> None:
    folder, summary = whole
    total = summary.total

    assert total.customers == WHOLE_PLOT.customers
    assert total.cases == total.case_states.total() > 40
    assert total.case_states["closed"] > total.cases / 2
    assert summary.events == folder.cell.house.log.position()
    assert total.notices["completed"] > total.cases
    assert 0 < total.breaches < 2 * total.cases


def test_the_outage_touches_some_of_whom_some_called_first(whole: tuple[Folder, Summary]) -> None:
    total = whole[1].total

    assert total.problems == 1
    assert total.called_first > 0
    assert total.told_first > 0
    assert total.told_first + total.called_first <= total.affected
    assert whole[1].tenants["east"].affected == total.affected


def test_deals_are_lost_with_their_sums(whole: tuple[Folder, Summary]) -> None:
    summary = whole[1]

    assert summary.total.lost_deals == sum(counts.lost_deals for counts in summary.tenants.values()) >= 1
    assert summary.tenants["south"].lost_minor_units["CNY"] == 31_900_000


def test_the_summary_as_json_says_it_by_company_and_in_all(whole: tuple[Folder, Summary]) -> None:
    told = json.loads(replace(whole[1], replay="verified").to_json())
    counts = {"customers", "cases", "events", "notices", "breaches", "affected", "told_first", "called_first"}

    assert counts <= told.keys()
    assert told["replay"] == "verified"
    assert list(told["tenants"]) == ["hq", "north", "east", "south"]
    for name in ("customers", "cases", "breaches", "affected", "lost_deals"):
        assert told[name] == sum(one[name] for one in told["tenants"].values())


def test_the_summary_for_people_names_the_same_numbers(whole: tuple[Folder, Summary]) -> None:
    told = "\n".join(whole[1].lines())

    assert f"{WHOLE_PLOT.customers} customers" in told
    assert f"{whole[1].total.affected} customers affected" in told
    assert "CNY" in told


def test_played_again_on_the_same_folder_it_finds_its_work_done(folder: Folder) -> None:
    first = folder.play()
    second = folder.play()

    assert replace(second, seconds=0) == replace(first, seconds=0)


def test_a_play_that_broke_off_goes_on_and_ends_the_same(folder: Folder, tmp_path: Path) -> None:
    whole = Folder(tmp_path / "whole")
    expected = whole.play()
    calls = 0

    def breaking(step: Step) -> Any:
        nonlocal calls
        calls += step.method != "AdvanceTime"
        if calls == 330:  # some days into it
            raise ConnectionError
        return folder.call(step)

    with pytest.raises(ConnectionError):
        played(breaking, folder.data, seed=1, size=SMALL)
    resumed = folder.play()

    assert replace(resumed, seconds=0, events=0) == replace(expected, seconds=0, events=0)
    whole.cell.close()


def test_a_cell_that_holds_something_else_is_left_alone(folder: Folder) -> None:
    advance = cell.AdvanceTimeRequest(request_id="mine")
    advance.to.FromDatetime(FIRST_DAY)
    folder.call(Step(FIRST_DAY, HQ, DIRECTOR, "cell", advance))
    before = folder.cell.house.log.position()

    with pytest.raises(NotOurs, match="used by something else"):
        folder.play()
    assert folder.cell.house.log.position() == before


def test_a_demo_that_was_begun_otherwise_is_not_gone_on_with(folder: Folder) -> None:
    folder.play()

    with pytest.raises(NotOurs, match="seed 1, customers 60, days 5"):
        folder.play(seed=2)


def test_a_mark_whose_cell_is_gone_is_told(folder: Folder, tmp_path: Path) -> None:
    folder.play()
    other = Folder(tmp_path / "other")
    (other.data / "demo.json").write_bytes((folder.data / "demo.json").read_bytes())

    with pytest.raises(NotOurs, match="is gone"):
        other.play()
    other.cell.close()


def test_customers_are_known_by_their_names(whole: tuple[Folder, Summary]) -> None:
    page = whole[0].call(Step(FIRST_DAY, "east", DIRECTOR, "customer", customer.ListCustomersRequest(page_size=100)))

    assert len(page.customers) == whole[1].tenants["east"].customers
    assert {one.language for one in page.customers} == {"zh-CN", "en"}
    assert all(one.name for one in page.customers)
