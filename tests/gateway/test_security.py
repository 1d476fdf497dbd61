"""Only this machine asks, only the console changes, and a browser is told what it may not do."""

import pytest

from tests.gateway.conftest import Client
from tests.gateway.fakes import FakeCell
from tests.gateway.sample import CASE

WRITE = f"/api/cases/{CASE}/acknowledge"


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8480", "127.0.0.1.evil.example", "10.0.0.7:8480", ""])
def test_another_hosts_name_is_refused(client: Client, fake: FakeCell, host: str) -> None:
    answer = client.get("/api/cell", headers={"host": host})

    assert (answer.status_code, answer.json()["type"]) == (421, "urn:kept:not-this-host")
    assert fake.calls == []


@pytest.mark.parametrize("host", ["127.0.0.1:8480", "localhost:1", "localhost", "[::1]:8480", "[::1]"])
def test_the_loopbacks_names_are_served(client: Client, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
    ],
)  # fmt: skip
def test_a_change_from_another_site_is_refused(client: Client, fake: FakeCell, headers: dict[str, str]) -> None:
    answer = client.post(WRITE, headers=headers)

    assert (answer.status_code, answer.json()["type"]) == (403, "urn:kept:other-site")
    assert fake.calls == []


def test_a_change_from_the_console_passes(client: Client, fake: FakeCell) -> None:
    client.post(WRITE, headers={"origin": "http://127.0.0.1:8480", "sec-fetch-site": "same-origin"})

    assert fake.called("Acknowledge")


@pytest.mark.parametrize("address", ["/", "/static/main.js", "/api/console", "/api/nothing", "/schema", "/nothing"])
def test_every_answer_has_the_security_headers(client: Client, address: str) -> None:
    headers = client.get(address).headers

    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["style-src"]) == ("'none'", "'self'", "'self'")
    assert policy["frame-ancestors"] == "'none'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] in ("no-store", "no-cache")


def test_data_is_never_kept_by_a_browser(client: Client) -> None:
    assert client.get("/api/console").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("address", ["/static/../settings.py", "/static/%2e%2e/settings.py", "/static/nothing.js"])
def test_nothing_but_the_consoles_files_is_served(client: Client, address: str) -> None:
    answer = client.get(address)

    assert "Misconfigured" not in answer.text
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("accepted", "cookie", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "", "zh-CN"), ("en-GB,zh;q=0.9", "", "en"), ("fr, zh-TW;q=0.5, en;q=0.4", "", "zh-CN"),
        ("fr", "", "en"), ("", "", "en"), ("zh;q=0", "", "en"), ("en", "kept-language=zh-CN", "zh-CN"),
        ("zh", "kept-language=en", "en"), ("zh", "kept-language=xx", "zh-CN"),
    ],
)  # fmt: skip
def test_the_page_is_in_the_readers_language(client: Client, accepted: str, cookie: str, language: str) -> None:
    page = client.get("/", headers={"accept-language": accepted, "cookie": cookie})

    assert f'<html lang="{language}">' in page.text
    assert page.headers["vary"] == "accept-language, cookie"


def test_a_page_that_is_not_there_is_told_so(client: Client) -> None:
    assert client.get("/nothing").status_code == 404
    assert client.get("/cases/whatever").status_code == 200
