"""Signed notes and the checkpoints that are in them, as C2SP has both. Pure.

Source: C2SP signed-note and tlog-checkpoint; Ed25519 is algorithm 1.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from services.kernel.merkle import HASH_SIZE

ED25519 = b"\x01"
ID_BYTES, SIGNATURE_BYTES = 4, 64
_SIZE = re.compile("0|[1-9][0-9]{0,18}")
_ORIGIN = re.compile("kept/(?P<cell>[^/]+)(/epoch-(?P<epoch>[2-9]|[1-9][0-9]{1,8}))?")
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f]")


class BadNote(ValueError):
    """The text is no such note, key or checkpoint, or is not signed by that key."""


@dataclass(frozen=True)
class Verifier:
    """Who signs: a name and an Ed25519 key."""

    name: str
    key: bytes

    @property
    def id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.key).digest()[:ID_BYTES]

    def __str__(self) -> str:
        """NAME+HASH+KEY."""
        return f"{self.name}+{self.id.hex()}+{_base64(ED25519 + self.key)}"


@dataclass(frozen=True)
class Origin:
    """Whose log: a cell's, and which of its epochs. A cell that was restored from a back-up has another log than before."""

    cell: str
    epoch: int

    def __str__(self) -> str:
        return f"kept/{self.cell}" + (f"/epoch-{self.epoch}" if self.epoch > 1 else "")

    @property
    def signer(self) -> str:
        """The cell's own name, whatever its epoch."""
        return f"kept/{self.cell}"


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log: whose, of how many leaves, and the root over them."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        return f"{self.origin}\n{self.size}\n{_base64(self.root)}\n"


def read_verifier(text: str) -> Verifier:
    """Raises BadNote."""
    name, plus, rest = text.strip().partition("+")
    id_, plus, key = rest.partition("+")
    packed = _bytes(key)
    found = Verifier(name, packed[1:])
    if not _is_name(name) or not plus or packed[:1] != ED25519 or len(packed) != 33 or found.id.hex() != id_:
        raise BadNote("it is no Ed25519 verifier key of the form NAME+HASH+KEY")
    return found


def verifier_of(name: str, secret: bytes) -> Verifier:
    """Of 32 secret bytes. Raises BadNote for a name that cannot stand in a note."""
    if not _is_name(name):
        raise BadNote(f"{name!r} cannot sign a note: a name has no spaces and no plus")
    return Verifier(name, Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw())


def sign(text: str, name: str, secret: bytes) -> str:
    """The note: the text, which ends with a line break, an empty line, and the signature line. Raises BadNote."""
    if not text.endswith("\n") or _CONTROL.search(text):
        raise BadNote("a note's text ends with a line break and has no other control characters")
    signature = Ed25519PrivateKey.from_private_bytes(secret).sign(text.encode())
    return f"{text}\n— {name} {_base64(verifier_of(name, secret).id + signature)}\n"


def cosign(note: str, name: str, secret: bytes) -> str:
    """The note with one more signature, under another name. Raises BadNote."""
    text = note.rpartition("\n\n")[0] + "\n"
    return note + sign(text, name, secret).rpartition("\n\n")[2]


def read_origin(text: str) -> Origin | None:
    """None for a log that is no cell's."""
    found = _ORIGIN.fullmatch(text)
    return None if found is None else Origin(found["cell"], int(found["epoch"] or 1))


def open_note(note: str, verifier: Verifier) -> str:
    """The text that was signed; signatures of others are passed over. Raises BadNote."""
    head, blank, lines = note.rpartition("\n\n")
    text = head + "\n"
    if not blank or not lines.endswith("\n") or _CONTROL.search(note):
        raise BadNote("it is no signed note")
    for line in lines[:-1].split("\n"):
        dash, name, signature = [*line.split(" "), "", ""][:3]
        packed = _bytes(signature)
        if dash != "—" or not _is_name(name) or line.count(" ") != 2 or len(packed) <= ID_BYTES:
            raise BadNote("it is no signed note")
        if (name, packed[:ID_BYTES]) == (verifier.name, verifier.id) and _signed(text, packed[ID_BYTES:], verifier.key):
            return text
    raise BadNote(f"it is not signed by {verifier}")


def read_checkpoint(text: str) -> Checkpoint:
    """Of a note's text. Raises BadNote."""
    origin, size, root, *_ = [*text.split("\n"), "", ""]
    if not origin or not _SIZE.fullmatch(size) or len(_bytes(root)) != HASH_SIZE:
        raise BadNote("it is no checkpoint: origin, size and root, each on a line")
    return Checkpoint(origin, int(size), _bytes(root))


def _signed(text: str, signature: bytes, key: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, text.encode())
    except InvalidSignature:
        return False
    return True


def _is_name(text: str) -> bool:
    return bool(text) and "+" not in text and not any(letter.isspace() for letter in text)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    """Empty where it is no base64, or not in its one canonical form."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return data if _base64(data) == text else b""
