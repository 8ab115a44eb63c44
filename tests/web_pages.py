"""A server of `unblur web` in this process, and pages as a program: what a browser sends, with `http.client`."""

from __future__ import annotations

import http.client
import io
import json
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import numpy as np
import tifffile
from PIL import Image

from fakes import PSF, photo_pixels
from unblur.image_io import Photo, encode_photo
from unblur.pipeline.in_memory import restore_bytes
from unblur.pipeline.options import Options
from unblur.types import Observation
from unblur.web.app import Application
from unblur.web.server import Server, bound

PATIENCE = 60.0  # s


class Page:
    """One open page: a session, with the requests that the script of the page makes."""

    def __init__(self, port: int, headers: dict[str, str] | None = None) -> None:
        self.port, self.headers = port, dict(headers or {})
        status, answer = self.ask("POST", "/api/session")
        assert status == 200, answer
        self.token = json.loads(answer)["session"]
        self.headers["X-Unblur-Session"] = self.token

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """Status and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request(method, path, body, {**self.headers, **(headers or {})})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def send(self, data: bytes, name: str = "photo.png", role: str = "photo") -> str:
        """Send a file; its id."""
        status, answer = self.ask("POST", f"/api/uploads?role={role}&name={quote(name)}", data)
        assert status == 201, answer
        return json.loads(answer)["id"]

    def refused(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        """Status and error of a request that is refused."""
        status, answer = self.ask(method, path, body)
        assert status >= 400, answer
        return status, json.loads(answer)["error"]

    def order(self, photo: str, **choices: Any) -> str:
        """Ask for a photo to be restored; the id of the job."""
        status, answer = self.ask("POST", "/api/jobs", json.dumps({"photo": photo, **choices}))
        assert status == 201, answer
        return json.loads(answer)["job"]

    def events(self) -> Iterator[dict[str, Any]]:
        """What the page is told, as it happens."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("GET", "/api/events", headers=self.headers)
        answer = connection.getresponse()
        assert answer.status == 200
        try:
            while line := answer.readline():
                if line.strip():
                    yield json.loads(line)
        finally:
            connection.close()

    def wait_for(self, job: str, *states: str) -> dict[str, Any]:
        """What the page is told of a job once it is in one of these states."""
        events = self.events()
        try:
            return next(event for event in events if event["job"] == job and event["state"] in states)
        finally:
            events.close()  # type: ignore[attr-defined]

    def download(self, job: str, strength: float = 1) -> bytes:
        status, answer = self.ask("GET", f"/api/jobs/{job}/download?strength={strength}")
        assert status == 200, answer
        return answer

    def restored(self, data: bytes, name: str = "photo.png", **choices: Any) -> bytes:
        """Send a photo, wait, and download the result."""
        job = self.order(self.send(data, name), **choices)
        told = self.wait_for(job, "done", "failed")
        assert told["state"] == "done", told["error"]
        return self.download(job)


@contextmanager
def serving(**options: Any) -> Iterator[int]:
    """A running server; its port."""
    server = Server(Application(**options))
    with bound("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        wait_until(lambda: server.started)
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


def wait_until(true: Callable[[], Any]) -> None:
    """Wait until something is true, and fail after `PATIENCE` seconds."""
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until, "it has not happened"
        time.sleep(0.01)


def npy(array: np.ndarray) -> bytes:
    """The array as the bytes of a .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def photo_of(format: str, seed: int = 0) -> bytes:
    """A small photo in a file of this format; other seeds give other photos."""
    pixels = np.roll(photo_pixels(), 5 * seed, axis=1)
    buffer = io.BytesIO()
    if format == "16-bit PNG":
        return encode_photo(Photo(pixels.astype(np.float32) / np.float32(300), depth="uint16"), "PNG")[0]
    if format == "float TIFF":
        tifffile.imwrite(buffer, (pixels / 255).astype(np.float32), photometric="rgb")
    else:
        exif = Image.Exif()
        exif[0x010F] = "a camera"
        Image.fromarray(pixels).save(buffer, format, exif=exif)
    return buffer.getvalue()


def expected(data: bytes, method: str = "wiener", **options: object) -> bytes:
    """What `unblur restore --psf` writes."""
    return restore_bytes(data, Options(method, force=True, **options), known=Observation(psf=PSF[None, None]))[0]  # type: ignore[arg-type]


def bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes that declares `side` x `side` pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
