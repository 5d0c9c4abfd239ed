"""What the studio answers at all: hosts, origins, passwords and paths, of Gradio's routes too.

A page that people open in their browser can be reached by every other page that they open. Requests that such
a page could cause are refused by `Origin`, and names that it could point at this machine (DNS rebinding) by
`Host`.
"""

from __future__ import annotations

import hmac
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")

# Paths of the page. Gradio has more: a proxy, files by their URLs, an editor. The studio needs none of those.
PATHS = ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt")
PREFIXES = (
    *("/api/", "/files/", "/assets/", "/static/", "/svelte/", "/gradio_api/queue/", "/gradio_api/call/"),
    *("/gradio_api/heartbeat/", "/gradio_api/info", "/gradio_api/run/", "/gradio_api/upload"),
    *("/gradio_api/cancel", "/gradio_api/reset", "/gradio_api/startup-events", "/gradio_api/app_id"),
    *("/gradio_api/file=", "/gradio_api/component_server", "/gradio_api/login_check", "/gradio_api/config"),
)
REMOTE = ("/gradio_api/file=http:", "/gradio_api/file=https:")  # which Gradio would fetch

HEADERS = {
    # Scripts and styles stand in Gradio's page itself; nothing is loaded from another place.
    "Content-Security-Policy": "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "frame-ancestors 'self'; form-action 'self'; base-uri 'self'; object-src 'none'",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Login(NamedTuple):
    """Name and password that every request must have (HTTP basic authentication)."""

    user: str
    password: str


@dataclass(frozen=True)
class Guard:
    """ASGI middleware that refuses what is not for the studio. Arguments as in `server.make_app`."""

    app: ASGIApp
    login: Login | None
    local: bool  # whether the studio listens on this machine only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses the request, or hands it on and adds `HEADERS` to its answer."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal:
            status, sentence = refusal
            challenge = {"WWW-Authenticate": 'Basic realm="Dreamlift studio"'} if status == 401 else None
            await PlainTextResponse(f"{sentence}\n", status, challenge)(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and sentence of a request that is refused."""
        headers, path = Headers(scope=scope), str(scope["path"])
        host = headers.get("host", "")
        if self.local and host_name(host) not in LOOPBACK:
            return 421, "The studio answers at 127.0.0.1 and localhost only."
        if self.login and not self._knows(headers):
            return 401, "The studio needs the name and the password that were given to --auth."
        if not is_own_origin(headers):
            return 403, "The studio takes no requests from the pages of other sites."
        if not (path in PATHS or path.startswith(PREFIXES)) or path.startswith(REMOTE):
            return 404, "There is no such page."
        return None

    def _knows(self, headers: Mapping[str, str]) -> bool:
        """Whether a request has the name and the password; compared in constant time."""
        assert self.login
        scheme, _, given = headers.get("authorization", "").partition(" ")
        try:
            decoded = b64decode(given, validate=True)
        except (Base64Error, ValueError):
            return False
        expected = f"{self.login.user}:{self.login.password}".encode()
        return hmac.compare_digest(decoded, expected) and scheme.lower() == "basic"


def host_name(host: str) -> str:
    """Name or address of a Host header, in lower case without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def is_own_origin(headers: Mapping[str, str]) -> bool:
    """Whether no page of another site has caused a request. Programs such as curl send no origin."""
    origin, host = headers.get("origin"), headers.get("host", "")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        return False
    site = headers.get("sec-fetch-site")
    navigation = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return site in (None, "same-origin", "none") or navigation
