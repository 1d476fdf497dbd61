"""The client over real gRPC: who it says it is, what a refusal is, and what is tried again and for how long."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from kept.case.v1 import service_pb2 as case
from kept.cell.v1 import service_pb2 as cell
from kept.common.v1.record_pb2 import Receipt

from services.cli.client import (
    PATIENCE_S,
    VIEW_PATIENCE_S,
    CellError,
    Client,
    Connection,
    Interrupted,
    RefusedError,
)
from tests.cli.serving import Failure, serving

OPENED = case.OpenResponse(receipt=Receipt(id="one", version=1, position=7))
OPEN = case.OpenRequest(request_id="r")


class Clock:
    """Time passes only by waiting."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


def answering(*answers: Any) -> Any:
    """Gives or raises these one after the other, the last one for ever."""
    left: Iterator[Any] = iter(answers)
    last: Any = None

    def answer(_service: str, _method: str, _request: Any) -> Any:
        nonlocal last
        last = next(left, last)
        if isinstance(last, Exception):
            raise last
        return last

    return answer


def client(connection: Connection, clock: Clock, **settings: Any) -> Client:
    return Client(connection, sleep=clock.sleep, monotonic=clock.monotonic, **settings)


def test_every_call_says_who_makes_it_and_for_whom() -> None:
    seen: list[dict[str, Any]] = []
    with (
        serving(answering(OPENED), seen) as connection,
        client(Connection(connection.targets, "north"), Clock()) as calls,
    ):
        assert calls.call("case", "Open", OPEN).receipt.id == "one"

    assert {name: seen[0][name] for name in ("kept-principal", "kept-tenant")} == {
        "kept-principal": "service:importer",
        "kept-tenant": "north",
    }


@pytest.mark.parametrize(
    ("failure", "slug", "message"),
    [
        (Failure("FAILED_PRECONDITION", "not open", slug="case-not-open"), "case-not-open", "not open"),
        (Failure("NOT_FOUND", "no such case", slug="case-not-found"), "case-not-found", "no such case"),
        (Failure("ALREADY_EXISTS", "used", slug="request-id-reused"), "request-id-reused", "used"),
        (
            Failure("INVALID_ARGUMENT", "bad", slug="invalid-argument", field="need"),
            "invalid-argument",
            "need: is too long",
        ),
        (Failure("FAILED_PRECONDITION", "no details"), "failed-precondition", "no details"),
        (Failure("RESOURCE_EXHAUSTED", "larger than max"), "resource-exhausted", "larger than max"),
    ],
)
def test_a_refusal_has_its_slug_and_is_not_tried_again(failure: Failure, slug: str, message: str) -> None:
    clock = Clock()
    with (
        serving(answering(failure, OPENED)) as connection,
        client(connection, clock) as calls,
        pytest.raises(RefusedError) as refused,
    ):
        calls.call("case", "Open", OPEN)

    assert (refused.value.slug, refused.value.message) == (slug, message)
    assert clock.waits == []


@pytest.mark.parametrize(
    "failure",
    [
        Failure("UNAVAILABLE", "restarting"),
        Failure("ABORTED", "changed meanwhile", slug="version-conflict"),
        Failure("DEADLINE_EXCEEDED", "too slow"),
        Failure("RESOURCE_EXHAUSTED", "busy", slug="overloaded"),
    ],
)
def test_the_same_request_is_sent_again_while_the_cell_is_not_there(failure: Failure) -> None:
    clock, seen = Clock(), []

    def answer(service: str, method: str, request: Any) -> Any:
        seen.append(request.request_id)
        return flaky(service, method, request)

    flaky = answering(*[failure] * 7, OPENED)
    with serving(answer) as connection, client(connection, clock) as calls:
        assert calls.call("case", "Open", OPEN) == OPENED

    assert seen == ["r"] * 8
    assert clock.waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


@pytest.mark.parametrize(
    ("failure", "patience"),
    [
        (Failure("UNAVAILABLE", "gone"), PATIENCE_S),
        (Failure("UNAVAILABLE", "behind", slug="view-behind"), VIEW_PATIENCE_S),
    ],
)
def test_patience_ends_with_one_clear_error(failure: Failure, patience: float) -> None:
    clock = Clock()
    with (
        serving(answering(failure)) as connection,
        client(connection, clock) as calls,
        pytest.raises(CellError, match=rf"case CountCases: .* \(tried for {patience:g} s\)"),
    ):
        calls.call("case", "CountCases", case.CountCasesRequest())

    assert patience - 2 < clock.now <= patience


def test_a_broken_cell_is_one_clear_error_at_once() -> None:
    clock = Clock()
    with (
        serving(answering(Failure("INTERNAL", "an error of ours"))) as connection,
        client(connection, clock) as calls,
        pytest.raises(CellError, match=r"cell GetCell: internal: an error of ours$"),
    ):
        calls.call("cell", "GetCell", cell.GetCellRequest())

    assert clock.waits == []


def test_nobody_who_wants_to_stop_waits_for_the_cell() -> None:
    clock = Clock()
    with (
        serving(answering(Failure("UNAVAILABLE", "restarting"))) as connection,
        client(connection, clock, stopping=lambda: True) as calls,
        pytest.raises(Interrupted),
    ):
        calls.call("case", "Open", OPEN)

    assert clock.waits == []


def test_a_service_is_missed_only_by_who_calls_it() -> None:
    with serving(answering(OPENED)) as connection:
        only_case = Connection({"case": connection.targets["case"]})
        with client(only_case, Clock()) as calls:
            assert calls.call("case", "Open", OPEN).receipt.id == "one"
            with pytest.raises(CellError, match="no target for customer"):
                calls.call("customer", "GetCustomer", OPEN)


@pytest.mark.parametrize("code", ["UNAVAILABLE", "CANCELLED"])
def test_nobody_waits_for_a_cell_that_nobody_keeps_running(code: str) -> None:
    with (
        serving(answering(Failure(code, "draining"))) as connection,
        Client(replace(connection, alive=lambda: False)) as calls,
        pytest.raises(CellError, match="the cell has stopped; the same command starts it again"),
    ):
        calls.call("cell", "GetCell", cell.GetCellRequest())
