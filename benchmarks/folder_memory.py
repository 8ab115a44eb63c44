"""Measure the peak memory of a worker process against the number of pixels: the constants of `MemoryModel`.

    python benchmarks/folder_memory.py PHOTOS_DIR [--megapixels 1.5 --megapixels 12] [--only "known PSF"]

The photos are those of `large_photo.py`; for the noisy one, noise of 8 of 255 is added. Each is restored with one
thread, as in a folder, in a process of its own. The last column is what `MemoryModel` expects.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from large_photo import make_photo, run
from PIL import Image

from unblur.pipeline.folders.memory import MemoryModel

RUNS = {
    "blind, --force": ["large.jpg", "--force"],
    "noisy": ["noisy.jpg"],
    "two_way": ["large.jpg", "--method", "two_way", "--force"],
    "nlm": ["large.jpg", "--method", "nlm"],
    "known PSF": ["large.jpg", "--psf", "large.psf.png"],
    "known PSF, hyper_laplacian": ["large.jpg", "--psf", "large.psf.png", "--method", "hyper_laplacian"],
}


def main(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS_DIR", help="A folder of JPEG photos.")],
    megapixels: Annotated[list[float] | None, typer.Option(help="Size of a photo; may be repeated.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Name of a run; may be repeated. Default: all.")] = None,
) -> None:
    """Print seconds and peak memory of each run."""
    model = MemoryModel()
    for size in megapixels or [0.4, 1.5, 3.0, 12.0]:
        height = round((size * 1e6 * 3 / 4) ** 0.5)
        width = round(height * 4 / 3)
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(make_photos, (photos, folder, width, height))
            for name in only or RUNS:
                words = [str(folder / word) if word.startswith(("large.", "noisy.")) else word for word in RUNS[name]]
                output = folder / "out.jpg"
                seconds, megabytes = run(["restore", *words, "-o", str(output), "--overwrite", "-q", "--threads", "1"])
                expected = model.need(width * height) / 1e6
                print(f"{size:g} MP, {name}: {seconds:.0f} s, {megabytes:.0f} MB, expected {expected:.0f}", flush=True)


def make_photos(photos: Path, folder: Path, width: int, height: int) -> None:
    """Write `large.jpg`, `large.psf.png` and `noisy.jpg`."""
    photo, _ = make_photo(photos, folder, width, height)
    levels = np.asarray(Image.open(photo)).astype(np.float32)
    levels += np.random.default_rng(0).normal(0, 8, levels.shape)
    Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(folder / "noisy.jpg", quality=95)


if __name__ == "__main__":
    typer.run(main)
