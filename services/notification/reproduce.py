"""One notice, decided and rendered again from the log alone, and compared with what was recorded. Nothing is sent: no
channel is within reach (I10).

What a customer's notice follows from are that customer's events, their party's, and those that concern no customer; so
only these are replayed, in a sandbox.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from kept.common.v1.record_pb2 import Record
from kept.common.v1.sealed_pb2 import Sealed
from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import events_pb2 as e
from kept.notification.v1 import service_pb2 as m

from services.kernel.clock import timestamp_of
from services.kernel.database import ScratchSQLite, marks
from services.kernel.events import LogEvent, full_name, log_event
from services.kernel.house import House
from services.kernel.log.port import Recorded
from services.kernel.log.positions import Positions
from services.kernel.policy import Aggregates, Work, migrate_policy
from services.kernel.privacy import Erased
from services.kernel.releases import skipped_by
from services.notification.contact import read_contact
from services.notification.domain import Notice, delivery_id
from services.notification.policies import NoticePolicy
from services.notification.published import RuleSets
from services.notification.render import Rendered, render

OF_PARTIES = tuple(full_name(event) for event in (customer.PartyRegistered, customer.PreferencesChanged))


def reproduce(house: House, tenant: str, notice: UUID) -> m.ReproduceNoticeResponse:
    """Raises notice-not-found."""
    recorded = _first(house, notice)
    event = log_event(recorded) if recorded is not None else None
    if (
        recorded is None
        or event is None
        or event.record.tenant != tenant
        or not isinstance(event.body, e.NoticePlanned)
    ):
        raise Notice.not_found(notice)
    replayed = _Replayed(house, event, event.body)
    replayed.run()
    differences = _decision_differences(recorded, event, replayed)
    answer = m.ReproduceNoticeResponse(
        decided_the_same=not differences,
        rule_set=event.body.rule_set,
        rule_set_version=event.body.rule_set_version,
        because=[replayed.causes[one] for one in event.body.because if one in replayed.causes],
        position=event.position,
    )
    differences += _render_again(house, event, event.body, answer)
    answer.difference = "; ".join(differences)
    return answer


@dataclass
class _Replayed:
    """The policy in its sandbox, up to the plan; `decided` is what it plans now under that notice's id."""

    house: House
    event: LogEvent
    planned: e.NoticePlanned
    policy: NoticePolicy = field(default_factory=NoticePolicy)
    decided: bytes = b""
    unreadable: str = ""
    causes: dict[str, m.CausingEvent] = field(default_factory=dict)

    def run(self) -> None:
        sandbox = ScratchSQLite(":memory:")
        migrate_policy(self.policy, sandbox)
        aggregates = Aggregates(lambda _stream: [], most=10**9)
        wanted = set(self.planned.because)
        with sandbox.write() as session:
            for event in self._events():
                if event.record.id in wanted:
                    self.causes[event.record.id] = _cause(event)
                work = Work(session, aggregates)
                try:
                    self.policy.decide(work, event)
                except Exception as error:  # the live policy could handle it: what came before it is not what was
                    self.unreadable = f"position {event.position} cannot be replayed: {type(error).__name__}"
                    break
                for entry in work.decided:
                    if str(entry.originator_id) == self.event.record.stream and entry.originator_version == 1:
                        self.decided = entry.state
        sandbox.close()

    def _events(self) -> Iterator[LogEvent]:
        """Those that matter, but for what the live policy could not handle."""
        shared = sorted(self.policy.reads - set(OF_PARTIES))
        with self.house.log.database.snapshot() as session:
            parked = {one.position for one in Positions(session).parked(self.policy.name)}
            parked |= skipped_by(session, self.policy.name)
            rows = session.execute(
                f"""SELECT position, type, recorded_at, record FROM log WHERE position < ? AND tenant = ?
                    AND (customer_id = ? OR (customer_id IS NULL AND type IN ({marks(len(shared))})) OR stream = ?)
                    ORDER BY position""",  # noqa: S608 - marks alone
                (
                    self.event.position,
                    self.event.record.tenant,
                    UUID(self.planned.customer_id),
                    *shared,
                    UUID(self.planned.party_id),
                ),
            )
            for row in rows:
                recorded = Recorded(*row)
                if recorded.type in self.policy.reads and recorded.position not in parked:
                    yield log_event(recorded)


def _cause(event: LogEvent) -> m.CausingEvent:
    return m.CausingEvent(
        event_id=event.record.id,
        position=event.position,
        type=event.record.type,
        occurred_at=timestamp_of(event.occurred_at),
    )


def _decision_differences(recorded: Recorded, event: LogEvent, replayed: _Replayed) -> list[str]:
    if event.record.actor != replayed.policy.actor:
        return [f"it was decided by {event.record.actor}, and {replayed.policy.actor} is deployed now"]
    if replayed.unreadable:
        return [replayed.unreadable]
    if not replayed.decided:
        return ["the policy would not plan it now"]
    if _untraced(replayed.decided) == _untraced(recorded.record):
        return []
    now = e.NoticePlanned.FromString(Record.FromString(replayed.decided).data)
    assert isinstance(event.body, e.NoticePlanned)
    names = [one.name for one in now.DESCRIPTOR.fields if getattr(now, one.name) != getattr(event.body, one.name)]
    return [f"the policy decides otherwise now: {', '.join(names) or 'its envelope'}"]


def _render_again(
    house: House, event: LogEvent, planned: e.NoticePlanned, answer: m.ReproduceNoticeResponse
) -> list[str]:
    """Fills in the words; where it went out, they are compared with those that did."""
    delivered = _first(house, delivery_id(UUID(event.record.stream)))
    body = log_event(delivered).body if delivered is not None else None
    sent = body if isinstance(body, e.NoticeSent) else None
    contact = read_contact(house.log.database, house.sealer, planned, sent.as_of if sent else event.position)
    if contact.erased:
        return ["the customer's data was erased, so the words cannot be compared"]
    rules = RuleSets(house.log).rules(event.record.tenant, planned)
    rendered = render(planned, rules, contact.facts)
    answer.title, answer.body = rendered.title, rendered.body
    answer.card.CopyFrom(m.RenderedCard(**rendered.card))
    if sent is None:
        return []
    names = _other_words(house, delivery_id(UUID(event.record.stream)), sent, rendered)
    answer.rendered_the_same = not names
    return [f"other words went out: {', '.join(names)}"] if names else []


def _other_words(house: House, stream: UUID, sent: e.NoticeSent, rendered: Rendered) -> list[str]:
    """The fields that went out otherwise."""
    now: dict[str, tuple[Sealed, str]] = {"title": (sent.title, rendered.title), "body": (sent.body, rendered.body)}
    now |= {f"card.{name}": (getattr(sent.card, name), text) for name, text in rendered.card.items()}
    different = []
    for name, (sealed, text) in now.items():
        went_out = house.sealer.open(sealed, stream=stream)
        if isinstance(went_out, Erased) or sealed.field != name or went_out != text:
            different.append(name)
    return different


def _first(house: House, stream: UUID) -> Recorded | None:
    """The stream's first event."""
    with house.log.database.read() as session:
        row = session.execute(
            "SELECT position, type, recorded_at, record FROM log WHERE stream = ? AND version = 1", (stream,)
        ).fetchone()
    return None if row is None else Recorded(*row)


def _untraced(packed: bytes) -> bytes:
    """Without the trace context, which is of the run and not of the decision."""
    record = Record.FromString(packed)
    if not record.traceparent:
        return packed
    record.ClearField("traceparent")
    return record.SerializeToString(deterministic=True)
