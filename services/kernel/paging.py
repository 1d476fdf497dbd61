"""Lists: at most 100 a page, and an opaque cursor that holds the last row's sort key."""

import base64
import json
import re

from services.kernel.errors import Invalid

MOST, USUAL = 100, 50
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def page_size(wanted: int) -> int:
    """Raises Invalid outside 0 to 100; 0 means 50."""
    if not 0 <= wanted <= MOST:
        raise Invalid("page_size", f"must be 1 to {MOST}, or 0 for {USUAL}")
    return wanted or USUAL


def make_token(*key: int | str) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def read_token(token: str, *kinds: type[int] | type[str]) -> list[int | str] | None:
    """The sort key of the last row of the page before; None for the first page. Raises Invalid."""
    if not token:
        return None
    try:
        key = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, RecursionError):
        key = None
    if (
        not isinstance(key, list)
        or len(key) != len(kinds)
        or not all(type(part) is kind and _storable(part) for part, kind in zip(key, kinds, strict=True))
    ):
        raise Invalid("page_token", "is not one of ours; take next_page_token of the page before, or leave it empty")
    return key


def _storable(part: int | str) -> bool:
    """Whether a database can compare with it: 64 bits, and no NUL in a text."""
    return not _UNSTORABLE.search(part) if isinstance(part, str) else -(2**63) <= part < 2**63
