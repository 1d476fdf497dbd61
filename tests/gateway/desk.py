"""A person at the console: a real browser, in front of a real gateway, in front of services that answer what is said."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # has no types
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from tests.gateway.fakes import FakeCell
from tests.gateway.sample import NOW, answers
from tests.needed import missing

WIDE, NARROW = (1280, 900), (390, 844)
SCHEMES = {"en": "light", "zh-CN": "dark"}  # each language once, each colour scheme once
WAIT_MS = 10_000
NOT_OURS = ("Failed to load resource",)  # the browser's own words on an answer that the console handles
_GRAVE = ("serious", "critical")


@dataclass
class Desk:
    """One page in one language. `errors` are what the browser complained about."""

    page: Page
    address: str
    cell: FakeCell
    language: str
    errors: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """The page, once it shows something. Everything is as on the sample's morning; nothing was called yet."""
        self.cell.answers, self.cell.calls = answers(), []
        return self.go(path)

    def go(self, path: str) -> Page:
        self.errors.clear()
        self.page.clock.set_system_time(NOW)
        self.page.goto(self.address + path)
        self.page.wait_for_selector("main:not([aria-busy]) h1")
        return self.page

    def hears(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(NOT_OURS):
            self.errors.append(message.text)

    def barriers(self) -> list[str]:
        """What axe finds that is serious or critical, with the place."""
        found = Axe().run(self.page, options={"resultTypes": ["violations"]}).response["violations"]
        return [f"{one['id']}: {one['nodes'][0]['target']}" for one in found if one["impact"] in _GRAVE]

    def overflow(self) -> int:
        """By how many pixels the page is wider than the screen."""
        return cast(
            int, self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        )

    def keep_screenshot(self, name: str) -> None:
        """Below KEPT_SCREENSHOTS, where it is set."""
        if folder := os.environ.get("KEPT_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@contextmanager
def browser() -> Iterator[Browser]:
    """Skips, with the reason, where there is none; in CI that is a failure."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        missing("there is no chromium on the PATH: the console was not looked at")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"] if os.getuid() == 0 else [])
        yield launched
        launched.close()


def sit_down(browser: Browser, address: str, cell: FakeCell, language: str) -> Desk:
    context = browser.new_context(
        locale=language,
        timezone_id="Asia/Shanghai",
        color_scheme=cast(Any, SCHEMES[language]),
        viewport={"width": WIDE[0], "height": WIDE[1]},
        reduced_motion="reduce",
    )
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.clock.install(time=NOW)
    desk = Desk(page, address, cell, language)
    page.on("console", desk.hears)
    page.on("pageerror", lambda error: desk.errors.append(str(error)))
    return desk
