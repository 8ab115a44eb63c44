"""Restore one photo's pixels: which methods, on which colours, in which pieces, and whether to believe them.

`restore_picture` runs a chain of methods as it is right for a photo rather than for a benchmark:

- a PSF is estimated on the luminance, the picture is restored in all its colours;
- the noise is measured on the whole picture, so that all tiles are treated alike;
- a large picture is restored in tiles where the method allows it;
- a PSF that was estimated, and what was made with it, must be credible, or the picture stays as it was.

All of it happens on `Options.device`; what comes back lies where the picture does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from unblur.contract import Method, Settings
from unblur.imaging.colour import NOISE_IN_LUMINANCE, luminance
from unblur.imaging.noise import estimate_noise_sigma, estimate_noise_under_blur
from unblur.imaging.psf import pad_psf
from unblur.pipeline.chain import BEST_NON_BLIND, DEFAULT_ESTIMATOR, Chain, Step, complete
from unblur.pipeline.device import find_device
from unblur.pipeline.fit import fitted
from unblur.pipeline.judge import judge
from unblur.solvers.blind import SMALLEST_PICTURE
from unblur.solvers.tiles import TILE, WHOLE_UP_TO, halo_for, tiled
from unblur.types import Observation, Progress, Restoration, UnblurError

SMALLEST = 8
"""Nothing is restored of a picture with a shorter side in pixels: not even its noise can be measured."""


@dataclass(frozen=True)
class Options:
    """What a person may ask for.

    Attributes:
        method: a method, a chain `a+b`, a Python file, or "auto": `wiener_stack` when a PSF is given, else
            `l0_psf+wiener_stack`.
        psf: the known PSF, `(h, w)`; None: estimate it.
        psf_size: odd side in pixels of the PSF to estimate; None: found automatically.
        settings: `key` or `method.key`, as `Chain.parse` takes them.
        strength: 0 (the picture as it was) to 1 (fully restored).
        sigma: standard deviation of the noise on the [0, 1] scale; None: measured.
        force: True keeps a result that is not credible.
        device: where the work is done, `cpu`, `cuda`, `cuda:1`, ...; None: where the picture is.
    """

    method: str = "auto"
    psf: Tensor | None = None
    psf_size: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    strength: float = 1.0
    sigma: float | None = None
    force: bool = False
    device: str | torch.device | None = None

    def __post_init__(self) -> None:
        """Refuse what lies out of range, and a device that is not there."""
        if not 0 <= self.strength <= 1:
            raise UnblurError(f"strength goes from 0 (as it was) to 1 (fully restored), not {self.strength:g}.")
        if self.sigma is not None and not 0 <= self.sigma <= 0.5:
            raise UnblurError(
                f"sigma is the noise's standard deviation on the 0..1 scale, 0.5 at the most, not {self.sigma:g}; "
                "for 5 of 255 levels give 0.0196 (or --sigma 5/255)."
            )
        if self.device is not None:
            find_device(self.device)

    def chain(self) -> Chain:
        """The methods to run.

        Raises:
            UnblurError: an unknown method or setting, a setting out of range, a PSF that is needed and missing, or
                one that is given and of no use.
        """
        name = self.method
        if name == "auto":
            name = f"{DEFAULT_ESTIMATOR}+{BEST_NON_BLIND}" if self.psf is None else BEST_NON_BLIND
        name = complete(name, psf_known=self.psf is not None)
        chain = Chain.parse(name, self.settings_for(name))
        if self.psf is not None and "psf" not in chain.needs:
            does = "estimates a PSF and takes none" if "psf" in chain.gives else "makes no use of a PSF"
            raise UnblurError(f"'{self.method}' {does}; leave out --psf or use --method {BEST_NON_BLIND}.")
        return chain

    def settings_for(self, name: str) -> dict[str, Any]:
        """The settings for the chain called `name`, the PSF's size among them."""
        if self.psf_size is None:
            return dict(self.settings)
        estimators = [s.method.card.name for s in Chain.parse(name).steps if "psf" in s.method.card.gives]
        if not estimators:
            raise UnblurError(f"a PSF size is of no use to '{name}', which estimates no PSF. Leave it out.")
        return {**self.settings, f"{estimators[0]}.size": self.psf_size}


@dataclass(frozen=True)
class Outcome:
    """What became of a picture.

    Attributes:
        image: `(1, C, H, W)`, not clipped; the very tensor that came in when nothing changed.
        method: the chain that ran.
        psf: the PSF given or estimated, as the last method used it, `(h, w)`, credible or not; None: there was none.
        sigma: the noise's standard deviation, given or measured; None for a picture too small to measure.
        changed: False when the picture is as it was.
        notes: plain sentences; the first says why, when nothing changed.
    """

    image: Tensor
    method: str
    psf: Tensor | None = None
    sigma: float | None = None
    changed: bool = True
    notes: list[str] = field(default_factory=list)


