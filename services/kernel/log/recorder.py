"""The library's ApplicationRecorder over our log, with group commit: savers that wait together commit together."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import ApplicationRecorder, Notification, StoredEvent, Subscription

from services.kernel.log.event_log import EventLog
from services.kernel.log.group_commit import GroupCommit
from services.kernel.log.port import Entry, Request, Save


class LogRecorder(ApplicationRecorder):
    """What the library's Application saves to and loads from in API processes."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._group = GroupCommit(log.append)

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        request: Request | None = None,
        answer: tuple[UUID, int] | None = None,
        **_library: Any,
    ) -> range:
        """The events' positions; where a request was all there was, an empty range before the next one.

        Raises VersionConflict, RequestRepeated, Overloaded, Unavailable (ask again with the same request id).
        """
        entries = tuple(entry for entry in stored_events if isinstance(entry, Entry))
        assert len(entries) == len(stored_events), "events come from ProtobufMapper"
        answer_id, answer_version = answer or (None, 0)
        last = self._group.commit(Save(entries, request, answer_id, answer_version))
        return range(last - len(entries) + 1, last + 1)

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        assert isinstance(originator_id, UUID)
        rows = self.log.stream(originator_id, after=gt or 0, upto=lte)
        if desc:
            rows.reverse()
        return [StoredEvent(originator_id, version, topic, record) for version, topic, record in rows[:limit]]

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        after = (start or 0) - (1 if inclusive_of_start and start else 0)
        rows = self.log.read(after, limit)
        return [
            Notification(UUID(int=0), 0, row.type, row.record, row.position)
            for row in rows
            if (stop is None or row.position <= stop) and (not topics or row.type in topics)
        ]

    def max_notification_id(self) -> int | None:
        return self.log.position() or None

    def subscribe(self, gt: int | None = None, topics: Sequence[str] = ()) -> Subscription[ApplicationRecorder]:
        raise NotImplementedError("followers read the log; the library's subscriptions lose their place")
