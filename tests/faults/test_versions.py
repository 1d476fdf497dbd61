"""An old and a newer Kept side by side on one log, as in every update: each does its part, and neither harms the other's.

The old one is this one. The newer one is this code with protos of tomorrow (`newer`).
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Container
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from kept.audit.v1 import service_pb2 as audit
from kept.audit.v1.service_pb2_grpc import AuditServiceStub
from kept.customer.v1 import events_pb2 as customer_events
from kept.customer.v1 import service_pb2 as customer
from kept.customer.v1.service_pb2_grpc import CustomerServiceStub

from services.case.views import VIEWS as CASE_VIEWS
from services.cli.client import _told
from services.cli.table import SERVICES
from services.kernel.config import read_settings
from services.kernel.house import House
from services.kernel.log.positions import Fenced, Positions
from services.kernel.views import ViewFollower
from tests.faults.forms import takes_long, times
from tests.faults.live import LiveCell, People, assert_every_effect_once, live_cell, wait_until_all_is_read
from tests.faults.newer import NEW_EVENT, made
from tests.figures import Figures
from tests.history import verified
from tests.kept import ROOT
from tests.kernel.toys import labelled, save
from tests.test_frozen_events import SAMPLES

AT_ONCE, GREETED = 3, times(12, 300)
ENDS_WITHIN_S = times(60, 600)
METADATA = (("kept-principal", "user:ana"), ("kept-tenant", "main"))


@pytest.fixture(scope="module")
def tomorrow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a newer Kept's processes."""
    protos = made(tmp_path_factory.mktemp("tomorrow"))
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (protos, ROOT)))}


def run_tomorrow(environment: dict[str, str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=ENDS_WITHIN_S,
    )


@takes_long
def test_old_and_newer_share_a_log(memory: Path, figures: Figures, tomorrow: dict[str, str]) -> None:
    with live_cell(memory / "cell") as cell:
        with People(cell, 1) as people:
            people.wait_for(4)
        customer_id = next(one.stream for one in cell.acknowledged.values() if one.method == "RegisterCustomer")
        with People(cell, AT_ONCE):
            done = run_tomorrow(tomorrow, "tests.faults.newer", str(cell.data), customer_id, str(GREETED))
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        recorded = {int(position): digest for position, digest in told["recorded"].items()}
        wait_until_all_is_read(cell)
        with grpc.insecure_channel(cell.targets["customer"]) as channel:
            stub = CustomerServiceStub(channel)
            shown = stub.GetCustomer(
                customer.GetCustomerRequest(customer_id=customer_id, after_position=max(recorded)), metadata=METADATA
            )
            timeline = stub.GetTimeline(customer.GetTimelineRequest(customer_id=customer_id), metadata=METADATA)
            consent = customer.GiveConsentRequest(
                request_id="afterwards", customer_id=customer_id, purpose=customer_events.CONSENT_PURPOSE_MARKETING
            )
            with pytest.raises(grpc.RpcError) as refused:
                stub.GiveConsent(consent, metadata=METADATA)
        streamed = streamed_digests(cell, recorded)

    assert told["samples"] == len(SAMPLES)
    assert shown.customer_id == customer_id
    assert timeline.items[0].type == f"kept.customer.v1.{NEW_EVENT}"
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    slug, message = _told(refused.value)
    assert (slug, "newer Kept" in message) == ("newer-kept-needed", True)
    assert streamed == recorded
    events = assert_every_effect_once(cell)
    assert parked(cell) == []
    assert_both_replay(cell, tomorrow, unknown=GREETED + 1)
    figures(samples=len(SAMPLES), of_the_old=events - len(recorded), of_the_newer=len(recorded), parked=0)


def streamed_digests(cell: LiveCell, positions: Container[int]) -> dict[int, str]:
    """Of the records at these positions, as the old one's stream process hands them to an auditor."""
    with grpc.insecure_channel(cell.targets["audit"]) as channel:
        events = AuditServiceStub(channel).StreamEvents(audit.StreamEventsRequest(), metadata=METADATA)
        return {
            event.position: hashlib.sha256(event.record).hexdigest() for event in events if event.position in positions
        }


def parked(cell: LiveCell) -> list[Any]:
    with closing(House(read_settings({}, cell.data))) as house:
        databases = [house.database("log"), *(house.views_database(service.name) for service in SERVICES)]
        found: list[Any] = []
        for database in databases:
            with database.read() as session:
                found += Positions(session).parked()
        return found


def assert_both_replay(cell: LiveCell, tomorrow: dict[str, str], unknown: int) -> None:
    """The newer one finds nothing that differs; the old one only what it cannot know."""
    replayed = run_tomorrow(tomorrow, "services.cli.main", "replay", "--verify", "--quiet", "--data", str(cell.data))
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    assert verified(cell.data).findings.counts == {"event-unknown": unknown}


def test_views_that_a_newer_kept_has_begun_anew_are_left_to_it(house: House) -> None:
    views = CASE_VIEWS
    database = house.views_database(views.name)
    views.migrate(database)
    old = ViewFollower.of(views, house)
    old.register()
    house.log.append([save(labelled("a", 1))])
    assert old.step()
    newer = replace(views, version=views.version + 1)
    newer.migrate(database)
    ViewFollower.of(newer, house).register()
    house.log.append([save(labelled("a", 2))])

    for _ in range(2):  # also once it has looked where the follower stands now
        with pytest.raises(Fenced, match="views of another version"):
            old.step()

    assert ViewFollower.of(newer, house).step()
