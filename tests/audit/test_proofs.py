"""Checkpoints and proofs over gRPC, checked as an auditor would, on each database."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from services.audit.notes import Checkpoint, open_note, read_checkpoint, read_verifier
from services.kernel.house import House
from services.kernel.merkle import EMPTY_ROOT, consistent, included
from tests.audit.streaming import Auditor, Writer, served
from tests.databases import Cell
from tests.kernel.test_rpc import Refusal


@pytest.fixture
def auditor(house: House) -> Iterator[Auditor]:
    with served(house) as server:
        made = Auditor(server.target)
        yield made
        made.close()


def refused(call: Any) -> Refusal:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return Refusal(caught.value)


def test_a_checkpoint_is_the_head_signed_by_the_cell(house: House, auditor: Auditor) -> None:
    Writer(house.log).write_plain(5)

    told = auditor.checkpoint()

    head, key = house.log.head(), read_verifier(told.verifier_key)
    assert key.name == f"kept/{house.settings.cell}"
    assert (told.size, told.root) == (5, head.root)
    assert read_checkpoint(open_note(told.note, key)) == Checkpoint(key.name, 5, head.root)


def test_the_head_of_an_empty_log_is_signed_too(auditor: Auditor) -> None:
    told = auditor.checkpoint()

    assert read_checkpoint(open_note(told.note, read_verifier(told.verifier_key))).root == told.root == EMPTY_ROOT


def test_every_process_of_a_cell_signs_with_the_same_key(cell: Cell, house: House, auditor: Auditor) -> None:
    first = auditor.checkpoint().verifier_key
    other_house = cell.house()
    other_house.require()
    with served(other_house) as server:
        other = Auditor(server.target)
        assert other.checkpoint().verifier_key == first
        other.close()
    other_house.close()


def test_every_event_of_every_tree_is_proven(house: House, auditor: Auditor) -> None:
    writer, roots = Writer(house.log), {}
    for size in range(1, 12):
        writer.write_plain(1)
        roots[size] = house.log.head().root
    leaves = house.log.leaves(0, 11)

    for size, root in roots.items():
        for position in range(1, size + 1):
            proof = auditor.inclusion(position, size)
            assert (proof.size, proof.leaf) == (size, leaves[position - 1])
            assert included(proof.leaf, position - 1, size, proof.path, root)
            grown = auditor.consistency(position, size)
            assert consistent(position, roots[position], size, root, grown.path)
    assert auditor.inclusion(3).size == auditor.consistency(3).size == 11


def test_what_no_tree_has_is_refused(house: House, auditor: Auditor) -> None:
    Writer(house.log).write_plain(3)

    missing = refused(lambda: auditor.inclusion(3, 2))
    assert (missing.code, missing.reason[1]) == (grpc.StatusCode.NOT_FOUND, "position-not-found")
    for field, call in (
        ("position", lambda: auditor.inclusion(0)),
        ("size", lambda: auditor.inclusion(1, 4)),
        ("size", lambda: auditor.inclusion(1, -1)),
        ("size", lambda: auditor.consistency(1, 4)),
        ("from_size", lambda: auditor.consistency(0)),
        ("from_size", lambda: auditor.consistency(3, 2)),
    ):
        refusal = refused(call)
        assert refusal.code is grpc.StatusCode.INVALID_ARGUMENT
        assert [one.field for one in refusal.details["BadRequest"].field_violations] == [field]
