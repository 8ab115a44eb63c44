"""Which methods restore what the camera gave, and why. The only place that names default methods.

For a pair there is one choice. A method for frames is found by what its card needs, and so is one for pairs if the
weights of the default are not there. For a single photo there are several choices, best first. `pipeline.picture` tries
one after the other until a result is credible.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from unblur import methods
from unblur.contract import Input
from unblur.types import UnblurError

ESTIMATOR = "l0_psf"
"""Estimates the PSF of a photo."""

NON_BLIND = "wiener_stack"
"""Restores a photo whose PSF is known or has been estimated: the best one."""

QUICK_NON_BLIND = "hyper_laplacian"
"""Follows a PSF estimator that was asked for by itself: quick, with nothing learned."""

NOISE_AND_BLUR = "nidf"
"""Restores a photo that is noisy, whether it is blurred or not."""

NOISY_ESTIMATOR = "exemplar_psf"
"""Estimates the PSF of a noisy photo."""

DENOISER = "nlm"
"""Denoises a photo whose noise is the same in all channels."""

TURNING = "camera_path"
"""Restores a photo whose blur differs from place to place as if the camera had turned; says itself whether it can."""

MOVING = "two_way"
"""Restores a photo whose blur differs from place to place, so that no PSF explains it."""

PAIR = "deblur_rnn"
"""Restores a short, noisy and a long, blurry shot: the best one of docs/pairs.md."""

STREAKS = "light_streaks"
"""Restores a night photo in which several lights draw the same line."""

NOISY = 5 / 255
"""Noise, as a standard deviation on the [0, 1] scale, from which a photo counts as noisy (benchmarks/auto.py)."""

AUTO = "auto"

_PICTURES: dict[Input, str] = {"noisy": "a short, noisy shot was given", "frames": "several frames were given"}


@dataclass(frozen=True)
class Choice:
    """A chain of methods and why it was chosen.

    Attributes:
        name: the chain, `a+b`.
        reason: completes the sentence "it was chosen because ...".
        settings: settings of the chain, `method.key`, unless the person sets them.
        refused_psf: True: it goes on with the PSF that was found before and refused, and estimates none itself.
    """

    name: str
    reason: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    refused_psf: bool = False


def choose(
    method: str, given: Collection[str], sigma: float = 0.0, *, grain: bool = False, streaks: bool = False
) -> list[Choice]:
    """Resolve "auto" from what was given; any other name is returned as it is.

    Args:
        method: "auto", or the name of a method or chain.
        given: the fields of `Observation` that are there.
        sigma: the noise of the photo, as a standard deviation on the [0, 1] scale.
        grain: True if the noise is the same in all channels, as in a grey photo. The networks of `nidf` know only
            noise that differs from channel to channel.
        streaks: True if several lines of light in the photo are alike (`solvers.light_streaks.shows_lines`).

    Returns:
        At least one choice, best first. The next one is for photos for which the one before gives nothing credible.

    Raises:
        UnblurError: "auto", and no method in the package restores from what was given.
    """
    if method != AUTO:
        return [Choice(method, "it was asked for")]
    for picture, reason in _PICTURES.items():
        if picture in given:
            return [Choice(_method_for(picture, given), reason)]
    if "psf" in given:
        return [Choice(NON_BLIND, "the PSF was given")]
    drawn = [Choice(STREAKS, "several lights draw the same line, the path of the camera")] if streaks else []
    shaken = Choice(f"{ESTIMATOR}+{NON_BLIND}", "only the photo was given, so one PSF is estimated from its edges")
    noisy = f"the photo is noisy, sigma {255 * sigma:.0f} of 255"
    if sigma >= NOISY and grain:
        return [*drawn, shaken, Choice(DENOISER, f"{noisy}, in brightness only")]
    if sigma >= NOISY:
        return [
            *drawn,
            Choice(NOISE_AND_BLUR, noisy, {f"{NOISE_AND_BLUR}.final": True}),
            Choice(NOISE_AND_BLUR, noisy, {f"{NOISE_AND_BLUR}.output": "denoised"}),
            Choice(f"{NOISY_ESTIMATOR}+{NON_BLIND}", noisy),
        ]
    return [
        *drawn,
        shaken,
        Choice(TURNING, "no single PSF explains the blur, but a camera that shifted and turned does", refused_psf=True),
        replace(shaken, reason="the estimated PSF is not certain, but a gain is predicted with it", refused_psf=True),
        Choice(MOVING, "no single PSF explains the blur, so it may differ from place to place"),
    ]


def choose_estimator(method: str) -> Choice:
    """As `choose`, for a PSF that is to be estimated."""
    return Choice(ESTIMATOR, "it is the default") if method == AUTO else choose(method, ())[0]


def _method_for(picture: Input, given: Collection[str]) -> str:
    """The default method, or the first other one, that needs this picture, nothing that was not given, and no weights
    that are not there."""
    for name in sorted(methods.names(), key=lambda name: (name != PAIR, name)):
        method = methods.get(name)
        card, trained = method.card, method.trained
        if trained is not None and trained.preset not in trained.presets():
            continue  # its weights are not in the package
        if picture in card.needs and card.needs <= set(given) and "image" in card.gives:
            return name
    what = {"noisy": "a blurry and a noisy shot", "frames": "several frames"}[picture]
    raise UnblurError(f"there is no method for {what} yet. Give a method file of your own: --method ./mine.py")
