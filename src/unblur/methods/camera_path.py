"""Whyte, Sivic, Zisserman & Ponce 2012, "Non-uniform Deblurring for Shaken Images": a camera that shifts and turns.

If a camera turns about the optical axis during the exposure, the PSF differs from place to place. All PSFs follow from
one path of the camera, which is estimated from the edges of the photo (`solvers.camera_path`): once beginning with one
PSF for the whole photo, and once without. The learned judge (`solvers.gain`) predicts how much clearer several areas
become with either path, and with that one PSF everywhere; the best is used. Each tile of the photo is deconvolved with
the PSF of its middle, by `wiener_stack`.

Differences from the paper: the path is estimated in the manner of Xu et al. 2013 (L0), from areas in each of which the
PSF is taken as constant (Hirsch et al. 2011, "Fast Removal of Non-uniform Camera Shake"); the deconvolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from unblur.contract import Card, Method, Settings, setting
from unblur.imaging.colour import luminance
from unblur.imaging.psf import crop_psf, delta_psf, pad_psf
from unblur.layers.precision import Precision
from unblur.methods.wiener_stack import METHOD as WIENER_STACK
from unblur.solvers.areas import is_flat
from unblur.solvers.blind import DEFAULT_SEARCH, SMALLEST_PICTURE, estimate_psf
from unblur.solvers.camera_path import Area, CameraPath, Place, areas_of, scales_from_psf, search_path
from unblur.solvers.filter_flow import centres
from unblur.solvers.gain import can_predict, predict_for_psf
from unblur.solvers.psf_evidence import NO_BETTER_IN_NOISE, evidence_for, holds_a_tile, share_explained_no_better
from unblur.solvers.psf_tiles import SOME_NOISE, TOLD_APART
from unblur.solvers.tiles import halo_for, tiled_by_place
from unblur.solvers.workers import side_by_side
from unblur.types import Observation, Progress, Restoration

# Chosen by hand.
_LARGER = 6  # pixels by which a PSF may be larger than the one of the whole photo
_TILE = 224  # pixels: side of the tiles that are deconvolved with one PSF each
_NO_BETTER = 0.25  # share of the detailed tiles that wrong PSFs may explain as well, see `solvers.psf_evidence`
_ROOM = 2.0  # the PSFs are computed in squares of this many times the size that was looked for
_SMALL, _MANY = 256, 6  # areas of the search that begins with a PSF: largest side in pixels, most along a side
# Mean predicted gains in dB. Below the first ones, no second or third candidate is searched for.
_HOPELESS = (-2.0, -1.0, -math.inf)
_PREFERRED = 0.2  # by which one PSF must be better than a path to be used
_LEAST, _LEAST_WITH_ONE = -0.4, 0.5  # with which a path, and one PSF, is believed if it explains the areas
_SHOWN = 3  # PSFs along the shorter side in the stage `psfs`


class CameraPathSettings(Settings):
    """Settings of `camera_path`."""

    size: int | None = setting(
        None,
        "side in pixels of the PSF in the middle of the photo, odd (even is rounded up); None: estimated",
        probe=(9, 25),
        ge=3,
        le=301,
    )
    roll: float = setting(
        2.0,
        "largest roll of the camera to either side, in degrees; 0: the blur is the same everywhere; higher is slower",
        probe=None,
        ge=0,
        le=20,
    )
    focal_length: float = setting(
        1.0,
        "focal length in units of the photo's longer side, about 0.7 for a telephone and 1.2 for a normal lens",
        probe=None,
        ge=0.2,
        le=50,
    )
    smoothness: float = setting(
        0.3, "quadratic penalty on the PSFs; higher is smoother and wider", probe=(0.05, 3.0), ge=0, le=100
    )
    iterations: int = setting(
        5, "alternations between sharp picture and path per pyramid level; higher is slower", probe=(2, 5), ge=1, le=100
    )
    precision: Precision = setting(
        "auto",
        "number format of `wiener_stack`; auto: bfloat16 if the processor is faster with it, else float32",
        probe=("float32", "bfloat16"),
    )
    check: bool = setting(
        True, "leave the photo unchanged if the path does not explain its blur, or a loss is predicted", probe=None
    )


def restore(observation: Observation, settings: CameraPathSettings, progress: Progress) -> Restoration:
    """Estimate the path of the camera, and deconvolve each tile with its own PSF.

    The stage `psfs` shows the PSFs of a grid of places. A photo that no path explains, or that the learned judge does
    not expect to become clearer, is not changed.
    """
    blurry = observation.blurry
    assert blurry is not None
    psfs = [None] * len(blurry) if observation.psf is None else observation.psf.split(1)
    results = [
        _restored(replace(observation, blurry=photo, psf=psf), settings, progress)
        for photo, psf in zip(blurry.split(1), psfs, strict=True)
    ]
    images = torch.cat([result.image for result in results if result.image is not None])
    notes = dict.fromkeys(note for result in results for note in result.notes)
    stages = results[0].stages if len(results) == 1 else {}
    return Restoration(image=images, changed=any(r.changed for r in results), notes=list(notes), stages=stages)


def _restored(observation: Observation, settings: CameraPathSettings, progress: Progress) -> Restoration:
    """Restore one photo, `(1, C, H, W)`."""
    photo = observation.blurry
    assert photo is not None
    grey = luminance(photo)
    progress.stage("looking for edges")
    if min(photo.shape[-2:]) < SMALLEST_PICTURE or is_flat(grey):
        return Restoration(image=photo, changed=False, notes=["The photo has no detail to find a camera path in."])
    areas = areas_of(grey)
    best = _best_candidate(grey, areas, observation.psf, settings, progress)
    why_not = _why_not(best, observation.psf is not None, areas, progress) if settings.check else None
    if why_not is not None:
        return Restoration(image=photo, changed=False, notes=[why_not])
    notes = [] if best.turns else ["One PSF was used for the whole photo, since no path of the camera is better."]
    stages = {"psfs": _shown(best.psf_at, (photo.shape[-2], photo.shape[-1]))}
    image = _deconvolved(observation, best.psf_at, settings.precision, progress)
    return Restoration(image=image, stages=stages, notes=notes)


PsfAt = Callable[[Place], Tensor]
"""The PSF `(h, w)` of each place of a photo."""


class _Candidate(NamedTuple):
    """PSFs that may be used.

    Attributes:
        psf_at: the PSF of each place.
        turns: False if that is the same everywhere.
        gain: mean predicted gain in dB; None: the photo is too small for the PSFs to tell.
    """

    psf_at: PsfAt
    turns: bool
    gain: float | None


def _best_candidate(
    grey: Tensor, areas: list[Area], psf: Tensor | None, settings: CameraPathSettings, progress: Progress
) -> _Candidate:
    """The best of one PSF everywhere, a path that begins with it, and a path that begins with no motion.

    If the best one so far is hopeless, no other is searched for.
    """
    longest = max(grey.shape[-2:])
    start = _start(psf, grey, settings, progress)
    side = max(start.shape) + _LARGER if settings.size is None else settings.size
    side = min(side, min(min(area.picture.shape[-2:]) for area in areas) // 2) | 1
    search = replace(DEFAULT_SEARCH, size=side, smoothness=settings.smoothness, iterations=settings.iterations)

    def searched(within: list[Area], start: Tensor | None) -> PsfAt:
        levels = len(search.scales() if start is None else scales_from_psf(search))
        progress.stage("estimating the path of the camera", levels)
        roll, focal_length = math.radians(settings.roll), settings.focal_length
        path = search_path(within, longest, search, progress, roll=roll, focal_length=focal_length, start=start)
        return _psfs_of(path, int(_ROOM * side) | 1)

    found: list[_Candidate] = []
    for turns, hopeless, psfs in (
        (False, _HOPELESS[0], lambda: lambda place: start),
        (True, _HOPELESS[1], lambda: searched(areas_of(grey, side=_SMALL, most=_MANY), start)),
        (True, _HOPELESS[2], lambda: searched(areas, None)),
    ):
        psf_at = psfs()
        found.append(_Candidate(psf_at, turns, _predicted_gain(psf_at, areas, progress)))
        gains = [one.gain for one in found if one.gain is not None]
        if settings.check and gains and max(gains) < hopeless:
            break
    # On ties the last one is used, so also of those that cannot be judged.
    return max(reversed(found), key=lambda one: -math.inf if one.gain is None else one.gain + _PREFERRED * one.turns)


def _why_not(candidate: _Candidate, psf_given: bool, areas: list[Area], progress: Progress) -> str | None:
    """The reason not to use a candidate, or None. A PSF that was given is not used by itself: other methods do that."""
    if candidate.gain is None:
        return "The photo is too small to find the path of the camera in it."
    if not candidate.turns and psf_given:
        return "No path of the camera was found that is better than the one PSF that was given."
    if candidate.gain < (_LEAST if candidate.turns else _LEAST_WITH_ONE):
        return "No path of the camera was found with which the photo is expected to become clearer."
    if not _explains(candidate.psf_at, areas, progress):
        return "No path of the camera explains the blur: something may have moved, or the photo is too small to tell."
    return None


def _start(given: Tensor | None, grey: Tensor, settings: CameraPathSettings, progress: Progress) -> Tensor:
    """The PSF `(h, w)` with which the search begins: the one that was given, or an estimate."""
    if given is not None:
        return crop_psf(given[0, 0], mass=1.0)
    return estimate_psf(grey, size=settings.size, smoothness=settings.smoothness, progress=progress)


def _psfs_of(path: CameraPath, side: int) -> PsfAt:
    """The PSFs of a path, of at most `side` pixels."""

    def psf_at(place: Place) -> Tensor:
        psf = path.psf_at(place, side)
        if not psf.sum() > 0:  # all light lies outside of the square
            return delta_psf().to(psf)
        return crop_psf(psf / psf.sum(), mass=1.0)

    return psf_at


def _predicted_gain(psf_at: PsfAt, areas: list[Area], progress: Progress) -> float | None:
    """The gain in dB that the learned judge predicts for the areas, each quickly deconvolved with its PSF: the mean.

    None if an area is too small for its PSF: means over different areas cannot be compared.
    """
    progress.stage("judging the path", len(areas))

    def of_area(area: Area) -> float | None:
        psf = psf_at(area.place)
        progress.advance()
        return predict_for_psf(area.picture, psf).gain if can_predict(area.picture, psf) else None

    gains = side_by_side(of_area, areas, areas[0].picture.device)
    known = [gain for gain in gains if gain is not None]
    return sum(known) / len(known) if len(known) == len(gains) else None


def _explains(psf_at: PsfAt, areas: list[Area], progress: Progress) -> bool:
    """Whether the PSFs explain the areas better than wrong ones do, see `solvers.psf_evidence`.

    False also if no area is large enough to tell.
    """
    progress.stage("checking the PSFs", len(areas))
    found = []
    for area in areas:
        psf = psf_at(area.place)
        if max(psf.shape) > 1 and holds_a_tile(area.picture, psf):
            found.append((area.picture, psf, share_explained_no_better(area.picture, psf)))
        progress.advance()
    if not found:
        return False
    if sum(share for _, _, share in found) / len(found) <= _NO_BETTER:
        return True
    in_noise = [evidence_for(picture, psf, SOME_NOISE) for picture, psf, _ in found]
    share = sum(evidence.share_no_better for evidence in in_noise) / len(found)
    margin = sum(evidence.turned for evidence in in_noise) / len(found)
    return share <= NO_BETTER_IN_NOISE and margin >= TOLD_APART


def _deconvolved(observation: Observation, psf_at: PsfAt, precision: Precision, progress: Progress) -> Tensor:
    """The photo, each tile of it deconvolved with the PSF of its middle: `(1, C, H, W)`."""
    height, width = observation.photo().shape[-2:]
    assert WIENER_STACK.prepare is not None
    settings = WIENER_STACK.configure({"precision": precision, "refinements": 0})
    middle = replace(observation, psf=psf_at((0.0, 0.0))[None, None], psf_estimated=True)
    _, parameters = WIENER_STACK.prepare(middle, settings, progress)  # the same for all tiles

    def restore_tile(tile: Observation, stop: Progress, place: tuple[slice, slice]) -> Tensor:
        rows, columns = place
        x, y = ((span.start + span.stop - length) / 2 for span, length in ((columns, width), (rows, height)))
        known = replace(tile, psf=psf_at((x, y))[None, None], psf_estimated=True)
        image = WIENER_STACK.restore(known, parameters, stop).image
        assert image is not None
        return image

    corners = [(side * width / 2, edge * height / 2) for side in (-1, 1) for edge in (-1, 1)]
    halo = max(halo_for(psf_at(corner)) for corner in corners)  # PSFs are largest in a corner
    return tiled_by_place(restore_tile, observation, halo=halo, tile=_TILE, multiple_of=2, progress=progress)


def _shown(psf_at: PsfAt, size: tuple[int, int]) -> Tensor:
    """The PSFs of a grid of places as one picture, each divided by its maximum: `(1, 1, h, w)`."""
    steps = [max(round(_SHOWN * length / min(size)), 1) for length in size]
    ys, xs = (centres(length, count) for length, count in zip(size, steps, strict=True))
    grid = [[psf_at((x - size[1] / 2, y - size[0] / 2)) for x in xs] for y in ys]
    side = max(max(psf.shape) for row in grid for psf in row) + 2
    return torch.cat([torch.cat([pad_psf(p / p.max(), (side, side)) for p in row], 1) for row in grid])[None, None]


METHOD = Method(
    Card(
        name="camera_path",
        title="Path of a camera that shifts and turns, from one photo; each place has its own PSF",
        paper="Whyte et al. 2012; Hirsch et al. 2011",
        needs=frozenset({"blurry"}),
        takes=frozenset({"psf"}),
        gives=frozenset({"image"}),
        undoes=frozenset({"blur"}),
    ),
    CameraPathSettings,
    restore,
    quick={"size": 13, "iterations": 2, "check": False},
)
