"""Times between protobuf, Python and the databases."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given as each
from hypothesis import strategies as st

from services.kernel.clock import (
    EPOCH,
    FixedClock,
    MachineClock,
    micros,
    micros_of,
    moment,
    moment_of,
    timestamp,
    timestamp_of,
)

zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=zones)  # noqa: DTZ001 - zones are drawn
values = st.integers(-62_135_510_400_000_000, 253_402_300_799_999_999)


@each(moments)
def test_a_moment_comes_back_the_same_in_utc(given: datetime) -> None:
    back = moment(micros(given))

    assert (back, back.tzinfo) == (given, UTC)
    assert moment_of(timestamp(given)) == given


@each(values)
def test_a_protobuf_timestamp_is_what_protobuf_itself_makes(value: int) -> None:
    theirs = Timestamp()
    theirs.FromMicroseconds(value)

    assert timestamp_of(value) == theirs
    assert micros_of(theirs) == theirs.ToMicroseconds() == value


@each(values, st.integers(0, 999))
def test_parts_of_a_microsecond_are_cut_off(value: int, nanos: int) -> None:
    finer = timestamp_of(value)
    finer.nanos += nanos

    assert micros_of(finer) == value


@each(moments, moments)
def test_order_is_kept(one: datetime, other: datetime) -> None:
    assert (micros(one) < micros(other)) == (one < other)


def test_the_epoch_is_zero() -> None:
    assert (micros(EPOCH), moment(0)) == (0, datetime(1970, 1, 1, tzinfo=UTC))


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a time zone"):
        micros(datetime(2026, 3, 1))  # noqa: DTZ001 - that is the point


def test_a_fixed_clock_stands_until_it_is_set() -> None:
    clock = FixedClock(EPOCH)
    assert clock.now() == EPOCH

    clock.set(EPOCH + timedelta(days=1))
    assert clock.now() == EPOCH + timedelta(days=1)


def test_the_machines_clock_tells_utc() -> None:
    assert MachineClock().now().tzinfo == UTC
