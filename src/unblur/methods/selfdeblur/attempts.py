"""Fit the two networks, and repeat the fit if it failed.

Users of SelfDeblur report that the picture is sometimes black, though the PSF may be right, and that the PSF is
sometimes a point or lies along its border. In the first case the picture's network is fitted again with that PSF. In
the other cases both networks are fitted again with another seed. If all fits fail, the PSF estimated from strong edges
is used.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.colour import NOISE_IN_LUMINANCE
from unblur.imaging.psf import pad_psf, psf_centroid
from unblur.layers.precision import dtype_for
from unblur.methods.selfdeblur.fitting import Fit, Plan, fit
from unblur.solvers.areas import informative_place
from unblur.solvers.blind import estimate_psf, size_around
from unblur.solvers.data_term import noise_sigma
from unblur.types import Observation, Progress

if TYPE_CHECKING:
    from unblur.methods.selfdeblur import SelfDeblurSettings

FITTED_WHOLE_UP_TO = 768 * 768
"""Largest number of pixels of a picture that is fitted as a whole; of a larger one, an area is fitted."""

FITTED_AREA = 512  # pixels: side of that area; chosen by hand
# Steps of Adam, and the shares of them after which the learning rates are halved: for a grey picture, a colour picture,
# and the second fit of a black picture.
GREY_ITERATIONS, COLOUR_ITERATIONS, REFIT_ITERATIONS = 5000, 2500, 1000
GREY_HALVINGS, COLOUR_HALVINGS, REFIT_HALVINGS = (0.4, 0.6, 0.8), (0.64, 0.76, 0.88), (0.7, 0.8, 0.9)

# Chosen by hand.
_POINT = 0.9  # share of a PSF's light in 3 x 3 pixels above which it is a point
# Light on the outermost pixels of a PSF above which it lies along its border: 0 as in a uniform PSF, 1 all of it.
_BORDER = 0.5
_BLACK = "the picture is black"
_UNEXPLAINED = 0.25  # largest ratio of the reblurring error (root mean square) to the photo's standard deviation


@dataclass(frozen=True)
class Attempt:
    """The PSF of one photo, and the picture of the network.

    Attributes:
        image: `(1, C, H, W)`, C = 1 for the luminance; None if the network has no picture of the whole photo.
        psf: `(1, 1, h, w)`, with its centre of mass at the middle pixel.
        notes: messages for the user.
    """

    image: Tensor | None
    psf: Tensor
    notes: list[str] = field(default_factory=list)


def fit_until_credible(
    observation: Observation, grey: Tensor, settings: SelfDeblurSettings, progress: Progress
) -> list[Attempt]:
    """Fit the networks to each picture, check the results, and repeat failed fits.

    Args:
        observation: pictures of one size, `(B, C, H, W)`, which are fitted together.
        grey: their luminance, `(B, 1, H, W)`.
        settings: settings of the method.
        progress: shows the stages, and can cancel.

    Returns:
        The last attempt for each picture.
    """
    blurry = observation.blurry
    assert blurry is not None
    target = grey if settings.colour == "luminance" else blurry
    whole = target.shape[-2] * target.shape[-1] <= FITTED_WHOLE_UP_TO
    if not whole:
        target = torch.cat([_detailed(*pair) for pair in zip(target.split(1), grey.split(1), strict=True)])
    firsts = _first_psfs(grey, settings, progress)
    size = _size(settings, firsts, target)
    start = _start(settings, firsts, size)
    plan = _plan(observation, settings)
    deadline = None if settings.seconds is None else time.monotonic() + settings.seconds
    found: dict[int, Attempt] = {}
    notes = [
        [] if whole else [f"The networks were fitted to the most detailed {FITTED_AREA} px; the photo is deconvolved."]
        for _ in blurry
    ]
    for attempt in range(settings.restarts + 1):
        pending = [number for number in range(len(blurry)) if number not in found]
        if not pending or (attempt and deadline is not None and time.monotonic() > deadline):
            break
        task = _Task(target[pending], size, settings.seed + attempt, deadline, progress)
        fits = _fitted(task, _rows(plan, pending), None if start is None else start[pending])
        _fit_black_ones_again(task, _rows(plan, pending), fits, [notes[number] for number in pending])
        for number, fit_ in zip(pending, fits, strict=True):
            own = target[number : number + 1]
            trouble = _trouble(fit_, own)
            if trouble is None:
                if _unexplained(fit_, own):
                    notes[number].append(
                        "The network's picture, blurred with its PSF, differs from the photo; use more iterations."
                    )
                image, psf = _centred(fit_, own)
                found[number] = Attempt(image if whole else None, psf, notes[number])
            else:
                notes[number].append(f"Attempt {attempt + 1} failed: {trouble}.")
    for number in range(len(blurry)):
        if number not in found:
            notes[number].append(
                "The PSF is the one estimated from strong edges, since all fits of the networks failed."
            )
            psf = firsts[number] if firsts else estimate_psf(grey[number : number + 1], progress=progress, size=size[0])
            found[number] = Attempt(None, psf[None, None], notes[number])
    return [found[number] for number in range(len(blurry))]


@dataclass(frozen=True)
class _Task:
    """The common parameters of all fits of one attempt."""

    target: Tensor  # (B, C, H, W)
    size: tuple[int, int]
    seed: int
    deadline: float | None
    progress: Progress

    def within_time(self, plan: Plan) -> Plan:
        """Limit the time of `plan` to the rest of the time until the deadline."""
        return plan if self.deadline is None else replace(plan, seconds=max(self.deadline - time.monotonic(), 0.0))


def _fitted(task: _Task, plan: Plan, start: Tensor | None) -> list[Fit]:
    """Fit both networks to each picture: one result per picture."""
    task.progress.stage("fitting picture and PSF", plan.iterations)
    plan = task.within_time(plan)
    return _one_by_one(fit(task.target, task.size, plan, seed=task.seed, start=start, progress=task.progress))


def _fit_black_ones_again(task: _Task, plan: Plan, fits: list[Fit], notes: list[list[str]]) -> None:
    """Fit the network of black pictures again, with their PSF, as the authors do. Changes `fits` and `notes`."""
    black = [number for number, own in enumerate(fits) if _trouble(own, task.target[number : number + 1]) == _BLACK]
    if not black:
        return
    plan = _rows(plan, black)
    plan = replace(plan, iterations=min(REFIT_ITERATIONS, plan.iterations), halve_at=REFIT_HALVINGS, alternating=False)
    task.progress.stage("fitting the picture again", plan.iterations)
    known_psf = torch.cat([fits[number].psf for number in black])
    plan = task.within_time(plan)
    again = fit(task.target[black], task.size, plan, seed=task.seed, known_psf=known_psf, progress=task.progress)
    for number, own in zip(black, _one_by_one(again), strict=True):
        fits[number] = own
        notes[number].append("The picture was black and was fitted again with the estimated PSF.")


def _one_by_one(found: Fit) -> list[Fit]:
    """Split the result of a batch into one per picture."""
    parts = zip(found.canvas.split(1), found.psf.split(1), found.losses.split(1), strict=True)
    return [Fit(*part) for part in parts]


def _rows(plan: Plan, numbers: list[int]) -> Plan:
    """The plan for some of the pictures."""
    return replace(plan, tv=plan.tv[numbers])


def _detailed(picture: Tensor, grey: Tensor) -> Tensor:
    """Crop the most detailed area of one picture."""
    rows, columns = informative_place(grey, FITTED_AREA)
    return picture[..., rows, columns]


def _first_psfs(grey: Tensor, settings: SelfDeblurSettings, progress: Progress) -> list[Tensor]:
    """Estimate each picture's PSF `(h, w)` from edges. Empty if neither the size nor the start needs it."""
    if settings.size is not None and settings.start == "noise":
        return []
    return [estimate_psf(picture, size=settings.size, progress=progress) for picture in grey.split(1)]


