"""A connection to the broker, on which nothing waits longer than a few seconds, and everything fails as one error."""

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from kombu.connection import Connection
from kombu.transport.pyamqp import Transport

from services.kernel.errors import Unavailable

CONNECTED_WITHIN_S, ANSWERED_WITHIN_S = 3.0, 3.0
HEARTBEAT_S = 10
STREAM = {"x-queue-type": "stream"}
NOT_FOUND, NO_ROUTE = 404, 312
# kombu's own list. AttributeError: py-amqp takes a connection apart as it is lost, and may then trip over what is gone.
ERRORS = (*Transport.connection_errors, *Transport.channel_errors, AttributeError)


class BrokerAway(Unavailable):
    """The broker does not answer, or not as it should. The log goes on without it."""

    def __init__(self, what: str) -> None:
        super().__init__("broker-away", what)


class CopyGone(BrokerAway):
    """The broker is there, and the stream is not."""

    def __init__(self) -> None:
        super().__init__("the stream is not there")


@contextmanager
def _told() -> Iterator[None]:
    """Whatever goes wrong with the broker is a BrokerAway. It tells kinds and codes alone: an address has a password."""
    try:
        yield
    except ERRORS as error:
        code = getattr(error, "reply_code", None)
        if code in (NOT_FOUND, NO_ROUTE):
            raise CopyGone from error
        kind = type(error).__name__
        why = f"refuses ({kind}, {code})" if code else f"cannot be reached, or was lost ({kind})"
        raise BrokerAway(f"the broker {why}; see KEPT_BROKER") from error


class Link:
    """One connection with one channel, for one thread. Raises BrokerAway and CopyGone; after that, make a new one."""

    def __init__(self, address: str, purpose: str) -> None:
        with _told():
            self._connection = _connected(address, purpose)
            try:
                self._channel = self._connection.channel()
            except BaseException:
                self.close()
                raise
        self._confirms: Confirms | None = None
        self._refused = self._gone = False
        self._beaten = 0.0

    def close(self) -> None:
        """Without a farewell: a broker that does not answer would be waited for."""
        with suppress(*ERRORS):
            self._connection.collect()

    # The stream

    def has(self, stream: str) -> bool:
        try:
            with _told():
                self._channel.queue_declare(stream, passive=True)
        except CopyGone:
            with _told():
                self._channel = self._connection.channel()  # the broker closes one that asked for what is not there
            self._confirms = None
            return False
        return True

    def make(self, stream: str) -> None:
        """It keeps all that it gets, unless a policy of the broker's own says otherwise."""
        with _told():
            self._channel.queue_declare(stream, durable=True, auto_delete=False, arguments=STREAM)

    def delete(self, stream: str) -> None:
        with _told():
            self._channel.queue_delete(stream)

    # Publishing

    def publish(self, stream: str, body: bytes, headers: dict[str, Any], message_id: str) -> None:
        """Sends, and does not wait."""
        with _told():
            confirms = self._confirms or self._begin_to_confirm()
            message = self._channel.prepare_message(body, headers=headers, properties={"message_id": message_id})
            # Mandatory: else what no stream takes would be confirmed all the same.
            self._channel.basic_publish(message, exchange="", routing_key=stream, mandatory=True)
        confirms.sent += 1

    def confirm(self, *, but: int = 0) -> None:
        """Waits until the broker has confirmed what was published, except for the last `but`."""
        confirms = self._confirms or Confirms()
        while confirms.confirmed < confirms.sent - but:
            before, until = confirms.confirmed, time.monotonic() + ANSWERED_WITHIN_S
            while confirms.confirmed == before:
                if not self.drain(until - time.monotonic()):
                    raise BrokerAway("the broker does not confirm what is published")
                if self._refused:
                    raise BrokerAway("the broker refuses what is published")

    def _begin_to_confirm(self) -> "Confirms":
        # py-amqp's own confirm mode waits for each message; its channel also tells of the confirms as they come.
        self._confirms = confirms = Confirms()
        self._channel.confirm_select()
        self._channel.events["basic_ack"].add(confirms.hear)
        self._channel.events["basic_nack"].add(self._on_refused)
        return confirms

    def _on_refused(self, _tag: int, _multiple: bool) -> None:
        self._refused = True

    def _on_gone(self, *_: object) -> None:
        self._gone = True

    # Reading

    def consume(self, stream: str, offset: int | str, prefetch: int, hear: Callable[[Any], None]) -> str:
        """From an offset on, each message is given to `hear` while draining. Returns what to cancel it by."""
        with _told():
            self._channel.basic_qos(0, prefetch, False)
            tag: str = self._channel.basic_consume(
                stream, callback=hear, on_cancel=self._on_gone, arguments={"x-stream-offset": offset}
            )
        return tag

    def cancel(self, consumer: str) -> None:
        with _told():
            self._channel.basic_cancel(consumer)

    def acknowledge(self, delivery_tag: int) -> None:
        """All up to this one; so many more the broker sends."""
        with _told():
            self._channel.basic_ack(delivery_tag, multiple=True)

    def drain(self, within_s: float) -> bool:
        """Takes in what the broker says next. Returns False when it said nothing in that time."""
        try:
            # Never 0: py-amqp would spin, without end, on a frame of which only the first part has come.
            self._connection.drain_events(timeout=max(within_s, 0.001))
        except TimeoutError:
            return False
        except ERRORS:
            with _told():
                raise
        if self._gone:
            raise CopyGone
        return True

    def beat(self) -> None:
        """To be called once a second or more often. Raises BrokerAway when the broker has been silent for too long."""
        if time.monotonic() - self._beaten >= 1.0:
            self._beaten = time.monotonic()
            with _told():
                self._connection.heartbeat_tick()


