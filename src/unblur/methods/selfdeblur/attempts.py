"""Fitting the two networks until the outcome is credible: failures are recognised, tried again, and said.

What people who used SelfDeblur report: sometimes a black picture, though the PSF may be right; sometimes a PSF that
is a point, or that spreads along its border. The first is cured by fitting the picture's network again with the
PSF kept, the others by another seed. When nothing helps, the PSF found by its edges is what remains.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from unblur.imaging.psf import pad_psf
from unblur.methods.selfdeblur.fitting import Fit, Plan, fit
from unblur.solvers.blind import estimate_psf, informative_area, size_around
from unblur.solvers.observed import noise_sigma
from unblur.types import Observation, Progress

if TYPE_CHECKING:
    from unblur.methods.selfdeblur import SelfDeblurSettings

WHOLE_UP_TO = 768 * 768
"""Pictures of at most so many pixels are fitted whole; of larger ones an area of `AREA` pixels a side."""

AREA = 512
GREY_ITERATIONS, COLOUR_ITERATIONS, REFIT_ITERATIONS = 5000, 2500, 1000
GREY_HALVINGS, COLOUR_HALVINGS, REFIT_HALVINGS = (0.4, 0.6, 0.8), (0.64, 0.76, 0.88), (0.7, 0.8, 0.9)

_POINT = 0.9  # share of a PSF's light in one pixel and its neighbours that makes it a point
_BORDER = 0.5  # share of a PSF's light on its outermost pixels: it hugs its border
_UNEXPLAINED = 0.25  # reblurring error relative to the photo's contrast: the picture is black, or the fit diverged


@dataclass(frozen=True)
class Attempt:
    """A PSF, and the picture a network made with it.

    Attributes:
        image: `(B, C, H, W)` with C = 1 where the network made the luminance; None where there is none of the whole
            photo.
        psf: `(B, 1, h, w)`, its centre of mass at the middle pixel.
        notes: what happened.
    """

    image: Tensor | None
    psf: Tensor
    notes: list[str] = field(default_factory=list)


def fit_until_credible(
    observation: Observation, grey: Tensor, settings: SelfDeblurSettings, progress: Progress
) -> Attempt:
    """Fit, judge, and where need be fit again.

    Args:
        observation: `(B, C, H, W)` pictures of one size.
        grey: their luminance.
        settings: the method's.
        progress: told of the stages; may cancel.
    """
    blurry = observation.blurry
    assert blurry is not None
    whole = blurry.shape[-2] * blurry.shape[-1] <= WHOLE_UP_TO
    notes = [] if whole else [f"The networks were fitted to the most detailed {AREA} px; the rest is deconvolved."]
    target = grey if settings.colour == "luminance" else blurry
    if not whole:  # with the areas of a batch at one place, that of the first picture
        target = informative_area(target[:1], AREA) if len(target) == 1 else target[..., :AREA, :AREA]
    first = _first_psf(grey, settings, progress)
    size = _size(settings, first, target)
    start = pad_psf(first, size) if first is not None and settings.start == "l0_psf" and _fits(first, size) else None
    plan = _plan(observation, settings, len(target))
    deadline = None if settings.seconds is None else time.monotonic() + settings.seconds
    for attempt in range(settings.restarts + 1):
        progress.stage("fitting picture and PSF", plan.iterations)
        found = fit(target, size, plan, seed=settings.seed + attempt, start=start, progress=progress)
        trouble = _trouble(found, target)
        if trouble == "the picture came out black":
            progress.stage("fitting the picture again", REFIT_ITERATIONS)
            refit = _refit_plan(plan)
            found = fit(target, size, refit, seed=settings.seed + attempt, known_psf=found.psf, progress=progress)
            trouble = _trouble(found, target)
            notes.append("The picture came out black and was fitted again with the PSF found.")
        if trouble is None:
            image, psf = _centred(found, target)
            return Attempt(image if whole else None, psf, notes)
        notes.append(f"Attempt {attempt + 1} failed: {trouble}.")
        if deadline is not None and time.monotonic() > deadline:
            break
    notes.append("The PSF is the one estimated from strong edges, since the networks found none.")
    psf = torch.stack([estimate_psf(picture[None], size=settings.size, progress=progress)[None] for picture in grey[:1]])
    return Attempt(None, psf.expand(len(blurry), -1, -1, -1), notes)


def _first_psf(grey: Tensor, settings: SelfDeblurSettings, progress: Progress) -> Tensor | None:
    """The PSF estimated from the first picture's edges, where the size or the start depends on it: `(h, w)`."""
    if settings.size is not None and settings.start == "noise":
        return None
    return estimate_psf(grey[:1], size=settings.size, progress=progress)


