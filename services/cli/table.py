"""The process table: one line for each service. Nothing here imports grpc or nameko (I8); processes load their part."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from services.case.policies import ImpactPolicy
from services.case.views import VIEWS as CASE_VIEWS
from services.customer.views import VIEWS as CUSTOMER_VIEWS
from services.kernel.cell import deploy
from services.kernel.erasure import carry_out
from services.kernel.errors import Misconfigured
from services.kernel.house import House
from services.kernel.lockstep import Lockstep
from services.kernel.policy import Policy, PolicyFollower
from services.kernel.privacy import migrate_keys
from services.kernel.views import ViewFollower, ViewSet
from services.notification import sender
from services.notification.policies import NoticePolicy
from services.notification.views import VIEWS as NOTIFICATION_VIEWS
from services.partner_network.policies import OfferPolicy
from services.partner_network.views import VIEWS as PARTNER_NETWORK_VIEWS
from services.sla.policies import SlaPolicy
from services.sla.views import VIEWS as SLA_VIEWS


@dataclass(frozen=True)
class Service:
    """A service's views, its policies, and the names of what its API and worker processes load."""

    name: str
    views: ViewSet
    policies: tuple[type[Policy], ...]
    worker_class: str

    def register_api(self) -> Callable[[Any, House], str]:
        """Adds the servicer to a server; only in API processes."""
        return cast(Callable[[Any, House], str], import_module(f"services.{self.name}.api").register)

    def worker(self) -> type[Any]:
        """The nameko service; only in worker processes."""
        return cast(type[Any], getattr(import_module(f"services.{self.name}.worker"), self.worker_class))


SERVICES = (
    Service("customer", CUSTOMER_VIEWS, (), "CustomerWorker"),
    Service("case", CASE_VIEWS, (ImpactPolicy,), "CaseWorker"),
    Service("sla", SLA_VIEWS, (SlaPolicy,), "SlaWorker"),
    Service("partner_network", PARTNER_NETWORK_VIEWS, (OfferPolicy,), "PartnerNetworkWorker"),
    Service("notification", NOTIFICATION_VIEWS, (NoticePolicy,), "NotificationWorker"),
)
NAMES = tuple(service.name for service in SERVICES)
# Runs in a process of its own, the only one with credentials for the outside.
SENDER = sender.NAME
# Runs in a process of its own where there is a broker; it is no service's.
RELAY = "relay"


def services(names: tuple[str, ...]) -> tuple[Service, ...]:
    """These, or all when none is named."""
    return tuple(service for service in SERVICES if not names or service.name in names)


def workers(names: tuple[str, ...]) -> list[type[Any]]:
    """What a worker process runs: these services' followers, or all services'. Sender and relay run only where named."""
    found = [service.worker() for service in services(names)]
    if SENDER in names:
        found.append(cast(type[Any], import_module("services.notification.worker").SenderWorker))
    if RELAY in names:
        found.append(cast(type[Any], import_module("services.kernel.copy.worker").RelayWorker))
    return found


def migrate(house: House) -> None:
    """Makes or updates everything that a cell keeps; any number may do so at once.

    Raises Misconfigured when something belongs to a newer Kept, or when the log is gone that the views were made from.
    """
    house.make_folders()
    with house.migrating():
        views = [house.views_database(service.name) for service in SERVICES]
        if not house.database("log").exists() and any(view.exists() for view in views):
            raise Misconfigured("the event log is missing while its views are there: restore it from a copy")
        house.make()
        carry_out(house.database("log"), house.database("keys"))
        for service in SERVICES:
            service.views.migrate(house.views_database(service.name))
            ViewFollower.of(service.views, house).register()
        _migrate_log(house)


def make_tables(house: House, cell: str, *, views: bool) -> None:
    """The tables of a cell that something else will fill. Needs no master key, and leaves none."""
    migrate_keys(house.database("keys"))
    house.log.migrate(cell)
    if views:
        for service in SERVICES:
            service.views.migrate(house.views_database(service.name))
    _migrate_log(house)


def _migrate_log(house: House) -> None:
    """What policies and the sender keep beside the log."""
    deciders = [PolicyFollower(policy(), house.log, house.clock) for service in SERVICES for policy in service.policies]
    for rank, decider in enumerate(deciders):
        decider.migrate(rank)
    sender.migrate_sender(house.log, rank=len(deciders))
    with house.log.database.write() as session:
        Lockstep(session).keep_only(frozenset(decider.name for decider in deciders) | {SENDER})


def deploy_policies(house: House, names: tuple[str, ...]) -> None:
    for service in services(names):
        for policy in service.policies:
            deploy(house.log, house.clock, policy.name, policy.version)
