"""A gateway in this process, in front of services that answer what the test says."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from litestar.testing import TestClient
from litestar.types import ASGIApp
from playwright.sync_api import Browser

from gateway.app import make_gateway
from gateway.settings import Settings
from tests.gateway.desk import browser
from tests.gateway.fakes import FakeCell, serving

ADDRESS = "http://127.0.0.1:8480"

Client = TestClient[ASGIApp]


@pytest.fixture(scope="session")
def served() -> Iterator[FakeCell]:
    with serving(FakeCell()) as cell:
        yield cell


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """One browser for all tests; see `browser`."""
    with browser() as launched:
        yield launched


@pytest.fixture(scope="session")
def connected(served: FakeCell) -> Iterator[Callable[..., Client]]:
    """`connected(*without)`: a client of a gateway that is connected to all services but these."""
    with ExitStack() as stack:

        def connect(*without: str) -> Client:
            settings = Settings(served.targets(*without), "127.0.0.1", 8480, ("main", "north"))
            app = make_gateway(settings).app
            return stack.enter_context(TestClient(app, base_url=ADDRESS, raise_server_exceptions=False))

        yield connect


@pytest.fixture(scope="session")
def shared_client(connected: Callable[..., Client]) -> Client:
    return connected()


@pytest.fixture
def fake(served: FakeCell) -> FakeCell:
    """Which answers nothing yet, and was not called."""
    served.answers, served.calls = {}, []
    return served


@pytest.fixture
def connect(connected: Callable[..., Client], fake: FakeCell) -> Callable[..., Client]:
    return connected


@pytest.fixture
def client(shared_client: Client, fake: FakeCell) -> Client:
    return shared_client
