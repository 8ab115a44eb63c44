"""Levin, Fergus, Durand, Freeman 2007: deconvolution with a sparse prior on first and second derivatives."""

from __future__ import annotations

from unblur.contract import Card, Method, Settings, setting
from unblur.solvers import non_blind
from unblur.types import Observation, Progress, Restoration


class SparseSettings(Settings):
    """Settings of `sparse`."""

    strength: float = setting(
        1.0, "multiplies the prior's weight; higher is smoother", probe=(0.3, 3.0), ge=1e-4, le=1e4
    )
    exponent: float = setting(
        0.8, "power of the derivative penalty; lower is more piecewise flat", probe=(0.5, 0.8), ge=0.1, le=1.9
    )
    curvature: float = setting(
        0.25,
        "weight of second derivatives relative to first ones; higher prefers linear gradients",
        probe=(0.0, 1.0),
        ge=0,
        le=10,
    )
    reweightings: int = setting(
        2, "how often the least-squares weights are updated; higher is sparser", probe=(1, 3), ge=0, le=50
    )
    steps: int = setting(
        40,
        "conjugate-gradient steps per update of the weights; higher is closer to the exact solution",
        probe=(5, 20),
        ge=1,
        le=1000,
    )
    mask_clipped: bool = setting(True, "do not fit saturated pixels", probe=(True, False))


def restore(observation: Observation, settings: SparseSettings, progress: Progress) -> Restoration:
    """Deconvolve by iteratively reweighted least squares; see `SparseSettings`."""
    image = non_blind.sparse(observation, progress, **settings.model_dump())
    return Restoration(image=image, psf=observation.psf)


METHOD = Method(
    Card(
        name="sparse",
        title="Sparse first and second derivatives by reweighted least squares; slower, a little better",
        paper="Levin et al. 2007",
        needs=frozenset({"blurry", "psf"}),
        gives=frozenset({"image"}),
        undoes=frozenset({"blur"}),
        tiling=True,
    ),
    SparseSettings,
    restore,
    quick={"steps": 10},
    weakest={"strength": 1e-4},
)
