"""What may be believed of a blurry picture before it is inverted: which pixels, and up to which noise."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.noise import estimate_noise_sigma, estimate_noise_under_blur
from unblur.types import Observation

# No photo is modelled better than this: quantisation, compression, gamma and the PSF's own error act like noise.
SIGMA_FLOOR = 0.003

_CLIPPED = 254.5 / 255  # an 8-bit 255, whatever the depth


def noise_sigma(observation: Observation, *, blurred: bool = True) -> Tensor:
    """Each picture's noise level, estimated where it is not given; at least a floor: `(B, 1, 1, 1)`.

    `blurred` says that `observation.blurry` has no detail down to single pixels, so that noise hidden by JPEG
    can be told from it.
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

    Bayes would have sigma^2 for a prior that is a photo's true density. It is not, and over sigma = 0.003..0.04
    the weight that restores validation photos best grows with the power 1.5 (benchmarks/tune_nonblind.py).
    """
    return scale * sigma**1.5


def unclipped(blurry: Tensor, mask_clipped: bool) -> Tensor | None:
    """True where a pixel is below the sensor's limit, so that the blur model holds: `(B, C, H, W)`, or None for all.

    A clipped pixel only says "at least this bright". Its neighbours are left out too, since demosaicking and
    JPEG blocks spread the flattening by a pixel. A white wall is clipped as well, but there the model
    holds up to a constant; leaving it out loses little. How bright what was left out is takes solvers many steps.
    """
    if not mask_clipped:
        return None
    clipped = (blurry >= _CLIPPED).to(blurry.dtype)
    if not clipped.any():
        return None
    return F.max_pool2d(clipped, 3, stride=1, padding=1) == 0
