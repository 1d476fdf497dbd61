"""The application: routes, the console, problems, and the channels to the services."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.logging import LoggingConfig
from litestar.types import ASGIApp

from gateway import pages
from gateway.changes import changes
from gateway.openapi import config, schemas
from gateway.problems import HANDLERS
from gateway.routes import ROUTES
from gateway.rpc import backends
from gateway.security import loopback_only
from gateway.settings import Settings

VERSION = "1"


@dataclass(frozen=True)
class Gateway:
    """`app` to serve, in one event loop; set `stopping` before it ends, so that listeners are let go."""

    app: ASGIApp
    inner: Litestar
    stopping: asyncio.Event


def make_gateway(settings: Settings) -> Gateway:
    stopping = asyncio.Event()

    @asynccontextmanager
    async def connected(app: Litestar) -> AsyncIterator[None]:
        async with backends(settings.targets) as opened:
            app.state.backends = opened
            yield

    api = Router("/api", route_handlers=[*ROUTES, changes, pages.console])
    inner = Litestar(
        [api, pages.files(), pages.shell],
        lifespan=[connected],
        exception_handlers=HANDLERS,
        openapi_config=config(VERSION),
        state=State({"settings": settings, "stopping": stopping}),
        logging_config=LoggingConfig(configure_root_logger=False, log_exceptions="never"),
    )
    inner.openapi_schema.components.schemas.update(schemas(handler.opt["rpc"] for handler in ROUTES))
    return Gateway(loopback_only(inner), inner, stopping)
