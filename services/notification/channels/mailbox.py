"""A Maildir beside the cell's data, which any mail client can read: one file a notice, named by it."""

import os
from contextlib import suppress
from pathlib import Path

from services.notification.channels.mail import as_mail
from services.notification.outgoing import Outgoing, TemporaryFailure

FOLDERS = ("tmp", "new", "cur")


class Mailbox:
    """The same notice again leaves the one message that is there, also where it was read or moved to `cur`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def deliver(self, message: Outgoing) -> None:
        """Raises TemporaryFailure when it cannot be written, PermanentFailure for a bad address."""
        content = as_mail(message).as_bytes()
        try:
            for name in FOLDERS:
                (self._folder / name).mkdir(parents=True, exist_ok=True, mode=0o700)
            self._folder.chmod(0o700)
            if not self._is_there(str(message.notice_id)):
                self._write(str(message.notice_id), content)
        except OSError:
            raise TemporaryFailure("mailbox-not-writable") from None

    def _is_there(self, name: str) -> bool:
        # A client that has read it moves it and gives it flags: NAME:2,S. What is new has its own name still, so that
        # a delivery need not list all that was delivered.
        return (self._folder / "new" / name).exists() or any((self._folder / "cur").glob(f"{name}*"))

    def _write(self, name: str, content: bytes) -> None:
        """Whole and on the disk, or not there at all."""
        unready = self._folder / "tmp" / f"{name}.{os.getpid()}"
        handle = os.open(unready, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):  # another sender's rename of the same message came first
            unready.replace(self._folder / "new" / name)
        folder = os.open(self._folder / "new", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
