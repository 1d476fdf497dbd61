"""The sender: the only one who has channels (I10). What it did is recorded with its position (I4).

A message that went out and whose record was lost goes out again under the same notice id, so channels must take the
same id for the same message; the mailbox does, and mail servers get it as Message-ID.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from kept.common.v1.sealed_pb2 import Sealed
from kept.customer.v1 import events_pb2 as customer
from kept.notification.v1 import events_pb2 as e

from services.kernel.cell import CellClock
from services.kernel.clock import micros, moment
from services.kernel.database import Session
from services.kernel.decider import Decider
from services.kernel.errors import Refused
from services.kernel.events import LogEvent, ProtobufMapper, Stamp, full_name
from services.kernel.follower import TRANSIENT, Batch
from services.kernel.lockstep import Lockstep
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Entry, Move, Save
from services.kernel.log.positions import Fenced, Positions
from services.kernel.privacy import Place, Sealer
from services.notification import outbox
from services.notification.contact import Contact, read_contact
from services.notification.domain import Delivery, delivery_id
from services.notification.facts import CUSTOMER_NAME
from services.notification.outbox import Waiting
from services.notification.outgoing import Channel, Outgoing, PermanentFailure, TemporaryFailure
from services.notification.published import RuleSets
from services.notification.render import Rendered, render

NAME = "notification-sender"
ACTOR = "service:notification-sender"
PURPOSE = "notice"
READS = frozenset(full_name(event) for event in (e.NoticePlanned, e.NoticeCancelled))
AT_ONCE = 20
# On one channel: after 30 seconds, a minute, two, and so on up to an hour; then the next channel's turn.
FIRST_WAIT, LONGEST_WAIT, MOST_TRIES = timedelta(seconds=30), timedelta(hours=1), 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Channels:
    """The ways out. A cell in history mode tells of long ago: there, everything goes to `in_history`."""

    live: Mapping[customer.Channel.ValueType, Channel]
    in_history: Channel

    def of(self, wanted: customer.Channel.ValueType, *, history: bool) -> Channel:
        return self.in_history if history else self.live[wanted]


class SenderFollower(Decider):
    """Reads what is planned and cancelled into its outbox; delivers what is due when it has read everything."""

    def __init__(self, log: EventLog, clock: CellClock, sealer: Sealer, channels: Channels) -> None:
        super().__init__(
            NAME, log, clock, frozenset(full_name(event) for event in (e.NoticePlanned, e.NoticeCancelled))
        )
        self.sealer = sealer
        self.rule_sets = RuleSets(log)
        self.channels = channels

    def earliest_due(self, session: Session) -> int | None:
        return outbox.earliest(session)

    def handle(self, session: Session, event: LogEvent) -> None:
        match event.body:
            case e.NoticePlanned():
                outbox.put(session, Waiting.of(event, event.body))
            case e.NoticeCancelled():  # of one that went out already it comes too late
                outbox.take_out(session, [UUID(event.record.stream)])

    def _commit(self, batch: Batch) -> int:
        def handled(session: Session) -> Sequence[Save]:
            self._handle_all(session, batch)
            self.plan(session)
            return ()

        self.log.append((), move=Move(self.name, batch.start, batch.end), alongside=handled)
        return batch.end

    def _step(self) -> bool:
        # Of the turn: the clock may move on as soon as nothing is due by it, and what is due then is for the next turn.
        now = self._clock.now()
        worked = super()._step()
        if self._clock.history_now() is not None:
            # The turn is over once everything is read, so what is due goes out within it.
            while not self._read(self._stand()) and self._deliver(now):
                pass
        return worked

    def _idle(self, _position: int) -> bool:
        return self._clock.history_now() is None and self._deliver(self._clock.now())

    def _stand(self) -> int:
        if self._position is None:
            self._position = self.position()
        return self._position

    def _deliver(self, now: datetime) -> bool:
        """Some of what is due. Returns False when nothing was."""
        as_of = self._stand()
        with self.database.read() as session:
            waiting = outbox.due(session, micros(now), AT_ONCE)
        if not waiting:
            return False
        outcomes = [self._attempt(one, now, as_of) for one in waiting]
        self._record_all(waiting, outcomes, as_of)
        self._forget()  # at the head, the position has moved past what was recorded
        return True

    def _record_all(self, waiting: Sequence[Waiting], outcomes: Sequence[Entry | None], stood_at: int) -> None:
        """Raises Fenced, VersionConflict when another sender was quicker."""

        def recorded(session: Session) -> Sequence[Save]:
            # The position alone is no fence here: it moves only for who stands at the head. Whoever put one back that another
            # sender has recorded meanwhile would send it for ever.
            if outbox.take_out(session, [one.notice_id for one in waiting]) != len(waiting):
                raise Fenced("follower-fenced", follower=NAME, expected=stood_at)
            for one, outcome in zip(waiting, outcomes, strict=True):
                if outcome is None:
                    outbox.put(session, one)
            self.plan(session)
            return (Save(tuple(outcome for outcome in outcomes if outcome is not None)),)

        self.log.append((), move=Move(self.name, stood_at, stood_at), alongside=recorded)

    def _attempt(self, one: Waiting, now: datetime, as_of: int) -> Entry | None:
        """What became of it; None where it is to be tried again later. One that nobody can send does not hold up others."""
        history = self._clock.history_now() is not None
        try:
            return _Attempt(self, one, moment(one.next_at) if history else now, as_of, history=history).made(now)
        except TRANSIENT:
            raise
        except Exception as error:
            refusal = self.database.translate(error)
            if isinstance(refusal, TRANSIENT):
                raise refusal from error
            _log.error("notice %s cannot be sent: %s", one.notice_id, type(error).__name__)
            return self.failed(one, "unsendable", now)

    def failed(self, one: Waiting, reason: str, at: datetime) -> Entry:
        one.failed.attempts.add(
            channel=one.planned.channels[min(one.channel, len(one.planned.channels) - 1)], reason=reason
        )
        return self.record(one, at, lambda delivery: delivery.fail(one.notice_id, one.planned, one.failed.attempts))

    def record(self, one: Waiting, at: datetime, decide: Callable[[Delivery], None]) -> Entry:
        delivery = Delivery(delivery_id(one.notice_id), one.planned.customer_id)
        delivery.stamp = Stamp(one.tenant, ACTOR, micros(at), one.correlation_id, causation_id=one.planned_by)
        decide(delivery)
        (event,) = delivery.collect_events()
        return ProtobufMapper().to_stored_event(event)


def migrate_sender(log: EventLog, rank: int) -> None:
    """Makes the outbox, and the sender known to those who wait for it."""
    outbox.migrate_outbox(log.database)
    with log.database.write() as session:
        Positions(session).register(NAME)
        Lockstep(session).register(NAME, rank, READS, eager=True)
        Lockstep(session).plan(NAME, outbox.earliest(session))


class _Attempt:
    """One notice, tried on one channel after the other until one takes it, or asks to be tried again later."""

    def __init__(self, sender: SenderFollower, one: Waiting, at: datetime, as_of: int, *, history: bool) -> None:
        self._sender = sender
        self._one = one
        self._at = at
        self._as_of = as_of
        self._history = history

    def made(self, now: datetime) -> Entry | None:
        one, sender = self._one, self._sender
        rules = sender.rule_sets.rules(one.tenant, one.planned)
        released = rules.release(rules.notices[one.planned.occasion], self._at, one.planned.time_zone)
        if released > self._at:  # it is late, and meanwhile quiet again
            one.next_at = micros(released)
            return None
        contact = read_contact(sender.database, sender.sealer, one.planned, self._as_of)
        if contact.erased:
            return sender.failed(one, "erased", self._at)
        rendered = render(one.planned, rules, contact.facts)
        try:
            sent = self._sealed(rendered)
        except Refused:  # subject-erased, since the contact was read
            return sender.failed(one, "erased", self._at)
        return self._through_channels(contact, rendered, sent, now)

    def _through_channels(
        self, contact: Contact, rendered: Rendered, sent: e.NoticeSent, now: datetime
    ) -> Entry | None:
        one, sender = self._one, self._sender
        while one.channel < len(one.planned.channels):
            channel = one.planned.channels[one.channel]
            address = contact.address(channel)
            if not address:
                one.give_up_channel("no-address")
                continue
            one.attempts += 1
            name = contact.facts[CUSTOMER_NAME]
            message = Outgoing(one.notice_id, channel, address, name, rendered.title, rendered.body, self._at)
            try:
                sender.channels.of(channel, history=self._history).deliver(message)
            except PermanentFailure as failure:
                one.give_up_channel(failure.reason)
            except TemporaryFailure as failure:
                if one.tries + 1 < MOST_TRIES:
                    one.next_at = micros(now + min(LONGEST_WAIT, FIRST_WAIT * 2**one.tries))
                    one.tries += 1
                    return None
                one.give_up_channel(failure.reason)
            else:
                sent.channel, sent.attempts = channel, one.attempts
                return sender.record(one, self._at, lambda delivery: delivery.send(sent))
        return sender.record(
            one, self._at, lambda delivery: delivery.fail(one.notice_id, one.planned, one.failed.attempts)
        )

    def _sealed(self, rendered: Rendered) -> e.NoticeSent:
        """The text as it goes out, for the party alone. Raises subject-erased."""
        planned, notice = self._one.planned, self._one.notice_id
        stream, type_name = delivery_id(notice), full_name(e.NoticeSent)

        def seal(text: str, field: str) -> Sealed:
            return self._sender.sealer.seal(text, Place(UUID(planned.party_id), PURPOSE, stream, type_name, field))

        return e.NoticeSent(
            notice_id=str(notice),
            occasion=planned.occasion,
            about=planned.about,
            title=seal(rendered.title, "title"),
            body=seal(rendered.body, "body"),
            card=e.Card(**{field: seal(text, f"card.{field}") for field, text in rendered.card.items()}),
            as_of=self._as_of,
        )
