"""Lai et al. 2016: 25 colour pictures of five kinds, each blurred by four large camera shakes.

"A Comparative Study for Single Image Blind Deblurring", CVPR 2016. The folder holds the sharp pictures and
the kernels; the 100 blurry pictures are **synthesised here**, one by one, identical in every run:

    blurry = 8 bits of clip(clip(convolve(scene, psf, "valid")) + 0.01 n),   n normal, seeded by picture and kernel.

The PSF is the kernel as its PNG shows it, normalised, as a *convolution*. It is off centre by up to 8 px and not
recentred, because the protocol searches for the shift. The sharp picture is cropped to the area of the valid
convolution. `scene` equals the sharp picture, except in the saturated pictures.

**Saturated pictures.** The authors stretch the range beyond 1, blur, and clip, so that a lamp becomes a white streak.
Their sharp files are clipped already (the gaps in their histograms show a stretch by 1.9 or 2.1 that ends at 255), so
the values above white are lost. They are replaced here by assumed values: a value of 255 counts as 1.2 at the rim of
its clipped area and as 0.2 more with every pixel inwards, up to 1.8, in each channel separately. `scene` has these
values in clipped areas and the file's values elsewhere; the sharp picture is the file. (With one value for a whole
clipped area, its rim would become a false edge.)

So these pictures differ from the authors' blurry files in noise and highlights. Published figures are also computed on
MATLAB's studio-range luminance (16 ... 235), which makes about 1.3 dB. They cannot be compared with figures by this
protocol.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from unblur.datasets.base import Dataset, Sample, Scores, scores_after_shift
from unblur.image_io import ImageFileError, read_photo, read_psf
from unblur.imaging.colour import luminance
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import add_gaussian_noise, quantise
from unblur.types import UnblurError

CATEGORIES = ("manmade", "natural", "people", "saturated", "text")
PICTURES = tuple(f"{category}_{number:02}" for category in CATEGORIES for number in range(1, 6))
KERNELS = tuple(f"kernel_{number:02}" for number in range(1, 5))
SIGMA = 0.01
RIM, RIMS = 0.2, 4  # added to a clipped value for every pixel inwards, and the number of such pixels
SMALLEST = 64  # px, side of a blurry picture: the crop and the window of SSIM must fit, at half size too


class Lai(Dataset):
    """The 100 blurry pictures, scored on full-range luminance."""

    name = "lai"
    title = "Lai et al. 2016: 25 pictures x 4 camera shakes of 31 to 75 px, made here"
    layout = (
        f"{len(PICTURES)} pictures sharp/{PICTURES[0]}.png ... {PICTURES[-1]}.png ({', '.join(CATEGORIES)}) "
        f"and {len(KERNELS)} kernels kernels/{KERNELS[0]}.png ... {KERNELS[-1]}.png"
    )
    protocol: ClassVar[Mapping[str, Any]] = {
        "dataset": "lai",
        "paper": "Lai, Huang, Hu, Ahuja, Yang, CVPR 2016",
        "pictures": len(PICTURES) * len(KERNELS),
        "blurry": f"made here, not the authors' files: valid convolution, noise of sigma {SIGMA}, 8 bits",
        "saturated": f"blurred with 255 as {1 + RIM} at the rim of a clipped area to {1 + RIM * RIMS} inside, clipped",
        "psf": "the kernel normalised, not recentred",
        "clip": [0.0, 1.0],
        "channel": "Rec. 601 luminance of both, full range",
        "crop": 15,
        "search": 10,
        "step": 0.25,
        "interpolation": "bilinear",
        "shift": "least sum of squared differences, each picture its own",
        "data_range": 1.0,
        "ssim": "Wang 2004: 11x11 Gaussian, sigma 1.5, valid windows",
        "average": "mean of the figures of each picture",
    }
    pairs: ClassVar[tuple[tuple[str, str], ...]] = tuple(product(PICTURES, KERNELS))

    def count(self, root: Path) -> int:
        """The number of blurry pictures.

        Raises:
            UnblurError: when the folder or a file is missing.
        """
        self._check(root)
        return len(self.pairs)

    def samples(self, root: Path, limit: int | None = None) -> Iterator[Sample]:
        """The blurry pictures, synthesised one by one: all kernels of the first picture, then of the next one."""
        self._check(root)
        return (self._make(root, *pair) for pair in islice(self.pairs, limit))

    def score(self, restored: Tensor, sample: Sample, *, reference: Tensor | None = None) -> Scores:
        """PSNR, SSIM and, given a reference, both error ratios, on luminance after the best quarter-pixel shift."""
        for picture in (restored, reference):
            # A grey result has a valid luminance too, so the shape is checked before.
            if picture is not None and picture.shape != sample.blurry.shape:
                raise ValueError(f"{sample.name} is of shape {tuple(sample.blurry.shape)}, not {tuple(picture.shape)}.")
        seen = replace(sample, sharp=None if sample.sharp is None else luminance(sample.sharp))
        known = None if reference is None else _seen(reference)
        crop, search, step = (self.protocol[key] for key in ("crop", "search", "step"))
        return scores_after_shift(_seen(restored), seen, known, crop=crop, search=search, step=step)

    def _check(self, root: Path) -> None:
        if not root.is_dir():
            raise UnblurError(f"there is no folder {root}. Expected there: {self.layout}.")
        files = [*(_sharp_file(root, name) for name in PICTURES), *(_kernel_file(root, name) for name in KERNELS)]
        missing = [path for path in files if not path.is_file()]
        if missing:
            lacking = f"{len(files) - len(missing)} of {len(files)} files; {missing[0]} is missing"
            raise UnblurError(f"{root} holds {lacking}. Expected: {self.layout}.")

    def _make(self, root: Path, picture: str, kernel: str) -> Sample:
        path = _sharp_file(root, picture)
        try:
            pixels = read_photo(path).pixels
            psf = torch.from_numpy(read_psf(_kernel_file(root, kernel)))  # (h, w)
        except ImageFileError as error:
            raise UnblurError(f"{error} Expected: {self.layout}.") from error
        sharp = torch.from_numpy(pixels).movedim(-1, 0)[None]  # (1, 3, H, W)
        (height, width), (h, w) = sharp.shape[-2:], psf.shape
        if min(height - h, width - w) + 1 < SMALLEST:
            raise UnblurError(
                f"{path} is {width} x {height}, too small for the {w} x {h} px of {kernel}. Expected: {self.layout}."
            )
        scene = _with_highlights(sharp) if picture.startswith("saturated") else sharp
        noise = torch.Generator().manual_seed(PICTURES.index(picture) * len(KERNELS) + KERNELS.index(kernel))
        blurry = convolve(scene, psf, "valid").clamp(0, 1)  # (1, 3, H - h + 1, W - w + 1)
        blurry = quantise(add_gaussian_noise(blurry, SIGMA, noise, clip=True))
        inside = sharp[..., h // 2 : height - h // 2, w // 2 : width - w // 2].contiguous()
        return Sample(f"{picture}_{kernel}", blurry, inside, psf[None, None])


def _with_highlights(picture: Tensor) -> Tensor:
    """`picture` with clipped values raised above 1; values farther inside a clipped area are raised more."""
    unclipped = (picture < 1).float()
    for reach in range(RIMS):
        near_unclipped = max_pool2d(unclipped, 2 * reach + 1, stride=1, padding=reach)
        picture = picture + RIM * (1 - near_unclipped)
    return picture


def _seen(picture: Tensor) -> Tensor:
    """Luminance of a picture clipped to [0, 1]."""
    # Clipped before the weighted sum: otherwise a channel above 1 would raise the luminance of the others.
    return luminance(picture.clamp(0, 1))


def _sharp_file(root: Path, picture: str) -> Path:
    return root / "sharp" / f"{picture}.png"


def _kernel_file(root: Path, kernel: str) -> Path:
    return root / "kernels" / f"{kernel}.png"


DATASET = Lai()
