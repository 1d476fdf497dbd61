"""The console's files: one HTML shell for every page, and the styles and modules that it loads."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from litestar import MediaType, Request, Response, Router, get
from litestar.datastructures import CacheControlHeader
from litestar.static_files import create_static_files_router

from gateway.handlers import tenant_of

CONSOLE = Path(__file__).parent / "console"
PAGES = ("", "queue", "cases", "customers", "problems", "partners", "notices")
LANGUAGES = ("en", "zh-CN")
LANGUAGE_COOKIE = "kept-language"

AnyRequest = Request[Any, Any, Any]


@get(["/", "/{path:path}"], include_in_schema=False)
async def shell(request: AnyRequest) -> Response[str]:
    """The page itself decides what to show; an address that no page has is still told as 404."""
    known = request.url.path.strip("/").split("/")[0] in PAGES
    return Response(
        _shell().replace('lang="en"', f'lang="{language_of(request)}"', 1),
        status_code=200 if known else 404,
        media_type=MediaType.HTML,
        headers={"vary": "accept-language, cookie"},
    )


@get("/console", include_in_schema=False)
async def console(request: AnyRequest) -> dict[str, Any]:
    """What the console may choose from, and what it has chosen."""
    return {"tenants": request.app.state.settings.tenants, "tenant": tenant_of(request), "languages": LANGUAGES}


def files() -> Router:
    return create_static_files_router(
        "/static", directories=[CONSOLE], cache_control=CacheControlHeader(no_cache=True), name="static"
    )


def language_of(request: AnyRequest) -> str:
    """The one that was chosen; else the best of what the browser accepts; else English."""
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    if chosen in LANGUAGES:
        return str(chosen)
    wanted = sorted(_accepted(request.headers.get("accept-language", "")), key=lambda one: -one[1])
    for tag, quality in wanted:
        if quality > 0:
            for language in LANGUAGES:
                if tag.split("-")[0].lower() == language.split("-")[0]:
                    return language
    return LANGUAGES[0]


def _accepted(header: str) -> list[tuple[str, float]]:
    found = re.findall(r"([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*)(?:\s*;\s*q=([01](?:\.[0-9]{0,3})?))?", header[:400])
    return [(tag, float(quality or 1)) for tag, quality in found]


@cache
def _shell() -> str:
    return (CONSOLE / "index.html").read_text(encoding="utf-8")
