"""Kill a run over a folder twice, continue it, and compare every result with that of an undisturbed run.

    python benchmarks/folder_kill.py PHOTOS_DIR [--photos 200] [--side 160] [--method nlm] [--jobs 2]

The photos are parts of those of PHOTOS_DIR (Kodak, say), reduced to `--side` pixels, in subfolders. One file in forty
is damaged. The process, and so its workers, is ended with SIGKILL after a third and after two thirds of the photos.
Only results are compared, byte for byte, not the manifests, which hold the times. It prints the figures and exits with
code 1 when a result is missing or differs. A method that is quick on small photos is used, as the folders are tested
here and not the restoration.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

PARTS = 9  # of each photo, three by three


def main(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS_DIR", help="A folder of photos.")],
    count: Annotated[int, typer.Option("--photos", help="Number of photos to make.")] = 200,
    side: Annotated[int, typer.Option(help="Longer side in pixels.")] = 160,
    method: Annotated[str, typer.Option(help="As for `unblur restore`.")] = "nlm",
    jobs: Annotated[int, typer.Option(help="Number of worker processes.")] = 2,
) -> None:
    """Run, kill, continue and compare."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        damaged = make_photos(photos, folder / "photos", count, side)
        command = [sys.executable, "-m", "unblur", "restore", str(folder / "photos"), "--method", method]
        command += ["--jobs", str(jobs), "--quiet"]
        started = time.perf_counter()
        subprocess.run([*command, "-o", str(folder / "whole")], check=False, stderr=subprocess.DEVNULL)
        print(f"undisturbed: {time.perf_counter() - started:.0f} s", flush=True)
        out = folder / "out"
        command += ["-o", str(out), "--resume"]
        for part in (1, 2):
            killed_after(command, out, part * count // 3)
        started = time.perf_counter()
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
        print(f"continued to the end: {time.perf_counter() - started:.0f} s")
        whole, continued = results(folder / "whole"), results(out)
        same = sum(continued.get(name) == content for name, content in whole.items())
        print(f"{count} photos, {damaged} of them damaged: {len(continued)} results after two kills, {same} with the")
        print(f"bytes of the undisturbed run ({len(whole)} results); unfinished files left: {len(unfinished(out))}")
        if not whole.keys() == continued.keys() or not same == len(whole) == count - damaged or unfinished(out):
            raise SystemExit(1)


def make_photos(photos: Path, folder: Path, count: int, side: int) -> int:
    """Write the photos as JPEG and PNG in turn; returns the number of damaged ones."""
    files = sorted(path for path in photos.iterdir() if path.suffix.lower() in (".jpg", ".png"))
    if len(files) * PARTS < count:
        raise typer.BadParameter(f"{photos} holds {len(files)} photos; {-(-count // PARTS)} are needed.")
    random = np.random.default_rng(0)
    damaged = 0
    for number in range(count):
        with Image.open(files[number // PARTS]) as photo:
            picture = photo.convert("RGB")
        width, height = picture.width // 3, picture.height // 3
        left, top = number % 3 * width, number % PARTS // 3 * height
        part = picture.crop((left, top, left + width, top + height))
        part.thumbnail((side, side))
        noisy = np.asarray(part) + random.normal(0, 8, (part.height, part.width, 3))  # something to remove
        path = folder / f"roll {number // 50}" / f"{number:03}.{'png' if number % 2 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=95)
        if number % 40 == 20:
            path.write_bytes(path.read_bytes()[:300])
            damaged += 1
    return damaged


def killed_after(command: list[str], out: Path, lines: int) -> None:
    """Start the command, and kill it when the manifest has this many lines."""
    manifest = out / "manifest.jsonl"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not manifest.exists() or manifest.read_bytes().count(b"\n") < lines:
            if process.poll() is not None:
                raise SystemExit("the run ended before it could be killed")
            time.sleep(0.01)
        process.kill()
    done = len(results(out))
    print(
        f"killed with {manifest.read_bytes().count(bytes([10]))} lines in the manifest and {done} results", flush=True
    )


def results(out: Path) -> dict[str, bytes]:
    """The results by their names."""
    found = (path for path in out.rglob("*") if path.is_file() and path.suffix in (".jpg", ".png"))
    names = {path: path.relative_to(out).as_posix() for path in found}
    return {name: path.read_bytes() for path, name in names.items() if not name.startswith(".unblur/")}


def unfinished(out: Path) -> list[Path]:
    """Files that are no results and should not be there."""
    return [*out.rglob("*.part"), *(path for path in out.glob(".unblur/parts/**/*") if path.is_file())]


if __name__ == "__main__":
    typer.run(main)