class _NotCredible(Exception):
    """Ends a chain whose result would do harm."""

    def __init__(self, reason: str, psf: Tensor | None) -> None:
        super().__init__(reason)
        self.psf = psf


def restore_picture(picture: Tensor, options: Options, progress: Progress) -> Outcome:
    """Restore one picture `(1, C, H, W)`, float32 in [0, 1], C = 1 or 3.

    Raises:
        UnblurError: options that do not fit together, or a method that gave no usable picture.
    """
    return _back(_restore(*_there(picture, options), progress), picture)


def _restore(picture: Tensor, options: Options, progress: Progress) -> Outcome:
    chain = options.chain()
    short_side = min(picture.shape[-2:])
    blind = any("psf" in step.method.card.gives for step in chain.steps)
    smallest = SMALLEST_PICTURE if blind else SMALLEST
    if short_side < smallest:
        reason = f"Nothing was changed: {short_side} px is too small to restore (at least {smallest} px)."
        return Outcome(picture, chain.name, changed=False, notes=[reason])
    progress.stage("measuring the noise")
    deblurs = any(_undoes_blur(step.method) for step in chain.steps)
    sigma = noise_of(picture, blurred=deblurs) if options.sigma is None else options.sigma
    outcome = Outcome(picture, chain.name, _plane(options.psf), sigma)
    observation = Observation(
        blurry=picture, psf=None if options.psf is None else options.psf[None, None], sigma=options.sigma
    )
    if options.strength == 0:
        return replace(outcome, changed=False, notes=["Nothing was changed, because the strength is 0."])
    steps = tuple(Step(_for_photos(step.method, options), step.settings) for step in chain.steps)
    try:
        result = Chain(steps)(observation, progress)
    except _NotCredible as refusal:
        return replace(outcome, psf=_plane(refusal.psf), changed=False, notes=[str(refusal)])
    psf = outcome.psf if result.psf is None else _plane(result.psf)
    if not result.changed or result.image is None:
        return replace(outcome, psf=psf, changed=False, notes=result.notes)
    if not torch.isfinite(result.image).all():
        raise UnblurError(f"'{chain.name}' gave NaN or infinite values. Try other settings or another method.")
    image = torch.lerp(picture, result.image.to(picture), options.strength)
    notes = [*result.notes, *_corrections(chain.name, outcome.psf, psf)]
    return replace(outcome, image=image, psf=psf, notes=notes)


def _corrections(name: str, given: Tensor | None, psf: Tensor | None) -> list[str]:
    """What to say of a PSF that was given and is now another, `(h, w)` both."""
    if given is None or psf is None:
        return []
    size = max(given.shape[0], psf.shape[0]), max(given.shape[1], psf.shape[1])
    before, after = (pad_psf(one / one.sum(), size) for one in (given, psf))
    moved = float((before - after).abs().sum()) / 2
    if moved < _NOTABLE:
        return []
    return [f"{name} corrected the PSF that was given: {moved:.0%} of its light lies elsewhere now."]


_NOTABLE = 0.01  # share of a PSF's light that may move without a word


def estimate_psf_of(picture: Tensor, options: Options, progress: Progress) -> Outcome:
    """Estimate the PSF that blurred one picture `(1, C, H, W)`; `changed` says whether it is credible.

    Raises:
        UnblurError: a picture too small, or a method that estimates no PSF.
    """
    return _back(_estimate_psf(*_there(picture, options), progress), picture)


def _estimate_psf(picture: Tensor, options: Options, progress: Progress) -> Outcome:
    chain = Chain.parse(options.method, options.settings_for(options.method))
    if "psf" not in chain.gives:
        raise UnblurError(f"'{chain.name}' estimates no PSF. Use --method {DEFAULT_ESTIMATOR}.")
    short_side = min(picture.shape[-2:])
    if short_side < SMALLEST_PICTURE:
        raise UnblurError(f"{short_side} px is too small to find a PSF in (at least {SMALLEST_PICTURE} px).")
    progress.stage("measuring the noise")
    sigma = noise_of(picture) if options.sigma is None else options.sigma
    trusting = replace(options, force=True)
    steps = tuple(Step(_for_photos(step.method, trusting), step.settings) for step in chain.steps)
    observation = Observation(blurry=picture, sigma=options.sigma)
    result = Chain(steps)(observation, progress)
    assert result.psf is not None, f"'{chain.name}' says that it gives a psf, and gave none"
    outcome = Outcome(picture, chain.name, _plane(result.psf), sigma, notes=result.notes)
    try:
        _require_credible(observation, Restoration(), frozenset(), progress)
        _require_credible(observation, Restoration(psf=result.psf), frozenset(), progress)
    except _NotCredible as doubt:
        return replace(outcome, changed=False, notes=[str(doubt), *result.notes])
    return outcome


