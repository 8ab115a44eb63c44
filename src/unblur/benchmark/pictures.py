"""Write restored pictures to `METHOD/PICTURE.png` and estimated PSFs to `METHOD/PICTURE.psf.png`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unblur import image_io
from unblur.pipeline.chain import Chain
from unblur.types import Restoration, UnblurError


def prepare_folders(out: Path, labels: Sequence[str]) -> None:
    """Make a folder for every method.

    Raises:
        UnblurError: when a folder cannot be made or is not empty, since no file is overwritten.
    """
    for label in labels:
        folder = folder_of(out, label)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            occupied = any(folder.iterdir())
        except OSError as error:
            raise UnblurError(f"cannot write pictures to {folder}: {error.strerror}. Name another folder.") from None
        if occupied:
            raise UnblurError(f"{folder} holds files already. Name another folder with --out, or empty it.")


def folder_of(out: Path, label: str) -> Path:
    """The folder of a method; what is not allowed in names of folders is replaced by "_"."""
    return out / re.sub(r"[/\\:]", "_", label)


def write_pictures(folder: Path, name: str, chain: Chain, restoration: Restoration) -> None:
    """Write one restored picture, and its PSF if `chain` estimated it."""
    assert restoration.image is not None
    path = folder / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)  # a data set may name its pictures "people/01"
    pixels = restoration.image[0].movedim(0, -1).numpy().astype(np.float32)  # (H, W, C)
    image_io.write_photo(image_io.Photo(pixels), path)
    if "psf" in chain.gives and restoration.psf is not None:
        image_io.write_psf(restoration.psf[0, 0].numpy(), folder / f"{name}.psf.png")
