"""A notice on its way out, and how a channel says that it could not take it. The channels themselves are elsewhere."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from kept.customer.v1 import events_pb2 as customer


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One notice on its way to one address. The same `notice_id` again is the same message again."""

    notice_id: UUID
    channel: customer.Channel.ValueType
    address: str
    name: str
    title: str
    body: str
    at: datetime


class NotDeliveredError(Exception):
    """`reason` is stable, for example server-refused, and says nothing personal."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TemporaryFailure(NotDeliveredError):
    """Try again later."""


class PermanentFailure(NotDeliveredError):
    """This channel will never take it."""


class Channel(Protocol):
    def deliver(self, message: Outgoing) -> None:
        """Returns once the message is out. Raises TemporaryFailure, PermanentFailure."""
        ...
