"""A notice as mail, which every mail client can read."""

from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from kept.customer.v1 import events_pb2 as customer

from services.notification.outgoing import Outgoing, PermanentFailure

SENDER = "kept@localhost"


def as_mail(message: Outgoing, sender: str = SENDER) -> EmailMessage:
    """RFC 5322. Raises PermanentFailure for an address that mail cannot have."""
    mail = EmailMessage(policy=SMTP)
    mail["Message-ID"] = f"<{message.notice_id}@kept>"
    mail["Date"] = format_datetime(message.at)
    mail["From"] = sender
    mail["To"] = _address(message)
    mail["Subject"] = " ".join(message.title.split())
    mail["X-Kept-Channel"] = customer.Channel.Name(message.channel).removeprefix("CHANNEL_").lower()
    mail.set_content(message.body, cte="base64")  # some servers on the way take seven bits only
    return mail


def _address(message: Outgoing) -> Address:
    name = " ".join(message.name.split())
    try:
        if message.channel == customer.CHANNEL_EMAIL:
            return Address(name, addr_spec=message.address)
        kind = customer.Channel.Name(message.channel).removeprefix("CHANNEL_").lower()
        return Address(name, username="".join(message.address.split()), domain=f"{kind}.invalid")
    except (MessageError, ValueError, IndexError):
        raise PermanentFailure("bad-address") from None
