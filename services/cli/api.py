"""An API process: the servicers of the named services, or of all, and the cell's own. Never imports eventlet (I8)."""

from services.cli.table import services
from services.kernel.config import Settings
from services.kernel.house import House
from services.kernel.rpc.cell_servicer import register as register_cell
from services.kernel.rpc.server import serve
from services.kernel.telemetry import start_telemetry


def run_api(settings: Settings, names: tuple[str, ...], address: str) -> None:
    """Serves until it is told to stop. Raises Misconfigured."""
    start_telemetry("-".join(("api", *names)), settings.otlp_endpoint)
    house = House(settings)
    house.require()
    house.log.forget_old_requests()
    registers = [register_cell, *(service.register_api() for service in services(names))]
    serve(
        lambda server: [register(server, house) for register in registers],
        address,
        development=settings.development,
    )
    house.close()
