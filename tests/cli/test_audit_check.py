"""What an auditor finds out: each way to tamper with a log has its name, and nothing else is blamed."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from google.protobuf.message import Message
from kept.audit.v1 import service_pb2 as m

from services.audit.notes import Checkpoint, Verifier, open_note, read_checkpoint, read_verifier, sign, verifier_of
from services.audit.servicer import SIGNING_KEY
from services.cli.audit_check import Outcome, check, events_after
from services.cli.client import CellError, Client, Connection, RefusedError
from services.kernel.house import House
from services.kernel.merkle import Edge, leaf_hash
from tests.audit.streaming import Writer, served

SIZE = 11
Found = dict[str, int | None]


@pytest.fixture
def house(sqlite_house: House) -> House:
    Writer(sqlite_house.log).write_plain(SIZE)
    return sqlite_house


class LyingClient(Client):
    """Changes what the cell answers."""

    lie: Callable[[str, Any], None]

    def call(self, service: str, method: str, request: Message) -> Any:
        answer = super().call(service, method, request)
        self.lie(method, answer)
        return answer


@contextmanager
def auditing(house: House, lie: Callable[[str, Any], None] = lambda method, answer: None) -> Iterator[Client]:
    with served(house) as server, LyingClient(Connection({"audit": server.target})) as client:
        client.lie = lie
        yield client


def checked(
    house: House, *, key: Verifier | None = None, earlier: str | None = None, position: int | None = None, **lies: Any
) -> Outcome:
    with auditing(house, **lies) as client:
        return check(client, key=key, earlier=earlier, position=position)


def found(house: House, **asked: Any) -> Found:
    """What differs, and where."""
    return {kind: first.position for kind, first in checked(house, **asked).findings.first.items()}


def kept_checkpoint(house: House) -> tuple[str, Verifier]:
    with auditing(house) as client:
        told = client.call("audit", "GetCheckpoint", m.GetCheckpointRequest())
    return told.note, read_verifier(told.verifier_key)


def tampered(house: House, *statements: str) -> None:
    with house.log.database.write() as session:
        for statement in statements:
            session.execute(statement)


def resealed(house: House) -> None:
    """As somebody would who knows how the log is made: leaves and head fit what is there again."""
    edge, recorded_at = Edge(), 0
    with house.log.database.write() as session:
        rows = session.execute("SELECT position, recorded_at, record FROM log ORDER BY position").fetchall()
        for position, recorded_at, record in rows:
            leaf = leaf_hash(position, recorded_at, record)
            session.execute("UPDATE log SET leaf = ? WHERE position = ?", (leaf, position))
            edge.extend([leaf])
        session.execute(
            "UPDATE head SET position = ?, recorded_at = ?, peaks = ?", (edge.size, recorded_at, edge.packed())
        )


# What is as it should be


def test_an_untouched_log_is_verified(house: House) -> None:
    outcome = checked(house, position=3)

    assert not outcome.findings
    assert (outcome.events, outcome.size, outcome.root) == (SIZE, SIZE, house.log.head().root.hex())


def test_an_empty_log_is_verified(sqlite_house: House) -> None:
    outcome = checked(sqlite_house)

    assert (outcome.findings.first, outcome.events) == ({}, 0)


def test_a_log_that_grew_begins_with_its_earlier_checkpoint(house: House) -> None:
    note, key = kept_checkpoint(house)
    writer = Writer(house.log)
    writer.write((1, 0, 0, None), (2, 0, 0, None))

    outcome = checked(house, key=key, earlier=note)

    assert (outcome.findings.first, outcome.size, outcome.earlier) == ({}, SIZE + 2, SIZE)


def test_a_checkpoint_of_nothing_is_the_beginning_of_every_log(sqlite_house: House) -> None:
    note, key = kept_checkpoint(sqlite_house)
    Writer(sqlite_house.log).write_plain(2)

    assert found(sqlite_house, key=key, earlier=note) == {}


# What is not


@pytest.mark.parametrize("position", range(1, SIZE + 1))
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE log SET record = CAST(record || x'00' AS BLOB) WHERE position = {}",
        "UPDATE log SET recorded_at = recorded_at - 1000 WHERE position <= {0} AND position >= {0}",
    ],
)
def test_the_first_changed_event_is_named(house: House, position: int, change: str) -> None:
    tampered(house, change.format(position), "UPDATE log SET record = x'00' WHERE position = 11")

    differences = found(house)

    assert differences.pop("recorded-at-decreases", position) == position
    assert differences == {"record-changed": position}


def test_two_events_that_changed_places_are_noticed(house: House) -> None:
    with house.log.database.read() as session:
        rows: dict[int, bytes] = dict(
            session.execute("SELECT position, record FROM log WHERE position IN (4, 7)").fetchall()
        )
    with house.log.database.write() as session:
        session.execute("UPDATE log SET record = ? WHERE position = 4", (rows[7],))
        session.execute("UPDATE log SET record = ? WHERE position = 7", (rows[4],))

    assert found(house) == {"record-changed": 4}


def test_a_missing_event_is_named(house: House) -> None:
    tampered(house, "DELETE FROM log WHERE position = 5")

    assert found(house) == {"position-gap": 5}


def test_an_end_that_is_missing_is_named(house: House) -> None:
    tampered(house, "DELETE FROM log WHERE position >= 10")

    assert found(house) == {"position-gap": 10}


def test_an_event_that_the_cell_no_longer_has_the_proof_of_is_noticed(house: House) -> None:
    tampered(
        house, "UPDATE log SET record = x'00' WHERE position = 4", "UPDATE log SET leaf = record WHERE position = 4"
    )

    assert found(house) == {"root-differs": None}


def test_a_history_that_was_rewritten_with_all_its_hashes_does_not_fit_an_earlier_checkpoint(house: House) -> None:
    note, key = kept_checkpoint(house)
    Writer(house.log).write((1, 0, 0, None))
    tampered(house, "UPDATE log SET record = CAST(record || x'00' AS BLOB) WHERE position = 2")
    resealed(house)

    assert found(house) == {}, "by itself it looks sound"
    assert found(house, key=key, earlier=note) == {"history-rewritten": None}


def test_a_log_that_lost_its_end_does_not_fit_an_earlier_checkpoint(house: House) -> None:
    note, key = kept_checkpoint(house)
    tampered(house, "DELETE FROM log WHERE position > 8")
    resealed(house)

    assert found(house) == {}, "by itself it looks sound"
    assert found(house, key=key, earlier=note) == {"log-truncated": 9}


def test_a_checkpoint_that_somebody_else_signed_is_noticed(house: House) -> None:
    note, key = kept_checkpoint(house)
    forged = sign(open_note(note, key), key.name, bytes(32))
    bigger = sign(str(Checkpoint(key.name, SIZE + 1, bytes(32))), key.name, bytes(32))

    assert found(house, key=key, earlier=forged) == {"signature-invalid": None}
    assert found(house, earlier=bigger) == {"signature-invalid": None}
    assert found(house, key=verifier_of(key.name, bytes(32))) == {"signature-invalid": None}


def test_a_checkpoint_of_another_log_is_noticed(house: House) -> None:
    note, key = kept_checkpoint(house)
    head = read_checkpoint(open_note(note, key))
    other = sign(str(Checkpoint("kept/other", 1, head.root)), key.name, house.keys.cell_key(SIGNING_KEY))

    assert found(house, earlier=other) == {"origin-differs": None}


@pytest.mark.parametrize(
    ("method", "kind", "position"),
    [("GetInclusionProof", "inclusion-unproven", 6), ("GetConsistencyProof", "consistency-unproven", None)],
)
def test_a_proof_that_proves_nothing_is_noticed(house: House, method: str, kind: str, position: int | None) -> None:
    note, _ = kept_checkpoint(house)
    Writer(house.log).write((1, 0, 0, None))

    def lie(called: str, answer: Any) -> None:
        if called == method:
            answer.path[-1] = bytes(32)

    assert found(house, earlier=note, position=6, lie=lie) == {kind: position}


def test_a_position_that_is_not_in_the_log_is_refused(house: House) -> None:
    with pytest.raises(RefusedError, match="has no position 12"):
        checked(house, position=SIZE + 1)


# A stream that breaks


def test_a_stream_that_breaks_goes_on_where_it_was(house: House) -> None:
    with ExitStack() as servers:
        first = servers.enter_context(served(house))
        waits: list[float] = []

        def start_again(seconds: float) -> None:
            if not waits:
                first.join()
                servers.enter_context(served(house))
            waits.append(seconds)

        with Client(Connection({"audit": first.target}), sleep=start_again) as client:
            events = events_after(client, m.StreamEventsRequest(follow=True))
            seen = [next(events).position for _ in range(4)]
            first.stop()
            seen += [next(events).position for _ in range(SIZE - 4)]
            Writer(house.log).write((1, 0, 0, None))
            seen.append(next(events).position)
            events.close()

    assert seen == list(range(1, SIZE + 2))
    assert waits


def test_nobody_waits_for_a_stream_of_a_cell_that_is_gone(house: House) -> None:
    with served(house) as server, Client(Connection({"audit": server.target}, alive=lambda: False)) as client:
        events = events_after(client, m.StreamEventsRequest(after_position=SIZE, follow=True))
        Writer(house.log).write((1, 0, 0, None))
        assert next(events).position == SIZE + 1
        server.stop()

        with pytest.raises(CellError, match="the cell has stopped"):
            next(events)


def test_a_refused_stream_is_not_asked_for_again(house: House) -> None:
    with auditing(house) as client, pytest.raises(RefusedError, match="after_position"):
        next(events_after(client, m.StreamEventsRequest(after_position=-1)))
