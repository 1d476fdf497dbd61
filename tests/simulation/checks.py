"""What must hold at the end of every run, whatever happened."""

from collections import Counter
from collections.abc import Container
from contextlib import ExitStack
from uuid import UUID

from kept.case.v1 import events_pb2 as case
from kept.notification.v1 import events_pb2 as notification
from kept.partner_network.v1 import events_pb2 as partner_network
from kept.sla.v1 import events_pb2 as sla

from services.cli.table import SERVICES
from services.kernel.clock import micros
from services.kernel.events import LogEvent, full_name, opened_event
from services.kernel.house import House
from services.kernel.log.port import Recorded
from services.kernel.log.positions import Positions
from services.kernel.policy import Policy
from services.kernel.replay.chain import COLUMNS, Chain
from services.kernel.replay.compare import compare_table
from services.kernel.replay.findings import Findings
from services.kernel.replay.policies import ReplayedPolicy
from services.kernel.replay.verify import verify
from services.notification import outbox
from services.notification.domain import delivery_id
from services.notification.sender import READS as SENDER_READS
from tests.simulation.store import Disks
from tests.simulation.world import World

ENDED = (notification.NoticeSent, notification.NoticeFailed)
History = list[tuple[Recorded, LogEvent]]


class InvariantError(AssertionError):
    """Something is so that must never be."""


def check(world: World, sandbox: Disks | None) -> bytes:
    """Returns the log's Merkle root. Without a sandbox nothing is replayed. Raises AssertionError."""
    house = world.plain_house()
    history = _chain(house)
    world.answers.check_effects([event for _, event in history])
    fresh = history[world.prelude.position :]
    events = [event for _, event in fresh]
    _nothing_parked(house)
    _all_handled_once(world, events)
    if sandbox is not None:
        _replayed(house, sandbox, fresh)
    _deadlines(world, house, events)
    _notices(world, house, events)
    return house.log.head().root


def _refuse(findings: Findings) -> None:
    if findings:
        told = [f"{one.kind} at {one.position}: {one.detail}" for one in findings.first.values()]
        raise InvariantError("; ".join(told))


def _chain(house: House) -> History:
    """Positions and streams are dense, recorded_at never decreases, and the Merkle root is that of the records."""
    findings = Findings()
    chain = Chain(findings)
    history = []
    with house.log.database.snapshot() as session:
        for row in session.execute(f"SELECT {COLUMNS} FROM log ORDER BY position"):  # noqa: S608 - our own names
            recorded, record = chain.check(row)
            assert record is not None
            history.append((recorded, opened_event(recorded, record)))
        chain.finish(session)
    _refuse(findings)
    return history


def verified(world: World) -> None:
    """What `kept replay --verify` says. Raises AssertionError."""
    policies = [policy() for service in SERVICES for policy in service.policies]
    _refuse(verify(world.plain_house(), [service.views for service in SERVICES], policies).findings)


def _nothing_parked(house: House) -> None:
    for namespace in ("log", *(f"views_{service.name}" for service in SERVICES)):
        with house.database(namespace).read() as session:
            parked = Positions(session).parked()
        if parked:
            raise InvariantError(f"{parked[0].follower} parked position {parked[0].position}: {parked[0].reason}")


def _all_handled_once(world: World, fresh: list[LogEvent]) -> None:
    """The effect of every event was committed once, by each of those who read it."""
    for name, reads in _readers().items():
        expected = {event.position for event in fresh if event.record.type in reads}
        handled = world.ledger.handled[name]
        if handled != expected:
            wrong = sorted(handled ^ expected)
            raise InvariantError(f"{name} handled {len(handled)} of {len(expected)} events; it differs at {wrong}")


def _readers() -> dict[str, Container[str]]:
    """Which types of events each follower reads."""
    readers: dict[str, Container[str]] = {"notification-sender": SENDER_READS}
    for service in SERVICES:
        readers[service.views.follower] = service.views.reads
        readers.update({policy.name: policy.reads for policy in service.policies})
    return readers


