"""Ren et al. 2020, "Neural Blind Deconvolution Using Deep Priors" (SelfDeblur).

It needs one blurry photo and no training data. Two generator networks, one for the sharp picture and one for the PSF,
are fitted to the photo until the convolution of their outputs equals it. `networks` defines the networks, `fitting` is
the published optimisation, `attempts` repeats it if it fails, and `psf_search` is the preset `fast`.
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
from unblur.layers.precision import Precision
from unblur.methods.selfdeblur.attempts import Attempt, fit_until_credible
from unblur.methods.selfdeblur.psf_search import PROPOSALS, find_psf
from unblur.solvers import non_blind
from unblur.solvers.areas import is_flat
from unblur.solvers.blind import SMALLEST_PICTURE
from unblur.solvers.data_term import noise_sigma
from unblur.solvers.tiles import WHOLE_UP_TO, halo_for, tiled
from unblur.types import Observation, Progress, Restoration, UnblurError

_QUICK_REFINING = {"size": 15, "iterations": 4, "psf_learning_rate": 0.01}
_QUICK_NETWORK = {"image": "network", "iterations": 4, "width": 8, "start": "noise", "size": 9}


class SelfDeblurSettings(Settings):
    """Settings of `selfdeblur`."""

    image: Literal["deconvolution", "network"] = setting(
        "deconvolution",
        "how the sharp picture is computed: by a deconvolution, which is fast, or by a network fitted to the photo, as "
        "published",
        probe=("deconvolution", "network"),
        given={"width": 8},
    )
    size: int | None = setting(
        None,
        "side of the PSF in pixels, odd (even is rounded up); None: estimated",
        probe=(9, 15),
        ge=3,
        le=301,
        given=_QUICK_NETWORK,
    )
    iterations: int | None = setting(
        None,
        "steps of Adam; None: 30 with image=deconvolution; with image=network 5000, for a colour photo 2500; higher is "
        "slower",
        probe=(2, 6),
        ge=1,
        le=1_000_000,
        given=_QUICK_NETWORK,
    )
    seconds: float | None = setting(
        None,
        "time after which the optimisation of one picture (or of those fitted together) stops early; the first PSF "
        "estimate and the last deconvolution are not included; None: no limit",
        probe=(0.0, 60.0),
        ge=0,
        given=_QUICK_NETWORK,
    )
    candidates: int = setting(
        4,
        "image=deconvolution: number of PSFs that are refined, of which the best is used; with 2 or more, six more "
        "first estimates are computed; higher is slower",
        probe=(1, 3),
        ge=1,
        le=1 + len(PROPOSALS),
        given=_QUICK_REFINING,
    )
    rounds: int = setting(
        2,
        "image=deconvolution: how often the PSF is refined; between two rounds it is fitted to edges; higher is slower",
        probe=(1, 3),
        ge=1,
        le=100,
        given=_QUICK_REFINING | {"iterations": 8, "psf_learning_rate": 0.02, "seed": 1},
    )
    start: Literal["l0_psf", "noise"] = setting(
        "l0_psf",
        "image=network: first output of the PSF network: the PSF of l0_psf, or nearly uniform",
        probe=("l0_psf", "noise"),
        given=_QUICK_NETWORK,
    )
    optimisation: Literal["joint", "alternating"] = setting(
        "joint",
        "image=network: whether both networks are optimised at once (SelfDeblur-J) or in turn (SelfDeblur-A)",
        probe=("joint", "alternating"),
        given=_QUICK_NETWORK,
    )
    psf_network: Literal["dense", "shallow", "deep", "skip"] = setting(
        "dense",
        "image=network: PSF network: dense: one hidden layer; shallow: none; deep: two; skip: an encoder-decoder "
        "(Double-DIP in Table 2)",
        probe=("dense", "skip"),
        given=_QUICK_NETWORK,
    )
    width: int = setting(
        128,
        "image=network: channels of each scale; lower is faster and less sharp",
        probe=(4, 12),
        ge=2,
        le=1024,
        given=_QUICK_NETWORK,
    )
    non_local: int = setting(
        3,
        "image=network: number of the coarsest scales that have a non-local block",
        probe=(0, 5),
        ge=0,
        le=5,
        given=_QUICK_NETWORK,
    )
    ssim_from: float | None = setting(
        None,
        "image=network: share of the iterations after which the loss is 1 - SSIM instead of the squared error; "
        "None: never",
        probe=(None, 0.25),
        ge=0,
        le=1,
        given=_QUICK_NETWORK,
    )
    tv: float = setting(
        0.0,
        "image=network: weight of the total variation divided by the noise level (lambda / sigma, Eq. 6); higher is "
        "smoother",
        probe=(0.0, 50.0),
        ge=0,
        le=1e4,
        given=_QUICK_NETWORK,
    )
    colour: Literal["luminance", "rgb"] = setting(
        "luminance",
        "image=network: for a colour photo, whether the network computes only the luminance, or all three channels",
        probe=("luminance", "rgb"),
        given=_QUICK_NETWORK,
    )
    learning_rate: float = setting(
        0.01, "learning rate of Adam for the picture's network", probe=(0.001, 0.05), ge=0, le=1, given=_QUICK_NETWORK
    )
    psf_learning_rate: float = setting(
        0.01,
        "learning rate of Adam for the PSF network; 1e-4 in the paper",
        probe=(1e-4, 0.05),
        ge=0,
        le=1,
        given=_QUICK_NETWORK,
    )
    final: Literal["none", "hyper_laplacian", "sparse"] = setting(
        "sparse",
        "deconvolution of the photo with the estimated PSF; none: use the network's picture, if it is of the whole "
        "photo (else hyper_laplacian)",
        probe=("hyper_laplacian", "sparse"),
        given=_QUICK_NETWORK,
    )
    precision: Precision = setting(
        "auto",
        "image=network: number format of the network; auto: bfloat16 if the processor has instructions for it, which "
        "is faster and hardly worse, else float32",
        probe=("bfloat16", "float32"),
        given=_QUICK_NETWORK | {"final": "none"},
    )
    restarts: int = setting(
        2,
        "image=network: how often a failed fit is repeated with another seed (failed: a black picture, or a PSF that "
        "is a point or lies along its border)",
        probe=(0, 1),
        ge=0,
        le=100,
        # With steps as large as this, the PSF becomes a point with seed 0, but not with seed 1.
        given=_QUICK_NETWORK | {"iterations": 3, "psf_learning_rate": 0.3, "precision": "float32"},
    )
    seed: int = setting(0, "seed of the random generators", probe=(0, 1), ge=0, le=2**31 - 1, given=_QUICK_NETWORK)


RELEASED = {"image": "network", "start": "noise", "psf_learning_rate": 1e-4, "ssim_from": 0.2, "final": "none"}
PAPER = {"image": "network", "start": "noise", "psf_learning_rate": 1e-4, "tv": 0.1, "final": "none"}


def restore(observation: Observation, settings: SelfDeblurSettings, progress: Progress) -> Restoration:
    """Estimate the PSF and the sharp picture of each photo; see `SelfDeblurSettings`."""
    blurry = observation.blurry
    assert blurry is not None
    if not torch.isfinite(blurry).all():
        raise UnblurError("the picture has NaN or infinite values; replace them first.")
    progress.stage("looking for edges")
    results = {number: _unchanged(picture) for number, picture in enumerate(blurry.split(1)) if _not_estimable(picture)}
    estimable = [number for number in range(len(blurry)) if number not in results]
    together = settings.image == "network" and blurry.device.type != "cpu"
    for group in [estimable] if together and estimable else [[number] for number in estimable]:
        attempts = _attempts(replace(observation, blurry=blurry[group]), settings, progress)
        for number, attempt in zip(group, attempts, strict=True):
            alone = replace(observation, blurry=blurry[number : number + 1], psf=attempt.psf)
            results[number] = Restoration(_image(alone, attempt, settings, progress), attempt.psf, notes=attempt.notes)
    ordered = [results[number] for number in range(len(blurry))]
    images, psfs = zip(*((result.image, result.psf) for result in ordered), strict=True)
    sides = max(psf.shape[-2] for psf in psfs), max(psf.shape[-1] for psf in psfs)
    return Restoration(
        image=torch.cat(images),
        psf=torch.stack([pad_psf(psf[0, 0], sides)[None] for psf in psfs]),  # (B, 1, h, w)
        changed=any(result.changed for result in ordered),
        notes=[note for result in ordered for note in result.notes],
    )


def _not_estimable(picture: Tensor) -> bool:
    """Whether a picture is too small or too flat to estimate its PSF from."""
    return min(picture.shape[-2:]) < SMALLEST_PICTURE or is_flat(luminance(picture))


def _unchanged(picture: Tensor) -> Restoration:
    """The result for a picture whose PSF cannot be estimated: the picture itself."""
    reason = "too small" if min(picture.shape[-2:]) < SMALLEST_PICTURE else "without any edge"
    psf = delta_psf().to(picture)[None, None]
    note = f"Nothing was changed: the picture is {reason}."
    return Restoration(picture.clone(), psf, changed=False, notes=[note])


def _attempts(observation: Observation, settings: SelfDeblurSettings, progress: Progress) -> list[Attempt]:
    """Estimate the PSF of each picture. On an accelerator there may be several pictures, of one size."""
    assert observation.blurry is not None
    grey = luminance(observation.blurry)
    if settings.image == "network":
        return fit_until_credible(observation, grey, settings, progress)
    return [_refined(grey, settings, progress)]


def _image(observation: Observation, attempt: Attempt, settings: SelfDeblurSettings, progress: Progress) -> Tensor:
    """Get the sharp picture: that of the network, or a deconvolution with the estimated PSF."""
    if attempt.image is not None and settings.final == "none":
        return _coloured(attempt.image, observation, progress)
    return _deconvolved(observation, settings.final, progress)


def _refined(grey: Tensor, settings: SelfDeblurSettings, progress: Progress) -> Attempt:
    """Estimate the PSF from edges, and refine it on hidden pixels."""
    found = find_psf(
        grey,
        size=settings.size,
        candidates=settings.candidates,
        rounds=settings.rounds,
        iterations=settings.iterations or 30,
        learning_rate=settings.psf_learning_rate,
        seed=settings.seed,
        until=None if settings.seconds is None else time.monotonic() + settings.seconds,
        progress=progress,
    )
    return Attempt(None, found.psf[None, None], [found.note()])


def _coloured(image: Tensor, observation: Observation, progress: Progress) -> Tensor:
    """Add the colours of the deconvolved photo to a sharp luminance `(1, 1, H, W)`: `(1, C, H, W)`.

    A picture that has as many channels as the photo is returned unchanged.
    """
    assert observation.blurry is not None
    if image.shape[1] == observation.blurry.shape[1]:
        return image
    colours = _deconvolved(observation, "hyper_laplacian", progress)  # (B, 3, H, W)
    return colours + (image - luminance(colours))


def _deconvolved(observation: Observation, method: str, progress: Progress) -> Tensor:
    """Deconvolve `observation.blurry` with `observation.psf`, in tiles if it is large: `(B, C, H, W)`."""
    blurry, psf = observation.blurry, observation.psf
    assert blurry is not None and psf is not None
    deconvolve = non_blind.sparse if method == "sparse" else non_blind.hyper_laplacian
    if blurry.shape[-2] * blurry.shape[-1] <= WHOLE_UP_TO:
        return deconvolve(observation, progress)
    observation = replace(observation, sigma=float(noise_sigma(observation)))  # the same for all tiles
    return tiled(deconvolve, observation, halo=halo_for(psf), progress=progress)


METHOD = Method(
    Card(
        name="selfdeblur",
        title="Picture and PSF of one blurry photo, learned from this photo only",
        paper="Ren et al. 2020",
        needs=frozenset({"blurry"}),
        gives=frozenset({"image", "psf"}),
        undoes=frozenset({"blur"}),
        presets={"fast": {}, "released": RELEASED, "paper": PAPER},
    ),
    SelfDeblurSettings,
    restore,
    quick={"size": 11, "iterations": 2, "candidates": 1, "rounds": 1},
)
