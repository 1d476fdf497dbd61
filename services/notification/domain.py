"""Rule sets, notices and their delivery. Source: protos/kept/notification/v1/events.proto."""

from collections.abc import Sequence
from uuid import NAMESPACE_URL, UUID, uuid5

from google.protobuf.message import Message
from kept.notification.v1 import events_pb2 as e

from services.kernel.aggregate import Aggregate

_NAMES = uuid5(NAMESPACE_URL, "kept:notification")


def rule_set_id(tenant: str, name: str) -> UUID:
    return uuid5(_NAMES, f"{tenant}/rules/{name}")


def notice_id(occasion: e.Occasion.ValueType, subject: str, customer_id: str, occurrence: int) -> UUID:
    """One notice for each: `occurrence` counts how often it came to that, for that customer, with that case, problem or
    work order."""
    return uuid5(_NAMES, f"{occasion}/{subject}/{customer_id}/{occurrence}")


def delivery_id(notice: UUID) -> UUID:
    return uuid5(_NAMES, f"delivery/{notice}")


class RuleSet(Aggregate):
    """The words and rules of a tenant's notices, and their versions. The stream's version is the rule set's."""

    noun = "rule_set"
    born_by = (e.RuleSetPublished,)

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.published = e.RuleSetPublished()

    def publish(self, *, name: str, source: str) -> None:
        if self.version and self.published.source == source:
            return
        self.record(e.RuleSetPublished(name=name, version=self.published.version + 1, source=source))

    def evolve(self, event: Message) -> None:
        if isinstance(event, e.RuleSetPublished):
            self.published = event


class Notice(Aggregate):
    """What somebody is to be told. Only the notification policy decides on it."""

    noun = "notice"
    born_by = (e.NoticePlanned,)

    def __init__(self, id: UUID) -> None:
        super().__init__(id)
        self.cancelled = False

    def plan(self, planned: e.NoticePlanned) -> None:
        """Once: the same occasion is not told twice."""
        if not self.version:
            self.record(planned)

    def cancel(self, *, reason: str) -> None:
        if self.version and not self.cancelled:
            self.record(e.NoticeCancelled(reason=reason))

    def evolve(self, event: Message) -> None:
        match event:
            case e.NoticePlanned():
                self.customer_id = event.customer_id
            case e.NoticeCancelled():
                self.cancelled = True


class Delivery(Aggregate):
    """What became of a notice on its way out. Only the sender records it, once."""

    noun = "delivery"
    born_by = (e.NoticeSent, e.NoticeFailed)

    def __init__(self, id: UUID, customer_id: str = "") -> None:
        super().__init__(id)
        self.customer_id = customer_id

    def send(self, sent: e.NoticeSent) -> None:
        if not self.version:
            self.record(sent)

    def fail(self, notice: UUID, planned: e.NoticePlanned, attempts: Sequence[e.FailedAttempt]) -> None:
        if not self.version:
            occasion, about = planned.occasion, planned.about
            self.record(e.NoticeFailed(notice_id=str(notice), occasion=occasion, about=about, attempts=attempts))

    def evolve(self, event: Message) -> None:
        """It has one event, and nothing is decided after it."""
