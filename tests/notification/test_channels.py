"""Channels: one message for one notice, and every way in which a mail server can answer."""

import email
import smtplib
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.policy import default
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from kept.customer.v1 import events_pb2 as customer

from services.kernel.errors import Misconfigured
from services.notification.channels.mailbox import Mailbox
from services.notification.channels.smtp import Smtp, SmtpSettings, read_smtp
from services.notification.outgoing import Outgoing, PermanentFailure, TemporaryFailure
from tests.notification.office import NINE

NOTICE = UUID("7d444840-9dc0-11d1-b245-5ffdce74fad2")
MESSAGE = Outgoing(
    notice_id=NOTICE,
    channel=customer.CHANNEL_EMAIL,
    address="ana@example.com",
    name="王 Ana",
    title="您的问题已解决",
    body="王 Ana，您好！\n\n时间：5月7日（周二）09:00\n",
    at=NINE,
)
SHORT_S = 0.3


def text_of(message: bytes) -> tuple[Any, str]:
    parsed = email.message_from_bytes(message, policy=default)
    return parsed, parsed.get_content().replace("\r\n", "\n")


# The mailbox


def test_a_mail_client_reads_what_is_in_the_mailbox(tmp_path: Path) -> None:
    Mailbox(tmp_path / "mailbox").deliver(MESSAGE)

    (file,) = (tmp_path / "mailbox/new").iterdir()
    mail, text = text_of(file.read_bytes())
    assert file.name == str(NOTICE)
    assert (mail["Message-ID"], mail["Subject"], text) == (f"<{NOTICE}@kept>", MESSAGE.title, MESSAGE.body)
    assert (mail["To"].addresses[0].display_name, mail["To"].addresses[0].addr_spec) == ("王 Ana", "ana@example.com")
    assert mail["Date"].datetime == NINE


def test_only_its_owner_looks_into_the_mailbox(tmp_path: Path) -> None:
    Mailbox(tmp_path / "mailbox").deliver(MESSAGE)

    modes = {
        path: stat.S_IMODE(path.stat().st_mode) for path in [tmp_path / "mailbox", *(tmp_path / "mailbox").rglob("*")]
    }
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}


@pytest.mark.parametrize("read_as", ["new/{}", "cur/{}:2,S"])
def test_the_same_notice_again_is_the_same_message(tmp_path: Path, read_as: str) -> None:
    mailbox = Mailbox(tmp_path)
    mailbox.deliver(MESSAGE)
    (tmp_path / "new" / str(NOTICE)).rename(tmp_path / read_as.format(NOTICE))

    mailbox.deliver(replace(MESSAGE, channel=customer.CHANNEL_SMS, address="555 0199"))

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files == [tmp_path / read_as.format(NOTICE)]


@pytest.mark.parametrize("channel", [customer.CHANNEL_SMS, customer.CHANNEL_APP, customer.CHANNEL_WECHAT])
def test_a_message_by_another_channel_is_mail_to_a_number(tmp_path: Path, channel: customer.Channel.ValueType) -> None:
    Mailbox(tmp_path).deliver(replace(MESSAGE, channel=channel, address="+86 10 6552 9988"))

    (file,) = (tmp_path / "new").iterdir()
    assert text_of(file.read_bytes())[0]["To"].addresses[0].username == "+861065529988"


def test_a_mailbox_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "mailbox").write_text("in the way")

    with pytest.raises(TemporaryFailure) as caught:
        Mailbox(tmp_path / "mailbox").deliver(MESSAGE)
    assert caught.value.reason == "mailbox-not-writable"


@pytest.mark.parametrize("address", ["nobody", "a@b@c", "a b@c.cn", "a@b.cn\r\nBcc: x@y.cn", "<a@b.cn>, c"])
def test_an_address_that_mail_cannot_have_is_refused_for_good(tmp_path: Path, address: str) -> None:
    with pytest.raises(PermanentFailure) as caught:
        Mailbox(tmp_path).deliver(replace(MESSAGE, address=address))
    assert caught.value.reason == "bad-address"


def test_no_header_can_be_smuggled_in(tmp_path: Path) -> None:
    Mailbox(tmp_path).deliver(replace(MESSAGE, name="Ana\r\nBcc: x@y.cn", title="One\r\nBcc: x@y.cn"))

    (file,) = (tmp_path / "new").iterdir()
    assert text_of(file.read_bytes())[0]["Bcc"] is None


