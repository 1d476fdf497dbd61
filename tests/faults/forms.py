"""The fault suite has two forms: a short one for every test run, and a long one, with KEPT_FAULTS=long (`make faults`)."""

import os

import pytest

FORMS = ("short", "long")
FORM = os.environ.get("KEPT_FAULTS") or "short"
if FORM not in FORMS:
    raise ValueError(f"KEPT_FAULTS={FORM!r}: short or long")


def times(short: int, long: int) -> int:
    """How often something is done in this run's form."""
    return long if FORM == "long" else short


# For tests whose long form takes longer than any test may otherwise.
takes_long = pytest.mark.timeout(times(120, 3600))