def _replayed(house: House, sandbox: Disks, fresh: History) -> None:
    """Views rebuilt are the live ones; policies, asked again, decide what they decided, and know what they knew."""
    findings = Findings()
    sandbox.put_back()
    views = [service.views for service in SERVICES]
    policies: list[Policy] = [policy() for service in SERVICES for policy in service.policies]
    with ExitStack() as stack:
        log = stack.enter_context(sandbox.of("log").opened().write())
        rebuilt = [stack.enter_context(sandbox.of(f"views_{view.name}").opened().write()) for view in views]
        live_log = stack.enter_context(house.log.database.snapshot())
        live = [stack.enter_context(house.views_database(view.name).snapshot()) for view in views]
        replayed = [
            ReplayedPolicy(policy, Positions(live_log).get(policy.name), set(), findings) for policy in policies
        ]
        for recorded, event in fresh:
            for policy in replayed:
                policy.compare(log, recorded, event.record)
            for view, session in zip(views, rebuilt, strict=True):
                if event.record.type in view.reads:
                    view.apply(session, event)
            for policy in replayed:
                if event.record.type in policy.policy.reads:
                    policy.read(log, event)
        for policy in replayed:
            policy.finish()
        dialect = house.log.database.dialect
        for view, theirs, ours in zip(views, live, rebuilt, strict=True):
            for table in view.tables:
                compare_table(table, (theirs, dialect), (ours, dialect), house.sealer, findings)
        for table in (table for policy in policies for table in policy.tables):
            compare_table(table, (live_log, dialect), (log, dialect), house.sealer, findings)
    _refuse(findings)


def _deadlines(world: World, house: House, fresh: list[LogEvent]) -> None:
    """Each warning and each verdict once for each plan, each expiry once for each round; and nothing is overdue."""
    fired: set[tuple[str, str, int]] = set()
    for event in fresh:
        stream, body = event.record.stream, event.body
        if isinstance(body, sla.ClockReplanned):
            fired = {one for one in fired if one[0] != stream}
        elif isinstance(body, sla.VerdictReached | sla.ThresholdReached | partner_network.OfferExpired):
            percent = body.percent if isinstance(body, sla.ThresholdReached) else 0
            moment = (stream, full_name(body), percent)
            if moment in fired:
                raise InvariantError(f"{event.record.type} of {stream} fired again at position {event.position}")
            fired.add(moment)
            world.scheduler.happened[full_name(body).rsplit(".", 1)[-1]] += 1
    _nothing_overdue(micros(world.clock.now()), house)
    _all_concluded(fresh)


def _nothing_overdue(now: int, house: House) -> None:
    """By what those say who have deadlines to watch."""
    with house.log.database.read() as session:
        dues = {policy.name: policy().next_due(session) for service in SERVICES for policy in service.policies}
        dues["notification-sender"] = outbox.earliest(session)
    late = {name: due for name, due in dues.items() if due is not None and due < now}
    if late:
        raise InvariantError(f"it is {now}, and these have let a deadline pass: {late}")


def _all_concluded(fresh: list[LogEvent]) -> None:
    """By the events alone: the time is long past all deadlines, so clocks that nothing has stopped have their verdict,
    and rounds of offers that nobody has ended have expired."""
    held = {event.record.stream for event in fresh if isinstance(event.body, case.CaseHeld)}
    open_clocks: dict[str, int] = {}
    open_offers: dict[str, int] = {}
    declined: Counter[str] = Counter()
    expired = {(e.body.work_order_id, e.body.round) for e in fresh if isinstance(e.body, partner_network.OfferExpired)}
    for event in fresh:
        stream = event.record.stream
        match event.body:
            case sla.ClockArmed() as armed if armed.case_id not in held:
                open_clocks[stream] = event.position
            case sla.VerdictReached():
                open_clocks.pop(stream, None)
            case partner_network.WorkOrderOffered():
                open_offers[stream] = 1
            case partner_network.WorkOrderReoffered() as again:
                open_offers[stream] = again.round
                declined[stream] = 0
            case partner_network.WorkOrderDeclined():
                declined[stream] += 1
            case partner_network.WorkOrderAccepted() | partner_network.WorkOrderCancelled():
                open_offers.pop(stream, None)
    unexpired = {one for one in open_offers.items() if one not in expired and not declined[one[0]]}
    if open_clocks or unexpired:
        raise InvariantError(f"clocks without a verdict: {open_clocks}; offers that never expired: {unexpired}")


def _notices(world: World, house: House, fresh: list[LogEvent]) -> None:
    """Each went out and was recorded once, unless it was cancelled or could not be sent; again only after a crash."""
    outside = world.outside
    cancelled = {UUID(event.record.stream) for event in fresh if isinstance(event.body, notification.NoticeCancelled)}
    ended = {UUID(event.record.stream): event.body for event in fresh if isinstance(event.body, ENDED)}
    for event in fresh:
        if not isinstance(event.body, notification.NoticePlanned):
            continue
        notice = UUID(event.record.stream)
        end = ended.get(delivery_id(notice))
        if end is None and notice not in cancelled:
            raise InvariantError(f"notice {notice} was planned, and nothing became of it")
        sent = int(isinstance(end, notification.NoticeSent))
        arrived, interrupted = outside.arrived[notice], outside.interrupted[notice]
        if not sent <= arrived <= sent + interrupted:
            raise InvariantError(f"notice {notice} arrived {arrived} times; sent {sent}, interrupted {interrupted}")
