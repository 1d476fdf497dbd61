"""Personal data opens only where it was sealed, and never again once its key was destroyed."""

import base64
import os
import stat
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography.exceptions import InvalidTag
from kept.cell.v1.events_pb2 import PolicyDeployed
from kept.common.v1.sealed_pb2 import Sealed

from services.kernel.errors import Misconfigured, Refused
from services.kernel.house import House
from services.kernel.privacy import ERASED, KeyStore, Place, Sealer, opened, read_master_key
from tests.databases import Cell
from tests.kernel.toys import entry, jar_id, save

ANA, BO = UUID(int=1), UUID(int=2)
STREAM = jar_id("sealed")
NAME = "Ana Lòpez 安娜, the only one so called"


def place(subject: UUID = ANA, purpose: str = "contact", field: str = "name") -> Place:
    return Place(subject, purpose, STREAM, "toy.Labelled", field)


# Sealing and opening


@pytest.mark.parametrize("text", [NAME, "", "x" * 100_000, "\0"])
def test_what_was_sealed_opens(house: House, text: str) -> None:
    sealed = house.sealer.seal(text, place())

    assert house.sealer.open(sealed, stream=STREAM) == text
    assert sealed.subject == str(ANA)
    assert text.encode() not in sealed.SerializeToString() or not text.strip("\0")


def test_the_same_text_is_sealed_differently_each_time(sqlite_house: House) -> None:
    one, other = (sqlite_house.sealer.seal(NAME, place()) for _ in range(2))

    assert one.nonce != other.nonce
    assert one.ciphertext != other.ciphertext


def test_what_was_sealed_opens_in_another_process(house: House, cell: Cell) -> None:
    sealed = house.sealer.seal(NAME, place())

    other = cell.house()
    other.require()
    assert other.sealer.open(sealed, stream=STREAM) == NAME
    other.close()


def test_it_does_not_open_in_another_stream(sqlite_house: House) -> None:
    sealed = sqlite_house.sealer.seal(NAME, place())

    with pytest.raises(ValueError, match="found in"):
        sqlite_house.sealer.open(sealed, stream=jar_id("other"))


def test_it_does_not_open_in_another_stream_even_when_it_says_so(sqlite_house: House) -> None:
    sealed = sqlite_house.sealer.seal(NAME, place())
    sealed.stream = str(jar_id("other"))

    with pytest.raises(ValueError, match="was changed"):
        sqlite_house.sealer.open(sealed, stream=jar_id("other"))


TAMPERINGS: dict[str, Callable[[Sealed], object]] = {
    "subject": lambda sealed: setattr(sealed, "subject", str(BO)),
    "a subject nobody knows": lambda sealed: setattr(sealed, "subject", str(uuid4())),
    "no subject": lambda sealed: sealed.ClearField("subject"),
    "purpose": lambda sealed: setattr(sealed, "purpose", "marketing"),
    "stream": lambda sealed: setattr(sealed, "stream", str(jar_id("other"))),
    "type": lambda sealed: setattr(sealed, "type", "toy.Closed"),
    "field": lambda sealed: setattr(sealed, "field", "phone"),
    "a long field": lambda sealed: setattr(sealed, "field", "x" * 70_000),
    "type and field shifted": lambda sealed: sealed.MergeFrom(Sealed(type="toy.Labelledn", field="ame")),
    "nonce": lambda sealed: setattr(sealed, "nonce", bytes(12)),
    "no nonce": lambda sealed: sealed.ClearField("nonce"),
    "ciphertext": lambda sealed: setattr(
        sealed, "ciphertext", bytes([sealed.ciphertext[0] ^ 1]) + sealed.ciphertext[1:]
    ),
    "tag": lambda sealed: setattr(sealed, "ciphertext", sealed.ciphertext[:-1] + bytes([sealed.ciphertext[-1] ^ 1])),
    "no ciphertext": lambda sealed: sealed.ClearField("ciphertext"),
}


