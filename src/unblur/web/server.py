"""Start the server of the page on a socket of this machine."""

from __future__ import annotations

import ipaddress
import logging
import socket
import webbrowser
from collections.abc import Callable

import uvicorn

from unblur.types import UnblurError
from unblur.web.app import Application

MOST_REQUESTS = 300
"""Most requests and streams at the same time; further ones are answered with 503."""

_STOP_WITHIN = 2  # s, for answers that are under way when the server is stopped


def serve(
    host: str,
    port: int,
    *,
    password: str | None,
    max_pixels: int,
    max_bytes: int,
    device: str,
    open_page: bool,
    ready: Callable[[str], None],
) -> None:
    """Answer requests until Ctrl-C.

    Args:
        host: the address or name of the network interface.
        port: 0: any port that is free.
        password: what must be given before anything is shown; None: nothing.
        max_pixels: a photo whose header declares more is refused before it is decoded.
        max_bytes: a longer upload is refused.
        device: where to compute.
        open_page: whether to open the page in a browser.
        ready: called with the page's address when requests are answered.

    Raises:
        UnblurError: the address is not one of this machine, or the port is in use.
    """
    listening = bound(host, port)
    address = address_of(host, listening.getsockname()[1])
    name = socket.gethostname()
    app = Application(
        names={host, name, f"{name}.local"},
        password=password,
        max_pixels=max_pixels,
        max_bytes=max_bytes,
        device=device,
    )

    def started() -> None:
        ready(address)
        if open_page:
            webbrowser.open(address)

    logging.getLogger("unblur.web").addHandler(logging.StreamHandler())
    with listening:
        Server(app, started).run(sockets=[listening])


def _configuration(app: Application) -> uvicorn.Config:
    """How the application is served: with limits, and without writing down who asked for what."""
    return uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_REQUESTS,
        timeout_graceful_shutdown=_STOP_WITHIN,
    )


class Server(uvicorn.Server):
    """Serves the application.

    Args:
        app: the application.
        ready: called when requests are answered.
    """

    def __init__(self, app: Application, ready: Callable[[], None] = lambda: None) -> None:
        super().__init__(_configuration(app))
        self._app, self._tell = app, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started:
            self._tell()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop. The application is stopped first, since its streams of events would be waited for."""
        self._app.stop()
        await super().shutdown(sockets)


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        UnblurError: the address is not one of this machine, or the port is in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        if hasattr(socket, "SO_REUSEADDR"):
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(128)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnblurError(f"{host}, port {port}: cannot be used ({reason}). Choose another --port or --host.") from None
    return listening


def is_loopback(host: str) -> bool:
    """Whether only this machine itself can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def address_of(host: str, port: int) -> str:
    """What to type into a browser; for an address that stands for all interfaces, the name of the machine."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return f"http://{host}:{port}/"
    if ip.is_unspecified:
        return f"http://{socket.gethostname()}:{port}/"
    return f"http://{f'[{host}]' if ip.version == 6 else host}:{port}/"
