"""No harm: should this photo be restored at all, and is what was made of it better than the photo?

`judge` asks questions about the photo, the PSF that was found in it, and the restored picture: all questions for which
there is something to look at, whichever method made it. Each question is a function `why_not_...`, which measures one
quantity and returns a sentence for the person, or None. `docs/noharm.md` lists them.

The thresholds separate photos that restoring helped from photos that it harmed. `benchmarks/tune_judge.py` makes both
from validation photos and prints the quantities.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.contract import Defect
from unblur.imaging.colour import luminance
from unblur.imaging.convolution import convolve
from unblur.imaging.noise import estimate_noise_sigma
from unblur.metrics import kernel_similarity
from unblur.pipeline.sharpness import sharpness, slope_energy
from unblur.solvers.areas import is_flat
from unblur.solvers.blind import (
    DEFAULT_SEARCH,
    implausibility,
    inner_gradient,
    normalised_sparsity,
    regional_psfs,
    size_around,
)
from unblur.solvers.data_term import SIGMA_FLOOR, unclipped
from unblur.solvers.gain import LARGEST_PSF, can_predict, predict
from unblur.solvers.psf_evidence import NO_BETTER_IN_NOISE, evidence_for, holds_a_tile, share_explained_no_better
from unblur.solvers.psf_tiles import SOME_NOISE, TOLD_APART, holds_tiles, turned_margin
from unblur.types import Observation, Progress, Restoration

NOISY = 3 / 255
"""Noise of the luminance from which removing it improves a photo, blurred or not (benchmarks/auto.py).