@pytest.mark.parametrize("part", TAMPERINGS)
def test_what_was_changed_does_not_open(sqlite_house: House, part: str) -> None:
    sealer = sqlite_house.sealer
    sealer.seal("somebody else's", place(BO))
    sealer.seal("for another purpose", place(purpose="marketing"))
    sealed = sealer.seal(NAME, place())

    TAMPERINGS[part](sealed)

    with pytest.raises(ValueError, match=r"."):
        sealer.open(sealed, stream=STREAM)


def test_another_cell_does_not_open_it(sqlite_house: House) -> None:
    sealed = sqlite_house.sealer.seal(NAME, place())

    with pytest.raises(ValueError, match="was changed"):
        Sealer(sqlite_house.keys, "another").open(sealed, stream=STREAM)


def test_two_subjects_do_not_open_each_others(sqlite_house: House) -> None:
    keys = sqlite_house.keys
    anas, bos = keys.key_for_sealing(ANA, "contact"), keys.key_for_sealing(BO, "contact")
    other_purpose = keys.key_for_sealing(ANA, "case")

    assert len({anas, bos, other_purpose}) == 3
    assert keys.key_for_sealing(ANA, "contact") == anas == keys.key_for_opening(ANA, "contact")


# Erasing


def test_a_destroyed_key_opens_as_erased(house: House) -> None:
    contact, case = house.sealer.seal(NAME, place()), house.sealer.seal(NAME, place(purpose="case"))
    others = house.sealer.seal(NAME, place(BO))

    destroyed = house.keys.destroy(ANA)

    assert destroyed == 2
    assert house.sealer.open(contact, stream=STREAM) is ERASED
    assert house.sealer.open(case, stream=STREAM) is ERASED
    assert house.sealer.open(others, stream=STREAM) == NAME
    assert house.keys.destroy(ANA) == 0


def test_nothing_is_sealed_for_an_erased_subject(house: House) -> None:
    house.sealer.seal(NAME, place())
    house.keys.destroy(ANA)

    with pytest.raises(Refused) as caught:
        house.sealer.seal(NAME, place())

    assert caught.value.slug == "subject-erased"


def test_a_view_shows_an_erased_text_as_erased_and_an_absent_one_as_empty(sqlite_house: House) -> None:
    sealed = sqlite_house.sealer.seal(NAME, place()).SerializeToString()

    assert opened(sqlite_house.sealer, sealed, STREAM, place().field) == (NAME, False)
    assert opened(sqlite_house.sealer, b"", STREAM, place().field) == ("", False)
    sqlite_house.keys.destroy(ANA)
    assert opened(sqlite_house.sealer, sealed, STREAM, place().field) == ("", True)


def test_a_text_does_not_open_as_another_field(sqlite_house: House) -> None:
    sealed = sqlite_house.sealer.seal(NAME, place()).SerializeToString()

    with pytest.raises(ValueError, match="sealed for field"):
        opened(sqlite_house.sealer, sealed, STREAM, "another")


# At rest


def test_no_byte_of_the_text_or_of_its_key_is_in_any_file(sqlite_cell: Cell) -> None:
    house = sqlite_cell.house()
    house.make()
    sealed = house.sealer.seal(NAME, place())
    body = PolicyDeployed(name=sealed.SerializeToString().hex())
    house.log.append([save(entry("sealed", 1, body))])
    key = house.keys.key_for_opening(ANA, "contact")
    assert key is not None

    written = every_byte(sqlite_cell.settings.data)
    house.close()
    written += every_byte(sqlite_cell.settings.data)

    assert sealed.nonce.hex().encode() in written  # the sealed value itself was written, and found
    for secret in (NAME.encode(), "安娜".encode(), NAME.encode("utf-16-le"), key, key.hex().encode()):
        assert secret not in written


