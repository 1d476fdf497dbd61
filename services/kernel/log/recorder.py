"""The library's ApplicationRecorder over our log, with group commit: savers that wait together commit together."""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from eventsourcing.persistence import ApplicationRecorder, Notification, StoredEvent, Subscription

from services.kernel.errors import KeptError, Overloaded, Unavailable
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Entry, Request, Save

MOST_WAITING = 1000
_log = logging.getLogger(__name__)


class LogRecorder(ApplicationRecorder):
    """Saves of the API processes' threads. Whoever gets the turn commits for all that wait; each gets its own outcome."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self._waiting: deque[_Waiting] = deque()
        self._turn = threading.Lock()

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        *,
        request: Request | None = None,
        answer: tuple[UUID, int] | None = None,
        **_library: Any,
    ) -> Sequence[int]:
        """Raises VersionConflict, RequestRepeated, Unavailable (in doubt: ask again with the same request id)."""
        entries = tuple(entry for entry in stored_events if isinstance(entry, Entry))
        assert len(entries) == len(stored_events), "events come from ProtobufMapper"
        answer_id, answer_version = answer or (None, 0)
        last = self._commit(_Waiting(Save(entries, request, answer_id, answer_version)))
        return range(last - len(entries) + 1, last + 1)

    def _commit(self, mine: "_Waiting") -> int:
        if len(self._waiting) >= MOST_WAITING:
            raise Overloaded("log-overloaded", "too many changes wait for the log; try again later", retry_after_s=1.0)
        self._waiting.append(mine)
        with self._turn:
            if mine.outcome is None:
                self._commit_all_waiting()
        outcome = mine.outcome
        if isinstance(outcome, BaseException):
            raise outcome
        assert outcome is not None
        return outcome

    def _commit_all_waiting(self) -> None:
        batch = []
        while self._waiting:
            batch.append(self._waiting.popleft())
        outcomes: Sequence[int | BaseException]
        try:
            outcomes = self.log.append([waiting.save for waiting in batch])
        except KeptError as error:
            outcomes = [error] * len(batch)
        except Exception as error:
            _log.error("the log's append ended with %s", type(error).__name__)
            in_doubt = Unavailable("log-in-doubt", "it is not known whether this was recorded; send the same again")
            in_doubt.__cause__ = error
            outcomes = [in_doubt] * len(batch)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            waiting.outcome = outcome

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


class _Waiting:
    __slots__ = ("outcome", "save")

    def __init__(self, save: Save) -> None:
        self.save = save
        self.outcome: int | BaseException | None = None
