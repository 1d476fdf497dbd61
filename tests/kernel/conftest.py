"""Fixtures for the kernel's tests."""

from tests.kernel.copying import copied, log, proxy, relay

__all__ = ["copied", "log", "proxy", "relay"]