In a photo with so much noise it cannot be measured whether it is sharp.
"""

_SHARP = 0.78  # `sharpness`: 0.8 to 1.8 for most sharp photos, 0.1 to 0.7 for shaken ones (benchmarks/sharpness.py)
_POINT = 0.8  # share of a PSF's light within a pixel of its centre: above it, the PSF is a point
# Largest share of the detailed tiles that wrong PSFs may explain as well as
_NO_BETTER = 0.25  # a symmetric PSF
_NO_BETTER_TOLD_APART = 0.2  # a PSF that the photo tells from its copy turned by 180 degrees
# As NO_BETTER_IN_NOISE, with two standard errors of the share. Of 21 PSFs chosen in scenes of 304 px (as those of
# benchmarks/judge.py), it refuses four: three lose .3 to 3.5 dB, one gains .4 dB. Large photos have many tiles.
_NO_BETTER_IN_FEW_TILES = 0.35
_SYMMETRIC = 0.9  # similarity of a PSF and its turned copy
_LOCAL = 0.93  # implausibility of an area with a PSF of its own, relative to that with the PSF of the whole photo
_BEYOND = 0.03  # root mean square of what lies outside [0, 1] in a restored picture
_TONES = 0.04  # difference of the mean of a channel in a cell, on the [0, 1] scale
_CELL, _MOST_CELLS = 64, 4  # pixels, the least side of such a cell; cells along a side, at most
_BLURRIER = 1.0  # energy of slopes in a deblurred picture, relative to the photo
_NOISIER = 1.1  # noise of a denoised picture, relative to the photo ...
_ROUNDING = 0.5 / 255  # ... and on the [0, 1] scale
_RESIDUAL = 5.0  # misfit of the restored picture, blurred again, in noise levels
_SPARSER = 0.85  # normalised sparsity of the gradients of a restored picture, relative to the photo

CAUTION = 0.25
"""Standard deviations that are subtracted from what the learned judge predicts."""

# Gains in dB that must remain then. Of 76 candidates of validation scenes with .5 dB or more, two lose .07 dB at most.
LEAST_GAIN = -2.0
"""For a PSF that explains the photo better than wrong ones do."""
_CLEARLY_TURNED = 0.2  # `turned_margin` with which a larger PSF needs no prediction; chosen by hand
LEAST_GAIN_IN_DOUBT = 0.5
"""For a PSF that does not."""
LEAST_GAIN_WITHOUT_PSF = -1.0
"""For a picture without a PSF. Of 35 results of networks, one is refused, which loses 5.9 dB."""


def judge(
    observation: Observation,
    result: Restoration,
    undoes: frozenset[Defect],
    sigma: float,
    progress: Progress,
    *,
    has_evidence: bool = False,
    least_gain: float = LEAST_GAIN,
) -> str | None:
    """The reason to keep the photo unchanged, in one sentence, or None.

    To be called before anything was computed, after a PSF was found, and after a picture was restored.

    Args:
        observation: one photo, `(1, C, H, W)`. Its PSF, if it has one, was either given by a person, and is then not
            questioned, or is marked as estimated, and was then questioned when it was found.
        result: what a method made of the observation: nothing so far, a PSF, a picture, or both.
        undoes: what the picture of that method should no longer have, "blur" or "noise"; empty for a method that
            gives no picture.
        sigma: standard deviation of the noise in the photo's luminance, on the [0, 1] scale. A method that removes
            noise as well improves a noisy photo even if it is sharp.
        progress: advanced while areas of the photo are compared.
        has_evidence: that of the method's card: True if the method has judged itself whether the photo is blurred, and
            the PSF.
        least_gain: gain in dB that the learned judge must at least predict of a picture that was restored with an
            estimated PSF; minus infinity: it is not asked, also not about a picture without a PSF.
    """
    reasons = _reasons(observation, result, undoes, sigma, progress, has_evidence, least_gain)
    return next((reason for reason in reasons if reason is not None), None)


def _reasons(
    observation: Observation,
    result: Restoration,
    undoes: frozenset[Defect],
    sigma: float,
    progress: Progress,
    has_evidence: bool,
    least_gain: float,
) -> Iterator[str | None]:
    """The answers to all questions that can be asked, computed one by one: none after the first reason is used."""
    photo = observation.photo()
    grey = luminance(photo)
    noisy = sigma >= NOISY
    denoised = "noise" in undoes and (noisy or undoes == {"noise"})  # an improvement even of a sharp photo
    pair = observation.blurry is not None and observation.noisy is not None
    if result.image is None and result.psf is None:
        yield why_not_flat(grey)
        # Noise hides how sharp a photo is, and in a pair the person has said which shot is the sharp one.
        if not noisy and not pair and undoes != {"noise"} and observation.psf is None and not has_evidence:
            yield why_not_sharp(grey, sigma)
    psf_was_given = observation.psf is not None and not observation.psf_estimated
    # The picture of a pair is the short shot with less noise, so it is right even where no PSF explains the long one.
    question_psf = not psf_was_given and not pair and not has_evidence
    if result.psf is not None and question_psf:
        psf = _plane(result.psf)
        yield why_not_point(psf)
        yield why_not_too_large(grey, psf)
        yield why_not_explained_by(grey, psf)
        yield why_not_local(grey, psf, progress)
    if result.image is not None:
        image = result.image.to(photo)
        restored = luminance(image)
        yield why_not_finite(image)
        yield why_not_beyond(grey, restored)
        yield why_not_other_tones(image, photo, observation.noisy if observation.exposure_ratio is None else None)
        if denoised:
            yield why_not_noisier(grey, restored)
        elif "blur" in undoes and not has_evidence:  # a line of light has more slopes than the point it becomes
            yield why_not_blurrier(grey, restored, sigma)
        psf = observation.psf if result.psf is None else result.psf
        if "blur" in undoes and psf is not None and question_psf:
            yield why_not_reblurred(grey, restored, _plane(psf), sigma)
            # Any other PSF was told from its turned copy.
            if _is_symmetric(_plane(psf)) or not holds_a_tile(grey, _plane(psf)):
                yield why_not_clearer(grey, restored)
            yield why_not_gaining(grey, restored, _plane(psf), least_gain)
        elif "blur" in undoes and psf is None and question_psf and not denoised and observation.frames is None:
            yield why_not_gaining(grey, restored, None, min(LEAST_GAIN_WITHOUT_PSF, least_gain - LEAST_GAIN))


def why_not_flat(grey: Tensor) -> str | None:
    """A photo without any edge has nothing to restore."""
    return "The photo has no detail to restore: it is flat." if is_flat(grey) else None


def why_not_sharp(grey: Tensor, sigma: float) -> str | None:
    """A sharp photo needs no deblurring."""
    if sharpness(grey, sigma) >= _SHARP:
        return "The photo does not look blurred: it has detail down to single pixels."
    return None


def why_not_point(psf: Tensor) -> str | None:
    """A PSF `(h, w)` that is a point blurs nothing."""
    middle_y, middle_x = psf.shape[0] // 2, psf.shape[1] // 2
    centre = psf[max(middle_y - 1, 0) : middle_y + 2, max(middle_x - 1, 0) : middle_x + 2]
    if float(centre.sum()) >= _POINT:
        return "The photo does not look blurred: its estimated PSF is a single point."
    return None


def why_not_too_large(grey: Tensor, psf: Tensor) -> str | None:
    """A PSF `(h, w)` larger than the photo cannot be known."""
    if psf.shape[-2] > grey.shape[-2] or psf.shape[-1] > grey.shape[-1]:
        return "No credible PSF was found: it is larger than the photo."
    return None


def why_not_explained_by(grey: Tensor, psf: Tensor) -> str | None:
    """A PSF that is right explains the photo better, nearly everywhere, than wrong PSFs like it."""
    if not holds_a_tile(grey, psf):
        return None
    in_noise = evidence_for(grey, psf, SOME_NOISE)
    told_apart = in_noise.turned >= TOLD_APART
    certain = in_noise.largest_share <= _NO_BETTER_IN_FEW_TILES
    if told_apart and in_noise.share_no_better <= NO_BETTER_IN_NOISE and certain:
        return None
    share = share_explained_no_better(grey, psf)
    if told_apart and share <= _NO_BETTER_TOLD_APART:
        return None
    if not _is_symmetric(psf) or max(in_noise.share_no_better, share) > _NO_BETTER:
        return (
            "No credible PSF was found: in much of the photo, wrong PSFs explain the blur equally well. "
            "Something may have moved, or the photo is hardly blurred."
        )
    return None


def why_not_local(grey: Tensor, psf: Tensor, progress: Progress) -> str | None:
    """Where the blur is the same everywhere, no area is explained better by a PSF of its own."""

    def better(area: Tensor, own: Tensor) -> bool:
        # In noise, a small PSF is more plausible than the true one, but it is hardly told from its turned copy.
        if not (holds_tiles(area, own) and holds_tiles(area, psf)):
            return True
        margin = turned_margin(area, psf)
        return margin < TOLD_APART or turned_margin(area, own) > margin

    regions = regional_psfs(grey, replace(DEFAULT_SEARCH, size=size_around(psf)), progress)
    # The margins take twice the time of the ratio, so they are asked only where the ratio is small.
    local = [
        implausibility(area, own) < _LOCAL * implausibility(area, psf) and better(area, own) for area, own in regions
    ]
    if sum(local) >= 2:  # one area alone may have found a better PSF by chance
        return "The blur differs from place to place (something moved, or the camera turned); one PSF cannot undo it."
    return None


def why_not_finite(image: Tensor) -> str | None:
    """A picture is made of finite values."""
    if not torch.isfinite(image).all():
        return "Restoring failed: the result holds values that are not finite."
    return None


def why_not_beyond(grey: Tensor, restored: Tensor) -> str | None:
    """A picture stays in the photo's range of values, or [0, 1], but for clipped highlights, which may grow."""
    low, high = min(float(grey.min()), 0.0), max(float(grey.max()), 1.0)
    outside = (restored - restored.clamp(low, high))[_trusted(grey)]
    if outside.numel() and float(outside.square().mean().sqrt()) > _BEYOND:
        return "Restoring failed: the result leaves the photo's range of values, by ringing or altogether."
    return None