# SMTP


class Inbox:
    """A server's handler: keeps what it accepts; `answers` are given instead, oldest first."""

    def __init__(self, *answers: str, at: str = "DATA") -> None:
        self.answers = list(answers)
        self.at = at
        self.taken: list[bytes] = []

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's own names
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.at == "RCPT" and self.answers:
            return self.answers.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.at == "DATA" and self.answers:
            return self.answers.pop(0)
        assert isinstance(envelope.original_content, bytes)
        self.taken.append(envelope.original_content)
        return "250 OK"


@contextmanager
def serving(inbox: Inbox, *, utf8: bool = True) -> Iterator[Smtp]:
    controller = Controller(inbox, hostname="127.0.0.1", port=free_port(), enable_SMTPUTF8=utf8)
    controller.start()
    try:
        yield smtp(controller.port)
    finally:
        controller.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def smtp(port: int, timeout_s: float = 10.0) -> Smtp:
    return Smtp(SmtpSettings("127.0.0.1", port, "service@example.com", starttls=False), timeout_s)


def test_a_server_that_accepts_has_the_message() -> None:
    inbox = Inbox()
    with serving(inbox) as channel:
        channel.deliver(MESSAGE)

    mail, text = text_of(inbox.taken[0])
    assert (mail["Message-ID"], mail["From"], mail["Subject"]) == (
        f"<{NOTICE}@kept>",
        "service@example.com",
        MESSAGE.title,
    )
    assert text == MESSAGE.body


@pytest.mark.parametrize(
    ("at", "answer", "failure", "reason"),
    [
        ("RCPT", "550 no such user ana@example.com", PermanentFailure, "address-refused"),
        ("RCPT", "451 greylisted", TemporaryFailure, "address-refused"),
        ("DATA", "554 spam", PermanentFailure, "server-refused"),
        ("DATA", "452 disk full", TemporaryFailure, "server-refused"),
        ("DATA", "530 5.7.0 authentication required", TemporaryFailure, "server-not-ready"),
    ],
)
def test_a_refusal_is_for_good_or_for_now(at: str, answer: str, failure: type[Exception], reason: str) -> None:
    with serving(Inbox(answer, at=at)) as channel, pytest.raises(failure) as caught:
        channel.deliver(MESSAGE)
    assert str(caught.value) == reason
    assert caught.value.__cause__ is None, "the server's words may name the recipient"


def test_an_address_that_the_server_cannot_write_is_for_the_next_channel() -> None:
    with serving(Inbox(), utf8=False) as channel, pytest.raises(PermanentFailure, match="address-not-supported"):
        channel.deliver(replace(MESSAGE, address="ana@例子.cn"))


def test_what_was_put_off_is_accepted_the_next_time() -> None:
    inbox = Inbox("451 later")
    with serving(inbox) as channel:
        with pytest.raises(TemporaryFailure):
            channel.deliver(MESSAGE)
        channel.deliver(MESSAGE)

    assert len(inbox.taken) == 1


def test_without_starttls_nothing_is_said_where_it_was_asked_for() -> None:
    inbox = Inbox()
    with serving(inbox) as channel:
        channel._settings = replace(channel._settings, starttls=True)
        with pytest.raises(TemporaryFailure):
            channel.deliver(MESSAGE)
    assert inbox.taken == []


GREETING, GOOD = b"220 here\r\n", [b"250 hello\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n", b"250 taken\r\n"]


