"""The PSF of a shaken photo from its lights: each small light draws the path of the camera as a bright line.

Hu, Cho, Wang & Yang 2014, "Deblurring low-light images with light streaks", use one such line, found by its shape and
its correlation with the photo. Here lines count only if several are alike, which no single bright object is: the line
that most others are alike is averaged with them.

The sizes of lines are in pixels of a copy of the photo of at most two million pixels, in which they are searched.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from scipy.fft import next_fast_len
from torch import Tensor

from unblur.imaging.convolution import convolve
from unblur.imaging.psf import centre_psf, gaussian_psf
from unblur.imaging.synthesis.camera import to_linear
from unblur.solvers.areas import informative_area, informative_place
from unblur.solvers.blind import estimate_psf, implausibility
from unblur.solvers.l0 import revise_psf
from unblur.solvers.psf_tiles import TOLD_APART, holds_tiles, most_plausible, turned_margin
from unblur.types import Progress

# Chosen by hand on synthesised photos with lights; benchmarks/light_streaks.py measures the result.
_LEVELS = (0.85, 0.55, 0.35, 0.2)  # luminances above which lines are searched
_SHORTEST, _LONGEST = 9, 91  # of the longer side of a line's box
_DARK = 0.35  # largest brightness of nearly all of a line's surroundings, relative to the line, in linear light
_SLENDER = 2.0  # least length of a line, in widths
_MOST = 60  # lines, those with most light, that are compared
_ALIKE, _FEWEST = 0.85, 4  # correlation of two lines that are alike; lines that must be alike
_BLOOM = 80  # percentile of a line's brightness above which lines are not compared, since lights are clipped
_FAINT, _GAP = 0.03, 2  # of the PSF's maximum: what is darker is left out; half the gap that may be in a line
_COMPARED = 400  # side of the area in which PSFs are compared, at full size
_CONFIRMED = 1024  # side of the area in which the chosen PSF is confirmed
_CLEARLY, _BESIDE = 2 * TOLD_APART, TOLD_APART / 2  # a `turned_margin` with the lines, and without them
_CERTAIN = 0.4  # a `turned_margin` with the lines, from which no other PSF is asked for
_LIKE, _NOTHING = 0.5, 0.5 / 255  # correlation with the line; standard deviation of an area that shows nothing
_SMOOTH = 3  # pixels around a line that is smoothed
_SMOOTHNESS = 3.0  # of the PSF when it is corrected, see `revise_psf`
_MOST_PIXELS = 2_000_000

_HARDLY_DARK = 0.6  # as `_DARK`, of means
Box = tuple[slice, slice]
"""Rows and columns."""

_EIGHT = np.ones((3, 3), bool)  # neighbours


@dataclass(frozen=True)
class Line:
    """A bright line before a dark background.

    Attributes:
        light: its linear light without the background, `(h, w)` of the photo at full size, sums to 1.
        shape: the same in the smaller copy, smoothed, without the differences between bright pixels, of norm 1.
        thickness: its mean width.
        energy: how much brighter than its surroundings it is, times its area.
        box: rows and columns of `shape` in the smaller copy.
    """

    light: np.ndarray
    shape: np.ndarray
    thickness: float
    energy: float
    box: Box


def shows_lines(grey: Tensor) -> bool:
    """Whether a photo `(1, 1, H, W)` shows at least four lines that are alike; quicker than `streak_psf`."""
    return len(_candidates(grey)[0]) > 0


def streak_psf(grey: Tensor, progress: Progress | None = None) -> Tensor | None:
    """Find the line that several lights of a shaken photo draw alike.

    Args:
        grey: luminance, sRGB, `(1, 1, H, W)`, [0, 1].
        progress: told when a PSF is estimated from edges; may cancel.

    Returns:
        The PSF, `(h, w)`, odd sides, non-negative, sums to 1, centre of mass at the middle pixel. None if fewer than
        four lines are alike, or if the photo does not tell their mean from its copy turned by 180 degrees, also where
        it shows nothing like them. So None for a straight line, which is like its turned copy, and for a sharp photo of
        letters or lamps that are alike. None also if the photo tells the PSF of `estimate_psf` better from its turned
        copy: rows of windows are alike, too, but longer than the PSF.
    """
    means, boxes = _candidates(grey)
    area = informative_area(grey, _COMPARED)
    found = [(margin, psf) for margin, psf in _with_margins(area, means) if margin >= TOLD_APART / 2]
    if not found:
        return None
    _, best = max(found, key=lambda one: one[0])
    found += _with_margins(area, [revise_psf(area, best, _SMOOTHNESS)])
    margins, psfs = zip(*found, strict=True)
    if max(margins) < _CLEARLY:
        return None
    chosen = most_plausible([implausibility(area, psf) for psf in psfs], list(margins))
    best, margin = psfs[chosen], margins[chosen]
    if _margin_beside(grey, best, boxes) < _BESIDE:
        return None
    if margin < _CERTAIN:
        other = _with_margins(area, [estimate_psf(grey, progress=progress)])
        if other and other[0][0] > margin:
            return None
    return best


def _margin_beside(grey: Tensor, psf: Tensor, boxes: list[Box]) -> float:
    """The `turned_margin` of a PSF where a photo shows nothing like it, and none of the lines in these boxes."""
    lines = torch.zeros_like(grey)
    for rows, columns in boxes:
        lines[..., rows, columns] = 1
    rows, columns = informative_place(grey, _CONFIRMED)
    area, lines = grey[..., rows, columns], lines[..., rows, columns]
    return turned_margin(area, psf, torch.maximum(lines, shows(area, psf).to(lines)))


def shows(grey: Tensor, line: Tensor) -> Tensor:
    """Where a photo shows something like a line, bright or faint.

    Args:
        grey: `(1, 1, H, W)`.
        line: a PSF, `(h, w)`, odd sides.

    Returns:
        True in a box around each place with a normalised correlation of .5 or more, `(1, 1, H, W)`.
    """
    template = convolve(F.pad(line, [_SMOOTH] * 4)[None, None], gaussian_psf(1.0).to(line))[0, 0]
    template = template - template.mean()
    ones = torch.full_like(template, 1 / template.numel())
    mean, power = (convolve(one, ones) for one in (grey, grey.square()))
    deviation = (power - mean.square()).clamp_min(_NOTHING**2).sqrt()
    correlation = convolve(grey, template.flip(0, 1)) / (deviation * template.norm() * template.numel() ** 0.5)
    height, width = template.shape
    return F.max_pool2d((correlation >= _LIKE).to(grey), (height, width), 1, (height // 2, width // 2)) > 0


def _with_margins(area: Tensor, psfs: list[Tensor]) -> list[tuple[float, Tensor]]:
    """The `turned_margin` of each PSF that is not too large for the area."""
    return [(turned_margin(area, psf), psf) for psf in psfs if holds_tiles(area, psf)]


def _candidates(grey: Tensor) -> tuple[list[Tensor], list[Box]]:
    """Means of lines that are alike: the thinnest, and those most alike, of lines found in two orders of the levels.

    Also the boxes of all these lines, in the photo at full size.
    """
    photo = Copies.of(grey)
    found = [bright_lines(photo, level) for level in _LEVELS]
    # Above a high level lines lack their faint parts, and above a low one neighbouring lines are joined.
    sets = [_alike(_apart(order)) for order in (found, found[::-1])]
    means = [psf.to(grey) for lines in sets for psf in _means_of(lines)]
    boxes = [_enlarged(line.box, photo.factor) for lines in sets for line, _ in lines]
    return means, boxes


def _alike(lines: list[Line]) -> list[tuple[Line, float]]:
    """The largest set of lines that are like one of them, each with its correlation with that one; empty if there are
    too few."""
    lines = sorted(lines, key=lambda line: -line.energy)[:_MOST]
    if len(lines) < _FEWEST:
        return []
    correlations = _correlations([line.shape for line in lines])
    chosen = correlations[int((correlations >= _ALIKE).sum(1).argmax())]
    alike = [(line, float(value)) for line, value in zip(lines, chosen, strict=True) if value >= _ALIKE]
    return alike if len(alike) >= _FEWEST else []


def _means_of(alike: list[tuple[Line, float]]) -> list[Tensor]:
    """The mean of the thinner half of lines that are alike, and that of the half that is most alike; none of none."""
    if not alike:
        return []
    half = max((len(alike) + 1) // 2, 3)
    orders = (sorted(alike, key=lambda one: one[0].thickness), sorted(alike, key=lambda one: -one[1]))
    return [_mean_line([line for line, _ in order[:half]]) for order in orders]


def _apart(found: list[list[Line]]) -> list[Line]:
    """Of lines found above several levels, those that do not overlap one that was found above an earlier level."""
    lines: list[Line] = []
    for one in found:
        lines += [line for line in one if not any(_overlap(line.box, other.box) for other in lines)]
    return lines


def _enlarged(box: Box, factor: int) -> Box:
    rows, columns = box
    return slice(rows.start * factor, rows.stop * factor), slice(columns.start * factor, columns.stop * factor)


def _overlap(one: Box, other: Box) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


@dataclass(frozen=True)
class Copies:
    """A photo as numpy arrays.

    Attributes:
        full: its linear light, `(H, W)`.
        small: a smaller copy, sRGB.
        light: the same in linear light.
        factor: by which that is smaller.
    """

    full: np.ndarray
    small: np.ndarray
    light: np.ndarray
    factor: int

    @classmethod
    def of(cls, grey: Tensor) -> Copies:
        """The copies of a luminance `(1, 1, H, W)`, sRGB, [0, 1]."""
        factor = math.ceil(math.sqrt(grey[0, 0].numel() / _MOST_PIXELS))
        small = F.avg_pool2d(grey, factor)
        full, light = (to_linear(picture)[0, 0].cpu().numpy() for picture in (grey, small))
        return cls(full, small[0, 0].cpu().numpy(), light, factor)


def bright_lines(photo: Copies, level: float) -> list[Line]:
    """Find slender lines before dark backgrounds where the luminance exceeds `level`."""
    labels, count = _labelled(photo.small > level)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    kept = (areas >= _SHORTEST) & (areas <= _LONGEST**2)
    kept[0] = False  # the background
    labels = np.where(kept, np.cumsum(kept), 0).astype(np.int32)[labels]  # numbered anew
    lines = []
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        longer = max(side.stop - side.start for side in box)
        border = max(4, longer // 6)
        wide = tuple(slice(side.start - border, side.stop + border) for side in box)
        if not _SHORTEST <= longer <= _LONGEST or any(
            side.start < 0 or side.stop > length for side, length in zip(wide, labels.shape, strict=True)
        ):
            continue
        mask, light = labels[wide] == number, photo.light[wide]
        if light[~mask].mean() > _HARDLY_DARK * light[mask].mean():
            continue  # a quick test first, since most parts of a photo are no lines
        line = _line(mask, light, photo, (wide[0], wide[1]))
        if line is not None:
            lines.append(line)
    return lines


def _line(mask: np.ndarray, light: np.ndarray, photo: Copies, box: Box) -> Line | None:
    """The line where `mask` is True, or None if it is no slender line before a dark background.

    Args:
        mask: `(h, w)`.
        light: the linear light of the smaller copy there, `(h, w)`.
        photo: the whole photo.
        box: rows and columns of `mask` in the smaller copy.
    """
    near = _dilated(mask, 2)
    around = ~near
    top = float(np.percentile(light[mask], _BLOOM))
    if float(np.percentile(light[around], 90)) > _DARK * top:
        return None
    area, thickness = int(mask.sum()), 4 * float(_depth(mask)[mask].mean())
    if area < _SLENDER * thickness**2:
        return None
    detail = photo.full[_enlarged(box, photo.factor)]
    wide = near.repeat(photo.factor, 0).repeat(photo.factor, 1)
    detail = (detail - np.median(detail[~wide])).clip(0) * wide
    shape = ndimage.gaussian_filter(np.minimum((light - np.median(light[around])).clip(0) * near, top), 1.0)
    return Line(
        detail / max(detail.sum(), 1e-9),
        shape / max(float(np.linalg.norm(shape)), 1e-9),
        thickness,
        area * top / (float(np.median(light[around])) + 0.01),
        box,
    )


def _correlations(shapes: list[np.ndarray]) -> np.ndarray:
    """The largest correlation of each pair of pictures over all shifts: `(N, N)`."""
    sides = [_fast(2 * max(shape.shape[axis] for shape in shapes)) for axis in (0, 1)]
    spectra = torch.stack([torch.fft.rfft2(torch.from_numpy(shape).float(), s=sides) for shape in shapes])
    rows = [torch.fft.irfft2(spectra * one.conj(), s=sides).flatten(1).amax(1) for one in spectra]
    return torch.stack(rows).numpy()


def _mean_line(lines: list[Line]) -> Tensor:
    """The mean of lines that are alike, moved onto the first one: a PSF `(h, w)`."""
    side = _fast(2 * max(max(line.light.shape) for line in lines))
    first, *others = [_in_the_middle(line.light, side) for line in lines]
    spectrum = np.fft.rfft2(ndimage.gaussian_filter(first, 1.0))
    mean = np.mean([first, *_moved_onto(spectrum, others)], 0)
    mean[mean < _FAINT * mean.max()] = 0
    labels, count = _labelled(_dilated(mean > 0, _GAP))
    largest = 1 + int(np.argmax(ndimage.sum(mean, labels, range(1, count + 1))))
    mean *= labels == largest
    rows, columns = np.nonzero(mean)
    inside = mean[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    return centre_psf(torch.from_numpy(inside).float())[0]


def _moved_onto(spectrum: np.ndarray, pictures: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Each picture, moved by whole pixels to where it correlates best with the one that has this spectrum."""
    for picture in pictures:
        own = np.fft.rfft2(ndimage.gaussian_filter(picture, 1.0))
        correlation = np.fft.irfft2(spectrum * own.conj(), s=picture.shape)
        yield np.roll(picture, np.unravel_index(int(correlation.argmax()), picture.shape), (0, 1))


def _in_the_middle(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture in the middle of a black square."""
    above, left = ((side - length) // 2 for length in picture.shape)
    square = np.zeros((side, side))
    square[above : above + picture.shape[0], left : left + picture.shape[1]] = picture
    return square


def _fast(length: int) -> int:
    """A length of at least this for which FFTs are fast."""
    return cast(int, next_fast_len(length, real=True))


def _labelled(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the connected parts of a mask, neighbours in eight directions: the labels, and how many there are."""
    return cast("tuple[np.ndarray, int]", ndimage.label(mask, _EIGHT))


def _dilated(mask: np.ndarray, pixels: int) -> np.ndarray:
    return cast(np.ndarray, ndimage.binary_dilation(mask, iterations=pixels))


def _depth(mask: np.ndarray) -> np.ndarray:
    """The distance of each pixel of a mask from its border."""
    return cast(np.ndarray, ndimage.distance_transform_edt(mask))
