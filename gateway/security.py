"""Until people sign in, only this machine may ask: what the gateway refuses, and what it forbids a browser."""

from collections.abc import Mapping

from litestar.datastructures import Headers, MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.response.base import ASGIResponse
from litestar.serialization import encode_json
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from gateway.problems import MEDIA_TYPE, Problem
from gateway.settings import LOOPBACK

HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_SAFE = ("GET", "HEAD", "OPTIONS")


def loopback_only(app: ASGIApp) -> ASGIApp:
    """Refuses other hosts' names (DNS rebinding) and other sites' changes (CSRF); sets the headers on every answer."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders(message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = _refusal(scope) if scope["type"] == ScopeType.HTTP else None
        if refusal is None:
            await app(scope, receive, sent)
        else:
            answer = ASGIResponse(
                body=encode_json(refusal.document()), status_code=refusal.status, media_type=MEDIA_TYPE
            )
            await answer(scope, receive, sent)

    return guarded


def _refusal(scope: HTTPScope) -> Problem | None:
    headers = Headers.from_scope(scope)
    host = headers.get("host", "")
    if host.rsplit(":", 1)[0] not in LOOPBACK and host not in LOOPBACK:
        return Problem(421, "not-this-host", f"open the gateway as {LOOPBACK[0]} or {LOOPBACK[1]}, on this machine")
    if scope["method"] in _SAFE:
        return None
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "same-origin")
    if (origin is not None and origin != f"http://{host}") or site not in ("same-origin", "none"):
        return Problem(403, "other-site", "a change may come from the console itself only, not from another page")
    return None
