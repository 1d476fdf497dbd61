"""The business clock, and the one form that times have between protobuf, Python and the databases.

Databases and the log hold whole microseconds since 1970 UTC; Python code holds aware datetimes in UTC.
"""

from datetime import UTC, datetime, timedelta
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """What time it is in this cell. Rules use it; TLS, leases, deadlines and retention use the machine's."""

    def now(self) -> datetime:
        """The business time, UTC."""
        ...


class MachineClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class FixedClock:
    """A clock that stands where it is put; for tests and for the sandbox."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def set(self, now: datetime) -> None:
        self._now = now


def micros(moment: datetime) -> int:
    """Whole microseconds since 1970 UTC. Raises ValueError for a naive datetime."""
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone")
    return (moment - EPOCH) // MICROSECOND


def moment(value: int) -> datetime:
    """The UTC datetime of `micros`."""
    return EPOCH + timedelta(microseconds=value)


def timestamp(value: datetime) -> Timestamp:
    return timestamp_of(micros(value))


def timestamp_of(value: int) -> Timestamp:
    seconds, rest = divmod(value, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def micros_of(value: Timestamp) -> int:
    """Microseconds of a protobuf timestamp; finer parts are cut off."""
    return value.seconds * 1_000_000 + value.nanos // 1000


def moment_of(value: Timestamp) -> datetime:
    return moment(micros_of(value))