@contextmanager
def speaking(talk: Callable[[socket.socket], None], timeout_s: float = 5.0) -> Iterator[Smtp]:
    """A server that talks as it likes, to one caller."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        caller, _ = listener.accept()
        with caller:
            try:
                talk(caller)
            except OSError:
                return  # the caller had enough

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield smtp(listener.getsockname()[1], timeout_s)
    finally:
        listener.close()
        thread.join()


def answering(greeting: bytes, answers: list[bytes]) -> Callable[[socket.socket], None]:
    """One answer for each command, and for the message itself; then nothing more until the caller has gone."""

    def talk(caller: socket.socket) -> None:
        reading = caller.makefile("rb")
        caller.sendall(greeting)
        data = False
        for answer in answers:
            while (line := reading.readline()) and data and line != b".\r\n":
                pass
            caller.sendall(answer)
            data = answer.startswith(b"354")
        while reading.read(4096):
            pass

    return talk


def test_the_talking_server_can_take_a_message() -> None:
    with speaking(answering(GREETING, GOOD)) as channel:
        channel.deliver(MESSAGE)


@pytest.mark.parametrize(
    ("greeting", "answers", "failure"),
    [
        (b"", [], TemporaryFailure),  # hangs at once
        (GREETING, GOOD[:1], TemporaryFailure),  # hangs in the middle
        (GREETING, GOOD[:4], TemporaryFailure),  # hangs with the whole message in its hands
        (b"hello, who is there?\r\n", GOOD, TemporaryFailure),
        (b"\xff\x00\xfe garbage\r\n", GOOD, TemporaryFailure),
        (b"554 go away\r\n", [], TemporaryFailure),
        (b"x" * 20_000, [], TemporaryFailure),
        (GREETING, [b"250 hello\r\n", b"what?\r\n"], TemporaryFailure),
        (GREETING, [b"250 hello\r\n", b"250-" + b"x" * 20_000], TemporaryFailure),
        (GREETING, [b"250 hello\r\n", b"553 not from you\r\n", b"250 ok\r\n"], PermanentFailure),
        (GREETING, [answer * 2 for answer in GOOD], TemporaryFailure),  # says everything twice
        (GREETING, [*GOOD[:4], b"garbage\r\n"], TemporaryFailure),
    ],
)
def test_a_server_without_manners_is_survived(greeting: bytes, answers: list[bytes], failure: type[Exception]) -> None:
    with speaking(answering(greeting, answers), SHORT_S) as channel, pytest.raises(failure):
        channel.deliver(MESSAGE)


def test_a_server_that_accepts_twice_has_accepted() -> None:
    with speaking(answering(GREETING, [*GOOD[:4], GOOD[4] * 2])) as channel:
        channel.deliver(MESSAGE)


def test_a_server_that_hangs_up_is_tried_again() -> None:
    with speaking(lambda caller: caller.sendall(GREETING)) as channel, pytest.raises(TemporaryFailure):
        channel.deliver(MESSAGE)


def test_a_server_that_is_not_there_is_tried_again() -> None:
    with pytest.raises(TemporaryFailure):
        smtp(free_port()).deliver(MESSAGE)


def test_a_wrong_password_is_ours_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise smtplib.SMTPAuthenticationError(535, b"no")

    monkeypatch.setattr(smtplib.SMTP, "login", refused)
    with serving(Inbox()) as channel:
        channel._settings = replace(channel._settings, user="kept", password="secret")
        with pytest.raises(TemporaryFailure):
            channel.deliver(MESSAGE)


# Settings


def test_without_a_host_there_is_no_mail_server() -> None:
    assert read_smtp({"KEPT_SMTP_PORT": "nonsense"}) is None


def test_settings_are_read_and_never_shown_with_the_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    found = read_smtp(
        {
            "KEPT_SMTP_HOST": "mail.example.com",
            "KEPT_SMTP_FROM": "service@example.com",
            "KEPT_SMTP_USER": "kept",
            "KEPT_SMTP_PASSWORD_FILE": str(tmp_path / "password"),
        }
    )

    assert found == SmtpSettings("mail.example.com", 587, "service@example.com", "kept", "s3cret", starttls=True)
    assert "s3cret" not in repr(found)


def test_every_mistake_in_the_settings_is_told_at_once() -> None:
    with pytest.raises(Misconfigured) as caught:
        read_smtp(
            {
                "KEPT_SMTP_HOST": "mail.example.com",
                "KEPT_SMTP_PORT": "99999",
                "KEPT_SMTP_STARTTLS": "perhaps",
                "KEPT_SMTP_USER": "kept",
                "KEPT_SMTP_PASSWORD_FILE": "/nowhere",
            }
        )
    for name in ("PORT", "FROM", "STARTTLS", "PASSWORD_FILE"):
        assert f"KEPT_SMTP_{name}" in str(caught.value)


def test_a_password_is_not_sent_in_the_clear() -> None:
    with pytest.raises(Misconfigured, match="not sent without STARTTLS"):
        read_smtp(
            {
                "KEPT_SMTP_HOST": "mail.example.com",
                "KEPT_SMTP_FROM": "a@b.cn",
                "KEPT_SMTP_STARTTLS": "no",
                "KEPT_SMTP_USER": "kept",
                "KEPT_SMTP_PASSWORD_FILE": "/dev/null",
            }
        )