def _there(picture: Tensor, options: Options) -> tuple[Tensor, Options]:
    """The picture, and the PSF among the options, where the work is done."""
    device = picture.device if options.device is None else find_device(options.device)
    psf = None if options.psf is None else options.psf.to(device)
    return picture.to(device), replace(options, psf=psf)


def _back(outcome: Outcome, picture: Tensor) -> Outcome:
    """The outcome where the picture is; its image is the very `picture` when nothing changed."""
    image = outcome.image.to(picture.device) if outcome.changed else picture
    return replace(outcome, image=image, psf=None if outcome.psf is None else outcome.psf.to(picture.device))


def noise_of(picture: Tensor, *, blurred: bool = False) -> float:
    """The noise's standard deviation in one picture `(1, C, H, W)`; `blurred`: one known to have no finest detail."""
    estimate = estimate_noise_under_blur if blurred else estimate_noise_sigma
    return float(estimate(picture).mean())


def _undoes_blur(method: Method) -> bool:
    """Whether a method gets a blurred picture and gives a sharp one, with a psf that it is handed or finds."""
    return "image" in method.card.gives and "psf" in method.card.needs | method.card.gives


def _for_photos(method: Method, options: Options) -> Method:
    """The same method, run as the module's docstring says."""

    card = method.card
    judged = "psf" in card.needs | card.gives and options.psf is None and not options.force

    def restore(observation: Observation, settings: Settings, progress: Progress) -> Restoration:
        if judged and observation.psf is None:
            _require_credible(observation, Restoration(), card.undoes, progress)
        if "image" in card.gives:
            result = _restore_image(method, observation, settings, progress)
        else:
            result = _estimate(method, observation, settings, progress)
        if judged:
            _require_credible(observation, result, card.undoes, progress)
        return result

    return replace(method, restore=restore)


def _estimate(method: Method, observation: Observation, settings: Settings, progress: Progress) -> Restoration:
    assert observation.blurry is not None
    progress.stage("estimating the PSF")
    grey = luminance(observation.blurry)
    grey_observation = replace(observation, blurry=grey, sigma=_luminance_sigma(observation, grey))
    return method.restore(grey_observation, settings, progress)


def _restore_image(method: Method, observation: Observation, settings: Settings, progress: Progress) -> Restoration:
    picture = observation.blurry
    assert picture is not None
    if observation.sigma is None:
        observation = replace(observation, sigma=noise_of(picture, blurred=_undoes_blur(method)))
    if not method.card.tiles(settings) or picture.shape[-2] * picture.shape[-1] <= WHOLE_UP_TO:
        return fitted(method, observation, settings, progress)
    if method.prepare is not None:
        observation, settings = method.prepare(observation, settings, progress)
    notes: dict[str, None] = {}  # what several tiles say alike is said once

    def restore_tile(tile: Tensor, within: Progress) -> Tensor:
        result = fitted(method, replace(observation, blurry=tile), settings, within)
        notes.update(dict.fromkeys(result.notes))
        assert result.image is not None
        return result.image

    side = method.card.tile or TILE
    image = tiled(restore_tile, picture, halo=halo_for(observation.psf), tile=side, progress=progress)
    return Restoration(image=image, psf=observation.psf, notes=list(notes))


def _require_credible(
    observation: Observation, result: Restoration, undoes: frozenset[str], progress: Progress
) -> None:
    """Judge what is known so far: the photo alone, with its PSF, or with its restoration too."""
    assert observation.blurry is not None
    psf = observation.psf if result.psf is None else result.psf
    sigma = _luminance_sigma(observation, luminance(observation.blurry))
    progress.stage("checking the result" if psf is not None else "looking at the photo")
    reason = judge(observation, result, undoes, sigma, progress)
    if reason is not None:
        raise _NotCredible(reason, psf)


def _luminance_sigma(observation: Observation, grey: Tensor) -> float:
    """The noise in the luminance: measured there, or worked out from what was said of the channels."""
    assert observation.blurry is not None
    if observation.sigma is None:
        return noise_of(grey)
    return observation.sigma * (NOISE_IN_LUMINANCE if observation.blurry.shape[1] == 3 else 1.0)


def _plane(psf: Tensor | None) -> Tensor | None:
    """A PSF as `(h, w)`."""
    return psf if psf is None or psf.ndim == 2 else psf[0, 0]
