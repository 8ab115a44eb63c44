"""`unblur web`: restore photos on a page in the browser."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from unblur.cli.console import Device
from unblur.types import UnblurError

PORT = 8765
PASSWORD = "UNBLUR_PASSWORD"
SHORTEST_PASSWORD = 8
LOOPBACK = "127.0.0.1"


def web(
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Who can open the page: this machine only, or everybody (0.0.0.0)."),
    ] = LOOPBACK,
    port: Annotated[int, typer.Option(metavar="N", min=0, max=65535, help="0: any that is free.")] = PORT,
    password_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=f"A file with the password in its first line. Default: the environment variable {PASSWORD}; with "
            "--host, else one that is made and printed.",
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    max_megapixels: Annotated[float, typer.Option(metavar="N", min=0.01, help="Larger photos are refused.")] = 100,
    max_megabytes: Annotated[float, typer.Option(metavar="N", min=0.01, help="Longer files are refused.")] = 250,
    device: Device = "cpu",
) -> None:
    """Show a page in the browser that restores photos.

    The photos stay on this machine, in memory, until the page is closed. Stop with Ctrl-C.
    """
    if importlib.util.find_spec("starlette") is None or importlib.util.find_spec("uvicorn") is None:
        raise UnblurError("`unblur web` needs packages that are not installed: pip install 'unblur[web]'")
    import secrets

    from unblur.web.server import is_loopback, serve

    password = _password(password_file)
    made = password is None and not is_loopback(host)
    if made:
        password = secrets.token_urlsafe(12)

    def ready(address: str) -> None:
        typer.echo(f"unblur shows its page at {address} (Ctrl-C stops it)")
        if made:
            typer.echo(f"The password is {password}")

    try:
        serve(
            host,
            port,
            password=password,
            max_pixels=round(max_megapixels * 1e6),
            max_bytes=round(max_megabytes * 1e6),
            device=device,
            open_page=open_page and sys.stdout.isatty() and is_loopback(host),
            ready=ready,
        )
    except KeyboardInterrupt:
        typer.echo("stopped.", err=True)


def _password(file: Path | None) -> str | None:
    """The password that was given; None: none was.

    Raises:
        UnblurError: a file that cannot be read, or a password that is too short.
    """
    source, password = PASSWORD, os.environ.get(PASSWORD)
    if file is not None:
        source = str(file)
        try:
            password = file.read_text(encoding="utf-8").partition("\n")[0].strip("\r")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8"
            raise UnblurError(f"{file}: the password cannot be read ({reason}).") from None
    if password is not None and len(password) < SHORTEST_PASSWORD:
        raise UnblurError(f"{source}: a password has {SHORTEST_PASSWORD} characters or more.")
    return password
