"""A fifth of the pictures of Lai et al. 2016 at half size, for slow methods and quick tests.

Kernel 1 blurs the first picture of each of the five kinds, kernel 2 the second, and so on: 20 pictures, read from the
same folder as `lai`. Each blurry picture is that of `lai`, averaged over 2x2 pixels and rounded to 8 bits again, so
its noise has half the sigma, 0.005. The sharp picture is averaged in the same way, and the PSF is resized by 0.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from torch.nn.functional import avg_pool2d

from unblur.datasets.base import Sample
from unblur.datasets.lai import CATEGORIES, KERNELS, Lai
from unblur.imaging.noise import quantise
from unblur.imaging.psf import resize_psf


class LaiHalf(Lai):
    """20 of the 100 pictures at half size; crop and search are half of those of `lai`."""

    name = "lai_half"
    title = "Lai et al. 2016 at half size: 20 of the 100 pictures, 5 a camera shake"
    pairs: ClassVar[tuple[tuple[str, str], ...]] = tuple(
        (f"{category}_{number:02}", kernel) for category in CATEGORIES for number, kernel in enumerate(KERNELS, start=1)
    )
    protocol: ClassVar[Mapping[str, Any]] = {
        **Lai.protocol,
        "dataset": "lai_half",
        "pictures": len(pairs),
        "size": "blurry and sharp averaged over 2x2 pixels, blurry rounded to 8 bits again, psf resized by 0.5",
        "crop": 8,
        "search": 5,
    }

    def _make(self, root: Path, picture: str, kernel: str) -> Sample:
        whole = super()._make(root, picture, kernel)
        assert whole.sharp is not None and whole.psf is not None
        return replace(
            whole,
            blurry=quantise(avg_pool2d(whole.blurry, 2)),  # an odd last row or column is left out
            sharp=avg_pool2d(whole.sharp, 2),
            psf=resize_psf(whole.psf[0, 0], 0.5)[None, None],
        )


DATASET = LaiHalf()
