"""Settings from the environment, validated at start with one clear message."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

SERVICES = ("cell", "customer", "case", "sla", "partner_network", "notification", "audit")
TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_LISTEN = re.compile(r"(127\.0\.0\.1|localhost|\[::1\]):([0-9]{1,5})")


class Misconfigured(Exception):
    """The gateway cannot work as it is set up: one line, exit code 78."""

    exit_code = 78


@dataclass(frozen=True)
class Settings:
    """Where the services answer, where we listen, and which companies the console offers; the first is the default."""

    targets: Mapping[str, str]
    host: str
    port: int
    tenants: tuple[str, ...]


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Raises Misconfigured with every mistake in one message."""
    mistakes: list[str] = []
    targets = _targets(environment.get("KEPT_TARGETS") or "", mistakes)
    host, port = _listen(environment.get("KEPT_LISTEN") or "127.0.0.1:8480", mistakes)
    tenants = tuple(filter(None, re.split(r"[\s,]+", environment.get("KEPT_TENANTS") or "main")))
    if strange := [name for name in tenants if not TENANT.fullmatch(name)]:
        mistakes.append(f"KEPT_TENANTS: {strange[0]!r} is no name; use lower-case letters, digits and hyphens")
    if not tenants:
        mistakes.append("KEPT_TENANTS: name at least one, for example main")
    if mistakes:
        raise Misconfigured("; ".join(mistakes))
    return Settings(targets, host, port, tenants)


def _targets(text: str, mistakes: list[str]) -> dict[str, str]:
    try:
        targets = json.loads(text)
    except ValueError:
        targets = None
    if not isinstance(targets, dict) or not all(isinstance(one, str) and one for one in targets.values()):
        mistakes.append('KEPT_TARGETS: give JSON, service name to gRPC target, for example {"cell": "unix:kept.sock"}')
        return {}
    if strange := sorted(targets.keys() - set(SERVICES)):
        mistakes.append(f"KEPT_TARGETS: {strange[0]!r} is no service; known are {', '.join(SERVICES)}")
    if "cell" not in targets:
        mistakes.append("KEPT_TARGETS: the cell's own target is missing: cell")
    return targets


def _listen(text: str, mistakes: list[str]) -> tuple[str, int]:
    found = _LISTEN.fullmatch(text)
    if found is None or int(found[2]) > 65535:
        mistakes.append(
            f"KEPT_LISTEN={text!r}: give HOST:PORT on the loopback, for example 127.0.0.1:8480; nobody signs in yet"
        )
        return "", 0
    return found[1].strip("[]"), int(found[2])
