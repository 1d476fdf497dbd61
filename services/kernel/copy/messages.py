"""What the stream is called, and how an event lies in it: the stored bytes, the rest in headers."""

from typing import Any

from services.kernel.copy.broker import Link
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Recorded


def stream_name(log: EventLog) -> str | None:
    """The cell, its epoch, and a mark of its first event, so that two cells of one name never share a stream.

    None as long as the log is empty: there is nothing to copy.
    """
    first = log.leaves(0, 1)
    if not first:
        return None
    with log.database.read() as session:
        row = session.execute("SELECT name, epoch FROM cell").fetchone()
    assert row is not None
    return f"kept.{row[0]}.{row[1]}.{first[0].hex()[:8]}"


def publish(link: Link, stream: str, event: Recorded) -> None:
    headers = {"position": event.position, "recorded_at": event.recorded_at, "type": event.type}
    link.publish(stream, event.record, headers, str(event.position))


def received(message: Any) -> tuple[int, Recorded] | None:
    """The message's offset in the stream, and its event; None for what no relay has published."""
    headers = message.headers or {}
    offset, position, recorded_at, type_ = map(headers.get, ("x-stream-offset", "position", "recorded_at", "type"))
    body = message.body.encode() if isinstance(message.body, str) else message.body
    match offset, position, recorded_at, type_, body:
        case int(), int(), int(), str(), bytes():
            return offset, Recorded(position, type_, recorded_at, body)
    return None
