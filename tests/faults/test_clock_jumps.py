"""The machine's clock jumps an hour, either way and at any moment: deadlines fire once, and the log's times never go back."""

import ast
from collections import Counter
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from itertools import count, pairwise
from pathlib import Path
from random import Random
from typing import Any

from kept.case.v1 import service_pb2 as case
from kept.customer.v1 import events_pb2 as customer_events
from kept.customer.v1 import service_pb2 as customer
from kept.notification.v1 import events_pb2 as notices
from kept.notification.v1 import service_pb2 as notification
from kept.sla.v1 import events_pb2 as sla_events
from kept.sla.v1 import service_pb2 as sla

from services.kernel.clock import FixedClock, micros, micros_of
from services.kernel.events import LogEvent, log_event
from tests.faults.forms import takes_long, times
from tests.figures import Figures
from tests.history import Played, played, verified
from tests.kept import ROOT
from tests.scene import edited, open_case, register_customer
from tests.sla.desk import ALWAYS, HOUR, rule

START = datetime(2024, 5, 6, 8, 0, tzinfo=UTC)
SEEDS = times(4, 120)
STEPS, PERCENTS = 60, (50, 75)
JUMP = timedelta(hours=1)
# When all has fallen due, and when whoever was not to be told at night is told: noon at the customer's.
AFTERWARDS = (datetime(2024, 5, 17, 4, tzinfo=UTC), datetime(2024, 5, 20, 4, tzinfo=UTC))
ALL = 1_000_000


class Jumpy:
    """A live cell whose machine's clock goes on, and jumps. `latest` is the latest time that it ever showed."""

    def __init__(self, cell: Played, clock: FixedClock, random: Random) -> None:
        self.cell, self._clock, self._random = cell, clock, random
        cell.house.log._machine = clock
        self.latest, self.jumps = clock.now(), 0
        self._open: list[str] = []
        self._numbers = count()
        self._tell("sla", sla.PublishCalendarRequest(name="always", definition=ALWAYS))
        promises = [
            rule(2 * HOUR, calendar="always", warn_percents=PERCENTS),
            rule(HOUR, sla_events.TARGET_KIND_TIME_TO_OWN, calendar="always"),
        ]
        definition = sla_events.PolicyDefinition(rules=promises)
        self._tell("sla", sla.PublishPolicyRequest(name="standard", definition=definition))
        source = files("services.notification").joinpath("default_rules.yaml").read_text(encoding="utf-8")
        self._tell("notification", notification.PublishRuleSetRequest(name="standard", source=source))
        self._customer = self._tell("customer", register_customer())
        purpose = customer_events.CONSENT_PURPOSE_SERVICE
        self._tell("customer", customer.GiveConsentRequest(customer_id=self._customer, purpose=purpose))

    def step(self) -> None:
        match self._random.randrange(5):
            case 0:
                self.jumps += 1
                self.passes(self._random.choice((JUMP, -JUMP)))
            case 1:
                reference = f"R{next(self._numbers)}"
                opened = edited(open_case(self._customer), {"external_reference": reference})
                self._open.append(self._tell("case", opened))
            case 2 if self._open:
                done = self._open.pop(self._random.randrange(len(self._open)))
                self._tell("case", case.ResolveRequest(case_id=done, reason="done"))
            case _:
                self.passes(timedelta(minutes=self._random.randrange(1, 45)))

    def passes(self, by: timedelta) -> None:
        self.latest = max(self.latest, self._clock.now() + by)
        self.cell.passes(self._clock.now() + by)

    def _tell(self, service: str, request: Any) -> str:
        request = edited(request, {"request_id": f"r{next(self._numbers)}"})
        receipt = self.cell.call(service, request.DESCRIPTOR.name.removesuffix("Request"), request).receipt
        self.cell.drain()
        return str(receipt.id)

    def events(self) -> list[LogEvent]:
        return list(map(log_event, self.cell.house.log.read(0, ALL)))


@takes_long
def test_every_deadline_fires_once_however_the_clock_jumps(memory: Path, figures: Figures) -> None:
    in_all: Counter[str] = Counter()
    for seed in range(SEEDS):
        in_all += lived_through(memory / str(seed), seed)

    figures(seeds=SEEDS, **in_all)


def lived_through(data: Path, seed: int) -> Counter[str]:
    """Some days of a cell whose clock jumps, and what there was in them."""
    clock = FixedClock(START)
    with played(data, clock) as cell:
        there = Jumpy(cell, clock, Random(seed))  # noqa: S311 - moments, not secrets
        for _ in range(STEPS):
            there.step()
            assert_nothing_fired_before_its_time(there)
        for later in AFTERWARDS:
            there.passes(later - clock.now())
        events = there.events()

    armed = {event.record.stream for event in events if isinstance(event.body, sla_events.ClockArmed)}
    assert armed
    verdicts = Counter(event.record.stream for event in events if isinstance(event.body, sla_events.VerdictReached))
    assert verdicts == dict.fromkeys(armed, 1)
    warnings = Counter(
        (event.record.stream, event.body.percent)
        for event in events
        if isinstance(event.body, sla_events.ThresholdReached)
    )
    assert set(warnings.values()) <= {1}
    planned = {event.record.stream for event in events if isinstance(event.body, notices.NoticePlanned)}
    assert notices_ended(events) == dict.fromkeys(planned, 1)
    recorded = [event.recorded_at for event in events]
    assert all(earlier <= later for earlier, later in pairwise(recorded))
    assert verified(data).findings.first == {}
    return Counter(jumps=there.jumps, deadlines=len(verdicts) + len(warnings), notices=len(planned))


def notices_ended(events: list[LogEvent]) -> Counter[str]:
    """How often each notice was sent, given up or called off."""
    return Counter(
        event.record.stream if isinstance(event.body, notices.NoticeCancelled) else event.body.notice_id
        for event in events
        if isinstance(event.body, notices.NoticeSent | notices.NoticeFailed | notices.NoticeCancelled)
    )


def assert_nothing_fired_before_its_time(there: Jumpy) -> None:
    for event in there.events():
        if isinstance(event.body, sla_events.VerdictReached) and event.body.outcome == sla_events.OUTCOME_BROKEN:
            assert micros_of(event.body.due_at) < micros(there.latest)


# Whatever waits, retries or holds something for a time goes by a clock that does not jump.

READS_THE_CLOCK = {
    "services/kernel/clock.py",  # the business clock of a live cell, and the time of recording
    "services/kernel/log/bell.py",  # compares it with the time of a file's change, which is of the same clock
    "services/cli/imports/runner.py",  # refuses rows of the future
}
CLOCKS = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}


def test_nothing_else_goes_by_the_machines_clock() -> None:
    found = {
        str(path.relative_to(ROOT))
        for folder in ("services", "gateway")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        if isinstance(node.value, ast.Name) and (node.value.id, node.attr) in CLOCKS
    }
    assert found == READS_THE_CLOCK
