"""Levin et al. 2009: four grey pictures, each photographed through eight recorded camera shakes.

"Understanding and evaluating blind deconvolution algorithms", CVPR 2009. Download: the authors' archive
`LevinEtalCVPR09Data`. Each MATLAB file holds `x` (sharp, 255 x 255), `y` (blurry, same size) and `f`.

`f` was measured as a **correlation** kernel: `y(p) = sum_t f(t) x(p + t)`. As a convolution PSF it is
rotated by 180 degrees. `x` blurred with it equals `y` shifted by up to four pixels, differently for each
shake. The PSF is not recentred, because the protocol searches for the shift.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.io import loadmat
from torch import Tensor

from unblur.datasets.base import Dataset, Sample, Scores, scores_after_shift
from unblur.types import UnblurError

PICTURES = 32
FILE_NAME = re.compile(r"im\d+_(ker|flit)\d+\.mat")  # the archive says "flit", later copies "ker"
CROP, SEARCH, STEP = 15, 5, 0.25


class Levin(Dataset):
    """The 32 photos, scored as the paper's `comp_upto_shift.m` does."""

    name = "levin"
    title = "Levin et al. 2009: 4 pictures x 8 recorded camera shakes"
    layout = (
        f"{PICTURES} MATLAB files im01_ker01.mat ... im04_ker08.mat (or im05_flit01.mat ...), "
        "each with x (sharp), y (blurry), f (kernel)"
    )
    protocol: ClassVar[Mapping[str, Any]] = {
        "dataset": "levin",
        "paper": "Levin, Weiss, Durand, Freeman, CVPR 2009",
        "pictures": PICTURES,
        "psf": "f rotated by 180 degrees, not recentred",
        "clip": [0.0, 1.0],
        "crop": CROP,
        "search": SEARCH,
        "step": STEP,
        "interpolation": "bilinear",
        "shift": "least sum of squared differences, each picture its own",
        "data_range": 1.0,
        "ssim": "Wang 2004: 11x11 Gaussian, sigma 1.5, valid windows",
        "average": "mean of the figures of each picture",
    }

    def count(self, root: Path) -> int:
        """The number of photos: 32.

        Raises:
            UnblurError: when the folder or a file is missing.
        """
        return len(self._files(root))

    def samples(self, root: Path, limit: int | None = None) -> Iterator[Sample]:
        """The photos in the order of their file names: all shakes of the first picture, then of the next one."""
        return map(self._read, islice(self._files(root), limit))

    def score(self, restored: Tensor, sample: Sample, *, reference: Tensor | None = None) -> Scores:
        """PSNR, SSIM and, given a reference, both error ratios, after the best quarter-pixel shift."""
        return scores_after_shift(restored, sample, reference, crop=CROP, search=SEARCH, step=STEP)

    def _files(self, root: Path) -> list[Path]:
        if not root.is_dir():
            raise UnblurError(f"there is no folder {root}. Expected there: {self.layout}.")
        files = sorted(path for path in root.iterdir() if FILE_NAME.fullmatch(path.name))
        if len(files) != PICTURES:
            raise UnblurError(f"{root} holds {len(files)} of {PICTURES} files. Expected: {self.layout}.")
        return files

    def _read(self, path: Path) -> Sample:
        try:
            content = loadmat(path, variable_names=["x", "y", "f"])
            sharp, blurry, kernel = (np.asarray(content[key], dtype=np.float64) for key in "xyf")
        except Exception as error:  # scipy raises many kinds of exceptions for a damaged file
            reason = f"no '{error.args[0]}' in it" if isinstance(error, KeyError) else str(error)
            raise UnblurError(f"cannot read {path} ({reason}). Expected: {self.layout}.") from error
        if not _plausible(sharp, blurry, kernel):
            shapes = f"x {sharp.shape}, y {blurry.shape}, f {kernel.shape}"
            raise UnblurError(f"{path} holds no picture and kernel ({shapes}). Expected: {self.layout}.")
        psf = kernel[::-1, ::-1] / kernel.sum()
        return Sample(path.stem, _tensor(blurry), _tensor(sharp), _tensor(psf))


def _plausible(sharp: np.ndarray, blurry: np.ndarray, kernel: np.ndarray) -> bool:
    """Whether the pictures are of one size and large enough to crop, and the kernel can be normalised."""
    finite = all(np.isfinite(array).all() for array in (sharp, blurry, kernel))
    pictures = sharp.ndim == 2 and sharp.shape == blurry.shape and min(sharp.shape) > 2 * CROP
    return finite and pictures and kernel.ndim == 2 and bool((kernel >= 0).all()) and kernel.sum() > 0


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))[None, None]  # (1, 1, H, W)


DATASET = Levin()
