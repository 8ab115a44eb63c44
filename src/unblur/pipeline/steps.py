"""Run the steps of a chain on one photo, in the way that suits it, and refuse what is not credible.

Every picture of the observation is treated alike: brought into the channels and sides that a method takes, and cut into
tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from unblur.contract import Defect, Method, Settings
from unblur.imaging.colour import NOISE_IN_LUMINANCE, luminance
from unblur.imaging.noise import estimate_noise_sigma, estimate_noise_under_blur
from unblur.pipeline.chain import Chain, Step
from unblur.pipeline.channels import in_grey, run_on_any_shape
from unblur.pipeline.judge import LEAST_GAIN, judge
from unblur.solvers.blind import SMALLEST_PICTURE
from unblur.solvers.tiles import TILE, WHOLE_UP_TO, halo_for, tiled
from unblur.types import Observation, Progress, Restoration, UnblurError

Region = tuple[int, int, int, int]


class NotCredible(Exception):
    """Ends a chain whose result would do harm.

    Attributes:
        psf: the PSF found so far.
        started: False if the photo was refused before anything was computed.
        psf_refused: True if it was this PSF that was refused, before a picture was restored with it.
    """

    def __init__(self, reason: str, psf: Tensor | None, *, started: bool, psf_refused: bool = False) -> None:
        super().__init__(reason)
        self.psf = psf
        self.started = started
        self.psf_refused = psf_refused


def noise_of(picture: Tensor, *, blurred: bool = False) -> float:
    """The noise's standard deviation in one picture `(1, C, H, W)`, at most 0.5.

    `blurred` says that the picture has no detail down to single pixels, so that noise that JPEG hid can be found.
    """
    estimate = estimate_noise_under_blur if blurred else estimate_noise_sigma
    return min(float(estimate(picture).mean()), 0.5)  # what is measured in a black and white page may be any number


def for_photos(chain: Chain, *, force: bool, region: Region | None = None, least_gain: float = LEAST_GAIN) -> Chain:
    """The same chain, each step run as the module's docstring says; `least_gain` as for `judge`."""
    steps: list[Step] = []
    for step in chain.steps:
        earlier = [one.method.card.name for one in steps if "image" in one.method.card.gives]
        method = _for_a_photo(step.method, earlier, force=force, region=region, least_gain=least_gain)
        steps.append(Step(method, step.settings))
    return Chain(tuple(steps))


def _for_a_photo(
    method: Method, earlier: Sequence[str], *, force: bool, region: Region | None, least_gain: float
) -> Method:
    """The same method, run as the module's docstring says.

    Args:
        method: a step of a chain.
        earlier: the steps before it that give a picture.
        force: True: nothing is judged.
        region: where a PSF is estimated; None: in the whole photo.
        least_gain: as for `judge`.
    """
    card = method.card

    def question(observation: Observation, so_far: Restoration, progress: Progress) -> None:
        if "psf" in card.takes:  # see `Card.takes`
            observation = replace(observation, psf=None)
        try:
            require_credible(
                observation,
                so_far,
                card.undoes,
                progress,
                has_evidence=card.has_evidence,
                least_gain=least_gain,
            )
        except NotCredible as doubt:
            if not earlier:
                raise
            about = f"{doubt} ('{card.name}' was given the result of '{'+'.join(earlier)}'.)"
            raise NotCredible(about, doubt.psf, started=True) from None

    def restore(observation: Observation, settings: Settings, progress: Progress) -> Restoration:
        if not force:
            question(observation, Restoration(), progress)
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
        question(observation, found, progress)
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


def require_credible(
    observation: Observation,
    result: Restoration,
    undoes: frozenset[Defect],
    progress: Progress,
    *,
    has_evidence: bool = False,
    least_gain: float = LEAST_GAIN,
) -> None:
    """Judge what one step made of a photo: nothing yet, a PSF, a picture, or both.

    Args:
        observation: the photo, and the PSF that the step was given.
        result: what the step gave; its PSF only if the step estimates one.
        undoes: what the step's picture should no longer have.
        progress: told of the stage; may cancel.
        has_evidence: see `Card`.
        least_gain: as for `judge`.

    Raises:
        NotCredible: with the reason.
    """
    psf = observation.psf if result.psf is None else result.psf
    nothing_yet = result.image is None and result.psf is None
    progress.stage("looking at the photo" if nothing_yet else "checking the result")
    sigma = _luminance_sigma(observation)
    reason = judge(observation, result, undoes, sigma, progress, has_evidence=has_evidence, least_gain=least_gain)
    if reason is not None:
        psf_refused = result.psf is not None and result.image is None
        raise NotCredible(reason, psf, started=not nothing_yet, psf_refused=psf_refused)


def _luminance_sigma(observation: Observation) -> float:
    """The noise in the luminance: measured there, or worked out from what was said of the channels."""
    photo = observation.photo()
    if observation.sigma is None:
        return noise_of(luminance(photo))
    return observation.sigma * (NOISE_IN_LUMINANCE if photo.shape[1] == 3 else 1.0)
