"""Restore 10,000 damaged files of every format, and count what goes wrong.

    python benchmarks/malformed.py [--count 10000] [--first 0] [--jobs 2] [--keep DIR]

File number i is a valid small photo whose bytes were changed in a way that depends on i alone: cut off, with bytes,
bits or whole numbers replaced (half of the time in the first 300 bytes, where sizes stand), with a part removed,
repeated, or taken from another file. Each is restored by `restore_file`, as `unblur restore` does it, with a method
that brightens. Every outcome but a result or an `UnblurError` of one line counts as an error, as do

- a process that dies, or takes more than 10 s;
- a damaged file that is no longer there or has changed, or any file that is left beside it;
- a result that cannot be read.

A picture whose header declares more than `MAX_PIXELS` is refused, as with `unblur web`. `--keep` stores the files that
made an error. The exit code is 1 if there was one.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated

import numpy as np
import tifffile
import typer
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from dng_file import dng
from fakes import brightening
from heic_file import HEIC

MAX_PIXELS = 10_000_000
SECONDS = 10.0  # for one file
HEAD = 300  # bytes at the beginning, in which half of the changes are made
MEMORY_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes, of `ru_maxrss`


def seeds() -> list[tuple[str, bytes]]:
    """Valid files of all formats: suffix and content."""
    y, x = np.mgrid[0:40, 0:48]
    eight = np.stack([5 * x, 6 * y, 255 - 5 * x], -1).astype(np.uint8)
    picture = Image.fromarray(eight)
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Camera", 6
    made: list[tuple[str, bytes]] = []

    def pillow(suffix: str, form: str, image: Image.Image = picture, **options: object) -> None:
        file = io.BytesIO()
        image.save(file, form, **options)
        made.append((suffix, file.getvalue()))

    def tiff(pixels: np.ndarray, **options: object) -> None:
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, **options)
        made.append((".tif", file.getvalue()))

    pillow(".jpg", "JPEG", exif=exif, dpi=(300, 300))
    pillow(".jpg", "JPEG", progressive=True, quality=60)
    pillow(".jpg", "JPEG", picture.convert("L"))
    pillow(".jpg", "JPEG", picture.convert("CMYK"))
    pillow(".png", "PNG", exif=exif)
    pillow(".png", "PNG", picture.convert("P"))
    pillow(".png", "PNG", picture.convert("LA"))
    pillow(".png", "PNG", Image.fromarray(257 * eight[..., 0].astype(np.uint16)))
    pillow(".webp", "WEBP", exif=exif)
    pillow(".webp", "WEBP", lossless=True)
    pillow(".bmp", "BMP")
    pillow(".gif", "GIF", picture.convert("P"))
    pillow(".avif", "AVIF", quality=80)
    tiff(eight, photometric="rgb")
    tiff(257 * eight.astype(np.uint16), photometric="rgb", compression="zlib", predictor=True)
    tiff((eight / 255).astype(np.float32), photometric="rgb")
    tiff(eight, photometric="rgb", tile=(16, 16))
    tiff(eight[..., 0], photometric="minisblack", compression="lzw")
    made.append((".heic", HEIC))
    made.append((".dng", dng(eight / 255.0)))
    return made


def damaged(number: int, valid: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    """File `number`: its suffix and its content, the same in every run."""
    chance = random.Random(number)
    suffix, content = valid[number % len(valid)]
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        reach = min(len(data), HEAD) if chance.random() < 0.5 else len(data)
        if reach < 2:
            break
        place = chance.randrange(reach)
        length = chance.randrange(1, max(len(data) // 4, 2))
        kind = chance.choice(("cut", "byte", "byte", "bit", "bit", "number", "number", "remove", "repeat", "other"))
        if kind == "cut":
            del data[place:]
        elif kind == "byte":
            data[place] = chance.randrange(256)
        elif kind == "bit":
            data[place] ^= 1 << chance.randrange(8)
        elif kind == "number":
            size = chance.choice((2, 4, 8))
            value = chance.choice((0, 1, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, 2**63)) % 256**size
            data[place : place + size] = value.to_bytes(size, chance.choice(("big", "little")))
        elif kind == "remove":
            del data[place : place + length]
        elif kind == "repeat":
            data[place:place] = data[place : place + length]
        else:
            _, other = chance.choice(valid)
            data[place : place + length] = other[place : place + length]
    if chance.random() < 0.05:
        suffix, _ = chance.choice(valid)
    return suffix, bytes(data)


def outcome_of(number: int, valid: list[tuple[str, bytes]], method: str) -> str:
    """Restore one damaged file: "restored", "refused", or what went wrong."""
    from unblur.image_io import read_photo
    from unblur.pipeline.options import Options
    from unblur.pipeline.restore import restore_file
    from unblur.types import UnblurError

    suffix, content = damaged(number, valid)
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / f"photo{suffix}", Path(folder) / "out.png"
        path.write_bytes(content)
        try:
            restore_file(path, output, Options(method), max_pixels=MAX_PIXELS)
            said = "restored"
        except UnblurError as error:
            said = "refused" if "\n" not in str(error) else f"an error of several lines: {error}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        left = {file.name for file in Path(folder).iterdir()}
        if not path.exists() or path.read_bytes() != content:
            return "the damaged file was changed"
        if left != {path.name} | ({output.name} if said == "restored" else set()):
            return f"files are left, or missing: {sorted(left)}"
        if said == "restored":
            try:
                read_photo(output)
            except UnblurError as error:
                return f"the result cannot be read: {error}"
        return said


def work(pipe: Connection, method: str) -> None:
    """Restore the files whose numbers come through the pipe, until None comes."""
    import torch

    torch.set_num_threads(1)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # libraries in C print what they think of the file
    valid = seeds()
    outcome_of(0, valid, method)  # imports what is needed
    pipe.send((None, "ready", 0))
    while (number := pipe.recv()) is not None:
        said = outcome_of(number, valid, method)
        pipe.send((number, said, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MEMORY_UNIT))


class Worker:
    """A process that restores one file after the other, and is replaced when it dies or takes too long."""

    def __init__(self, method: str) -> None:
        self._method = method
        self.start()

    def start(self) -> None:
        """Start a process, and wait until it is ready."""
        self.pipe, other = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(
            target=work, args=(other, self._method), daemon=True
        )
        self.process.start()
        other.close()
        self.pipe.recv()
        self.number: int | None = None

    def give(self, number: int) -> None:
        """Let it restore file `number`."""
        self.number, self.since = number, time.perf_counter()
        self.pipe.send(number)

    def answer(self) -> tuple[int, str, int] | None:
        """The number of the file, its outcome and the peak memory in bytes; None as long as there is none."""
        assert self.number is not None
        number, said = self.number, None
        try:
            if self.pipe.poll(0.002):
                _, said, memory = self.pipe.recv()
                self.number = None
                return number, said, memory
        except (EOFError, OSError):
            said = "the process died"
        if said is None and time.perf_counter() - self.since > SECONDS:
            said = f"more than {SECONDS:.0f} s"
        if said is None:
            return None
        self.process.kill()
        self.process.join()
        self.start()
        return number, said, 0


def main(
    count: Annotated[int, typer.Option(help="Number of files.")] = 10_000,
    first: Annotated[int, typer.Option(help="Number of the first file.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 2,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the files that made an error.")] = None,
) -> None:
    """Print how many files were restored and refused, and each error."""
    started, outcomes, errors, memory, slowest = time.perf_counter(), Counter[str](), 0, 0, 0.0
    numbers = iter(range(first, first + count))
    with tempfile.TemporaryDirectory() as folder:
        method = brightening(Path(folder))
        crew = [Worker(method) for _ in range(jobs)]
        busy: list[Worker] = []
        for worker in crew:
            if (number := next(numbers, None)) is not None:
                worker.give(number)
                busy.append(worker)
        while busy:
            for worker in list(busy):
                if (answer := worker.answer()) is None:
                    continue
                number, said, peak = answer
                slowest, memory = max(slowest, time.perf_counter() - worker.since), max(memory, peak)
                known = said in ("restored", "refused")
                outcomes[said if known else "error"] += 1
                if not known:
                    errors += 1
                    suffix, content = damaged(number, seeds())
                    print(f"{number} ({suffix}): {said}", flush=True)
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{number}{suffix}").write_bytes(content)
                if (following := next(numbers, None)) is None:
                    busy.remove(worker)
                else:
                    worker.give(following)
    print(
        f"{count} damaged files: {outcomes['restored']} restored, {outcomes['refused']} refused, {errors} errors; "
        f"slowest {slowest:.1f} s, peak memory {memory / 1e6:.0f} MB, {time.perf_counter() - started:.0f} s in all"
    )
    raise typer.Exit(1 if errors else 0)


if __name__ == "__main__":
    typer.run(main)
