"""The PSF of a noisy blurry photo, from what NIDF makes of it: Miao & Zhu, "Handling Noise in Image Deblurring via
Joint Learning" (NIDF), Section 2.5.

NIDF returns a denoised picture `B1` and a sharp picture `I1`. The PSF between them is estimated in one of two ways:

- `ratio`: the ratio of their spectra (Eq. 7);
- `exemplar`: `min over P, L of |P * L - B1|^2 + 0.002 |grad L|_0 + 0.001 |grad L - grad I1|^2` (Eq. 8), with `P >= 0`
  and `sum P = 1`, by half-quadratic splitting.

Differences from the paper: as printed, the last term of Eq. 8 is always 0, so there is a latent picture `L` besides
`I1`. Eq. 8 is solved from coarse to fine scales, as in `l0_psf`, which solves the same problem without exemplar. The
weight of the L0 norm decreases with the iterations, and is twice as high for PSFs larger than 27 pixels. A small
quadratic penalty on the PSF is added. Contours of faces are not used.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unblur.contract import Card, Method, setting
from unblur.imaging.colour import luminance
from unblur.imaging.psf import pad_psf
from unblur.layers.precision import Precision
from unblur.methods.nidf.restoring import TRAINED, denoise_and_deblur, informative_part
from unblur.solvers.blind import estimate_psf
from unblur.solvers.psf_fit import tidy
from unblur.solvers.spectral_ratio import spectral_ratio
from unblur.trained import TrainedSettings
from unblur.types import Observation, Progress, Restoration

SPARSITY = 0.002  # weight of the L0 norm in Eq. 8
RATIO_SIZE = 51  # pixels: side of the PSF of Eq. 7; the paper's largest PSFs have 49


class ExemplarPsfSettings(TrainedSettings):
    """Settings of `exemplar_psf`; `weights` are those of `nidf`."""

    equation: Literal["exemplar", "ratio"] = setting(
        "exemplar",
        "exemplar: Eq. 8, an alternation between a latent sharp picture and the PSF; ratio: Eq. 7, the ratio of two "
        "spectra, faster and less exact",
        probe=("exemplar", "ratio"),
    )
    size: int | None = setting(
        None,
        "side of the PSF in pixels, odd (even is rounded up); None: exemplar tries several and uses the most plausible "
        f"PSF, ratio uses {RATIO_SIZE}",
        probe=(9, 25),
        ge=3,
        le=301,
    )
    sparsity: float = setting(
        SPARSITY,
        "exemplar: weight of the L0 norm of the latent picture's gradients at the coarsest scale; twice this weight is "
        "also tried; with a higher value only larger edges are used",
        probe=(0.0005, 0.02),
        ge=1e-5,
        le=1,
    )
    exemplar_weight: float = setting(
        0.001,
        "exemplar: weight of the squared difference between the gradients of the latent picture and of the network's "
        "sharp picture; with a higher value both are more alike; 0: the sharp picture is not used",
        probe=(0.0, 1.0),
        ge=0,
        le=100,
    )
    smoothness: float = setting(
        0.3,
        "exemplar: quadratic penalty on the PSF; with a higher value the PSF is smoother and wider",
        probe=(0.05, 3.0),
        ge=0,
        le=100,
    )
    regularisation: float = setting(
        0.1,
        "ratio: added to the power spectrum of the sharp picture, relative to its mean; with a higher value the PSF is "
        "smoother",
        probe=(0.01, 1.0),
        given={"equation": "ratio"},
        ge=1e-6,
        le=100,
    )
    iterations: int = setting(
        5,
        "exemplar: alternations between latent picture and PSF per scale; higher is slower",
        probe=(2, 5),
        ge=1,
        le=100,
    )
    orientations: int = setting(
        4,
        "number of rotated and mirrored copies that the networks restore and average; higher is better and slower",
        probe=(1, 4),
        ge=1,
        le=8,
    )
    precision: Precision = setting(
        "auto",
        "number format of the networks; auto: bfloat16 if the processor is faster with it, else float32",
        probe=("float32", "bfloat16"),
    )


def restore(observation: Observation, settings: ExemplarPsfSettings, progress: Progress) -> Restoration:
    """Estimate each picture's PSF from the luminance of `B1` and `I1`; see `ExemplarPsfSettings`."""
    blurry = observation.blurry
    assert blurry is not None
    psfs = []
    for photo in blurry.split(1):
        part = informative_part(photo)  # (1, 3, h, w)
        B1, I1 = denoise_and_deblur(
            part,
            settings.weights,
            precision=settings.precision,
            orientations=settings.orientations,
            progress=progress,
        )
        psfs.append(psf_between(luminance(B1), luminance(I1), settings, progress))
    sides = max(psf.shape[0] for psf in psfs), max(psf.shape[1] for psf in psfs)
    return Restoration(psf=torch.stack([pad_psf(psf, sides)[None] for psf in psfs]))  # (B, 1, h, w)


def psf_between(denoised: Tensor, sharp: Tensor, settings: ExemplarPsfSettings, progress: Progress) -> Tensor:
    """Estimate the PSF between two grey pictures.

    Args:
        denoised: `B1`, `(1, 1, H, W)`, [0, 1].
        sharp: `I1`, same shape.
        settings: equation and parameters.
        progress: advanced while the PSF is estimated with Eq. 8.

    Returns:
        `(h, w)`, odd sides, non-negative, sums to 1, centre of mass at the middle pixel.
    """
    if settings.equation == "exemplar":
        return estimate_psf(
            denoised,
            size=settings.size,
            weight=settings.sparsity / SPARSITY,
            smoothness=settings.smoothness,
            iterations=settings.iterations,
            exemplar=sharp,
            exemplar_weight=settings.exemplar_weight,
            progress=progress,
        )
    progress.stage("estimating the PSF")
    largest = (min(denoised.shape[-2:]) - 1) // 2 * 2 + 1
    size = min((settings.size or RATIO_SIZE) | 1, largest)
    return tidy(spectral_ratio(denoised, sharp, size, settings.regularisation))


METHOD = Method(
    Card(
        name="exemplar_psf",
        title="PSF of one noisy blurry photo, from the two pictures of nidf",
        paper="Miao & Zhu; Pan et al. 2014",
        needs=frozenset({"blurry"}),
        gives=frozenset({"psf"}),
        channels=(3,),
    ),
    ExemplarPsfSettings,
    restore,
    quick={"size": 15, "iterations": 3, "orientations": 1},
    trained=TRAINED,
)
