"""Checks of what callers send. Each names the field and says what would do."""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Protocol
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from services.kernel.clock import moment_of
from services.kernel.errors import Invalid

# C0 and C1 controls but tab and line breaks; NUL is among them.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?")
TEXT_MOST = 4000


class ProtobufEnum(Protocol):
    """A generated enum's class."""

    def items(self) -> Sequence[tuple[str, int]]: ...


def check_text(field: str, value: str, *, most: int = 200, optional: bool = False) -> str:
    """The text as given. Raises Invalid when it is missing, too long, or has control characters."""
    if not value.strip():
        if optional and not value:
            return value
        raise Invalid(field, "is missing")
    if len(value) > most:
        raise Invalid(field, f"has {len(value)} characters; {most} are allowed")
    if _CONTROL.search(value):
        raise Invalid(field, "has control characters; send plain text")
    return value


def check_uuid(field: str, value: str) -> UUID:
    """Raises Invalid when it is no UUID in its usual form."""
    try:
        found = UUID(value)
    except ValueError:
        found = None
    if found is None or str(found) != value:
        raise Invalid(field, "is not a UUID such as 7d444840-9dc0-11d1-b245-5ffdce74fad2")
    return found


def check_enum(field: str, value: int, kind: ProtobufEnum, *, optional: bool = False) -> int:
    """Raises Invalid when it is unspecified, unless optional, or unknown."""
    names = {number: name for name, number in kind.items()}
    if value not in names or (value == 0 and not optional):
        raise Invalid(field, "must be one of " + ", ".join(name for number, name in names.items() if number))
    return value


def check_time_zone(field: str, value: str) -> str:
    if not _is_zone(value):
        raise Invalid(field, "is not an IANA time zone such as Asia/Shanghai")
    return value


def check_language(field: str, value: str) -> str:
    if not _LANGUAGE.fullmatch(value):
        raise Invalid(field, "is not a language tag such as zh-CN or en")
    return value


def check_moment(field: str, value: Timestamp) -> datetime:
    """The UTC datetime. Raises Invalid when it is outside the years 1970 to 9999."""
    if not 0 <= value.seconds < 253402300800 or not 0 <= value.nanos < 1_000_000_000:
        raise Invalid(field, "is not a time from 1970 to 9999")
    return moment_of(value)


def _is_zone(name: str) -> bool:
    return name in _zones()


@cache
def _zones() -> frozenset[str]:
    """From the pinned package: what a machine has beside it, such as localtime, means something else elsewhere."""
    names = resources.files("tzdata").joinpath("zones").read_text().split()
    return frozenset(names) - {"Factory"}
