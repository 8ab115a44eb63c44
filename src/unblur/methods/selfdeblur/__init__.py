"""Ren et al. 2020, "Neural Blind Deconvolution Using Deep Priors" (SelfDeblur).

One blurry photo, no training data: two generator networks, one for the picture and one for the PSF, are fitted
to it until their convolution is the photo. `networks` has the networks, `fitting` the optimisation as published,
`attempts` what is done when it fails, and `refining` the preset that people use.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from unblur.contract import Card, Method, Settings, setting
from unblur.imaging.colour import luminance
from unblur.imaging.psf import delta_psf, pad_psf
from unblur.methods.selfdeblur.attempts import Attempt, fit_until_credible
from unblur.methods.selfdeblur.refining import refined_psf
from unblur.solvers import non_blind
from unblur.solvers.blind import SMALLEST_PICTURE, is_flat
from unblur.solvers.tiles import WHOLE_UP_TO, halo_for, tiled
from unblur.types import Observation, Progress, Restoration

_NETWORK = {"image": "network"}
_QUICK_NETWORK = {"image": "network", "iterations": 4, "width": 8, "start": "noise", "size": 9}


class SelfDeblurSettings(Settings):
    """Settings of `selfdeblur`."""

    image: Literal["deconvolution", "network"] = setting(
        "deconvolution",
        "what makes the sharp picture: a deconvolution, which is quick, or a network fitted to the photo, as published",
        probe=("deconvolution", "network"),
    )
    size: int | None = setting(
        None, "side of the PSF in pixels, odd (even is rounded up); None finds it", probe=(9, 15), ge=3, le=301
    )
    iterations: int | None = setting(
        None,
        "steps of Adam; None: 30 for a deconvolution; for networks 5000, 2500 for a colour picture; more is slower",
        probe=(2, 6),
        ge=1,
        le=1_000_000,
    )
    seconds: float | None = setting(
        None, "time for the optimisation of one picture, which then ends early; None: no limit", probe=(0.0, 60.0), ge=0
    )
    candidates: int = setting(
        4,
        "image=deconvolution: how many first estimates of the PSF are refined to choose from; more is slower",
        probe=(1, 4),
        ge=1,
        le=8,
    )
    coarse: float = setting(
        1.0,
        "image=deconvolution: Gaussian, in pixels, that tells the PSF's coarse shape, which is kept, from what is "
        "refined; 0 refines all",
        probe=(0.0, 2.0),
        ge=0,
        le=10,
    )
    start: Literal["l0_psf", "noise"] = setting(
        "l0_psf",
        "image=network: what the PSF network begins with, an estimate from strong edges or nothing",
        probe=("l0_psf", "noise"),
        given=_QUICK_NETWORK,
    )
    optimisation: Literal["joint", "alternating"] = setting(
        "joint",
        "image=network: whether both networks learn at once (SelfDeblur-J) or in turn (SelfDeblur-A)",
        probe=("joint", "alternating"),
        given=_QUICK_NETWORK,
    )
    psf_network: Literal["dense", "shallow", "deep", "skip"] = setting(
        "dense",
        "image=network: PSF network with one hidden layer, none, two, or an encoder-decoder (Table 2's Double-DIP)",
        probe=("dense", "skip"),
        given=_QUICK_NETWORK,
    )
    width: int = setting(
        128,
        "image=network: channels of each scale; fewer is faster and blunter",
        probe=(4, 12),
        ge=2,
        le=1024,
        given=_QUICK_NETWORK,
    )
    non_local: int = setting(
        3, "image=network: how many of the deepest scales have a non-local block", probe=(0, 5), ge=0, le=5, given=_QUICK_NETWORK
    )
    ssim_from: int | None = setting(
        None,
        "image=network: iteration from which the loss is 1 - SSIM instead of the squared error; None: never",
        probe=(None, 1),
        ge=0,
        given=_QUICK_NETWORK,
    )
    tv: float = setting(
        0.0,
        "image=network: weight of the total variation per noise level (lambda / sigma of Eq. 6); higher is smoother",
        probe=(0.0, 50.0),
        ge=0,
        le=1e4,
        given=_QUICK_NETWORK,
    )
    colour: Literal["luminance", "rgb"] = setting(
        "luminance",
        "image=network: for a colour photo the network makes the luminance alone, or all three channels jointly",
        probe=("luminance", "rgb"),
        given=_QUICK_NETWORK,
    )
    learning_rate: float = setting(
        0.01, "of Adam for the picture's network", probe=(0.001, 0.05), ge=0, le=1, given=_QUICK_NETWORK
    )
    psf_learning_rate: float = setting(
        0.01, "of Adam for the PSF network; the paper's is 1e-4", probe=(1e-4, 0.05), ge=0, le=1
    )
    final: Literal["none", "hyper_laplacian", "sparse"] = setting(
        "hyper_laplacian",
        "deconvolution that makes the result from the PSF found; none keeps the network's own picture",
        probe=("hyper_laplacian", "sparse"),
    )
    precision: Literal["bfloat16", "float32"] = setting(
        "bfloat16",
        "image=network: arithmetic of its convolutions; float32 is slower and hardly better",
        probe=("bfloat16", "float32"),
        given=_QUICK_NETWORK | {"final": "none"},
    )
    restarts: int = setting(
        2,
        "image=network: how often a failed fit (black picture, point-like or border-hugging PSF) is tried again from "
        "another seed",
        probe=(0, 1),
        ge=0,
        le=100,
        given=_QUICK_NETWORK | {"iterations": 1, "learning_rate": 1.0},
    )
    seed: int = setting(0, "of everything random", probe=(0, 1), ge=0, le=2**31 - 1)


RELEASED = {"image": "network", "start": "noise", "psf_learning_rate": 1e-4, "ssim_from": 1000, "final": "none"}
PAPER = {"image": "network", "start": "noise", "psf_learning_rate": 1e-4, "tv": 0.1, "final": "none"}


def restore(observation: Observation, settings: SelfDeblurSettings, progress: Progress) -> Restoration:
    """Find each picture's PSF and sharp picture; see `SelfDeblurSettings`."""
    assert observation.blurry is not None
    together = settings.image == "network" and observation.blurry.device.type != "cpu"
    groups = [observation.blurry] if together else observation.blurry.split(1)
    results = [_restore(replace(observation, blurry=group), settings, progress) for group in groups]
    images, psfs = zip(*((result.image, result.psf) for result in results), strict=True)
    sides = [max(psf.shape[axis] for psf in psfs) for axis in (-2, -1)]
    psf = torch.cat([_padded(psf, sides) for psf in psfs])  # (B, 1, h, w)
    return Restoration(
        image=torch.cat(images),
        psf=psf,
        changed=any(result.changed for result in results),
        notes=[note for result in results for note in result.notes],
    )