class Confirms:
    """How many of the messages of a channel were sent, and how many of them, from the first on, are confirmed."""

    def __init__(self) -> None:
        self.sent = 0
        self.confirmed = 0
        self._ahead: set[int] = set()

    def hear(self, tag: int, multiple: bool) -> None:
        """One message, or all up to it. Those of one message may come out of order."""
        if multiple:
            self.confirmed = max(self.confirmed, tag)
            self._ahead = {ahead for ahead in self._ahead if ahead > tag}
        else:
            self._ahead.add(tag)
        while self.confirmed + 1 in self._ahead:
            self.confirmed += 1
            self._ahead.remove(self.confirmed)


def _connected(address: str, purpose: str) -> Any:
    """py-amqp's connection as kombu makes it, which waits for no answer without end."""
    url = urlsplit(address)
    host = url.hostname or "localhost"
    tls: Any = False
    if url.scheme == "amqps":
        authorities = parse_qs(url.query).get("cacertfile", [])
        tls = {"server_hostname": host, "cert_reqs": ssl.CERT_REQUIRED, "ca_certs": next(iter(authorities), None)}
    client = Connection(  # type: ignore[no-untyped-call]  # kombu has no types
        transport="amqp",
        hostname=f"[{host}]" if ":" in host else host,
        port=url.port or (5671 if tls else 5672),
        userid=unquote(url.username or "guest"),
        password=unquote(url.password or "guest"),
        virtual_host=unquote(url.path[1:]) or "/",
        ssl=tls,
        connect_timeout=CONNECTED_WITHIN_S,
        heartbeat=HEARTBEAT_S,
        transport_options={"client_properties": {"connection_name": purpose}},
    )
    connection = client.transport.establish_connection()
    connection.sock.settimeout(ANSWERED_WITHIN_S)
    # Else each message is preceded by a look, with a timeout of 0, whether the broker is blocked (see `drain`).
    connection.client_properties.get("capabilities", {}).pop("connection.blocked", None)
    return connection
