"""Processes: the sender runs in one of its own, which alone has what the outside asks for."""

import pytest
from kept.customer.v1 import events_pb2 as customer

from services.cli.table import SENDER, workers
from services.cli.up import plan
from services.kernel.errors import Misconfigured
from services.kernel.house import House
from services.notification.channels.mailbox import Mailbox
from services.notification.channels.smtp import Smtp
from services.notification.worker import NotificationWorker, SenderWorker, sender
from tests.databases import Cell


@pytest.fixture
def mail_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT_SMTP_HOST", "mail.example.com")
    monkeypatch.setenv("KEPT_SMTP_FROM", "service@example.com")


@pytest.mark.usefixtures("mail_server")
@pytest.mark.parametrize("separate", [False, True])
def test_only_the_senders_process_knows_the_mail_server(sqlite_cell: Cell, separate: bool) -> None:
    _, processes = plan(sqlite_cell.settings, separate=separate)

    knowing = [one.name for one in processes if any(name.startswith("KEPT_SMTP_") for name in one.env)]
    assert knowing == ["sender"]


def test_the_sender_runs_only_where_it_is_named() -> None:
    assert SenderWorker not in workers(())
    assert NotificationWorker in workers(())
    assert workers((SENDER,)) == [SenderWorker]


def test_without_a_mail_server_everything_goes_to_the_mailbox(sqlite_house: House) -> None:
    channels = sender(sqlite_house).channels

    assert set(channels.live) == set(customer.Channel.values()) - {customer.CHANNEL_UNSPECIFIED}
    assert all(isinstance(channel, Mailbox) for channel in (*channels.live.values(), channels.in_history))


@pytest.mark.usefixtures("mail_server")
def test_with_a_mail_server_mail_goes_there_but_not_that_of_long_ago(sqlite_house: House) -> None:
    channels = sender(sqlite_house).channels

    assert isinstance(channels.of(customer.CHANNEL_EMAIL, history=False), Smtp)
    assert isinstance(channels.of(customer.CHANNEL_EMAIL, history=True), Mailbox)
    assert isinstance(channels.of(customer.CHANNEL_SMS, history=False), Mailbox)


@pytest.mark.usefixtures("mail_server")
def test_a_sender_that_is_set_up_wrongly_says_so(sqlite_house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEPT_SMTP_FROM", "nobody")

    with pytest.raises(Misconfigured, match="KEPT_SMTP_FROM"):
        sender(sqlite_house)
