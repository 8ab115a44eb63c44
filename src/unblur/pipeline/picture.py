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

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unblur.contract import Defect, Method, Settings
from unblur.imaging.colour import NOISE_IN_LUMINANCE, luminance
from unblur.imaging.noise import estimate_noise_sigma, estimate_noise_under_blur
from unblur.imaging.psf import pad_psf
from unblur.pipeline.auto import AUTO, ESTIMATOR, Choice, choose_estimator
from unblur.pipeline.chain import Chain, Step
from unblur.pipeline.channels import in_grey, run_on_any_shape
from unblur.pipeline.device import find_device
from unblur.pipeline.judge import judge
from unblur.pipeline.options import Options
from unblur.solvers.blind import SMALLEST_PICTURE
from unblur.solvers.light_streaks import streak_psf
from unblur.solvers.tiles import TILE, WHOLE_UP_TO, halo_for, tiled
from unblur.types import Observation, Progress, Restoration, Result, UnblurError

SMALLEST = 8
"""Nothing is restored of a picture with a shorter side in pixels: not even its noise can be measured."""

# Noise of the luminance relative to that of the channels: 1 if it is the same in all, 0.67 if it is independent.
_GRAIN = 0.85
_NOTABLE = 0.01  # share of a PSF's light that may move without a note
Region = tuple[int, int, int, int]


class _NotCredible(Exception):
    """Ends a chain whose result would do harm.

    Attributes:
        psf: the PSF found so far.
        started: False if the photo was refused before anything was computed.
    """

    def __init__(self, reason: str, psf: Tensor | None, *, started: bool) -> None:
        super().__init__(reason)
        self.psf = psf
        self.started = started


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
    first: _NotCredible | None = None
    for chain, choice in plans:
        if first is not None and not first.started and chain.undoes == plans[0][0].undoes:
            continue  # what is not blurred needs no other deblurring
        try:
            made = _for_photos(chain, force=options.force, region=options.region)(observation, progress)
        except _NotCredible as doubt:
            first = first or doubt
            continue
        if not made.changed and (first is not None or chain is not plans[-1][0]):
            continue  # the method says itself that it cannot restore this photo
        chosen = replace(unchanged, method=chain.name, reason=choice.reason)
        return _checked(chosen, made, options.strength)
    assert first is not None  # since there is at least one plan
    psf = unchanged.psf if first.psf is None else _plane(first.psf)
    return replace(unchanged, psf=psf, notes=[str(first)])


def _plans(observation: Observation, options: Options) -> list[tuple[Chain, Choice]]:
    """The chains to try, best first. For "auto" they depend on the noise of the photo."""
    if options.method != AUTO:
        return options.plans(observation.given(), 0.0)
    photo, given = observation.photo(), observation.given()
    # It is not known yet whether the photo is sharp. In a sharp photo only the plain estimate does not measure texture.
    sigma = noise_of(photo)
    grain = noise_of(luminance(photo)) > _GRAIN * sigma
    streaks = given == {"blurry"} and options.strength > 0 and streak_psf(luminance(photo)) is not None
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
    made = _for_photos(chain, force=True, region=options.region)(observation, progress)
    assert made.psf is not None, f"'{chain.name}' says that it gives a psf, and gave none"
    found = Result(photo, _plane(made.psf), made.stages, made.changed, chain.name, choice.reason, sigma, made.notes)
    judged = not any(step.method.card.has_evidence for step in chain.steps)
    try:
        for so_far in (Restoration(), Restoration(psf=made.psf)) if judged else ():
            _require_credible(observation, so_far, frozenset(), progress)
    except _NotCredible as doubt:
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


def noise_of(picture: Tensor, *, blurred: bool = False) -> float:
    """The noise's standard deviation in one picture `(1, C, H, W)`, at most 0.5.

    `blurred` says that the picture has no detail down to single pixels, so that noise that JPEG hid can be found.
    """
    estimate = estimate_noise_under_blur if blurred else estimate_noise_sigma
    return min(float(estimate(picture).mean()), 0.5)  # what is measured in a black and white page may be any number


# --- one step -------------------------------------------------------------------------------------


def _for_photos(chain: Chain, *, force: bool, region: Region | None = None) -> Chain:
    """The same chain, each step run as the module's docstring says."""
    steps: list[Step] = []
    for step in chain.steps:
        earlier = [one.method.card.name for one in steps if "image" in one.method.card.gives]
        steps.append(Step(_for_a_photo(step.method, earlier, force=force, region=region), step.settings))
    return Chain(tuple(steps))


