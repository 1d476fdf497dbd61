"""What callers may send."""

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given as each
from hypothesis import strategies as st
from kept.cell.v1.service_pb2 import CellMode

from services.kernel.errors import Invalid
from services.kernel.paging import make_token, page_size, read_token
from services.kernel.validation import (
    check_enum,
    check_language,
    check_moment,
    check_text,
    check_time_zone,
    check_uuid,
)


def refused(check: Callable[[], object]) -> str:
    """What the caller is told; it names the field."""
    with pytest.raises(Invalid) as caught:
        check()
    assert caught.value.field == "f"
    assert caught.value.facts["field"] == "f"
    assert str(caught.value).startswith("f: ")
    return caught.value.description


# Texts


@pytest.mark.parametrize("text", ["x", "深圳市", "two\nlines\tand a tab\r\n", "x" * 200])
def test_plain_text_is_taken_as_it_is(text: str) -> None:
    assert check_text("f", text) is text


def test_a_missing_text_is_refused_unless_it_may_be_left_out() -> None:
    assert refused(lambda: check_text("f", "")) == "is missing"
    assert check_text("f", "", optional=True) == ""


@pytest.mark.parametrize("blank", [" ", "\n\t", "　"])
def test_blanks_are_no_text_even_where_it_may_be_left_out(blank: str) -> None:
    assert refused(lambda: check_text("f", blank)) == "is missing"
    assert refused(lambda: check_text("f", blank, optional=True)) == "is missing"


def test_a_long_text_is_refused_with_both_lengths() -> None:
    assert refused(lambda: check_text("f", "x" * 1_000_000)) == "has 1000000 characters; 200 are allowed"
    assert refused(lambda: check_text("f", "xxx", most=2)) == "has 3 characters; 2 are allowed"


@each(st.sampled_from([*range(9), 11, 12, *range(14, 32), *range(127, 160)]))
def test_control_characters_are_refused(code: int) -> None:
    assert refused(lambda: check_text("f", f"a{chr(code)}b")) == "has control characters; send plain text"


# Ids


@each(st.uuids())
def test_a_uuid_in_its_usual_form_is_taken(value: UUID) -> None:
    assert check_uuid("f", str(value)) == value


@pytest.mark.parametrize("form", ["{%s}", "urn:uuid:%s", " %s", "%s\n", "%s0"])
def test_a_uuid_in_another_form_is_refused(form: str) -> None:
    assert "is not a UUID" in refused(lambda: check_uuid("f", form % "7d444840-9dc0-11d1-b245-5ffdce74fad2"))


@pytest.mark.parametrize(
    "value", ["", "x", "7D444840-9DC0-11D1-B245-5FFDCE74FAD2", "7d4448409dc011d1b2455ffdce74fad2", "\0"]
)
def test_what_is_no_uuid_is_refused(value: str) -> None:
    assert "is not a UUID" in refused(lambda: check_uuid("f", value))


# Enums


def test_a_known_value_is_taken() -> None:
    assert check_enum("f", 1, CellMode) == 1


def test_an_unspecified_value_is_refused_unless_it_may_be_left_out() -> None:
    told = refused(lambda: check_enum("f", 0, CellMode))

    assert told == "must be one of CELL_MODE_LIVE, CELL_MODE_HISTORY"
    assert check_enum("f", 0, CellMode, optional=True) == 0


@pytest.mark.parametrize("value", [3, -1, 2**31 - 1])
def test_an_unknown_value_is_refused(value: int) -> None:
    assert "must be one of" in refused(lambda: check_enum("f", value, CellMode, optional=True))


# Zones and languages


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/Sao_Paulo", "UTC", "Etc/GMT+3"])
def test_an_iana_zone_is_taken(zone: str) -> None:
    assert check_time_zone("f", zone) == zone


@pytest.mark.parametrize(
    "zone", ["", "Asia", "asia/shanghai", "Asia/Nowhere", "../UTC", "/etc/localtime", "UTC\0", "+08:00", "x" * 5000]
)
def test_what_is_no_zone_is_refused(zone: str) -> None:
    assert "is not an IANA time zone" in refused(lambda: check_time_zone("f", zone))


@pytest.mark.parametrize("zone", ["localtime", "posixrules", "posix/UTC", "right/UTC", "Factory"])
def test_a_zone_that_means_something_else_on_another_machine_is_refused(zone: str) -> None:
    assert "is not an IANA time zone" in refused(lambda: check_time_zone("f", zone))


@pytest.mark.parametrize("tag", ["en", "zh-CN", "zh-Hans-CN", "yue", "es-419"])
def test_a_language_tag_is_taken(tag: str) -> None:
    assert check_language("f", tag) == tag


@pytest.mark.parametrize("tag", ["", "EN", "zh_CN", "english", "e", "zh-cn", "en\n"])
def test_what_is_no_language_tag_is_refused(tag: str) -> None:
    assert "is not a language tag" in refused(lambda: check_language("f", tag))


# Moments


@pytest.mark.parametrize(
    ("seconds", "nanos", "moment"),
    [
        (0, 0, datetime(1970, 1, 1, tzinfo=UTC)),
        (253402300799, 999_999_999, datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)),
    ],
)
def test_the_first_and_the_last_moment_are_taken(seconds: int, nanos: int, moment: datetime) -> None:
    assert check_moment("f", Timestamp(seconds=seconds, nanos=nanos)) == moment


@pytest.mark.parametrize(("seconds", "nanos"), [(-1, 0), (253402300800, 0), (2**63 - 1, 0), (0, -1), (0, 10**9)])
def test_an_absurd_moment_is_refused(seconds: int, nanos: int) -> None:
    assert (
        refused(lambda: check_moment("f", Timestamp(seconds=seconds, nanos=nanos))) == "is not a time from 1970 to 9999"
    )


# Pages


def test_a_page_has_fifty_rows_unless_asked_for_up_to_a_hundred() -> None:
    assert (page_size(0), page_size(1), page_size(100)) == (50, 1, 100)


@pytest.mark.parametrize("size", [-1, 101, 2**31 - 1])
def test_another_page_size_is_refused(size: int) -> None:
    with pytest.raises(Invalid, match="page_size: must be 1 to 100"):
        page_size(size)


@each(st.integers(-(2**63), 2**63 - 1), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_a_page_token_brings_its_key_back(number: int, text: str) -> None:
    assert read_token(make_token(number, text), int, str) == [number, text]
    assert read_token("", int, str) is None


@pytest.mark.parametrize(
    "token",
    ["x", "====", "deadbeef", "é", "bnVsbA==", make_token(1), make_token(1, 2), make_token("1", "2")]
    + [make_token(True, "2"), make_token(2**63, "2"), make_token(1, "\0"), make_token(1, "\ud800")],
)
def test_a_token_that_is_not_ours_is_refused(token: str) -> None:
    with pytest.raises(Invalid, match="page_token: is not one of ours"):
        read_token(token, int, str)
