"""Blurred and noisy photos, made from any folder of sharp photos by the recipe of Miao & Zhu (NIDF).

"Handling Noise in Image Deblurring via Joint Learning", sec. 2.3. Of each photo, a square at its centre is blurred by
one random camera shake and observed four times (Eqs. 1 and 6):

    B = I * P,   N = B + n,   n normal with sigma 10, 20, 30 and 40 of 255.

The side of P is 2 l + 1 px, with l uniform in 3 ... 24. I is larger than B by l px on every side, so that B depends
only on pixels of the photo; its inside, of the size of B, is the sharp picture. N is neither clipped nor rounded, so
some of its values lie outside [0, 1]. P and n depend on the seed and the name of the photo, and not on other photos.
Before a picture is scored, it is clipped, and so is N. (The paper's PSNRs of the input, 16.25 dB at sigma 40, are only
possible so: noise of this sigma alone has 16.09 dB.)

The paper used faces (see `celeba`) and GoPro's frames (see `gopro`); photos blurred by one PSF are ours. It states that
the noise level was known to the methods it compares with, so it is given to every method that uses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from unblur.datasets.base import Dataset, Sample, Scores, read_picture, scores_in_place, seeded
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise
from unblur.imaging.trajectory import shake_psf
from unblur.types import UnblurError

SIDE = 256  # px, of the blurry picture
HALF = (3, 24)  # smallest and largest l of a PSF of side 2 l + 1
SIGMAS = (10, 20, 30, 40)  # of 255
SMALLEST = SIDE + 2 * HALF[1]  # px, of a photo
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}


class Nidf(Dataset):
    """Four observations of each photo, scored in RGB or grey without a search for a shift."""

    name = "nidf"
    title = "Any sharp photos, blurred by a camera shake of 7 to 49 px, with noise of sigma 10, 20, 30 and 40 of 255"
    layout = f"sharp photos of at least {SMALLEST} x {SMALLEST} px (PNG, JPEG or TIFF), in any subfolders"
    columns = ("psnr", "gain", "gain_noise_free", "ssim", "kernel_similarity", "seconds")
    options: Mapping[str, Any] = {"seed": 0}
    protocol: ClassVar[Mapping[str, Any]] = {
        "dataset": "nidf",
        "paper": "Miao & Zhu, the recipe of sec. 2.3 on any photos",
        "sharp": f"{SIDE} x {SIDE} px at the centre of each photo",
        "psf": f"random camera shake of side 2 l + 1, l uniform in {HALF[0]} ... {HALF[1]}, one a photo",
        "blurry": "made here: valid convolution, white Gaussian noise, neither clipped nor rounded",
        "sigma": f"{', '.join(map(str, SIGMAS))} of 255, given to the methods",
        "clip": [0.0, 1.0],
        "crop": 0,
        "search": 0,
        "data_range": 1.0,
        "ssim": "Wang 2004: 11x11 Gaussian, sigma 1.5, valid windows",
        "average": "mean of the figures of each picture",
    }

    def count(self, root: Path) -> int:
        """The number of observations: four of each photo.

        Raises:
            UnblurError: when there is no photo, one is too small, or two have the same name.
        """
        return len(SIGMAS) * len(self._photos(root))

    def samples(self, root: Path, limit: int | None = None) -> Iterator[Sample]:
        """The observations in the order of the photos' paths: all noise levels of the first photo, then of the next."""
        photos = self._photos(root)
        return islice((sample for name, path in photos.items() for sample in self._observe(name, path)), limit)

    def score(self, restored: Tensor, sample: Sample, *, reference: Tensor | None = None) -> Scores:
        """PSNR and SSIM of the picture clipped to [0, 1]; a reference is not used."""
        return scores_in_place(restored.clamp(0, 1), sample)

    def _photos(self, root: Path) -> dict[str, Path]:
        """The paths of the photos by their names, which are the paths in `root` without suffixes."""
        if not root.is_dir():
            raise UnblurError(f"there is no folder {root}. Expected there: {self.layout}.")
        paths = (path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
        visible = (path for path in paths if not any(part.startswith(".") for part in path.relative_to(root).parts))
        photos: dict[str, Path] = {}
        for path in sorted(visible):
            name = path.relative_to(root).with_suffix("").as_posix()
            if name in photos:
                raise UnblurError(f"{path} and {photos[name]} have the same name. Remove or rename one of them.")
            photos[name] = path
        if not photos:
            raise UnblurError(f"{root} holds no photo. Expected: {self.layout}.")
        small = [path for path in photos.values() if _smaller_side(path) < SMALLEST]
        if small:
            number = f"{len(small)} of {len(photos)} photos are too small, first {small[0]}"
            raise UnblurError(f"{number}. Remove them from {root}. Expected: {self.layout}.")
        return photos

    def _observe(self, name: str, path: Path) -> Iterator[Sample]:
        """The observations of one photo."""
        generator = seeded(self.options["seed"], name)
        half = int(torch.randint(HALF[0], HALF[1] + 1, (), generator=generator))
        psf = shake_psf(generator, 2 * half + 1)  # P, (2 l + 1, 2 l + 1)
        sharp, blurry = self._blur(path, psf)  # I and B, (1, C, 256, 256)
        for sigma in SIGMAS:
            yield Sample(
                f"{name}_{sigma}",
                add_gaussian_noise(blurry, sigma / 255, generator),  # N
                sharp,
                psf[None, None],
                sigma / 255,
                noise_free=blurry,
                group=f"sigma {sigma}",
            )

    def _blur(self, path: Path, psf: Tensor) -> tuple[Tensor, Tensor]:
        """The sharp and the blurry picture without noise, both `(1, C, 256, 256)`."""
        photo = read_picture(path, self.layout)  # (1, C, H, W)
        half = psf.shape[-1] // 2
        area = _centre(photo, SIDE + 2 * half)
        return area[..., half:-half, half:-half].contiguous(), convolve(area, psf, "valid")


def _centre(picture: Tensor, side: int) -> Tensor:
    """The square of `side` pixels at the centre of a picture."""
    top, left = ((length - side) // 2 for length in picture.shape[-2:])
    return picture[..., top : top + side, left : left + side]


def _smaller_side(path: Path) -> float:
    """The smaller side of a picture in pixels, from the header of its file; infinite where it cannot be read."""
    try:
        with Image.open(path) as picture:
            return min(picture.size)
    except Exception:  # Pillow raises many kinds; reading the whole file says what is wrong with it
        return float("inf")


DATASET = Nidf()
