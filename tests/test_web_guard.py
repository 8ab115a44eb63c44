"""Who may talk to the server."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlencode

import pytest

from unblur.web import guard
from unblur.web.guard import COOKIE, Guard


async def _welcome(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"cache-control", b"public")]})
    await send({"type": "http.response.body", "body": b"welcome"})


def ask(
    app: Guard, path: str = "/api/form", method: str = "GET", body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer; `sec_fetch_site=` is the header `sec-fetch-site`."""
    sent: list[dict[str, Any]] = []
    named = {"host": "localhost:8765", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "scheme": "http",
        "server": ("127.0.0.1", 8765),
        "headers": [(name.encode(), value.encode()) for name, value in named.items() if value],
    }

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    answer = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], answer, b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:8765", "LOCALHOST:1", "127.0.0.1:8765", "[::1]:8765", "192.168.1.5:80", "box.local:1"],
)
def test_a_request_to_a_name_of_this_server_is_answered(host):
    assert ask(Guard(_welcome, names={"Box.local"}), host=host)[2] == b"welcome"


@pytest.mark.parametrize(
    "host",
    ["", "evil.example", "evil.example:8765", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "box.local"],
)
def test_a_domain_of_a_stranger_that_points_to_this_machine_is_refused(host):
    status, _, body = ask(Guard(_welcome), host=host)
    assert (status, body[:38]) == (403, b"This server is not known by that name.")


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://localhost:8766",
        "http://localhost",
        "http://localhost:8765.evil.example",
        "file://",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_a_request_from_another_page_is_refused(method, origin):
    status, _, body = ask(Guard(_welcome), method=method, origin=origin)
    assert (status, body) == (403, b"Requests of other web pages are refused.")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_request_from_another_page_that_has_no_origin_is_refused(site):
    """Pictures and scripts are requested without an origin."""
    assert ask(Guard(_welcome), sec_fetch_site=site, sec_fetch_mode="no-cors")[0] == 403
    assert ask(Guard(_welcome), sec_fetch_site=site, sec_fetch_mode="navigate")[0] == 403
    assert ask(Guard(_welcome), path="/", sec_fetch_site=site, sec_fetch_mode="no-cors")[0] == 403


def test_a_link_on_another_page_opens_the_page():
    assert ask(Guard(_welcome), path="/", sec_fetch_site="cross-site", sec_fetch_mode="navigate")[0] == 200


def test_the_own_page_is_answered():
    headers = {"origin": "http://localhost:8765", "sec_fetch_site": "same-origin", "sec_fetch_mode": "cors"}
    assert ask(Guard(_welcome), method="POST", **headers)[2] == b"welcome"


@pytest.mark.parametrize("host", ["localhost:8765", "evil.example"])
def test_every_answer_says_that_nothing_else_may_be_loaded_or_stored(host):
    headers = ask(Guard(_welcome), host=host)[1]
    assert headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("host", ["127.0.0.1/page/style.css?", "127.0.0.1#", "me@127.0.0.1", "127.0.0.1\\x"])
def test_a_host_that_holds_more_than_a_name_is_refused(host):
    assert ask(Guard(_welcome, password=PASSWORD), "/api/session", "POST", host=host)[0] == 403


def test_an_origin_that_is_none_is_refused():
    assert ask(Guard(_welcome), origin="http://[")[0] == 403


PASSWORD = "correct horse"


def log_in(app: Guard, password: str) -> tuple[int, dict[str, str]]:
    return ask(app, "/login", "POST", urlencode({"password": password}).encode(), origin="http://localhost:8765")[:2]


def test_without_the_password_nothing_is_answered_but_the_form_for_it():
    app = Guard(_welcome, password=PASSWORD)
    assert ask(app, "/")[:2][1]["location"] == "/login"
    assert ask(app, "/login")[2] == b"welcome"
    assert ask(app, "/page/style.css")[2] == b"welcome"
    for path in ("/api/form", "/api/session", "/page/main.js"):
        status, _, body = ask(app, path)
        assert (status, b"password" in body) == (401, True)


def test_the_password_gives_a_cookie_that_opens_the_rest():
    app = Guard(_welcome, password=PASSWORD)
    status, headers = log_in(app, PASSWORD)
    assert (status, headers["location"]) == (303, "/")
    cookie, *properties = headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=strict"} <= set(properties)
    assert ask(app, "/api/form", cookie=cookie)[2] == b"welcome"
    assert ask(app, "/api/form", cookie=f"{COOKIE}=guessed")[0] == 401
    assert ask(app, "/api/form", cookie=cookie, origin="http://evil.example")[0] == 403


def test_the_cookie_expires(monkeypatch):
    app = Guard(_welcome, password=PASSWORD)
    cookie = log_in(app, PASSWORD)[1]["set-cookie"].partition(";")[0]
    later = guard.time.monotonic() + guard.LOGIN_LASTS + 1
    monkeypatch.setattr(guard.time, "monotonic", lambda: later)
    assert ask(app, "/api/form", cookie=cookie)[0] == 401


@pytest.mark.parametrize("wrong", ["", "Correct horse", "correct horse ", "x" * 5000, "\udcff"])
def test_a_wrong_password_gives_no_cookie(monkeypatch, wrong):
    monkeypatch.setattr(guard, "_WRONG_PASSWORD_TAKES", 0.0)
    body = urlencode({"password": wrong}, errors="surrogateescape").encode()
    status, headers, _ = ask(Guard(_welcome, password=PASSWORD), "/login", "POST", body)
    assert (status, headers["location"]) == (303, "/login#wrong")
    assert "set-cookie" not in headers


def test_wrong_passwords_are_answered_one_after_the_other(monkeypatch):
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(guard.asyncio, "sleep", sleep)
    app = Guard(_welcome, password=PASSWORD)
    for _ in range(3):
        log_in(app, "guessed")
    assert waits == [1.0] * 3


def test_only_some_passwords_wait_to_be_compared_and_the_right_one_has_no_privilege(monkeypatch):
    monkeypatch.setattr(guard, "_WRONG_PASSWORD_TAKES", 0.01)
    compared: list[bytes] = []

    def compare(given: bytes, wanted: bytes) -> bool:
        compared.append(given)
        return given == wanted

    monkeypatch.setattr(guard.hmac, "compare_digest", compare)
    app = Guard(_welcome, password=PASSWORD)

    async def all_at_once() -> list[bool]:
        return await asyncio.gather(*(app._is_right(word) for word in ["a", "b", PASSWORD]))

    assert asyncio.run(all_at_once()) == [False, False, True]
    assert compared == [b"a", b"b", PASSWORD.encode()]
    app._waiting = guard._MOST_WAITING
    assert log_in(app, PASSWORD)[0] == 429


def test_a_server_without_a_password_asks_for_none():
    assert ask(Guard(_welcome), "/login")[1]["location"] == "/"


def test_web_sockets_are_closed():
    sent: list[dict[str, Any]] = []

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(_welcome)({"type": "websocket"}, None, send))  # type: ignore[arg-type]
    assert sent == [{"type": "websocket.close", "code": 1008}]
