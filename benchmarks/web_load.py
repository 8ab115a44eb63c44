"""Load on `unblur web`: many requests, several at once. Every answer is compared with what `unblur restore` writes.

    python benchmarks/web_load.py [--requests 200] [--together 8] [--side 256] [--method hyper_laplacian] [--psf FILE]

The photos are parts of `examples/shaken.jpg`, of which there are as many as requests at once; each is restored by the
command first. Prints the seconds, the number of wrong answers, and the peak memory of the server. The exit code is 1 if
an answer is wrong.
"""

from __future__ import annotations

import http.client
import io
import json
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"
PATIENCE = 600.0  # s


class Page:
    """What one open page asks."""

    def __init__(self, port: int) -> None:
        self.port, self.headers = port, {}
        self.headers = {"X-Unblur-Session": json.loads(self.ask("POST", "/api/session"))["session"]}

    def ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        """The body of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, self.headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{path}: {answer.status} {content.decode()}")
        return content

    def send(self, data: bytes, name: str, role: str) -> str:
        """Send a file; its id."""
        return json.loads(self.ask("POST", f"/api/uploads?role={role}&name={name}", data))["id"]

    def restored(self, data: bytes, psf: bytes, method: str) -> bytes:
        """Send a photo, wait for its result, and download it."""
        order = {"photo": self.send(data, "a.png", "photo"), "psf": self.send(psf, "psf.png", "psf"), "method": method}
        job = json.loads(self.ask("POST", "/api/jobs", json.dumps({**order, "force": True}).encode()))["job"]
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("GET", "/api/events", headers=self.headers)
        events = connection.getresponse()
        while line := events.readline():
            told = json.loads(line) if line.strip() else {}
            if told.get("job") == job and told["state"] in ("done", "failed", "cancelled"):
                break
        connection.close()
        result = self.ask("GET", f"/api/jobs/{job}/download")
        for id in (order["photo"], order["psf"]):
            self.ask("DELETE", f"/api/uploads/{id}")
        return result


def main(
    requests: Annotated[int, typer.Option(min=1, help="Number of photos in all.")] = 200,
    together: Annotated[int, typer.Option(min=1, max=100, help="Number of pages open at once.")] = 8,
    side: Annotated[int, typer.Option(min=64, max=500, help="Side of the photos in pixels.")] = 256,
    method: Annotated[str, typer.Option(help="A method that needs a PSF.")] = "hyper_laplacian",
    psf: Annotated[Path, typer.Option(help="The PSF, as .png.")] = EXAMPLES / "shaken.true_psf.png",
) -> None:
    """Print what was measured."""
    with tempfile.TemporaryDirectory() as folder:
        photos = parts(Path(folder), together, side)
        command = [sys.executable, "-m", "unblur", "restore", *map(str, photos), "--method", method, "--psf", str(psf)]
        subprocess.run([*command, "--force", "--quiet"], check=True)
        expected = [photo.with_name(f"{photo.stem}.restored.png").read_bytes() for photo in photos]
        data = [photo.read_bytes() for photo in photos]
    command = [sys.executable, "-u", "-m", "unblur", "web", "--port", "0", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(re.findall(r":(\d+)/", server.stdout.readline())[0])
        pages = [Page(port) for _ in range(together)]
        pages[0].ask("GET", "/api/form")
        before = peak_memory(server.pid)

        def work(number: int) -> int:
            """The wrong answers of one page, which asks for every photo in turn."""
            turns = range(number, requests, together)
            picks = [(number + turn) % together for turn in range(len(turns))]
            return sum(pages[number].restored(data[pick], psf.read_bytes(), method) != expected[pick] for pick in picks)

        started = time.perf_counter()
        with ThreadPoolExecutor(together) as pool:
            wrong = sum(pool.map(work, range(together)))
        seconds = time.perf_counter() - started
        after = peak_memory(server.pid)
        server.terminate()
    print(f"{requests} photos of {side} x {side} px with {method}, {together} at once: {seconds:.0f} s, {wrong} wrong")
    print(f"peak memory of the server: {before:.0f} MB before the first photo, {after:.0f} MB after the last")
    raise typer.Exit(1 if wrong else 0)


def parts(folder: Path, count: int, side: int) -> list[Path]:
    """Different square parts of the example, as PNG files."""
    with Image.open(EXAMPLES / "shaken.jpg") as photo:
        steps = (photo.width - side) // max(count - 1, 1), (photo.height - side) // max(count - 1, 1)
        paths = []
        for number in range(count):
            left, top = number * steps[0], number * steps[1]
            buffer = io.BytesIO()
            photo.crop((left, top, left + side, top + side)).save(buffer, "PNG")
            paths.append(folder / f"{number}.png")
            paths[-1].write_bytes(buffer.getvalue())
    return paths


def peak_memory(process: int) -> float:
    """The largest resident memory that a process has had, in MB (Linux)."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1000


if __name__ == "__main__":
    typer.run(main)
