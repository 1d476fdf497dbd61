"""An auditor and a cell that was restored: what is lost is told as lost, and never taken for a forged history."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from services.audit.notes import (
    BadNote,
    Checkpoint,
    Origin,
    Verifier,
    cosign,
    open_note,
    read_origin,
    sign,
    verifier_of,
)
from services.cli.audit import _as_text
from services.cli.audit_check import Outcome
from services.kernel.config import Settings
from services.kernel.house import House
from tests.audit.streaming import Writer
from tests.cli.keeping import beside, run_json
from tests.cli.test_audit_check import checked, kept_checkpoint
from tests.databases import Cell

BACKED_UP, LOST = 6, 11
SECRET = bytes(32)


@dataclass
class Auditor:
    """What an auditor has kept: checkpoints of three sizes, and the cell's key."""

    cell: Settings
    backup: Path
    notes: dict[int, str]
    key: Verifier

    def restored(self, name: str, *options: object) -> House:
        to = beside(self.cell, name)
        run_json("restore", self.backup, "--epoch", 2, *options, settings=to)
        return House(to)


@pytest.fixture
def auditor(sqlite_cell: Cell) -> Auditor:
    """The log had eleven events; the back-up is of six."""
    house = sqlite_cell.house()
    house.make()
    writer, notes = Writer(house.log), {}
    backup = sqlite_cell.settings.data / "copy"
    for size in (4, BACKED_UP, LOST):
        writer.write_plain(size - house.log.position())
        notes[size], key = kept_checkpoint(house)
        if size == BACKED_UP:
            run_json("backup", backup, settings=sqlite_cell.settings)
    house.close()
    return Auditor(sqlite_cell.settings, backup, notes, key)


def found(outcome: Outcome) -> dict[str, int | None]:
    return {kind: first.position for kind, first in outcome.findings.first.items()}


def test_the_key_that_was_kept_opens_the_new_epochs_checkpoint(auditor: Auditor) -> None:
    house = auditor.restored("new", "--published", LOST)

    outcome = checked(house, key=auditor.key)

    assert found(outcome) == {}
    assert [(one.epoch, one.restored_to, one.published_to) for one in outcome.epochs] == [(2, BACKED_UP, LOST)]
    note, key = kept_checkpoint(house)
    assert key == auditor.key
    assert note.startswith(f"kept/{auditor.cell.cell}/epoch-2\n{LOST + 1}\n")
    house.close()


@pytest.mark.parametrize("size", [4, BACKED_UP])
def test_what_was_signed_before_the_backup_is_still_there(auditor: Auditor, size: int) -> None:
    house = auditor.restored("new", "--published", LOST)

    outcome = checked(house, key=auditor.key, earlier=auditor.notes[size])

    assert (found(outcome), outcome.earlier) == ({}, size)
    house.close()


def test_what_was_signed_after_it_is_named_as_lost(auditor: Auditor) -> None:
    house = auditor.restored("new", "--published", LOST, "--reason", "the disk burnt")

    outcome = checked(house, key=auditor.key, earlier=auditor.notes[LOST])

    assert found(outcome) == {"events-lost": BACKED_UP + 1}
    told = "\n".join(_as_text(outcome, own_key=True))
    assert (
        f"epoch 2 was restored from a back-up of position {BACKED_UP}; what was published after it, up to {LOST}"
        in told
    )
    assert "the disk burnt" in told
    assert told.endswith("a restore has lost events that were signed; all else is what was signed")
    house.close()


def test_a_position_that_was_given_away_again_is_no_loss_but_a_lie(auditor: Auditor) -> None:
    """Whoever restored said that less was published than was."""
    house = auditor.restored("new", "--published", LOST - 2)
    Writer(house.log).write_plain(5)

    outcome = checked(house, key=auditor.key, earlier=auditor.notes[LOST])

    assert found(outcome) == {"position-reused": LOST - 1}
    house.close()


def test_history_that_was_rewritten_is_not_excused_by_an_epoch(auditor: Auditor) -> None:
    house = auditor.restored("new", "--published", LOST)
    forged = sign(str(Checkpoint(f"kept/{auditor.cell.cell}", 4, bytes(32))), auditor.key.name, secret_of(house))

    outcome = checked(house, key=auditor.key, earlier=forged)

    assert found(outcome) == {"history-rewritten": None}
    house.close()


def test_another_cells_checkpoint_is_still_another_ones(auditor: Auditor) -> None:
    house = auditor.restored("new", "--published", LOST)
    for origin in ("kept/other", "kept/other/epoch-2", f"kept/{auditor.cell.cell}/epoch-3", "example.com/log"):
        note = sign(str(Checkpoint(origin, 4, bytes(32))), auditor.key.name, secret_of(house))
        assert found(checked(house, key=auditor.key, earlier=note)) == {"origin-differs": None}
    house.close()


def secret_of(house: House) -> bytes:
    house.require()
    return house.keys.cell_key("checkpoint")


# Notes


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("kept/local", Origin("local", 1)),
        ("kept/local/epoch-2", Origin("local", 2)),
        ("kept/local/epoch-10", Origin("local", 10)),
        ("kept/local/epoch-1", None),
        ("kept/local/epoch-02", None),
        ("kept/a/b", None),
        ("example.com/log", None),
    ],
)
def test_an_origin_names_cell_and_epoch(text: str, origin: Origin | None) -> None:
    assert read_origin(text) == origin
    if origin is not None:
        assert str(origin) == text


def test_a_note_that_is_signed_twice_opens_with_each_key() -> None:
    text = str(Checkpoint("kept/local/epoch-2", 3, bytes(32)))
    note = cosign(sign(text, "kept/local/epoch-2", SECRET), "kept/local", SECRET)

    for name in ("kept/local/epoch-2", "kept/local"):
        assert open_note(note, verifier_of(name, SECRET)) == text
    with pytest.raises(BadNote):
        open_note(note, verifier_of("kept/other", SECRET))