def _for_a_photo(method: Method, earlier: Sequence[str], *, force: bool, region: Region | None) -> Method:
    """The same method, run as the module's docstring says.

    Args:
        method: a step of a chain.
        earlier: the steps before it that give a picture.
        force: True: nothing is judged.
        region: where a PSF is estimated; None: in the whole photo.
    """
    card = method.card

    def require_credible(observation: Observation, so_far: Restoration, progress: Progress) -> None:
        try:
            _require_credible(observation, so_far, card.undoes, progress, has_evidence=card.has_evidence)
        except _NotCredible as doubt:
            if not earlier:
                raise
            about = f"{doubt} ('{card.name}' was given the result of '{'+'.join(earlier)}'.)"
            raise _NotCredible(about, doubt.psf, started=True) from None

    def restore(observation: Observation, settings: Settings, progress: Progress) -> Restoration:
        if not force:
            require_credible(observation, Restoration(), progress)
        if "image" in card.gives:
            result = _restore_image(method, observation, settings, progress)
        else:
            result = _estimate(method, _inside(observation, region), settings, progress)
        photo = observation.photo()
        if result.image is not None and result.image.shape != photo.shape:
            was, now = tuple(photo.shape), tuple(result.image.shape)
            raise UnblurError(f"'{card.name}' gave a picture of shape {now} for one of {was}.")
        if force or not result.changed:
            return result
        found = Restoration(image=result.image, psf=result.psf)
        if "psf" not in card.gives:  # the PSF that it was given, perhaps corrected
            observation = replace(observation, psf=observation.psf if result.psf is None else result.psf)
            found = Restoration(image=result.image)
        require_credible(observation, found, progress)
        return result

    return replace(method, restore=restore)


def _inside(observation: Observation, region: Region | None) -> Observation:
    """The observation in a region `(left, top, width, height)`, or the whole one.

    Raises:
        UnblurError: a region that is not inside the photo, or too small.
    """
    if region is None:
        return observation
    left, top, width, height = region
    rows, columns = observation.photo().shape[-2:]
    if left + width > columns or top + height > rows or min(width, height) < SMALLEST_PICTURE:
        raise UnblurError(
            f"the region {left},{top},{width},{height} must be inside the photo ({columns} x {rows} px), and have "
            f"{SMALLEST_PICTURE} px a side or more."
        )
    return observation.with_pictures(lambda picture: picture[..., top : top + height, left : left + width])


def _estimate(method: Method, observation: Observation, settings: Settings, progress: Progress) -> Restoration:
    """Estimate a PSF on the luminance of every picture, or in colour where the method wants it."""
    progress.stage("estimating the PSF")
    if 1 not in method.card.channels:
        return run_on_any_shape(method, observation, settings, progress)
    sigma = _luminance_sigma(observation)
    return run_on_any_shape(method, replace(observation.with_pictures(in_grey), sigma=sigma), settings, progress)


def _restore_image(method: Method, observation: Observation, settings: Settings, progress: Progress) -> Restoration:
    """Restore a picture, in tiles where it is large and the method allows it."""
    photo, card = observation.photo(), method.card
    if observation.sigma is None:
        observation = replace(observation, sigma=noise_of(photo, blurred="blur" in card.undoes))
    if not card.tiles(settings) or photo.shape[-2] * photo.shape[-1] <= WHOLE_UP_TO:
        return run_on_any_shape(method, observation, settings, progress)
    if method.prepare is not None:
        observation, settings = method.prepare(observation, settings, progress)
    notes: dict[str, None] = {}  # without duplicates
    changed: list[bool] = []

    def restore_tile(tile: Observation, within: Progress) -> Tensor:
        result = run_on_any_shape(method, tile, settings, within)
        notes.update(dict.fromkeys(result.notes))
        changed.append(result.changed)
        assert result.image is not None
        return result.image

    halo = halo_for(observation.psf, card.reach)
    grid = max(card.grid, card.multiple_of)
    image = tiled(restore_tile, observation, halo=halo, tile=card.tile or TILE, multiple_of=grid, progress=progress)
    return Restoration(image=image, psf=observation.psf, changed=any(changed), notes=list(notes))


# --- no harm --------------------------------------------------------------------------------------


def _require_credible(
    observation: Observation,
    result: Restoration,
    undoes: frozenset[Defect],
    progress: Progress,
    *,
    has_evidence: bool = False,
) -> None:
    """Judge what one step made of a photo: nothing yet, a PSF, a picture, or both.

    Args:
        observation: the photo, and the PSF that the step was given.
        result: what the step gave; its PSF only if the step estimates one.
        undoes: what the step's picture should no longer have.
        progress: told of the stage; may cancel.
        has_evidence: see `Card`.

    Raises:
        _NotCredible: with the reason.
    """
    psf = observation.psf if result.psf is None else result.psf
    nothing_yet = result.image is None and result.psf is None
    progress.stage("looking at the photo" if nothing_yet else "checking the result")
    sigma = _luminance_sigma(observation)
    reason = judge(observation, result, undoes, sigma, progress, has_evidence=has_evidence)
    if reason is not None:
        raise _NotCredible(reason, psf, started=not nothing_yet)


def _luminance_sigma(observation: Observation) -> float:
    """The noise in the luminance: measured there, or worked out from what was said of the channels."""
    photo = observation.photo()
    if observation.sigma is None:
        return noise_of(luminance(photo))
    return observation.sigma * (NOISE_IN_LUMINANCE if photo.shape[1] == 3 else 1.0)


def _plane(psf: Tensor | None) -> Tensor | None:
    """A PSF as `(h, w)`."""
    return None if psf is None else psf[0, 0]