def _restore(observation: Observation, settings: SelfDeblurSettings, progress: Progress) -> Restoration:
    """One picture, or on an accelerator several of one size."""
    blurry = observation.blurry
    assert blurry is not None
    grey = luminance(blurry)
    too_small = min(blurry.shape[-2:]) < SMALLEST_PICTURE
    if too_small or is_flat(grey):
        progress.stage("looking for edges")
        reason = "too small" if too_small else "without any edge"
        psf = delta_psf().to(blurry).expand(len(blurry), 1, 1, 1)
        return Restoration(blurry.clone(), psf, changed=False, notes=[f"Nothing was changed: the picture is {reason}."])
    if settings.image == "network":
        attempt = fit_until_credible(observation, grey, settings, progress)
    else:
        attempt = _refined(grey, settings, progress)
    observation = replace(observation, psf=attempt.psf)
    if attempt.image is not None and settings.final == "none":
        return Restoration(_coloured(attempt.image, observation, progress), attempt.psf, notes=attempt.notes)
    return Restoration(_deconvolved(observation, settings.final, progress), attempt.psf, notes=attempt.notes)


def _refined(grey: Tensor, settings: SelfDeblurSettings, progress: Progress) -> Attempt:
    """The PSF found by its edges and refined on hidden pixels."""
    found = refined_psf(
        grey,
        size=settings.size,
        candidates=settings.candidates,
        iterations=settings.iterations or 30,
        learning_rate=settings.psf_learning_rate,
        coarse=settings.coarse,
        seed=settings.seed,
        until=None if settings.seconds is None else time.monotonic() + settings.seconds,
        progress=progress,
    )
    return Attempt(None, found.psf[None, None], [found.note()])


def _coloured(image: Tensor, observation: Observation, progress: Progress) -> Tensor:
    """A sharp luminance `(B, 1, H, W)` with the photo's colours, deconvolved like the rest; other pictures as they are."""
    assert observation.blurry is not None
    if image.shape[1] == observation.blurry.shape[1]:
        return image
    colours = _deconvolved(observation, "hyper_laplacian", progress)  # (B, 3, H, W)
    return colours + (image - luminance(colours))


def _deconvolved(observation: Observation, method: str, progress: Progress) -> Tensor:
    """`observation.blurry` deconvolved with `observation.psf`, a large one in tiles: `(B, C, H, W)`."""
    blurry, psf = observation.blurry, observation.psf
    assert blurry is not None and psf is not None
    deconvolve = non_blind.sparse if method == "sparse" else non_blind.hyper_laplacian
    if blurry.shape[-2] * blurry.shape[-1] <= WHOLE_UP_TO:
        return deconvolve(observation, progress)
    return tiled(
        lambda tile, within: deconvolve(replace(observation, blurry=tile), within),
        blurry,
        halo=halo_for(psf),
        progress=progress,
    )


def _padded(psf: Tensor, sides: list[int]) -> Tensor:
    """PSFs `(B, 1, h, w)` in the middle of dark ones of the given sides."""
    return torch.stack([pad_psf(own[0], (sides[0], sides[1]))[None] for own in psf])


METHOD = Method(
    Card(
        name="selfdeblur",
        title="Picture and PSF of one blurry photo, learned from that photo alone",
        paper="Ren et al. 2020",
        needs=frozenset({"blurry"}),
        gives=frozenset({"image", "psf"}),
        presets={"fast": {}, "released": RELEASED, "paper": PAPER},
        quick={"size": 15, "iterations": 3, "candidates": 1},
    ),
    SelfDeblurSettings,
    restore,
)
