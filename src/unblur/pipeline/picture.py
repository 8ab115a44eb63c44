"""Restore one photo's pixels: in which colours, in which pieces, and whether the result may be believed.

`restore_picture` runs a chain of methods in the way that suits a photo rather than a benchmark:

- a PSF is estimated on the luminance, the picture is restored in all its colours;
- the noise is measured on the whole picture, so that all tiles are treated alike;
- a large picture is restored in tiles where the method allows it;
- what a method found must be credible, else the next choice of `auto` is tried; if none is credible, the picture stays
  as it was.

Every picture of the observation is treated alike: moved to the device, brought into the channels and sides that a
method takes, and cut into tiles. The work is done on `Options.device`; the result is where the photo is.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from unblur.imaging.colour import luminance
from unblur.imaging.psf import pad_psf
from unblur.pipeline.auto import AUTO, ESTIMATOR, Choice, choose_estimator
from unblur.pipeline.chain import Chain
from unblur.pipeline.device import find_device
from unblur.pipeline.judge import LEAST_GAIN_IN_DOUBT
from unblur.pipeline.options import Options
from unblur.pipeline.steps import NotCredible, for_photos, noise_of, require_credible
from unblur.solvers.blind import SMALLEST_PICTURE
from unblur.solvers.light_streaks import shows_lines
from unblur.types import Observation, Progress, Restoration, Result, UnblurError

SMALLEST = 8
"""Nothing is restored of a picture with a shorter side in pixels: not even its noise can be measured."""

# Noise of the luminance relative to that of the channels: 1 if it is the same in all, 0.67 if it is independent.
_GRAIN = 0.85
_NOTABLE = 0.01  # share of a PSF's light that may move without a note


def restore_picture(observation: Observation, options: Options, progress: Progress) -> Result[Tensor]:
    """Restore one photo.

    Args:
        observation: what the camera gave: pictures `(1, C, H, W)` of one size, float32 in [0, 1], C = 1 or 3, or frames
            `(1, T, C, H, W)`, with or without a PSF `(1, 1, h, w)`.
        options: what to do.
        progress: told of the stages; may cancel.

    Returns:
        A result whose image is `(1, C, H, W)`, not clipped, where the photo is; the very tensor that came in when
        nothing changed.

    Raises:
        UnblurError: pictures of several sizes, options that do not fit together or to what was given, or a method that
            gave no usable picture.
        Cancelled: after `progress.cancel()`.
    """
    photo = observation.photo()
    _check_sizes(observation)
    there = observation.to(photo.device if options.device is None else find_device(options.device))
    return _back(_restore(there, options, progress), photo)


def _restore(observation: Observation, options: Options, progress: Progress) -> Result[Tensor]:
    chain, choice = options.plan(observation.given())
    photo = observation.photo()
    psf = _plane(observation.psf)
    unchanged = Result(photo, psf, {}, False, chain.name, choice.reason, observation.sigma)
    if min(photo.shape[-2:]) < SMALLEST:
        return replace(unchanged, notes=[_too_small(photo, SMALLEST)])
    if psf is not None and (psf.shape[0] > photo.shape[-2] or psf.shape[1] > photo.shape[-1]):
        raise UnblurError(
            f"the PSF ({psf.shape[1]} x {psf.shape[0]} px) is larger than the picture ({photo.shape[-1]} x "
            f"{photo.shape[-2]} px). Crop the PSF."
        )
    progress.stage("measuring the noise")
    plans = _plans(observation, options)
    chain, choice = plans[0]
    unchanged = replace(unchanged, method=chain.name, reason=choice.reason)
    if "psf" in chain.gives and min(photo.shape[-2:]) < SMALLEST_PICTURE:
        return replace(unchanged, notes=[_too_small(photo, SMALLEST_PICTURE)])
    sigma = noise_of(photo, blurred="blur" in chain.undoes) if observation.sigma is None else observation.sigma
    unchanged = replace(unchanged, sigma=sigma)
    if options.strength == 0:
        return replace(unchanged, notes=["Nothing was changed, because the strength is 0."])
    first: NotCredible | None = None
    not_blurred, refused = False, None  # whether the photo was refused as it is; the PSF that was refused
    for chain, choice in plans:
        if not_blurred and chain.undoes == plans[0][0].undoes:
            continue  # what is not blurred needs no other deblurring
        if choice.refused_psf and refused is None and "psf" in chain.gives:
            continue  # it would only do the same again
        try:
            made = _made(chain, choice, observation, refused, options, progress)
        except NotCredible as doubt:
            if first is None:
                first, unchanged = doubt, replace(unchanged, method=chain.name, reason=choice.reason)
            not_blurred = not_blurred or not doubt.started
            refused = doubt.psf if doubt.psf_refused else refused
            continue
        if not made.changed and (first is not None or chain is not plans[-1][0]):
            continue  # the method says itself that it cannot restore this photo
        chosen = replace(unchanged, method=chain.name, reason=choice.reason)
        return _checked(chosen, made, options.strength)
    assert first is not None  # since there is at least one plan
    psf = unchanged.psf if first.psf is None else _plane(first.psf)
    return replace(unchanged, psf=psf, notes=[str(first)])


def _made(
    chain: Chain,
    choice: Choice,
    observation: Observation,
    refused: Tensor | None,
    options: Options,
    progress: Progress,
) -> Restoration:
    """What a chain makes of the photo; `refused` is the PSF that was found before, `(1, 1, h, w)`.

    Raises:
        NotCredible: the result would do harm.
    """
    if not choice.refused_psf or refused is None:
        return for_photos(chain, force=options.force, region=options.region)(observation, progress)
    observation = replace(observation, psf=refused, psf_estimated=True)
    remaining = Chain(tuple(step for step in chain.steps if step.method.card.gives != {"psf"}))
    made = for_photos(remaining, force=options.force, least_gain=LEAST_GAIN_IN_DOUBT)(observation, progress)
    if remaining == chain:
        return made
    if len(remaining.steps) == 1:  # named as in the whole chain
        made = replace(made, stages={f"{remaining.name}.{name}": stage for name, stage in made.stages.items()})
    return made if made.psf is not None else replace(made, psf=refused)


def _plans(observation: Observation, options: Options) -> list[tuple[Chain, Choice]]:
    """The chains to try, best first. For "auto" they depend on the noise of the photo."""
    if options.method != AUTO:
        return options.plans(observation.given(), 0.0)
    photo, given = observation.photo(), observation.given()
    # It is not known yet whether the photo is sharp. In a sharp photo only the plain estimate does not measure texture.
    sigma = noise_of(photo)
    grain = noise_of(luminance(photo)) > _GRAIN * sigma
    streaks = given == {"blurry"} and options.strength > 0 and shows_lines(luminance(photo))
    sigma = sigma if observation.sigma is None else observation.sigma
    return options.plans(given, sigma, grain=grain, streaks=streaks)


def _too_small(photo: Tensor, least: int) -> str:
    return f"Nothing was changed: {min(photo.shape[-2:])} px is too small to restore (at least {least} px)."


def _checked(unchanged: Result[Tensor], made: Restoration, strength: float) -> Result[Tensor]:
    """The result of a chain, from what it made of the photo.

    Args:
        unchanged: the result if nothing was changed.
        made: what the chain gave.
        strength: 0 (the picture as it was) to 1 (fully restored).

    Raises:
        UnblurError: values that are not finite.
    """
    photo = unchanged.image
    psf = unchanged.psf if made.psf is None else _plane(made.psf)
    if not made.changed or made.image is None:
        return replace(unchanged, psf=psf, stages=made.stages, notes=made.notes)
    if not torch.stack(made.image.aminmax()).isfinite().all():  # aminmax makes no full-size copy
        raise UnblurError(f"'{unchanged.method}' gave NaN or infinite values. Try other settings or another method.")
    image = made.image.to(photo)
    if strength < 1:
        image = torch.lerp(photo, image, strength)
    notes = [*made.notes, *_corrections(unchanged.method, unchanged.psf, psf)]
    return replace(unchanged, image=image, psf=psf, stages=made.stages, changed=True, notes=notes)


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


def estimate_psf_of(observation: Observation, options: Options, progress: Progress) -> Result[Tensor]:
    """Estimate the PSF that blurred one photo; `changed` says whether it is credible.

    Args:
        observation: as for `restore_picture`, without a PSF.
        options: as for `restore_picture`; "auto" is an estimator.
        progress: told of the stages; may cancel.

    Raises:
        UnblurError: a picture too small, or a method that estimates no PSF.
        Cancelled: after `progress.cancel()`.
    """
    photo = observation.photo()
    _check_sizes(observation)
    there = observation.to(photo.device if options.device is None else find_device(options.device))
    return _back(_estimate_psf(there, options, progress), photo)


def _estimate_psf(observation: Observation, options: Options, progress: Progress) -> Result[Tensor]:
    choice = choose_estimator(options.method)
    chain = options.chain(choice.name)
    if "psf" not in chain.gives:
        raise UnblurError(f"'{chain.name}' estimates no PSF. Use --method {ESTIMATOR}.")
    options.check_region(chain)
    photo = observation.photo()
    short_side = min(photo.shape[-2:])
    if short_side < SMALLEST_PICTURE:
        raise UnblurError(f"{short_side} px is too small to find a PSF in (at least {SMALLEST_PICTURE} px).")
    progress.stage("measuring the noise")
    sigma = noise_of(photo) if observation.sigma is None else observation.sigma
    made = for_photos(chain, force=True, region=options.region)(observation, progress)
    assert made.psf is not None, f"'{chain.name}' says that it gives a psf, and gave none"
    found = Result(photo, _plane(made.psf), made.stages, made.changed, chain.name, choice.reason, sigma, made.notes)
    judged = not any(step.method.card.has_evidence for step in chain.steps)
    try:
        for so_far in (Restoration(), Restoration(psf=made.psf)) if judged else ():
            require_credible(observation, so_far, frozenset(), progress)
    except NotCredible as doubt:
        return replace(found, changed=False, notes=[str(doubt), *made.notes])
    return found


def _check_sizes(observation: Observation) -> None:
    """Refuse pictures that are not of one size."""
    sizes = {name: picture.shape[-3:] for name, picture in observation.pictures().items()}
    (first, (channels, height, width)), *others = sizes.items()
    for name, size in others:
        if size != (channels, height, width):
            raise UnblurError(
                f"the {first} picture is {width} x {height} px with {channels} channel(s), the {name} one "
                f"{size[2]} x {size[1]} px with {size[0]}. They must be alike; nothing is aligned or cropped."
            )


def _back(result: Result[Tensor], photo: Tensor) -> Result[Tensor]:
    """The result where the photo is; its image is the very `photo` when nothing changed."""
    return replace(
        result,
        image=result.image.to(photo.device) if result.changed else photo,
        psf=None if result.psf is None else result.psf.to(photo.device),
        stages={name: stage.to(photo.device) for name, stage in result.stages.items()},
    )


def _plane(psf: Tensor | None) -> Tensor | None:
    """A PSF as `(h, w)`."""
    return None if psf is None else psf[0, 0]
