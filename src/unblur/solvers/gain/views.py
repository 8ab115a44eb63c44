"""What the learned judge looks at: a photo, a restored picture, and what a PSF makes of the photo."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unblur.imaging.convolution import convolve
from unblur.imaging.noise import estimate_noise_sigma
from unblur.metrics import kernel_similarity
from unblur.solvers.psf_tiles import SOME_NOISE, deconvolved

PICTURES, FACTS = 5, 6
"""Numbers of pictures and of facts that describe a candidate, see `Views`."""

BORDER = 24
"""Pixels on each side that the judge does not look at, since deconvolution is less certain there."""


@dataclass(frozen=True)
class Views:
    """A candidate as the judge sees it.

    Attributes:
        pictures: `(5, H, W)`: the photo; the restored picture; the photo deconvolved with the PSF; the same with the
            PSF turned by 180 degrees; the restored picture, blurred again, minus the photo. Without a PSF the third and
            the fourth are the photo, and the last one is 0.
        facts: `(6,)`: the logarithms of the noise of the photo, of the root mean square distance of the PSF's light
            from its middle, and of the number of pixels over which it is spread; the similarity of the PSF and its
            turned copy; the logarithm of the photo's contrast; 1 with a PSF, 0 without.
    """

    pictures: Tensor
    facts: Tensor


def views_of(grey: Tensor, restored: Tensor, psf: Tensor | None) -> Views:
    """Make the views of one candidate.

    Args:
        grey: luminance of the photo, `(1, 1, H, W)`, [0, 1].
        restored: luminance of the restored picture, same shape.
        psf: the PSF that it was restored with, `(h, w)`, odd sides; None: there is none.
    """
    noise = math.log(max(float(estimate_noise_sigma(grey)), 1e-3))
    contrast = math.log(float(grey.std()) + 1e-3)
    if psf is None:
        pictures = [grey, restored, grey, grey, torch.zeros_like(grey)]
        facts = [noise, 0.0, 0.0, 0.0, contrast, 0.0]
    else:
        own, turned = (deconvolved(grey, one, SOME_NOISE) for one in (psf, psf.flip(0, 1)))
        pictures = [grey, restored, own, turned, convolve(restored, psf) - grey]
        facts = [noise, *_shape_of(psf), contrast, 1.0]
    return Views(torch.cat(pictures, 1)[0], torch.tensor(facts))


def _shape_of(psf: Tensor) -> tuple[float, float, float]:
    """The second, third and fourth of the facts."""
    plane = psf.cpu()
    y, x = (torch.arange(side) - side // 2 for side in plane.shape)
    radius = float((plane * (y[:, None].square() + x.square())).sum().sqrt())
    spread = 1 / float(plane.square().sum())
    return math.log(radius + 0.5), math.log(spread), float(kernel_similarity(plane, plane.flip(0, 1)))
