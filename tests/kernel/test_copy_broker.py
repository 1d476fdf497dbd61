"""How the broker is reached: by whose word, and what is said where it is not."""

import asyncio
import datetime
import queue
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from services.kernel.copy.broker import BrokerAway, Link
from tests.broker import eventually
from tests.kernel.copying import through
from tests.proxy import proxy_to

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A certificate for 127.0.0.1, and who signs it, in one file; the key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - datetime.timedelta(days=1))
        .not_valid_after(NOW + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "ca.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return tmp_path / "ca.crt"


def test_a_connection_that_gets_no_channel_is_closed(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the broker allows no more of them."""

    def refuse(_: object) -> None:
        raise ConnectionError("no channel")

    monkeypatch.setattr("amqp.connection.Connection.channel", refuse)
    with proxy_to(broker) as proxy:
        with pytest.raises(BrokerAway) as refused:
            Link(through(proxy, broker), "kept tests")

        assert proxy.accepted == 1
        eventually(lambda: proxy.living == 0)
    assert refused  # with what its frames hold, so that no collector has closed it


@pytest.fixture
def tls_port(broker: str, authority: Path) -> Iterator[int]:
    """A port where the broker speaks TLS, with that certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority, authority.with_name("key"))
    url = urlsplit(broker)
    listening: queue.Queue[tuple[int, Callable[[], object]]] = queue.Queue()

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
        target.close()

    async def serve(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        far_source, far_target = await asyncio.open_connection(url.hostname, url.port)
        await asyncio.gather(pump(source, far_target), pump(far_source, target))

    async def listen() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
            stopped = asyncio.Event()
            stop = partial(asyncio.get_running_loop().call_soon_threadsafe, stopped.set)
            listening.put((server.sockets[0].getsockname()[1], stop))
            await stopped.wait()

    thread = threading.Thread(target=asyncio.run, args=(listen(),))  # a browser's tests leave a loop in the main thread
    thread.start()
    port, stop = listening.get(timeout=30)
    yield port
    stop()
    thread.join()


def test_over_tls_a_broker_is_believed_that_the_named_authority_signs(tls_port: int, authority: Path) -> None:
    link = Link(f"amqps://guest:guest@localhost:{tls_port}/?cacertfile={authority}", "kept tests")

    assert not link.has("kept.there-is-no-such-stream")
    link.close()


@pytest.mark.parametrize(
    ("host", "named"), [("localhost", False), ("127.0.0.1", True)], ids=["unknown authority", "another's name"]
)
def test_over_tls_nobody_else_is_believed(tls_port: int, authority: Path, host: str, named: bool) -> None:
    query = f"?cacertfile={authority}" if named else ""

    with pytest.raises(BrokerAway, match="SSLCertVerificationError"):
        Link(f"amqps://guest:guest@{host}:{tls_port}/{query}", "kept tests")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"password": "wrong"}, r"the broker refuses \(AccessRefused, 403\); see KEPT_BROKER"),
        ({"vhost": "nowhere"}, r"the broker refuses \(\w+, 530\); see KEPT_BROKER"),
        ({"port": "1"}, r"the broker cannot be reached, or was lost \(ConnectionRefusedError\); see KEPT_BROKER"),
    ],
)
def test_a_broker_that_refuses_is_told_and_its_address_is_not(broker: str, change: dict[str, str], told: str) -> None:
    url = urlsplit(broker)
    to = {"password": url.password, "vhost": "", "port": str(url.port), **change}

    with pytest.raises(BrokerAway, match=told) as raised:
        Link(f"amqp://{url.username}:{to['password']}@{url.hostname}:{to['port']}/{to['vhost']}", "kept tests")

    assert str(url.username) not in str(raised.value)
