"""Files that a page sends: received with limits, then checked."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from unblur.types import UnblurError
from unblur.web.sessions import MOST_UPLOADS, Full, Role, Session, Sessions, Upload

if TYPE_CHECKING:
    from starlette.requests import Request

    from unblur.web.jobs import Limits

IDLE = 30.0  # s without a byte after which an upload is given up
_LONGEST_NAME = 150  # characters


class TooLong(UnblurError):
    """The body of a request is longer than allowed."""


async def received(request: Request, session: Session, sessions: Sessions, max_bytes: int) -> bytes:
    """The body of a request, which is refused as soon as it is known to be too long.

    Raises:
        TooLong: it is longer than `max_bytes`.
        Full: there is no room for it.
        UnblurError: the page has stopped sending.
    """
    limit = f"the limit is {max_bytes / 1e6:.4g} million bytes. Save the photo smaller."
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > max_bytes:
        raise TooLong(f"It has {int(declared) / 1e6:.4g} million bytes; {limit}" if declared.isdecimal() else limit)
    if len(session.uploads) >= MOST_UPLOADS:
        raise Full(f"This page holds {MOST_UPLOADS} files, which is the most. Remove some.")
    body = bytearray()
    session.connections += 1
    chunks = aiter(request.stream())
    try:
        while True:
            try:
                chunk = await asyncio.wait_for(anext(chunks), IDLE)
            except StopAsyncIteration:
                return bytes(body)
            except TimeoutError:
                raise UnblurError("The file has not arrived completely. Send it again.") from None
            body += chunk
            sessions.arriving += len(chunk)
            if len(body) > max_bytes:
                raise TooLong(f"It is too long; {limit}")
            sessions.check_room()
    finally:
        session.connections -= 1
        sessions.arriving -= len(body)


def file_name(text: str) -> str:
    """A file name from a page: without folders, without characters that cannot be shown, and not too long."""
    name = text.replace("\\", "/").rpartition("/")[2]
    name = "".join(character for character in name if character.isprintable()).strip(" .")
    if len(name) > _LONGEST_NAME:
        stem, suffix = Path(name).stem, Path(name).suffix[:10]
        name = stem[: _LONGEST_NAME - len(suffix)] + suffix
    return name or "photo"


def role_of(text: str) -> Role:
    """The role that a page names.

    Raises:
        UnblurError: there is no such role.
    """
    roles: tuple[Role, ...] = get_args(Role)
    for role in roles:
        if role == text:
            return role
    raise UnblurError(f"there is no role '{text}'. There is: {', '.join(roles)}.")


def checked(role: Role, name: str, data: bytes, limits: Limits) -> Upload:
    """The file, decoded to see that it is what it should be. Takes a while; to be called in a thread for work.

    Args:
        role: what it should be.
        name: its file name.
        data: its bytes.
        limits: `max_pixels` and `max_bytes`.

    Raises:
        UnblurError: it is no photo or no PSF, or larger than allowed.
    """
    import torch

    from unblur.image_io import decode_photo, decode_psf
    from unblur.imaging.psf import describe_psf
    from unblur.web.pictures import shown, shown_psf

    id = secrets.token_urlsafe(9)
    if role == "psf":
        psf = torch.from_numpy(decode_psf(data, name))
        facts = {"width": psf.shape[1], "height": psf.shape[0], "words": describe_psf(psf).words}
        return Upload(id, role, name, b"", facts, shown_psf(psf), psf[None, None])
    photo = decode_photo(data, name, **limits)
    height, width, channels = photo.pixels.shape
    bits = {"uint8": "8 bit", "uint16": "16 bit", "float32": "floating point"}[photo.depth]
    kind = f"{photo.format}, {bits}{', grey' if channels == 1 else ''}"
    return Upload(id, role, name, data, {"width": width, "height": height, "kind": kind}, shown(photo))
