"""Signed notes as others make and read them, and nothing else."""

import pytest
from hypothesis import given as each
from hypothesis import strategies as st

from services.audit.notes import BadNote, Checkpoint, open_note, read_checkpoint, read_verifier, sign, verifier_of

NAME, SECRET = "kept/local", bytes(range(32))
CHECKPOINT = Checkpoint(NAME, 1115, bytes(range(32)))

# From the tests of golang.org/x/mod/sumdb/note, which C2SP describes.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)  # fmt: skip
GO_NOTE = (
    GO_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_a_note_of_another_maker_is_read() -> None:
    key = read_verifier(GO_KEY)

    assert str(key) == GO_KEY
    assert open_note(GO_NOTE, key) == GO_TEXT


def test_a_checkpoint_that_was_signed_is_read_again() -> None:
    note = sign(str(CHECKPOINT), NAME, SECRET)
    key = read_verifier(str(verifier_of(NAME, SECRET)))

    assert note.splitlines()[:4] == [NAME, "1115", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", ""]
    assert note.splitlines()[4].startswith(f"— {NAME} ")
    assert read_checkpoint(open_note(note, key)) == CHECKPOINT


def test_signatures_of_others_are_passed_over() -> None:
    note = sign(str(CHECKPOINT), NAME, SECRET)
    witness = sign(str(CHECKPOINT), "witness", bytes(32)).splitlines(keepends=True)[-1]
    head, own = note.rsplit("—", 1)

    assert open_note(f"{head}{witness}—{own}", verifier_of(NAME, SECRET)) == str(CHECKPOINT)
    assert open_note(note + witness, verifier_of("witness", bytes(32))) == str(CHECKPOINT)


@each(st.data())
def test_one_changed_character_is_noticed(data: st.DataObject) -> None:
    note = sign(str(CHECKPOINT), NAME, SECRET)
    at = data.draw(st.integers(0, len(note) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda one: one != note[at]))

    with pytest.raises(BadNote):
        open_note(note[:at] + other + note[at + 1 :], verifier_of(NAME, SECRET))


def test_a_signature_has_one_form_only() -> None:
    note = sign(str(CHECKPOINT), NAME, SECRET)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = letters.index(note[-3])  # its lowest two bits are padding, which a lax reader passes over
    other = note[:-3] + letters[last ^ 1] + note[-2:]

    assert open_note(note, verifier_of(NAME, SECRET))
    with pytest.raises(BadNote):
        open_note(other, verifier_of(NAME, SECRET))


@pytest.mark.parametrize(
    "note", ["", "\n", "text\n", "\n\n", f"{CHECKPOINT}\n", f"{CHECKPOINT}\n— {NAME}\n", "a\x00\n\n— a b\n"]
)
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(BadNote, match="no signed note"):
        open_note(note, verifier_of(NAME, SECRET))


def test_a_note_of_another_key_is_refused_and_the_key_named() -> None:
    key = verifier_of(NAME, bytes(32))

    with pytest.raises(BadNote, match="not signed by kept/local"):
        open_note(sign(str(CHECKPOINT), NAME, SECRET), key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kept",
        "kept+00000000+AQ==",
        GO_KEY.replace("c74f20a3", "c74f20a4"),
        GO_KEY.replace("PeterN", "Peter N"),
        GO_KEY[:-4],
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(BadNote, match=r"NAME\+HASH\+KEY"):
        read_verifier(text)


@pytest.mark.parametrize(
    "text", ["", "origin\n1\n", "origin\n01\nAAAA\n", "\n1\n" + "A" * 43 + "=\n", "o\n-1\n" + "A" * 43 + "=\n"]
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(BadNote, match="no checkpoint"):
        read_checkpoint(text)


@pytest.mark.parametrize(
    ("text", "name"), [("no line break", NAME), ("a\0\n", NAME), ("text\n", "two words"), ("text\n", "a+b")]
)
def test_what_could_not_be_read_again_is_not_signed(text: str, name: str) -> None:
    with pytest.raises(BadNote):
        sign(text, name, SECRET)
