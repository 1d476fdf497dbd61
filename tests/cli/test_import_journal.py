"""The journal: what was written comes back, a torn end is dropped, and it is used by one import only."""

from pathlib import Path

import pytest

from services.cli.imports.journal import JournalError, journal_path, open_journal, peek_header

DIGEST = "d" * 64
HEADER = {"zone": "UTC", "limit": None}


def write(data: Path) -> Path:
    with open_journal(data, DIGEST) as journal:
        journal.begin(HEADER)
        journal.finish(0, position=5, ids={(1, 0): "a", (1, 1): "b"})
        journal.refused((2, 0), slug="case-not-open", message="the case is not open")
        journal.finish(1, position=9, ids={})
    return journal_path(data, DIGEST)


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    write(tmp_path)

    with open_journal(tmp_path, DIGEST) as journal:
        assert (journal.header, journal.finished, journal.position) == (HEADER, 1, 9)
        assert journal.ids == {(1, 0): "a", (1, 1): "b"}
        assert journal.refusals == {(2, 0): ("case-not-open", "the case is not open")}
    assert peek_header(tmp_path, DIGEST) == HEADER


def test_a_line_torn_anywhere_is_dropped_and_written_over(tmp_path: Path) -> None:
    path = write(tmp_path)
    whole = path.read_bytes()
    *kept, last = whole.splitlines(keepends=True)
    for torn in range(len(last)):
        path.write_bytes(b"".join(kept) + last[:torn])

        with open_journal(tmp_path, DIGEST) as journal:
            assert (journal.finished, journal.position) == (0, 5)
            journal.finish(1, position=9, ids={})

        assert path.read_bytes() == whole


def test_a_torn_header_is_no_beginning(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(path.read_bytes()[:20])

    assert peek_header(tmp_path, DIGEST) == {}
    with open_journal(tmp_path, DIGEST) as journal:
        assert not journal.header


@pytest.mark.parametrize("line", [b"{not json}\n", b'{"minute":3}\n', b"[1]\n"])
def test_damage_in_the_middle_is_one_clear_error(line: bytes, tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_bytes(line + path.read_bytes())

    with pytest.raises(JournalError, match="damaged at byte 0"), open_journal(tmp_path, DIGEST):
        pass


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path)

    with (
        pytest.raises(JournalError, match=r"began with limit not set, now 5: resume it"),
        open_journal(tmp_path, DIGEST) as journal,
    ):
        journal.begin(HEADER | {"limit": 5})


def test_two_imports_at_once_are_refused(tmp_path: Path) -> None:
    with (
        open_journal(tmp_path, DIGEST),
        pytest.raises(JournalError, match="is running"),
        open_journal(tmp_path, DIGEST),
    ):
        pass


def test_an_import_that_never_began_leaves_no_trace(tmp_path: Path) -> None:
    with open_journal(tmp_path, DIGEST):
        pass

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "imports").write_text("a file", encoding="utf-8")

    with pytest.raises(JournalError, match="imports"), open_journal(tmp_path, DIGEST):
        pass
