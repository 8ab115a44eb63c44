"""Blind PSF estimation with L0-regularised gradients, from coarse to fine scales. The PSF's size is estimated too."""

from __future__ import annotations

import torch

from unblur.contract import Card, Method, Settings, setting
from unblur.imaging.colour import luminance
from unblur.imaging.psf import pad_psf
from unblur.solvers.blind import estimate_psf
from unblur.types import Observation, Progress, Restoration


class L0PsfSettings(Settings):
    """Settings of `l0_psf`."""

    size: int | None = setting(
        None,
        "side of the PSF in pixels, odd (even is rounded up); None: try several, use the most plausible PSF",
        probe=(9, 25),
        ge=3,
        le=301,
    )
    weight: float = setting(
        1.0,
        "multiplies the L0 weights; with a higher value only larger edges are used",
        probe=(0.2, 4.0),
        ge=0.01,
        le=100,
    )
    smoothness: float = setting(
        0.3, "quadratic penalty on the PSF; higher is smoother and wider", probe=(0.05, 3.0), ge=0, le=100
    )
    iterations: int = setting(
        5, "alternations between sharp picture and PSF per pyramid level; higher is slower", probe=(2, 5), ge=1, le=100
    )


def restore(observation: Observation, settings: L0PsfSettings, progress: Progress) -> Restoration:
    """Estimate each picture's PSF from its luminance; see `L0PsfSettings`."""
    blurry = observation.blurry
    assert blurry is not None
    psfs = [
        estimate_psf(
            picture[None],
            size=settings.size,
            weight=settings.weight,
            smoothness=settings.smoothness,
            iterations=settings.iterations,
            progress=progress,
        )
        for picture in luminance(blurry)
    ]
    sides = max(psf.shape[0] for psf in psfs), max(psf.shape[1] for psf in psfs)
    return Restoration(psf=torch.stack([pad_psf(psf, sides)[None] for psf in psfs]))  # (B, 1, h, w)


METHOD = Method(
    Card(
        name="l0_psf",
        title="PSF of one blurry photo from its strongest edges",
        paper="Xu, Zheng & Jia 2013; Pan et al. 2014, 2017",
        needs=frozenset({"blurry"}),
        gives=frozenset({"psf"}),
    ),
    L0PsfSettings,
    restore,
    quick={"size": 15, "iterations": 3},
)
