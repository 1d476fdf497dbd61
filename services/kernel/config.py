"""Settings from the environment, validated at start with one clear message."""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from services.kernel.errors import Misconfigured

# A Unix socket's whole path has room for 107 bytes.
LONGEST_RUN_FOLDER = 70
# PostgreSQL cuts names off after 63 bytes; a schema's is the cell's and the namespace's.
LONGEST_CELL = 40


@dataclass(frozen=True)
class Settings:
    """How one cell is set up. `database` is empty for SQLite files in `data`, else a postgresql:// address.

    `broker` is empty, or the amqp:// or amqps:// address where the relay keeps a copy of the log; with `follows_copy`
    followers read that copy, as far as it goes.
    """

    data: Path
    cell: str
    database: str
    development: bool
    otlp_endpoint: str | None
    master_key: Path
    broker: str = ""
    follows_copy: bool = False

    @property
    def run(self) -> Path:
        """Where sockets are; a short path, since a socket's is limited."""
        folder = self.data.resolve() / "run"
        if len(str(folder)) <= LONGEST_RUN_FOLDER:
            return folder
        digest = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"kept-{os.getuid()}-{digest}"

    def environment(self) -> dict[str, str]:
        """The same settings for a child process."""
        return {
            "KEPT_DATA": str(self.data),
            "KEPT_CELL": self.cell,
            "KEPT_DATABASE": self.database,
            "KEPT_ENV": "development" if self.development else "production",
            "KEPT_OTLP_ENDPOINT": self.otlp_endpoint or "",
            "KEPT_MASTER_KEY_FILE": str(self.master_key),
            "KEPT_BROKER": self.broker,
            "KEPT_FOLLOW": "copy" if self.follows_copy else "database",
        }


def read_settings(environment: Mapping[str, str], data: Path | None = None) -> Settings:
    """Raises Misconfigured with every mistake in one message."""
    mistakes = []
    folder = data or Path(environment.get("KEPT_DATA") or "data")
    cell = environment.get("KEPT_CELL") or "local"
    if not re.fullmatch(rf"[a-z0-9][a-z0-9-]{{0,{LONGEST_CELL - 1}}}", cell):
        mistakes.append(f"KEPT_CELL={cell!r}: use 1 to {LONGEST_CELL} lower-case letters, digits and hyphens")
    database = environment.get("KEPT_DATABASE") or moved_to(folder)
    if database and not database.startswith(("postgresql://", "postgres://")):
        mistakes.append("KEPT_DATABASE: leave it empty for SQLite, or give a postgresql:// address")
    mode = environment.get("KEPT_ENV") or "production"
    if mode not in ("production", "development"):
        mistakes.append(f"KEPT_ENV={mode!r}: production or development")
    endpoint = environment.get("KEPT_OTLP_ENDPOINT") or None
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        mistakes.append("KEPT_OTLP_ENDPOINT: give an http:// or https:// address, or leave it empty")
    broker = environment.get("KEPT_BROKER") or ""
    if broker and not _is_broker(broker):  # not told: it may have a password
        mistakes.append("KEPT_BROKER: leave it empty for no copy of the log, or give an amqp:// or amqps:// address")
    follow = environment.get("KEPT_FOLLOW") or "database"
    if follow not in ("database", "copy"):
        mistakes.append(f"KEPT_FOLLOW={follow!r}: database or copy")
    elif follow == "copy" and not broker:
        mistakes.append("KEPT_FOLLOW=copy: there is no copy; set KEPT_BROKER, or follow the database")
    if mistakes:
        raise Misconfigured("; ".join(mistakes))
    key = Path(environment.get("KEPT_MASTER_KEY_FILE") or folder / "master.key")
    return Settings(folder, cell, database, mode == "development", endpoint, key, broker, follow == "copy")


MOVED = "moved.json"


def moved_to(folder: Path) -> str:
    """The address, without password, to which `kept move` has moved the folder's cell; empty where it has not.

    Raises Misconfigured.
    """
    try:
        return str(json.loads((folder / MOVED).read_text(encoding="utf-8"))["database"])
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Misconfigured(f"{folder / MOVED}: cannot be read; set KEPT_DATABASE to where the cell lives") from error


def _is_broker(address: str) -> bool:
    try:
        url = urlsplit(address)
        return url.scheme in ("amqp", "amqps") and bool(url.hostname) and url.port != 0
    except ValueError:  # no number for a port, or an IPv6 address without its end
        return False
