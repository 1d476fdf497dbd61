"""Group commit: savers that wait together commit together, and each gets its own outcome.

There is no writer thread: the first saver leads and commits for all that wait, and hands the lead to one that came
meanwhile. So one saver alone waits for nobody, nothing has to be started or stopped, and no error can leave the log
without a writer. Whose outcome is known are called one by one, each by the one before it: called all at once, they would
spend more time on Python's global lock than on their work.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from services.kernel.errors import InDoubt, KeptError, Overloaded, Unavailable
from services.kernel.log.port import Save
from services.kernel.telemetry import batch_size, waiting

# What may wait: beyond it savers are turned away at once, instead of waiting longer and longer.
MOST_WAITING = 1000
MOST_WAITING_BYTES = 32 * 1024 * 1024
# Events in one transaction, so that its savers are not kept by a batch without end.
MOST_TOGETHER = 500
PATIENCE_S = 20.0
_log = logging.getLogger(__name__)

Append = Callable[[Sequence[Save]], Sequence[int | KeptError]]


class GroupCommit:
    """For the threads of one process. `append` commits several saves: each gets its last position, or its own refusal."""

    def __init__(self, append: Append) -> None:
        self._append = append
        self._lock = threading.Lock()  # of all below; whoever has it waits for nothing
        self._waiting: deque[_Saver] = deque()
        self._bytes = 0
        self._led = False

    def commit(self, save: Save, patience_s: float = PATIENCE_S) -> int:
        """Returns the position of the save's last event; may be called by many threads at once. Waits no longer than
        `patience_s` seconds for others.

        Raises: what the append refuses it with; Overloaded (log-overloaded) when too much waits; InDoubt (log-in-doubt)
        when it is not known whether it was recorded; Unavailable (log-stalled) when it surely was not.
        """
        mine = _Saver(save)
        self._come(mine)
        if not mine.leads:
            self._wait(mine, patience_s)
        if mine.leads:
            self._lead(mine)
        outcome = mine.outcome
        if isinstance(outcome, BaseException):
            raise outcome
        assert outcome is not None
        return outcome

    def _come(self, mine: "_Saver") -> None:
        with self._lock:
            if not self._led:
                self._led = mine.leads = True
                return
            if len(self._waiting) >= MOST_WAITING or self._bytes + mine.size > MOST_WAITING_BYTES:
                raise Overloaded(
                    "log-overloaded", "too many changes wait for the log; try again later", retry_after_s=1.0
                )
            self._waiting.append(mine)
            self._bytes += mine.size

    def _wait(self, mine: "_Saver", patience_s: float) -> None:
        if mine.called.acquire(timeout=patience_s) or self._gives_up(mine):
            _call(mine.next)

    def _gives_up(self, mine: "_Saver") -> bool:
        """Returns whether it was called in this very moment."""
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
                self._bytes -= mine.size
                mine.outcome = Unavailable(
                    "log-stalled", "the log takes no changes now; nothing was recorded, try again"
                )
                return False
        mine.gave_up = True
        if mine.leads or mine.called.acquire(blocking=False):
            return True
        mine.outcome = InDoubt() if mine.outcome is None else mine.outcome
        return False

    def _lead(self, mine: "_Saver") -> None:
        batch = [mine]
        try:
            with self._lock:
                batch += self._next(MOST_TOGETHER - mine.rows)
            waiting.record(len(self._waiting))
            batch_size.record(len(batch))
            outcomes = self._outcomes([saver.save for saver in batch])
        finally:
            self._hand_over()
        for saver, following, outcome in zip(batch, [*batch[1:], None], outcomes, strict=True):
            saver.outcome, saver.next = outcome, following
        _call(mine.next)

    def _next(self, most: int) -> "list[_Saver]":
        batch: list[_Saver] = []
        while self._waiting and most > 0:
            saver = self._first()
            most -= saver.rows
            batch.append(saver)
        return batch

    def _first(self) -> "_Saver":
        saver = self._waiting.popleft()
        self._bytes -= saver.size
        return saver

    def _outcomes(self, saves: Sequence[Save]) -> Sequence[int | BaseException]:
        try:
            return self._append(saves)
        except KeptError as error:
            return [error] * len(saves)
        except Exception as error:
            _log.error("the log's append ended with %s", type(error).__name__)
            doubt = InDoubt()
            doubt.__cause__ = error
            return [doubt] * len(saves)

    def _hand_over(self) -> None:
        with self._lock:
            if not self._waiting:
                self._led = False
                return
            following = self._first()
            following.leads = True
        following.called.release()


class _Saver:
    __slots__ = ("called", "gave_up", "leads", "next", "outcome", "rows", "save", "size")

    def __init__(self, save: Save) -> None:
        self.save = save
        self.size = sum(len(entry.state) for entry in save.entries)
        self.rows = max(1, len(save.entries))  # without events there is still the request
        self.called = threading.Lock()
        self.called.acquire()
        self.leads = self.gave_up = False
        self.next: _Saver | None = None
        self.outcome: int | BaseException | None = None


def _call(saver: _Saver | None) -> None:
    """Wakes it, and it the next; one that gave up is passed over."""
    while saver is not None:
        saver.called.release()
        # Either it has heard, or takes the call back itself, or we do: exactly one of the two goes on.
        if not (saver.gave_up and saver.called.acquire(blocking=False)):
            return
        saver = saver.next
