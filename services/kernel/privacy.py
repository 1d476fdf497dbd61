"""Personal data is sealed before it is decided on (I5): AES-256-GCM, a data key for each (subject, purpose).

Keys live in a store of their own, wrapped with the cell's master key. Destroying a key erases what it sealed, everywhere.
"""

import base64
import hmac
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from kept.common.v1.sealed_pb2 import Sealed

from services.kernel.database import Database, Session
from services.kernel.errors import Misconfigured, Refused
from services.kernel.log.schema import migrate, require

NAME = "the key store"
KEY_BYTES = 32
NONCE_BYTES = 12
_PROBE = b"kept"


class Erased:
    """What a sealed value opens as once its key was destroyed."""

    def __repr__(self) -> str:
        return "ERASED"


ERASED = Erased()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed value belongs; it opens nowhere else."""

    subject: UUID
    purpose: str
    stream: UUID
    type: str
    field: str


class KeyStore:
    """Data keys, and the cell's key for fingerprints. Raises Misconfigured for a missing store or a wrong master key."""

    def __init__(self, database: Database, master_key: bytes) -> None:
        self._database = database
        self._wrap = AESGCM(master_key)
        self._fingerprint_key = b""

    def migrate(self) -> None:
        migrate_keys(self._database)
        with self._database.write() as session:
            if session.execute("SELECT 1 FROM cell_key").fetchone() is None:
                for name, key in (("probe", _PROBE), ("fingerprint", secrets.token_bytes(KEY_BYTES))):
                    session.execute("INSERT INTO cell_key VALUES (?, ?)", (name, self._wrapped(key, name.encode())))
        self.require()

    def require(self) -> None:
        require_keys(self._database)
        with self._database.read() as session:
            keys: dict[str, bytes] = dict(session.execute("SELECT name, key FROM cell_key").fetchall())
        try:
            self._unwrapped(keys["probe"], b"probe")
            self._fingerprint_key = self._unwrapped(keys["fingerprint"], b"fingerprint")
        except (InvalidTag, KeyError) as error:
            raise Misconfigured("the master key does not open the key store; use the one it was made with") from error

    def fingerprint(self, body: bytes) -> bytes:
        """HMAC-SHA256 of a request's body: tells the same from another, and tells nothing else."""
        return hmac.digest(self._fingerprint_key, body, "sha256")

    def cell_key(self, name: str) -> bytes:
        """A secret of the cell's own, 32 random bytes, made at first use; the same for every process from then on."""
        with self._database.read() as session:
            row = session.execute("SELECT key FROM cell_key WHERE name = ?", (name,)).fetchone()
        if row is None:
            made = self._wrapped(secrets.token_bytes(KEY_BYTES), name.encode())
            with self._database.write() as session:
                session.execute("INSERT INTO cell_key VALUES (?, ?) ON CONFLICT (name) DO NOTHING", (name, made))
                row = session.execute("SELECT key FROM cell_key WHERE name = ?", (name,)).fetchone()
        assert row is not None
        return self._unwrapped(row[0], name.encode())

    def key_for_sealing(self, subject: UUID, purpose: str) -> bytes:
        """The data key, made at first use. Raises subject-erased when it was destroyed."""
        with self._database.read() as session:
            found = self._find(session, subject, purpose)
        if found is None:
            with self._database.write() as session:
                key = secrets.token_bytes(KEY_BYTES)
                session.execute(
                    "INSERT INTO data_key VALUES (?, ?, ?) ON CONFLICT (subject, purpose) DO NOTHING",
                    (subject, purpose, self._wrapped(key, _label(subject, purpose))),
                )
                found = self._find(session, subject, purpose)
        if not found:
            raise Refused("subject-erased", "this person's data was erased; nothing more is kept", subject=subject)
        return found

    def key_for_opening(self, subject: UUID, purpose: str) -> bytes | None:
        """None when it was destroyed. Raises ValueError when there never was one."""
        with self._database.read() as session:
            found = self._find(session, subject, purpose)
        if found is None:
            raise ValueError(f"there never was a key for {subject} and {purpose}")
        return found or None

    def destroy(self, subject: UUID) -> int:
        """Destroys every data key of a subject. Returns how many there were.

        By itself it is undone by a restore: `erasure.erase` records it first.
        """
        with self._database.write() as session:
            return destroy_keys(session, subject)

    def _find(self, session: Session, subject: UUID, purpose: str) -> bytes | None:
        """The key; b"" when destroyed; None when there never was one."""
        row = session.execute(
            "SELECT key FROM data_key WHERE subject = ? AND purpose = ?", (subject, purpose)
        ).fetchone()
        if row is None:
            return None
        return b"" if row[0] is None else self._unwrapped(row[0], _label(subject, purpose))

    def _wrapped(self, key: bytes, label: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._wrap.encrypt(nonce, key, label)

    def _unwrapped(self, wrapped: bytes, label: bytes) -> bytes:
        wrapped = bytes(wrapped)
        return self._wrap.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], label)


