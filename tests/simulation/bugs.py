"""Bugs on purpose, behind the simulation's switch alone: each is one that it must find."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services.kernel.database import Session
from services.kernel.errors import KeptError, VersionConflict
from services.kernel.events import LogEvent
from services.kernel.follower import Batch
from services.kernel.log.event_log import EventLog
from services.kernel.log.port import Move, Save
from services.kernel.log.positions import Positions
from services.kernel.views import ViewFollower
from tests.simulation.ledger import Ledger
from tests.simulation.scheduler import Scheduler
from tests.simulation.trouble import Trouble


class WatchedViews(ViewFollower):
    ledger: Ledger
    trouble: Trouble

    def handle(self, session: Session, event: LogEvent) -> None:
        self.trouble.strike(self.name, event.position)
        self.ledger.handles(self.name, event.position)
        super().handle(session, event)


class PositionApart(WatchedViews):
    """Saves its position apart from the effect."""

    def _commit(self, batch: Batch) -> int:
        with self.database.write() as session:
            self._handle_all(session, batch)
        with self.database.write() as session:
            Positions(session).move(self.name, batch.start, batch.end)
        return batch.end


class WatchedLog(EventLog):
    """Counts what comes of appends."""

    scheduler: Scheduler

    def append(
        self,
        saves: Sequence[Save],
        *,
        move: Move | None = None,
        alongside: Callable[[Session], Sequence[Save]] | None = None,
    ) -> list[int | KeptError]:
        outcomes = super().append(saves, move=move, alongside=alongside)
        if len(saves) > 1:
            self.scheduler.note(f"{len(saves)} commit together", counts_as="committed together")
        for outcome in outcomes:
            if isinstance(outcome, KeptError):
                self.scheduler.note(outcome.slug, counts_as=outcome.slug + (" among others" if len(saves) > 1 else ""))
        return outcomes


class ConflictAsSuccess(WatchedLog):
    """Reports a conflict as success."""

    def append(
        self,
        saves: Sequence[Save],
        *,
        move: Move | None = None,
        alongside: Callable[[Session], Sequence[Save]] | None = None,
    ) -> list[int | KeptError]:
        outcomes = super().append(saves, move=move, alongside=alongside)
        return [self.position() if isinstance(outcome, VersionConflict) else outcome for outcome in outcomes]


@dataclass(frozen=True)
class Bug:
    view_follower: type[WatchedViews] = WatchedViews
    log: type[WatchedLog] = WatchedLog


NONE = Bug()
BUGS = {
    "position-apart": Bug(view_follower=PositionApart),
    "conflict-as-success": Bug(log=ConflictAsSuccess),
}
