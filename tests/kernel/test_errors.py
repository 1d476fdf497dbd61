"""The one table of refusals: slug, status, facts."""

import re
from collections.abc import Iterator

import grpc
import pytest

from services.kernel import errors
from services.kernel.errors import (
    Forbidden,
    InDoubt,
    Invalid,
    KeptError,
    Misconfigured,
    NotFound,
    Overloaded,
    Refused,
    RequestIdReused,
    Unauthenticated,
    Unavailable,
    VersionConflict,
)
from services.kernel.log.port import NotAtHead, RequestRepeated
from services.kernel.log.positions import Fenced

TABLE = {
    KeptError: "FAILED_PRECONDITION",
    Refused: "FAILED_PRECONDITION",
    NotFound: "NOT_FOUND",
    Invalid: "INVALID_ARGUMENT",
    RequestIdReused: "ALREADY_EXISTS",
    VersionConflict: "ABORTED",
    Unavailable: "UNAVAILABLE",
    InDoubt: "UNAVAILABLE",
    Overloaded: "RESOURCE_EXHAUSTED",
    Unauthenticated: "UNAUTHENTICATED",
    Forbidden: "PERMISSION_DENIED",
    Misconfigured: "FAILED_PRECONDITION",
    # Inside the log; none of them reaches a caller.
    Fenced: "FAILED_PRECONDITION",
    NotAtHead: "FAILED_PRECONDITION",
    RequestRepeated: "FAILED_PRECONDITION",
}


def every_refusal(base: type[KeptError] = KeptError) -> Iterator[type[KeptError]]:
    yield base
    for kind in base.__subclasses__():
        yield from every_refusal(kind)


def test_every_refusal_of_the_kernel_has_its_status_in_the_table() -> None:
    ours = {kind for kind in every_refusal() if kind.__module__.startswith("services.kernel")}

    assert {kind: kind.status for kind in ours & TABLE.keys()} == TABLE
    assert [kind for kind in ours - TABLE.keys() if "status" in vars(kind)] == []  # the others have their base's


@pytest.mark.parametrize("status", sorted(set(TABLE.values())))
def test_every_status_is_one_of_grpcs(status: str) -> None:
    assert grpc.StatusCode[status]


@pytest.mark.parametrize(
    "refusal",
    [
        Invalid("label", "is missing"),
        RequestIdReused("r"),
        VersionConflict("jar"),
        Misconfigured("no"),
        Refused("jar-closed"),
        errors.NotFound("jar-not-found", "there is no jar"),
    ],
)
def test_a_slug_is_lower_case_with_hyphens(refusal: KeptError) -> None:
    assert re.fullmatch("[a-z]+(-[a-z]+)*", refusal.slug)
    assert str(refusal)


def test_a_refusal_without_a_message_says_its_slug() -> None:
    refusal = Refused("jar-closed", jar=7)

    assert (str(refusal), refusal.facts) == ("jar closed", {"jar": "7"})


def test_an_invalid_argument_names_its_field() -> None:
    refusal = Invalid("label", "is missing")

    assert (refusal.slug, str(refusal), refusal.facts) == ("invalid-argument", "label: is missing", {"field": "label"})


def test_what_is_unavailable_says_when_to_come_again() -> None:
    assert Unavailable("storage-busy").retry_after_s == 0.2
    assert Overloaded("log-overloaded", retry_after_s=1.0).retry_after_s == 1.0


def test_a_misconfigured_process_ends_with_the_exit_code_for_it() -> None:
    assert Misconfigured("no").exit_code == 78
