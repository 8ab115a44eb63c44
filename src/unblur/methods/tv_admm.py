"""Total-variation deconvolution (Rudin, Osher, Fatemi 1992) by the alternating direction method of multipliers."""

from __future__ import annotations

from unblur.contract import Card, Method, Settings, setting
from unblur.solvers import deconvolution
from unblur.solvers.canvas import Canvas
from unblur.solvers.observed import noise_sigma, prior_weight, unclipped
from unblur.types import Observation, Progress, Restoration


class TvAdmmSettings(Settings):
    """Settings of `tv_admm`."""

    strength: float = setting(
        1.0, "multiplies the prior's weight; higher is smoother", probe=(0.3, 3.0), ge=1e-4, le=1e4
    )
    iterations: int = setting(
        120, "ADMM iterations; more is closer to the exact minimiser", probe=(5, 20), ge=1, le=10000
    )
    mask_clipped: bool = setting(True, "leave clipped highlights out of the data term", probe=(True, False))


def restore(observation: Observation, settings: TvAdmmSettings, progress: Progress) -> Restoration:
    """Isotropic total variation; see `TvAdmmSettings`."""
    blurry, psf = observation.blurry, observation.psf
    assert blurry is not None and psf is not None
    weight = prior_weight(noise_sigma(observation), settings.strength * WEIGHT)
    canvas = Canvas.around(blurry, psf, unclipped(blurry, settings.mask_clipped))
    progress.stage("deconvolving", settings.iterations)
    image = deconvolution.total_variation(canvas, weight, iterations=settings.iterations, progress=progress)
    return Restoration(image=canvas.crop(image), psf=psf)


WEIGHT = 0.7  # tuned on validation photos: benchmarks/tune_nonblind.py

METHOD = Method(
    Card(
        name="tv_admm",
        title="Total variation by ADMM; convex, so the answer is unique",
        paper="Rudin, Osher & Fatemi 1992; Wang et al. 2008",
        needs=frozenset({"blurry", "psf"}),
        gives=frozenset({"image"}),
        tiling=True,
        quick={"iterations": 20},
    ),
    TvAdmmSettings,
    restore,
)