def every_byte(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


# Fingerprints


def test_a_fingerprint_tells_the_same_from_another_and_is_no_plain_hash(sqlite_house: House, tmp_path: Path) -> None:
    keys = sqlite_house.keys

    assert keys.fingerprint(b"body") == keys.fingerprint(b"body")
    assert keys.fingerprint(b"body") != keys.fingerprint(b"bodY")
    assert len(keys.fingerprint(b"body")) == 32


def test_fingerprints_are_the_same_in_another_process_and_others_in_another_cell(
    sqlite_cell: Cell, postgres_cell: Cell
) -> None:
    prints = []
    for cell in (sqlite_cell, sqlite_cell, postgres_cell):
        house = cell.house()
        house.make()
        prints.append(house.keys.fingerprint(b"body"))
        house.close()

    assert prints[0] == prints[1] != prints[2]


# The key store and its master key


def test_a_wrong_master_key_is_refused(house: House, cell: Cell) -> None:
    cell.settings.master_key.unlink()
    read_master_key(cell.settings.master_key, make=True)

    with pytest.raises(Misconfigured, match="does not open the key store"):
        cell.house().require()


def test_a_wrapped_key_opens_only_for_its_own_subject(sqlite_house: House) -> None:
    sqlite_house.keys.key_for_sealing(ANA, "contact")
    sqlite_house.keys.key_for_sealing(BO, "contact")
    with sqlite_house.database("keys").write() as session:
        session.execute(
            "UPDATE data_key SET key = (SELECT key FROM data_key WHERE subject = ?) WHERE subject = ?", (ANA, BO)
        )

    with pytest.raises(InvalidTag):
        sqlite_house.keys.key_for_opening(BO, "contact")


def test_a_missing_key_store_is_refused_and_not_made_again(own_house: House, cell: Cell) -> None:
    drop_keys(cell)
    again = cell.house()

    with pytest.raises(Misconfigured, match="key store is missing"):
        again.require()
    with pytest.raises(Misconfigured, match="key store is missing"):
        again.make()
    assert not again.database("keys").exists()
    again.close()


def drop_keys(cell: Cell) -> None:
    if cell.on_postgres:
        with cell.database("log").write() as session:
            session.execute(f"DROP SCHEMA {cell.settings.cell}_keys CASCADE")
    else:
        for path in cell.settings.data.glob("keys.db*"):
            path.unlink()


def test_a_key_store_of_a_newer_kept_is_refused(own_house: House) -> None:
    with own_house.database("keys").write() as session:
        session.execute("UPDATE schema_version SET version = 99")

    with pytest.raises(Misconfigured, match="newer"):
        KeyStore(own_house.database("keys"), bytes(32)).require()


def test_a_master_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "master.key"

    made = read_master_key(path, make=True)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_master_key(path, make=True) == read_master_key(path, make=False) == made
    assert len(made) == 32


def test_a_master_key_is_never_made_over_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process makes one between our looking and our making."""
    path = tmp_path / "master.key"
    link = os.link

    def overtaken(source: str, target: str) -> None:
        path.write_bytes(base64.b64encode(bytes(32)))
        link(source, target)

    monkeypatch.setattr(os, "link", overtaken)
    ours = read_master_key(path, make=True)

    assert ours == bytes(32)
    assert [file.name for file in tmp_path.iterdir()] == ["master.key"]


@pytest.mark.parametrize("content", [b"", b"c2hvcnQ=", b"\xff\xfe", b"x" * 100])
def test_a_file_that_holds_no_master_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(content)

    with pytest.raises(Misconfigured, match=r"master\.key: "):
        read_master_key(path, make=True)


@pytest.mark.parametrize("make", [True, False])
def test_a_master_key_that_cannot_be_read_or_made_is_refused(tmp_path: Path, make: bool) -> None:
    with pytest.raises(Misconfigured, match=r"master\.key: "):
        read_master_key(tmp_path / "no-such-folder" / "master.key", make=make)


def test_a_key_of_the_cells_own_is_made_once_and_kept_wrapped(house: House, cell: Cell) -> None:
    made = house.keys.cell_key("checkpoint")

    assert len(made) == 32
    assert cell.house().keys.cell_key("checkpoint") == made == house.keys.cell_key("checkpoint")
    assert house.keys.cell_key("another") != made
    with house.database("keys").read() as session:
        rows = session.execute("SELECT name, key FROM cell_key").fetchall()
    assert {name for name, _ in rows} == {"probe", "fingerprint", "checkpoint", "another"}
    assert all(made not in bytes(key) for _, key in rows)