def _size(settings: SelfDeblurSettings, firsts: list[Tensor], target: Tensor) -> tuple[int, int]:
    """The size of the PSF: that of the settings, or one that contains all first estimates, with a margin."""
    side = settings.size | 1 if settings.size else max(size_around(first) for first in firsts)
    side = min(side, (min(target.shape[-2:]) // 2 - 1) | 1)
    return side, side


def _start(settings: SelfDeblurSettings, firsts: list[Tensor], size: tuple[int, int]) -> Tensor | None:
    """The first outputs of the PSF networks, `(B, 1, h, w)`; None: from noise, or if an estimate is too large."""
    if settings.start == "noise" or any(max(first.shape) > size[0] for first in firsts):
        return None
    return torch.stack([pad_psf(first, size)[None] for first in firsts])


def _plan(observation: Observation, settings: SelfDeblurSettings) -> Plan:
    """Create the plan from the settings."""
    assert observation.blurry is not None
    colour = observation.blurry.shape[1] == 3
    iterations = settings.iterations or (COLOUR_ITERATIONS if colour else GREY_ITERATIONS)
    sigma = noise_sigma(observation).flatten()  # (B,)
    if colour and settings.colour == "luminance":
        sigma = sigma * NOISE_IN_LUMINANCE
    return Plan(
        iterations=iterations,
        halve_at=COLOUR_HALVINGS if colour else GREY_HALVINGS,
        learning_rate=settings.learning_rate,
        psf_learning_rate=settings.psf_learning_rate,
        ssim_from=None if settings.ssim_from is None else round(settings.ssim_from * iterations),
        tv=settings.tv * sigma,
        alternating=settings.optimisation == "alternating",
        psf_network=settings.psf_network,
        width=settings.width,
        non_local=settings.non_local,
        dtype=dtype_for(settings.precision, observation.blurry.device, gradients=True),
        seconds=settings.seconds,
    )


def _trouble(found: Fit, target: Tensor) -> str | None:
    """Describe why the fit of one picture failed; None: it did not."""
    if not (torch.isfinite(found.canvas).all() and torch.isfinite(found.psf).all()):
        return "the fit diverged"
    if _unexplained(found, target) and float(found.canvas.mean()) < float(target.mean()) / 2:
        return _BLACK
    psf = found.psf[0, 0]
    if min(psf.shape) > 3 and float(F.avg_pool2d(psf[None], 3, 1, 1, divisor_override=1).max()) > _POINT:
        return "the PSF is a point"
    uniform = 1 - (psf.shape[0] - 2) * (psf.shape[1] - 2) / psf.numel()  # of a uniform PSF
    if float(psf.sum() - psf[1:-1, 1:-1].sum()) > uniform + (1 - uniform) * _BORDER:
        return "the PSF lies along its border"
    return None


def _unexplained(found: Fit, target: Tensor) -> bool:
    """Whether the reblurring error is large compared with the photo's contrast."""
    return float(found.losses) > _UNEXPLAINED**2 * float(target.var().clamp_min(1e-8))


def _centred(found: Fit, target: Tensor) -> tuple[Tensor, Tensor]:
    """Centre the PSF by whole pixels, and move and crop the picture to match: `(1, C, H, W)` and `(1, 1, h', w')`."""
    # A fit determines the position of picture and PSF only together: opposite shifts give the same blurry picture.
    height, width = target.shape[-2:]
    psf = found.psf[0, 0]
    h, w = psf.shape
    y, x = psf_centroid(psf)
    dy, dx = round(y) - h // 2, round(x) - w // 2
    top, left = h // 2 - dy, w // 2 - dx
    rim = max(abs(dy), abs(dx))
    centred = pad_psf(psf, (h + 2 * rim, w + 2 * rim)).roll((-dy, -dx), (0, 1))
    return found.canvas[..., top : top + height, left : left + width], centred[None, None]
