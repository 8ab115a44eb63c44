"""The 24 Kodak photos, each at the four exposures of one camera shake, with Poisson and Gaussian noise.

The test set of Gilbert et al., "Non-Blind Image Deblurring using Neural Networks", was of this kind but is not
published. The 96 blurry pictures are **synthesised here**, identical in every run, with camera shakes as in that
paper (`imaging.trajectory`):

    blurry = 8 bits of clip(Poisson(10000 convolve(sharp, psf, "valid")) / 10000 + 0.01 n),   n normal.

The four exposures of a shake last a sixteenth, a quarter, a half and all of its trajectory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice, product
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from unblur.datasets.base import Dataset, Sample, Scores, scores_after_shift
from unblur.image_io import ImageFileError, read_photo
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_poisson_gaussian_noise, quantise
from unblur.imaging.trajectory import PRESETS, shake_psfs
from unblur.types import UnblurError

PICTURES = tuple(f"kodim{number:02}" for number in range(1, 25))
EXPOSURES = PRESETS["wiener_stack"].exposures
PHOTONS, SIGMA = 10_000.0, 0.01


class KodakShaken(Dataset):
    """96 blurry colour pictures, scored in RGB without a search for a shift."""

    name = "kodak_shaken"
    title = "24 Kodak photos x 4 exposures of a camera shake, Poisson and Gaussian noise, made here"
    layout = f"{len(PICTURES)} colour pictures {PICTURES[0]}.png ... {PICTURES[-1]}.png"
    protocol: ClassVar[Mapping[str, Any]] = {
        "dataset": "kodak_shaken",
        "paper": "after Gilbert, Messinger, Patel",
        "pictures": len(PICTURES) * len(EXPOSURES),
        "blurry": f"made here: valid convolution, {PHOTONS:g} photons at white, noise of sigma {SIGMA}, 8 bits",
        "exposures": list(EXPOSURES),
        "clip": [0.0, 1.0],
        "crop": 15,
        "search": 0,
        "data_range": 1.0,
        "ssim": "Wang 2004: 11x11 Gaussian, sigma 1.5, valid windows",
        "average": "mean of the figures of each picture",
    }

    def count(self, root: Path) -> int:
        """The number of blurry pictures: 96.

        Raises:
            UnblurError: when a photo is missing.
        """
        missing = [name for name in PICTURES if not (root / f"{name}.png").is_file()]
        if missing:
            raise UnblurError(f"{root} lacks {missing[0]}.png. Expected: {self.layout}.")
        return len(PICTURES) * len(EXPOSURES)

    def samples(self, root: Path, limit: int | None = None) -> Iterator[Sample]:
        """The blurry pictures, synthesised one by one: all photos at the shortest exposure, then at the next one."""
        self.count(root)
        pairs = product(range(len(EXPOSURES)), range(len(PICTURES)))
        return (self._make(root, picture, exposure) for exposure, picture in islice(pairs, limit))

    def score(self, restored: Tensor, sample: Sample, *, reference: Tensor | None = None) -> Scores:
        """PSNR, SSIM and, given a reference, both error ratios, without a search for a shift."""
        return scores_after_shift(restored, sample, reference, crop=self.protocol["crop"], search=0, step=1.0)

    def _make(self, root: Path, picture: int, exposure: int) -> Sample:
        path = root / f"{PICTURES[picture]}.png"
        try:
            sharp = torch.from_numpy(read_photo(path).pixels).movedim(-1, 0)[None]  # (1, 3, H, W)
        except ImageFileError as error:
            raise UnblurError(f"{error} Expected: {self.layout}.") from error
        psf = shake_psfs(torch.Generator().manual_seed(picture), "wiener_stack")[exposure]  # (65, 65)
        generator = torch.Generator().manual_seed(1000 + len(EXPOSURES) * picture + exposure)
        reach = psf.shape[-1] // 2
        if min(sharp.shape[-2:]) < 4 * reach:
            raise UnblurError(f"{path} is too small for a PSF of {psf.shape[-1]} px. Expected: {self.layout}.")
        light = convolve(sharp, psf, "valid").clamp(0, 1)
        blurry = quantise(add_poisson_gaussian_noise(light, PHOTONS, SIGMA, generator), clip=True)
        inside = sharp[..., reach : sharp.shape[-2] - reach, reach : sharp.shape[-1] - reach].contiguous()
        return Sample(f"{PICTURES[picture]}_{exposure + 1}", blurry, inside, psf[None, None])


DATASET = KodakShaken()
