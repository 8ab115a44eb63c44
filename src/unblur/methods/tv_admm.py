"""Total-variation deconvolution (Rudin, Osher, Fatemi 1992) by the alternating direction method of multipliers."""

from __future__ import annotations

from unblur.contract import Card, Method, Settings, setting
from unblur.solvers.non_blind import total_variation
from unblur.types import Observation, Progress, Restoration


class TvAdmmSettings(Settings):
    """Settings of `tv_admm`."""

    strength: float = setting(
        1.0, "multiplies the prior's weight; higher is smoother", probe=(0.3, 3.0), ge=1e-4, le=1e4
    )
    iterations: int = setting(
        120, "ADMM iterations; higher is closer to the exact minimiser", probe=(5, 20), ge=1, le=10000
    )
    mask_clipped: bool = setting(True, "do not fit saturated pixels", probe=(True, False))


def restore(observation: Observation, settings: TvAdmmSettings, progress: Progress) -> Restoration:
    """Deconvolve with isotropic total variation; see `TvAdmmSettings`."""
    image = total_variation(
        observation,
        progress,
        strength=settings.strength,
        iterations=settings.iterations,
        mask_clipped=settings.mask_clipped,
    )
    return Restoration(image=image, psf=observation.psf)


METHOD = Method(
    Card(
        name="tv_admm",
        title="Total variation by ADMM; convex, so the solution is unique",
        paper="Rudin, Osher & Fatemi 1992; Wang et al. 2008",
        needs=frozenset({"blurry", "psf"}),
        gives=frozenset({"image"}),
        undoes=frozenset({"blur"}),
        tiling=True,
    ),
    TvAdmmSettings,
    restore,
    quick={"iterations": 20},
    weakest={"strength": 1e-4},
)
