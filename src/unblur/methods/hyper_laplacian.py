"""Krishnan & Fergus 2009, "Fast image deconvolution using hyper-Laplacian priors"."""

from __future__ import annotations

from unblur.contract import Card, Method, Settings, setting
from unblur.solvers import non_blind
from unblur.types import Observation, Progress, Restoration


class HyperLaplacianSettings(Settings):
    """Settings of `hyper_laplacian`."""

    strength: float = setting(
        1.0, "multiplies the prior's weight; higher is smoother", probe=(0.3, 3.0), ge=1e-4, le=1e4
    )
    exponent: float = setting(
        0.8, "power of the gradient penalty; lower is more piecewise flat", probe=(0.5, 0.8), ge=0.3, le=0.99
    )
    steps: int = setting(
        3,
        "conjugate-gradient steps per value of beta; higher restores borders and saturated lights better, slower",
        probe=(1, 4),
        ge=1,
        le=50,
    )
    mask_clipped: bool = setting(True, "do not fit saturated pixels", probe=(True, False))


def restore(observation: Observation, settings: HyperLaplacianSettings, progress: Progress) -> Restoration:
    """Deconvolve with the prior |gradient|^exponent by half-quadratic splitting; see `HyperLaplacianSettings`."""
    image = non_blind.hyper_laplacian(observation, progress, **settings.model_dump())
    return Restoration(image=image, psf=observation.psf)


METHOD = Method(
    Card(
        name="hyper_laplacian",
        title="Sparse gradients (|.|^0.8) by half-quadratic splitting; fast",
        paper="Krishnan & Fergus 2009",
        needs=frozenset({"blurry", "psf"}),
        gives=frozenset({"image"}),
        undoes=frozenset({"blur"}),
        tiling=True,
    ),
    HyperLaplacianSettings,
    restore,
    weakest={"strength": 1e-4},
)
