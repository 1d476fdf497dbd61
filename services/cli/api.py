"""An API process: the servicers of the named services, or of all, and the cell's own. Never imports eventlet (I8)."""

import logging
import threading

from services.cli.table import services
from services.kernel.config import Settings
from services.kernel.errors import KeptError
from services.kernel.house import House
from services.kernel.log.event_log import EventLog
from services.kernel.rpc.cell_servicer import register as register_cell
from services.kernel.rpc.server import serve
from services.kernel.telemetry import start_telemetry

FORGETS_EVERY_S = 3600
_log = logging.getLogger(__name__)


def run_api(settings: Settings, names: tuple[str, ...], address: str) -> None:
    """Serves until it is told to stop. Raises Misconfigured."""
    start_telemetry("-".join(("api", *names)), settings.otlp_endpoint)
    house = House(settings)
    house.require()
    threading.Thread(target=_forget_requests, args=(house.log,), name="forget", daemon=True).start()
    registers = [register_cell, *(service.register_api() for service in services(names))]
    serve(
        lambda server: [register(server, house) for register in registers],
        address,
        development=settings.development,
    )
    house.close()


def _forget_requests(log: EventLog) -> None:
    """Now, and every hour from now on; a process that runs for months keeps no more than one that is started anew."""
    never = threading.Event()
    while True:
        try:
            log.forget_old_requests()
        except KeptError as error:
            _log.warning("requests of long ago stay for another hour: %s", error.slug)
        never.wait(FORGETS_EVERY_S)