def migrate_keys(database: Database) -> None:
    """Makes or updates the key store's tables; what is in them needs a master key."""
    bytes_, uuid = database.dialect.bytes, database.dialect.uuid
    tables = [
        f"CREATE TABLE cell_key (name TEXT PRIMARY KEY, key {bytes_} NOT NULL)",
        # A destroyed key leaves its row behind, empty, so that no new one is ever made for that subject.
        f"CREATE TABLE data_key (subject {uuid} NOT NULL, purpose TEXT NOT NULL, key {bytes_},"
        " PRIMARY KEY (subject, purpose))",
    ]
    migrate(database, NAME, [tables])


def require_keys(database: Database) -> None:
    """Raises Misconfigured unless the key store's tables are there, at a version that this code may use."""
    require(database, NAME, 1)


def destroy_keys(session: Session, subject: UUID, purposes: Iterable[str] = ()) -> int:
    """Destroys every data key of a subject; of these purposes no new one is made. Returns how many there were."""
    sql = "UPDATE data_key SET key = NULL WHERE subject = ? AND key IS NOT NULL"
    destroyed = session.execute(sql, (subject,)).rowcount
    for purpose in purposes:
        session.execute("INSERT INTO data_key VALUES (?, ?, NULL) ON CONFLICT DO NOTHING", (subject, purpose))
    return destroyed


class Sealer:
    """Seals and opens for one cell."""

    def __init__(self, keys: KeyStore, cell: str) -> None:
        self._keys = keys
        self._cell = cell

    def seal(self, text: str, place: Place) -> Sealed:
        """Raises subject-erased."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = Sealed(
            subject=str(place.subject),
            purpose=place.purpose,
            stream=str(place.stream),
            type=place.type,
            field=place.field,
            nonce=nonce,
        )
        key = self._keys.key_for_sealing(place.subject, place.purpose)
        sealed.ciphertext = AESGCM(key).encrypt(nonce, text.encode(), self._aad(sealed))
        return sealed

    def open(self, sealed: Sealed, *, stream: UUID) -> str | Erased:
        """The text, or ERASED. Raises ValueError when the value was changed or is not in the stream it was sealed for."""
        if sealed.stream != str(stream):
            raise ValueError(f"sealed for stream {sealed.stream}, found in {stream}")
        key = self._keys.key_for_opening(UUID(sealed.subject), sealed.purpose)
        if key is None:
            return ERASED
        try:
            return AESGCM(key).decrypt(sealed.nonce, sealed.ciphertext, self._aad(sealed)).decode()
        except InvalidTag as error:
            raise ValueError(f"the sealed {sealed.type}.{sealed.field} of {stream} was changed") from error

    def _aad(self, sealed: Sealed) -> bytes:
        parts = (self._cell, sealed.subject, sealed.purpose, sealed.stream, sealed.type, sealed.field)
        return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)


def opened(sealer: Sealer, sealed: bytes, stream: UUID, field: str) -> tuple[str, bool]:
    """The text of a view's sealed column, and whether it was erased. Nothing sealed opens as an empty text.

    Raises ValueError when it was sealed for another stream or field.
    """
    if not sealed:
        return "", False
    message = Sealed.FromString(sealed)
    if message.field != field:
        raise ValueError(f"sealed for field {message.field}, found as {field} in {stream}")
    text = sealer.open(message, stream=stream)
    return ("", True) if isinstance(text, Erased) else (text, False)


def read_master_key(path: Path, *, make: bool) -> bytes:
    """The 32 bytes, base64 in a file that only its owner reads. Raises Misconfigured."""
    try:
        if make and not path.exists():
            _make_master_key(path)
        key = base64.b64decode(path.read_bytes(), validate=False)
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{path}: the master key cannot be read or made; restore it from a copy") from error
    if len(key) != KEY_BYTES:
        raise Misconfigured(f"{path}: a master key is {KEY_BYTES} bytes in base64")
    return key


def _make_master_key(path: Path) -> None:
    """Whole and on the disk, or not there at all: everything sealed from now on depends on it."""
    half_made = path.with_name(f"{path.name}.{os.getpid()}")
    handle = os.open(half_made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(half_made, path)  # never over one that somebody else has just made
    except FileExistsError:
        pass
    finally:
        half_made.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _label(subject: UUID, purpose: str) -> bytes:
    return subject.bytes + purpose.encode()
