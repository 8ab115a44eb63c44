"""Hu, Cho, Wang & Yang 2014, "Deblurring low-light images with light streaks": photos of the night, whose small lights
draw the path of the shaken camera as bright lines.

The PSF is the mean of lines that are alike (`solvers/light_streaks.py`). The photo is deconvolved with a
hyper-Laplacian prior, without the lights and what is near them: they are clipped, and their light is too bright for a
blur of sRGB values.

Differences from the paper: several lines are needed instead of one, and the PSF is the mean of the lines, perhaps
corrected once (`solvers.l0.revise_psf`), instead of being estimated together with the sharp photo.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.contract import Card, Method, Settings, setting
from unblur.imaging.colour import luminance
from unblur.imaging.psf import delta_psf, pad_psf
from unblur.solvers.canvas import Canvas
from unblur.solvers.data_term import noise_sigma
from unblur.solvers.deconvolution import quick_hyper_laplacian
from unblur.solvers.light_streaks import streak_psf
from unblur.solvers.non_blind import hyper_laplacian_weight
from unblur.solvers.tiles import halo_for, tiled
from unblur.types import Observation, Progress, Restoration

# Chosen by hand on synthesised photos with lights; benchmarks/light_streaks.py measures the result.
_WEIGHT = 3e-3  # least weight of the prior: high, since an error of the PSF does more harm than noise
_EXPONENT = 0.8  # of the prior
_LIGHT, _NEAR = 0.92, 2  # values from which a pixel belongs to a light; pixels around it that are left out, too

_NONE = (
    "No PSF was found in lights: fewer than four draw the same line, the rest of the photo does not confirm it, or "
    "another PSF explains the photo better."
)


class LightStreaksSettings(Settings):
    """Settings of `light_streaks`."""

    strength: float = setting(1.0, "multiplies the prior's weight; higher is smoother", probe=None, ge=1e-4, le=1e4)


def restore(observation: Observation, settings: LightStreaksSettings, progress: Progress) -> Restoration:
    """Find each picture's PSF in its lights, and deconvolve it; see `LightStreaksSettings`."""
    blurry = observation.blurry
    assert blurry is not None
    psfs, notes = [], []
    for picture in luminance(blurry):
        progress.stage("looking for lines of light")
        psf = streak_psf(picture[None], progress)
        if psf is None:
            notes.append(_NONE)
        psfs.append(delta_psf().to(blurry) if psf is None else psf)
    sigmas = noise_sigma(observation).flatten()
    images = [
        picture[None] if psf.numel() == 1 else _restored(picture[None], psf, settings.strength, sigma, progress)
        for picture, psf, sigma in zip(blurry, psfs, sigmas, strict=True)
    ]
    sides = max(psf.shape[0] for psf in psfs), max(psf.shape[1] for psf in psfs)
    padded = torch.stack([pad_psf(psf, sides)[None] for psf in psfs])  # (B, 1, h, w)
    return Restoration(image=torch.cat(images), psf=padded, changed=len(notes) < len(blurry), notes=notes)


def _restored(photo: Tensor, psf: Tensor, strength: float, sigma: Tensor, progress: Progress) -> Tensor:
    """Deconvolve a photo `(1, C, H, W)` with a PSF `(h, w)`, in tiles; `sigma` is the deviation of its noise."""
    weight = strength * hyper_laplacian_weight(sigma.view(1, 1, 1, 1)).clamp_min(_WEIGHT)

    def restore_tile(tile: Observation, stop: Progress) -> Tensor:
        assert tile.blurry is not None
        return _deconvolved(tile.blurry, psf, weight, stop)

    return tiled(restore_tile, Observation(blurry=photo), halo=halo_for(psf), progress=progress)


def _deconvolved(photo: Tensor, psf: Tensor, weight: Tensor, progress: Progress) -> Tensor:
    """Deconvolve a tile `(1, C, h, w)`; `weight` is that of the prior, `(1, 1, 1, 1)`."""
    light = (photo.amax(1, keepdim=True) >= _LIGHT).to(photo)
    trusted = F.max_pool2d(light, 2 * _NEAR + 1, 1, _NEAR) == 0

    def restored(plane: Tensor) -> Tensor:
        canvas = Canvas.around(plane, psf, trusted)
        return canvas.crop(quick_hyper_laplacian(canvas, weight, _EXPONENT, progress=progress))

    # One channel after the other, to save memory. Beside a light, deconvolution falls below black.
    return torch.cat([restored(plane) for plane in photo.split(1, 1)], 1).clamp(0, 1)


METHOD = Method(
    Card(
        name="light_streaks",
        title="Night photos: the PSF is the line that several lights draw",
        paper="Hu, Cho, Wang & Yang 2014",
        needs=frozenset({"blurry"}),
        gives=frozenset({"psf", "image"}),
        undoes=frozenset({"blur"}),
        has_evidence=True,
    ),
    LightStreaksSettings,
    restore,
)
