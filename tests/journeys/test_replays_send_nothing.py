"""Notices go out once; ten replays of what led to them, with every credential at hand, send nothing (I10)."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from kept.audit.v1.service_pb2 import StreamEventsRequest
from kept.common.v1.record_pb2 import Record
from kept.customer.v1 import events_pb2 as customer_events
from kept.notification.v1.events_pb2 import NoticeSent
from kept.notification.v1.service_pb2 import PublishRuleSetRequest

from services.cli.cell import open_cell
from services.cli.client import Client
from services.cli.rules import default_rules
from tests.kept import kept
from tests.notification.test_channels import Inbox, free_port
from tests.scene import edited, open_case, register_customer

REPLAYS = 10
BY_MAIL, BY_SMS = customer_events.CHANNEL_EMAIL, customer_events.CHANNEL_SMS


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    """A mail server that cells and commands started from here would all know how to reach."""
    handler = Inbox()
    server = Controller(handler, hostname="127.0.0.1", port=free_port())
    server.start()
    credentials = {"HOST": "127.0.0.1", "PORT": str(server.port), "FROM": "service@example.com", "STARTTLS": "no"}
    for name, value in credentials.items():
        monkeypatch.setenv(f"KEPT_SMTP_{name}", value)
    yield handler
    server.stop()


def test_ten_replays_send_nothing(tmp_path: Path, inbox: Inbox) -> None:
    mailbox = tmp_path / "mailbox" / "new"
    with open_cell(tmp_path) as connection, Client(replace(connection, principal="user:ana")) as client:
        # Else at night, where the recipients live, nothing would go out before the morning.
        rules = default_rules().replace("  case-opened:\n", "  case-opened:\n    urgent: true\n")
        publish = PublishRuleSetRequest(request_id="rules", name="standard", source=rules)
        client.call("notification", "PublishRuleSet", publish)
        for name, channel in (("mail", BY_MAIL), ("sms", BY_SMS)):
            tell(client, name, channel)
        sent = [NoticeSent.FromString(record) for record in notices(client, 2)]
    assert {notice.channel for notice in sent} == {BY_MAIL, BY_SMS}
    assert (len(inbox.taken), len(list(mailbox.iterdir()))) == (1, 1)

    for _ in range(REPLAYS):
        done = kept("replay", "--verify", "--data", tmp_path)
        assert done.returncode == 0, done.stdout

    assert (len(inbox.taken), len(list(mailbox.iterdir()))) == (1, 1)


def tell(client: Client, name: str, channel: customer_events.Channel.ValueType) -> None:
    """A customer who wants to be told that way, and a case that is worth telling of."""
    register = edited(register_customer(), {"request_id": name, "party.preferences.channels": [channel]})
    customer_id = client.call("customer", "RegisterCustomer", register).receipt.id
    client.call("case", "Open", edited(open_case(customer_id), {"request_id": f"{name}-case"}))


def notices(client: Client, count: int) -> Iterator[bytes]:
    """So many that went out, as they are recorded."""
    wanted = StreamEventsRequest(types=[NoticeSent.DESCRIPTOR.full_name], follow=True)
    stream = client.stream("audit", "StreamEvents", wanted, lambda request, message: None)
    for message in stream:
        if message.record:
            yield Record.FromString(message.record).data
            count -= 1
        if not count:
            return
