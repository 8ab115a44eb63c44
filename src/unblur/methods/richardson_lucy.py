"""Richardson-Lucy deconvolution: the expectation-maximisation algorithm for Poisson noise."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from unblur.contract import Card, Method, Settings, setting
from unblur.solvers.canvas import Canvas, gradient, gradient_adjoint
from unblur.solvers.data_term import unclipped
from unblur.solvers.richardson_lucy import DARK, RichardsonLucy
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
    dark = settings.boundary == "zero"  # no light comes from outside the picture
    update = RichardsonLucy.of(canvas, canvas.blurry, dark_outside=dark)
    image = 0.5 * canvas.mask if dark else canvas.blurry.clamp_min(DARK)
    progress.stage("deconvolving", settings.iterations)
    for _ in range(settings.iterations):
        image = update(image)
        if settings.tv > 0:
            image = image / (1 + settings.tv * _curvature_of_level_lines(image)).clamp_min(0.5)
        progress.advance()
    return Restoration(image=canvas.crop(image), psf=psf)


def _curvature_of_level_lines(image: Tensor) -> Tensor:
    """Compute the derivative of total variation, minus the divergence of the normalised gradient: `(B, C, H, W)`."""
    field = gradient(image)  # (2, B, C, H, W)
    length = (field.square().sum(0, keepdim=True) + DARK**2).sqrt()
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