def why_not_other_tones(image: Tensor, photo: Tensor, short: Tensor | None = None) -> str | None:
    """Restoring details changes no brightness and no colour at coarse scale, here in cells of at least 64 pixels.

    In a pair, a cell may be like that of the short shot instead, which is as bright as the photo but clipped elsewhere.
    """
    cells = min(max(min(photo.shape[-2:]) // _CELL, 1), _MOST_CELLS)
    coarse = F.adaptive_avg_pool2d(image.clamp(0, 1), cells)
    like = [picture for picture in (photo, short) if picture is not None]
    apart = [(coarse - F.adaptive_avg_pool2d(picture.clamp(0, 1), cells)).abs() for picture in like]
    if float(torch.stack(apart).amin(0).max()) > _TONES:
        return "Restoring failed: the result has another brightness or colour than the photo."
    return None


def why_not_blurrier(grey: Tensor, restored: Tensor, sigma: float) -> str | None:
    """A picture without blur has steeper slopes than the photo."""
    noise = float(estimate_noise_sigma(restored)) if min(restored.shape[-2:]) >= 8 else 0.0
    if slope_energy(restored, noise) <= _BLURRIER * slope_energy(grey, sigma):
        return "Restoring failed: the result is no sharper than the photo."
    return None


def why_not_noisier(grey: Tensor, restored: Tensor) -> str | None:
    """A picture without noise has less noise than the photo."""
    before, after = (float(estimate_noise_sigma(picture)) for picture in (grey, restored))
    if after > _NOISIER * before + _ROUNDING:
        return "Restoring failed: the result is noisier than the photo."
    return None


def why_not_reblurred(grey: Tensor, restored: Tensor, psf: Tensor, sigma: float) -> str | None:
    """The restored picture, blurred again with the PSF `(h, w)`, is the photo but for noise."""
    height, width = psf.shape[-2] // 2, psf.shape[-1] // 2
    inside = (..., slice(height, grey.shape[-2] - height), slice(width, grey.shape[-1] - width))
    misfit = (convolve(restored, psf, "valid") - grey[inside])[_trusted(grey)[inside]]
    if float(misfit.square().mean().sqrt()) > _RESIDUAL * max(sigma, SIGMA_FLOOR):
        return "No credible PSF was found: reblurring the result does not give the photo back."
    return None


def why_not_gaining(grey: Tensor, restored: Tensor, psf: Tensor | None, least: float) -> str | None:
    """The learned judge (`solvers.gain`) predicts a gain of at least `least` dB, with the PSF `(h, w)` or without.

    A believed PSF that is larger than those that it learned from needs no prediction if the photo tells it clearly
    from its turned copy.
    """
    if can_predict(grey, psf):
        enough = predict(grey, restored, psf).least(CAUTION) >= least
    else:
        enough = least <= LEAST_GAIN or psf is None
    if enough:
        return None
    if psf is None:
        return "Restoring failed: the result is not expected to be clearer than the photo."
    believed_without = least <= LEAST_GAIN and max(psf.shape) > LARGEST_PSF
    if believed_without and evidence_for(grey, psf, SOME_NOISE).turned >= _CLEARLY_TURNED:
        return None
    return "No credible PSF was found: with the best one, the photo is not expected to become clearer."


def why_not_clearer(grey: Tensor, restored: Tensor) -> str | None:
    """Undoing blur with the right PSF leaves fewer and steeper slopes than the photo has."""
    if normalised_sparsity(inner_gradient(restored)) > _SPARSER * normalised_sparsity(inner_gradient(grey)):
        return "No credible PSF was found: restoring makes the photo no clearer. It may be sharp, or blurred in parts."
    return None


def _is_symmetric(psf: Tensor) -> bool:
    """Whether the copy of a PSF `(h, w)` that is turned by 180 degrees is nearly the same PSF."""
    plane = psf.cpu()
    return float(kernel_similarity(plane, plane.flip(0, 1))) >= _SYMMETRIC


def _plane(psf: Tensor) -> Tensor:
    """A PSF `(h, w)` or `(1, 1, h, w)` as `(h, w)`."""
    return psf if psf.ndim == 2 else psf[0, 0]


def _trusted(grey: Tensor) -> Tensor:
    """True where a pixel is not clipped: `(1, 1, H, W)`."""
    trusted = unclipped(grey, mask_clipped=True)
    return torch.ones_like(grey, dtype=torch.bool) if trusted is None else trusted
