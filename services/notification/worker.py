"""The notification service's followers; and the sender, which runs in a process of its own, the only one with credentials."""

import os

from kept.customer.v1 import events_pb2 as customer

from services.kernel.follow import follow, one_batch
from services.kernel.follower import Follower
from services.kernel.house import House
from services.kernel.policy import PolicyFollower
from services.kernel.views import ViewFollower
from services.notification.channels.mailbox import Mailbox
from services.notification.channels.smtp import Smtp, read_smtp
from services.notification.outgoing import Channel
from services.notification.policies import NoticePolicy
from services.notification.sender import NAME, Channels, SenderFollower
from services.notification.views import VIEWS


def policy(house: House) -> PolicyFollower:
    return PolicyFollower(NoticePolicy(), house.log, house.clock)


def views(house: House) -> Follower:
    return ViewFollower.of(VIEWS, house)


def sender(house: House) -> SenderFollower:
    """Everything goes to the mailbox beside the cell's data; with KEPT_SMTP_HOST, e-mail goes to that server instead.

    Raises Misconfigured.
    """
    mailbox = Mailbox(house.settings.data / "mailbox")
    channels: dict[customer.Channel.ValueType, Channel] = {
        channel: mailbox for channel in customer.Channel.values() if channel
    }
    smtp = read_smtp(os.environ)
    if smtp is not None:
        channels[customer.CHANNEL_EMAIL] = Smtp(smtp)
    return SenderFollower(house.log, house.clock, house.sealer, Channels(channels, in_history=mailbox))


class NotificationWorker:
    name = "notification"
    house: House

    @follow(policy)
    def decide(self, follower: Follower) -> bool:
        return one_batch(follower)

    @follow(views)
    def keep_views(self, follower: Follower) -> bool:
        return one_batch(follower)


class SenderWorker:
    name = NAME
    house: House

    @follow(sender)
    def deliver(self, follower: Follower) -> bool:
        return one_batch(follower)
