"""E-mail by SMTP. Every kind of answer is told apart: out, refused for good, or to be tried again."""

import re
import smtplib
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

from services.kernel.errors import Misconfigured
from services.notification.channels.mail import as_mail
from services.notification.outgoing import Outgoing, PermanentFailure, TemporaryFailure

TIMEOUT_S = 15.0
_FROM = re.compile(r"[^@\s]+@[^@\s]+")


@dataclass(frozen=True, slots=True)
class SmtpSettings:
    host: str
    port: int
    sender: str
    user: str = ""
    password: str = ""
    starttls: bool = True

    def __repr__(self) -> str:  # never with the password
        return f"SmtpSettings({self.host}:{self.port})"


def read_smtp(environment: Mapping[str, str]) -> SmtpSettings | None:
    """From KEPT_SMTP_*; None without KEPT_SMTP_HOST. Raises Misconfigured with every mistake in one message."""
    host = environment.get("KEPT_SMTP_HOST") or ""
    if not host:
        return None
    mistakes = []
    port = environment.get("KEPT_SMTP_PORT") or "587"
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        mistakes.append(f"KEPT_SMTP_PORT={port!r}: give a port such as 587")
    sender = environment.get("KEPT_SMTP_FROM") or ""
    if not _FROM.fullmatch(sender):
        mistakes.append("KEPT_SMTP_FROM: give the address that notices come from, such as service@example.com")
    starttls = environment.get("KEPT_SMTP_STARTTLS") or "yes"
    if starttls not in ("yes", "no"):
        mistakes.append(f"KEPT_SMTP_STARTTLS={starttls!r}: yes or no")
    user, password_file = environment.get("KEPT_SMTP_USER") or "", environment.get("KEPT_SMTP_PASSWORD_FILE") or ""
    password = ""
    if bool(user) != bool(password_file):
        mistakes.append("KEPT_SMTP_USER and KEPT_SMTP_PASSWORD_FILE: give both, or neither")
    elif password_file:
        try:
            password = Path(password_file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            mistakes.append(f"KEPT_SMTP_PASSWORD_FILE: {password_file} cannot be read")
    if user and starttls == "no":
        mistakes.append("KEPT_SMTP_USER: a password is not sent without STARTTLS; set KEPT_SMTP_STARTTLS=yes")
    if mistakes:
        raise Misconfigured("; ".join(mistakes))
    return SmtpSettings(host, int(port), sender, user, password, starttls == "yes")


class Smtp:
    def __init__(self, settings: SmtpSettings, timeout_s: float = TIMEOUT_S) -> None:
        self._settings = settings
        self._timeout_s = timeout_s

    def deliver(self, message: Outgoing) -> None:
        """Raises TemporaryFailure, PermanentFailure."""
        mail = as_mail(message, self._settings.sender)
        with _told_apart():
            server = smtplib.SMTP(self._settings.host, self._settings.port, timeout=self._timeout_s)
            try:
                self._submit(server, mail, message.address)
            finally:
                # The answer to QUIT is not waited for: nothing that is said then makes an accepted message undelivered.
                with suppress(smtplib.SMTPException, OSError):
                    server.putcmd("quit")
                server.close()

    def _submit(self, server: smtplib.SMTP, mail: EmailMessage, address: str) -> None:
        settings = self._settings
        if settings.starttls:
            server.starttls(context=ssl.create_default_context())
        if settings.user:
            server.login(settings.user, settings.password)
        server.ehlo_or_helo_if_needed()
        if not address.isascii() and not server.has_extn("smtputf8"):
            raise PermanentFailure("address-not-supported")
        server.send_message(mail, settings.sender, [address])


@contextmanager
def _told_apart() -> Iterator[None]:
    """What smtplib raises, as a failure of ours; without the server's words, which may name the recipient."""
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        ((code, _),) = error.recipients.values()
        raise _failure(code, "address-refused") from None
    except (smtplib.SMTPConnectError, smtplib.SMTPHeloError, smtplib.SMTPAuthenticationError):
        # Of the server or of how we are set up, not of this message: somebody will mend it.
        raise TemporaryFailure("server-not-ready") from None
    except (smtplib.SMTPDataError, smtplib.SMTPSenderRefused) as error:
        raise _failure(error.smtp_code, "server-refused") from None
    except TimeoutError:
        raise TemporaryFailure("server-timed-out") from None
    except (smtplib.SMTPException, OSError, ValueError):
        # Hung up, no STARTTLS, a bad certificate, or an answer that is none or never ends.
        raise TemporaryFailure("server-unusable") from None


def _failure(code: int, reason: str) -> TemporaryFailure | PermanentFailure:
    if code in (530, 534, 535, 538):  # RFC 4954: how we log in, not this message
        return TemporaryFailure("server-not-ready")
    return PermanentFailure(reason) if 500 <= code < 600 else TemporaryFailure(reason)
