"""Who may talk to the server: requests from its own page, for its own name, by somebody who knows the password.

A web page of a stranger, open in the same browser, can send requests to this machine too. It is refused by its `Origin`
(and `Sec-Fetch-Site`), which the browser sets and the page cannot change. A stranger's domain name that resolves to
this machine (DNS rebinding) is refused by the `Host`, which then is that domain name.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
import time
from collections.abc import Collection
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOGIN = "/login"
OPEN_PATHS = {LOGIN, "/page/style.css"}
"""What is shown before the password was given."""

COOKIE = "unblur"
LOGIN_LASTS = 12 * 3600  # s
_LONGEST_FORM = 2000  # bytes, of the form with the password
_WRONG_PASSWORD_TAKES = 1.0  # s; passwords are compared one after the other, so at most one wrong one a second
_MOST_WAITING = 10  # passwords that wait to be compared; further ones are refused

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """Wraps an application: refuses foreign requests, asks for the password, and sets the headers for the browser.

    Args:
        app: what answers the requests that are allowed.
        names: host names of this server, besides `localhost` and IP addresses.
        password: what must be known to use the server; None: nothing.
    """

    def __init__(self, app: ASGIApp, *, names: Collection[str] = (), password: str | None = None) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower().rstrip(".") for name in names)}
        self._password = password
        self._logins: dict[str, float] = {}  # value of the cookie -> time at which it expires
        self._trying = asyncio.Lock()
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no page of this server opens a web socket
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
            await send(message)

        answer = await self._answer(Request(scope, receive))
        await (self._app if answer is None else answer)(scope, receive, send_with_headers)

    async def _answer(self, request: Request) -> Response | None:
        """What to answer instead of the application; None: the application answers."""
        refusal = self.refusal(request)
        if refusal is not None:
            return PlainTextResponse(refusal, 403)
        path = request.scope["path"]  # that of the routes; `request.url` also depends on the header `Host`
        if path == LOGIN and self._password is None:
            return RedirectResponse("/", 303)
        if path == LOGIN and request.method == "POST":
            return await self._log_in(request)
        if self._password is None or path in OPEN_PATHS or self._is_logged_in(request):
            return None
        if path == "/":
            return RedirectResponse(LOGIN, 303)
        return JSONResponse({"error": "Reload the page and give the password."}, 401)

    def refusal(self, request: Request) -> str | None:
        """Why a request is refused, in one sentence; None: it is not."""
        headers = request.headers
        if len(headers.getlist("host")) != 1 or not self.is_own(headers["host"]):
            return "This server is not known by that name. Use http://localhost or the address of the machine."
        origin = headers.get("origin")
        if origin is not None and _host_of(origin) != headers["host"].lower():
            return "Requests of other web pages are refused."
        follows_a_link = request.method == "GET" and headers.get("sec-fetch-mode") == "navigate"
        shows_the_page = follows_a_link and request.scope["path"] in ("/", LOGIN)
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not shows_the_page:
            return "Requests of other web pages are refused."
        return None

    def is_own(self, host: str) -> bool:
        """Whether a `Host` header names this server: an IP address, `localhost`, or one of the names."""
        try:
            parts = urlsplit(f"//{host}")
            name = parts.hostname or ""
        except ValueError:
            return False
        if parts.netloc != host or "@" in host:
            return False  # there is more in it than a name and a port
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.rstrip(".") in self._names
        return True  # no domain name, so nobody made it point to this machine

    def _is_logged_in(self, request: Request) -> bool:
        return self._logins.get(request.cookies.get(COOKIE, ""), 0.0) > time.monotonic()

    async def _is_right(self, given: str) -> bool:
        """Compare a password when it is its turn; a wrong one takes a while."""
        assert self._password is not None
        async with self._trying:
            right = hmac.compare_digest(given.encode(), self._password.encode())
            if not right:
                await asyncio.sleep(_WRONG_PASSWORD_TAKES)
            return right

    async def _log_in(self, request: Request) -> Response:
        """Check the password that was sent; the right one gives a cookie."""
        given = await _password_in(request)
        if self._waiting >= _MOST_WAITING:
            return PlainTextResponse("Too many passwords are being tried. Try again in a minute.", 429)
        self._waiting += 1
        try:
            right = await self._is_right(given)
        finally:
            self._waiting -= 1
        if not right:
            return RedirectResponse(f"{LOGIN}#wrong", 303)
        now = time.monotonic()
        self._logins = {cookie: until for cookie, until in self._logins.items() if until > now}
        cookie = secrets.token_urlsafe(32)
        self._logins[cookie] = now + LOGIN_LASTS
        answer = RedirectResponse("/", 303)
        answer.set_cookie(COOKIE, cookie, max_age=LOGIN_LASTS, httponly=True, samesite="strict")
        return answer


def _host_of(origin: str) -> str:
    """Host and port of an `Origin` header; "" if it has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


async def _password_in(request: Request) -> str:
    """The field `password` of the form that was sent; "" if there is none, or the form is too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_FORM:
            return ""
    return parse_qs(body.decode("utf-8", "replace")).get("password", [""])[0]
