"""Richardson-Lucy deconvolution: the expectation-maximisation algorithm for Poisson noise."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unblur.contract import Card, Method, Settings, setting
from unblur.solvers.canvas import Canvas, gradient, gradient_adjoint
from unblur.solvers.data_term import unclipped
from unblur.types import Observation, Progress, Restoration


class RichardsonLucySettings(Settings):
    """Settings of `richardson_lucy`."""

    iterations: int = setting(30, "number of iterations; higher is sharper and noisier", probe=(5, 20), ge=1, le=10000)
    tv: float = setting(
        0.0,
        "weight of total variation (Dey et al. 2006), such as 0.002; higher is smoother",
        probe=(0.0, 0.01),
        ge=0,
        le=0.1,
    )
    boundary: Literal["open", "circular", "zero"] = setting(
        "open",
        "what is outside the picture: 'open': the rest of the scene, unknown; 'circular': the opposite side; "
        "'zero': black, as in scikit-image",
        probe=("open", "zero"),
    )
    mask_clipped: bool = setting(True, "do not fit saturated pixels (with the open boundary)", probe=(True, False))


def restore(observation: Observation, settings: RichardsonLucySettings, progress: Progress) -> Restoration:
    """Deconvolve by multiplicative updates; see `RichardsonLucySettings`."""
    blurry, psf = observation.blurry, observation.psf
    assert blurry is not None and psf is not None
    if settings.boundary == "circular":
        canvas = Canvas.circular(blurry, psf)
    else:
        trusted = unclipped(blurry, settings.mask_clipped) if settings.boundary == "open" else None
        canvas = Canvas.around(blurry, psf, trusted)
    if settings.boundary == "zero":  # no light comes from outside the picture
        seen, gain, image = canvas.mask > 0, canvas.mask, 0.5 * canvas.mask
    else:  # the sensitivity of a pixel is the share of its light that fell on trusted pixels
        sensitivity = canvas.correlate(canvas.mask)
        seen = sensitivity > _DARK
        gain = seen / sensitivity.clamp_min(_DARK)
        image = canvas.blurry.clamp_min(_DARK)
    unseen = (~seen).to(image)  # these pixels keep their values, since their light was not observed

    progress.stage("deconvolving", settings.iterations)
    data = canvas.mask * canvas.blurry.clamp_min(0)
    for _ in range(settings.iterations):
        reblurred = canvas.blur(image).clamp_min_(_TINY)
        ratio = torch.div(data, reblurred, out=reblurred).clamp_max_(_STEEP)
        image = image * torch.addcmul(unseen, gain, canvas.correlate(ratio).clamp_min_(0))
        if settings.tv > 0:
            image = image / (1 + settings.tv * _curvature_of_level_lines(image)).clamp_min(0.5)
        progress.advance()
    return Restoration(image=canvas.crop(image), psf=psf)


# Chosen by hand.
_DARK = 1e-3  # smaller values (on the [0, 1] scale) and sensitivities (1: all light was observed) count as 0
_TINY = 1e-6  # on the [0, 1] scale: smaller reblurred values are rounding errors of the FFTs
# Largest correction factor. Larger ones occur at borders that received light from outside; after an FFT their rounding
# errors would affect all pixels.
_STEEP = 1e3


def _curvature_of_level_lines(image: Tensor) -> Tensor:
    """Compute the derivative of total variation, minus the divergence of the normalised gradient: `(B, C, H, W)`."""
    field = gradient(image)  # (2, B, C, H, W)
    length = (field.square().sum(0, keepdim=True) + _DARK**2).sqrt()
    return gradient_adjoint(field / length)


METHOD = Method(
    Card(
        name="richardson_lucy",
        title="Richardson-Lucy for photon noise, optionally with total variation",
        paper="Richardson 1972; Lucy 1974; Dey et al. 2006",
        needs=frozenset({"blurry", "psf"}),
        gives=frozenset({"image"}),
        undoes=frozenset({"blur"}),
        tiling=True,
        whole_when={"boundary": "circular"},
    ),
    RichardsonLucySettings,
    restore,
    quick={"iterations": 10},
)
