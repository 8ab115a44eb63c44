"""The data term of a deconvolution: which pixels of a blurry picture count, and how noisy they are."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.noise import estimate_noise_sigma, estimate_noise_under_blur
from unblur.types import Observation

SIGMA_FLOOR = 0.003
"""Least noise level, on the [0, 1] scale: quantisation, compression, gamma and errors of the PSF act like noise. Chosen
by hand."""

_CLIPPED = 254.5 / 255  # an 8-bit 255, whatever the depth


def noise_sigma(observation: Observation, *, blurred: bool = True) -> Tensor:
    """Each picture's noise level, estimated where it is not given; at least a floor: `(B, 1, 1, 1)`.

    `blurred` says that `observation.blurry` has no detail as fine as a pixel, so that noise that JPEG removed from the
    finest frequencies can be estimated from coarser ones.
    """
    blurry = observation.blurry
    assert blurry is not None
    sigma = blurry.new_full((len(blurry),), observation.sigma or 0.0)  # (B,)
    if observation.sigma is None and min(blurry.shape[-2:]) >= 8:  # smaller pictures hold no estimate
        estimate = estimate_noise_under_blur if blurred else estimate_noise_sigma
        sigma = estimate(blurry).to(blurry)
    return sigma.clamp_min(SIGMA_FLOOR)[:, None, None, None]


def prior_weight(sigma: Tensor, scale: float) -> Tensor:
    """The weight of a gradient prior for each picture's noise, `scale * sigma^1.5`: as `sigma`, `(B, 1, 1, 1)`.

    The power would be 2 if the prior were a photo's true density. Over sigma = 0.003..0.04 the power 1.5 restores
    validation photos best (benchmarks/tune_nonblind.py).
    """
    return scale * sigma**1.5


def unclipped(blurry: Tensor, mask_clipped: bool) -> Tensor | None:
    """True where a pixel is below the sensor's limit, so that the blur model holds: `(B, C, H, W)`, or None for all.

    A saturated pixel shows only a lower bound of its brightness. Its neighbours are left out too, since demosaicking
    and JPEG spread the error by a pixel. Solvers need many steps to find the brightness of what is left out.
    """
    if not mask_clipped:
        return None
    clipped = (blurry >= _CLIPPED).to(blurry.dtype)
    if not clipped.any():
        return None
    return F.max_pool2d(clipped, 3, stride=1, padding=1) == 0
