"""A history that is played without processes: callers' requests go to the servicers, and followers read when somebody
waits for them. The same log comes of it as of a cell whose processes run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from google.protobuf.message import Message

from services.case.servicer import CaseServicer
from services.cli.client import PRINCIPAL, RefusedError
from services.cli.imports.progress import Silent
from services.cli.imports.runner import Summary, prepare, run
from services.cli.table import SERVICES, deploy_policies, migrate
from services.customer.servicer import CustomerServicer
from services.kernel.application import Caller
from services.kernel.cell import CellClock, start_history
from services.kernel.clock import FixedClock, MachineClock
from services.kernel.config import Settings, read_settings
from services.kernel.errors import KeptError, Unavailable
from services.kernel.follower import Follower
from services.kernel.house import House
from services.kernel.log.bell import Bell, Listener
from services.kernel.policy import PolicyFollower
from services.kernel.replay.verify import Verdict, verify
from services.kernel.rpc import interceptors
from services.kernel.rpc.cell_servicer import CellServicer
from services.kernel.views import ViewFollower
from services.notification.servicer import NotificationServicer
from services.notification.worker import sender
from services.partner_network.servicer import PartnerNetworkServicer
from services.sla.servicer import SlaServicer
from tests.kept import ZONE, made_sample

SERVICERS = {
    "cell": CellServicer,
    "customer": CustomerServicer,
    "case": CaseServicer,
    "sla": SlaServicer,
    "partner_network": PartnerNetworkServicer,
    "notification": NotificationServicer,
}


class Played:
    """A cell in this process. With `now` it is live by that clock; without, it is in history mode.

    Raises what the servicers raise; as a call of the importer, what its client would.
    """

    def __init__(self, settings: Settings, now: FixedClock | None = None) -> None:
        self.house = house = House(settings)
        migrate(house)
        self.now = now
        if now is None:
            start_history(house.log)
        else:
            house.clock = CellClock(house.log, cast(MachineClock, now))
        deploy_policies(house, ())
        self.followers: list[Follower] = [
            PolicyFollower(policy(), house.log, house.clock) for service in SERVICES for policy in service.policies
        ]
        self.followers.append(sender(house))
        self.followers += [
            ViewFollower(service.views, house.log, house.views_database(service.name), house.view_bell)
            for service in SERVICES
        ]
        for follower in self.followers:
            follower.source = house.source
        house.log.bell = house.view_bell = _AskedForBell(self.drain)
        self._servicers = {name: servicer(house) for name, servicer in SERVICERS.items()}

    def __call__(self, service: str, method: str, request: Message) -> Any:
        """For the importer."""
        try:
            return self.call(service, method, request)
        except Unavailable:
            raise
        except KeptError as error:
            raise RefusedError(error.slug, str(error)) from error

    def call(
        self, service: str, method: str, request: Message, *, tenant: str = "main", principal: str = PRINCIPAL
    ) -> Any:
        def called() -> Any:
            name = f"/kept.{service}.v1.{service.title().replace('_', '')}Service/{method}"
            interceptors._caller.set(Caller(principal, tenant, name))
            return getattr(self._servicers[service], method)(request, None)

        return copy_context().run(called)

    def drain(self) -> None:
        """Every follower reads all that there is, in turn where they take turns, and nothing is parked."""
        while any(follower.step() for follower in self.followers):
            pass
        for follower in self.followers:
            with follower.database.read() as session:
                assert session.execute("SELECT * FROM parked").fetchall() == []

    def passes(self, to: datetime) -> None:
        """Time passes in a live cell, and what fell due fires."""
        assert self.now is not None
        self.now.set(to)
        self.drain()

    def close(self) -> None:
        self.house.close()


class _AskedForBell(Bell):
    """Whoever waits has the followers work."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__()
        self._work = work

    def ring(self) -> None:
        pass

    def listen(self) -> Listener:
        return _Ear(self._work)


class _Ear(Listener):
    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work

    def wait(self, timeout_s: float) -> bool:
        self._work()
        return True

    def poke(self) -> None:
        pass

    def close(self) -> None:
        pass


@contextmanager
def played(data: Path, now: FixedClock | None = None) -> Iterator[Played]:
    """Under the settings that `kept` has on that folder."""
    cell = Played(read_settings({}, data), now)
    try:
        yield cell
    finally:
        cell.close()


def imported(data: Path, sample: Path) -> Summary:
    """Plays the import of the file."""
    with played(data) as cell:
        source = prepare(sample, ZONE, data_dir=data)
        summary = run(source, call=cell, tenant="main", data_dir=data, progress=Silent())
        cell.drain()
    return summary


def played_sample(folder: Path, incidents: int) -> Path:
    """The folder of a cell that holds the sample of that size."""
    data = folder / "cell"
    data.mkdir(parents=True)
    imported(data, made_sample(folder, incidents))
    return data


def verified(data: Path) -> Verdict:
    house = House(read_settings({}, data))
    house.require()
    policies = [policy() for service in SERVICES for policy in service.policies]
    try:
        return verify(house, [service.views for service in SERVICES], policies)
    finally:
        house.close()
