"""The data term of a deconvolution: the noise level of a blurry picture, and which of its pixels are fitted."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.noise import estimate_noise_sigma, estimate_noise_under_blur
from unblur.types import Observation

SIGMA_FLOOR = 0.003
"""Least noise level, on the [0, 1] scale; chosen by hand.

Quantisation, compression, gamma and errors of the PSF have the effect of noise.
"""

_CLIPPED = 254.5 / 255  # 255 in an 8-bit picture; also used for other bit depths


def noise_sigma(observation: Observation, *, blurred: bool = True) -> Tensor:
    """The noise level of each picture, given or estimated, but at least `SIGMA_FLOOR`: `(B, 1, 1, 1)`.

    Args:
        observation: its `sigma` is used if it is given.
        blurred: True: the picture has no details of one pixel, so `estimate_noise_under_blur` is used, which also
            works if JPEG removed the noise at the finest frequencies.
    """
    blurry = observation.blurry
    assert blurry is not None
    sigma = blurry.new_full((len(blurry),), observation.sigma or 0.0)  # (B,)
    if observation.sigma is None and min(blurry.shape[-2:]) >= 8:  # smaller pictures cannot be estimated
        estimate = estimate_noise_under_blur if blurred else estimate_noise_sigma
        sigma = estimate(blurry).to(blurry)
    return sigma.clamp_min(SIGMA_FLOOR)[:, None, None, None]


def prior_weight(sigma: Tensor, scale: float) -> Tensor:
    """Compute the weight of a gradient prior, `scale * sigma^1.5`: `(B, 1, 1, 1)` like the noise levels `sigma`."""
    # The exponent would be 2 if the prior were the true density of photos. For sigma = 0.003..0.04, validation photos
    # are restored best with 1.5 (benchmarks/tune_nonblind.py).
    return scale * sigma**1.5


def unclipped(blurry: Tensor, mask_clipped: bool) -> Tensor | None:
    """Find the pixels that obey the blur model: those that are not saturated, and have no saturated neighbour.

    Args:
        blurry: `(B, C, H, W)`, [0, 1].
        mask_clipped: False: all pixels are used.

    Returns:
        True for these pixels, `(B, C, H, W)`; None: all pixels.
    """
    # The value of a saturated pixel is only a lower bound. Demosaicking and JPEG spread the error to its neighbours.
    if not mask_clipped:
        return None
    clipped = (blurry >= _CLIPPED).to(blurry.dtype)
    if not clipped.any():
        return None
    return F.max_pool2d(clipped, 3, stride=1, padding=1) == 0