def _size(settings: SelfDeblurSettings, first: Tensor | None, target: Tensor) -> tuple[int, int]:
    """The side of the PSF asked for, or one with room around the first estimate."""
    side = settings.size | 1 if settings.size else size_around(first) if first is not None else 3
    side = min(side, (min(target.shape[-2:]) // 2 - 1) | 1)
    return side, side


def _fits(psf: Tensor, size: tuple[int, int]) -> bool:
    return psf.shape[-2] <= size[0] and psf.shape[-1] <= size[1]


def _plan(observation: Observation, settings: SelfDeblurSettings, count: int) -> Plan:
    """The plan that the settings and the picture's colours ask for."""
    assert observation.blurry is not None
    colour = observation.blurry.shape[1] == 3
    tv = settings.tv * noise_sigma(observation).flatten()[:count]
    return Plan(
        iterations=settings.iterations or (COLOUR_ITERATIONS if colour else GREY_ITERATIONS),
        halve_at=COLOUR_HALVINGS if colour else GREY_HALVINGS,
        learning_rate=settings.learning_rate,
        psf_learning_rate=settings.psf_learning_rate,
        ssim_from=settings.ssim_from,
        tv=tv,
        alternating=settings.optimisation == "alternating",
        psf_network=settings.psf_network,
        width=settings.width,
        non_local=settings.non_local,
        dtype=getattr(torch, settings.precision),
        seconds=settings.seconds,
    )


def _refit_plan(plan: Plan) -> Plan:
    """The authors' remedy for a black picture: its network alone, for a while."""
    return replace(plan, iterations=min(REFIT_ITERATIONS, plan.iterations), halve_at=REFIT_HALVINGS, alternating=False)


def _trouble(found: Fit, target: Tensor) -> str | None:
    """What is wrong with a fit, or None. One picture of a batch in trouble is trouble."""
    if not (torch.isfinite(found.canvas).all() and torch.isfinite(found.psf).all()):
        return "the fit diverged"
    contrast = target.var((1, 2, 3)).clamp_min(1e-8)
    if bool((found.losses > _UNEXPLAINED**2 * contrast).any()) and float(found.canvas.mean()) < float(target.mean()) / 2:
        return "the picture came out black"
    for psf in found.psf[:, 0]:
        near = torch.nn.functional.avg_pool2d(psf[None, None], 3, 1, 1, divisor_override=1)
        if float(near.max()) > _POINT:
            return "the PSF came out as a point"
        if float(psf.sum() - psf[1:-1, 1:-1].sum()) > _BORDER:
            return "the PSF lies along its border"
    return None


def _centred(found: Fit, target: Tensor) -> tuple[Tensor, Tensor]:
    """Picture and PSF with the PSF's centre of mass, to the pixel, at its middle, and the picture cropped to match.

    Both networks may agree on a shift; a picture moved one way and a PSF moved the other reblur alike.
    """
    height, width = target.shape[-2:]
    images, psfs = [], []
    for canvas, psf in zip(found.canvas, found.psf, strict=True):
        h, w = psf.shape[-2:]
        rows = torch.arange(h, device=psf.device, dtype=psf.dtype) - h // 2
        columns = torch.arange(w, device=psf.device, dtype=psf.dtype) - w // 2
        dy, dx = round(float((psf[0].sum(1) * rows).sum())), round(float((psf[0].sum(0) * columns).sum()))
        top, left = h // 2 - dy, w // 2 - dx
        images.append(canvas[..., top : top + height, left : left + width])
        rim = max(abs(dy), abs(dx))
        padded = pad_psf(psf[0], (h + 2 * rim, w + 2 * rim))
        psfs.append(padded.roll((-dy, -dx), (0, 1)))
    sides = [max(psf.shape[axis] for psf in psfs) for axis in (0, 1)]
    return torch.stack(images), torch.stack([pad_psf(psf, (sides[0], sides[1]))[None] for psf in psfs])
