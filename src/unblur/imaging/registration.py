"""Registration of two shots of one scene: where each pixel of one lies in the other.

The shots may differ in blur, noise, brightness, colour and size. So not their values are compared but their
`features_of`: the luminance, minus its local mean and divided by its local standard deviation.

1. A shift, by cross-correlation of small copies, from several starts (rotations; one field of view or one pixel size).
2. A homography, by Gauss-Newton steps on the squared difference of the features, from coarse to fine (Baker and
   Matthews, "Lucas-Kanade 20 years on", IJCV 2004, in the compositional form; the gradient is the mean of those of both
   pictures as in Malis, "Improving vision-based control using efficient second-order minimization", ICRA 2004).
   Outliers get a low weight.
3. The same on copies that are equally blurred: the short shot is blurred by the PSF between the two. An asymmetric PSF
   moves a corner to another side than an edge, so that a sharp and a blurred picture seem to lie on each other half a
   pixel off, in every part of the picture differently.
4. A smooth displacement field on top of it (Lucas and Kanade 1981), for what is not plane or moved a little.

Coordinates are (x, y) with the origin in the middle of a picture, and half of its longer side as unit. So they do not
depend on the resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from unblur.imaging.equal_blur import smoothed
from unblur.imaging.registration_copies import (
    Copy,
    equally_blurred,
    normalised,
    pixel_grid,
    places_of,
    transformed,
    unit_of,
)

# Chosen by hand; benchmarks/registration.py measures the errors and the agreement of right and wrong pairs.
_LEVELS = (128, 256, 512)  # pixels, longer side of the compared copies; finer ones follow the peaks of a PSF
_TURNS = (-4.0, 0.0, 4.0)  # degrees, rotations from which the search starts
_BLURRED_ALIKE = 2  # times that the PSF between the shots is estimated; a third changes nothing
_STEPS = 20  # most Gauss-Newton steps on a level
_OUTLIER = 2.0  # residual of half the weight, in median absolute residuals
_PLANE = 0.01  # standard deviation of the prior of what is no shift, rotation or scale
_CORRELATED = 30.0  # pixels of a copy that count as one, because features are smooth
_WINDOW = 1 / 24  # standard deviation of the window of the displacement field, relative to the longer side
_STIFFNESS = 0.3  # of the displacement field: added to the structure tensor, relative to its mean
_FARTHEST = 0.02  # largest displacement beyond the homography, in units
_ORDER = 5  # of the splines; 3 takes half the time, and pairs are restored .15 dB worse
_ROUNDING = 1e-6  # of an agreement: smaller differences are rounding errors
_WORTH = 1.3  # factor by which a displacement field must reduce the disagreement: without need it adds errors


@dataclass(frozen=True)
class Registration:
    """Where each pixel of the fixed picture lies in the moving one.

    Attributes:
        homography: `(3, 3)` float64, from coordinates of the fixed to those of the moving picture.
        field: `(1, 2, h, w)`, displacement (dx, dy) to be added after the homography, on a regular grid over the fixed
            picture, corners included; None: none.
        agreement: correlation of the features of both pictures, -1 to 1. 1 is the same picture.
        overlap: share of the fixed picture that the moving one shows.
    """

    homography: Tensor
    field: Tensor | None
    agreement: float
    overlap: float

    def places(self, height: int, width: int) -> Tensor:
        """The coordinates in the moving picture of the pixels of a fixed picture of this size: `(height, width, 2)`."""
        return places_of(self.homography, self.field, height, width)

    def farthest_shift(self, size: tuple[int, int]) -> float:
        """The largest distance that a point of a fixed picture of this size moves, in its pixels.

        A difference in resolution is no movement: with the same field of view, nothing moves.
        """
        height, width = (min(side, 129) for side in size)
        moved = self.places(height, width) - pixel_grid(height, width, self.homography.device)
        return float(moved.norm(dim=-1).max()) * unit_of(*size)


def register(moving: Tensor, fixed: Tensor, *, local: bool = True) -> Registration:
    """Find where each pixel of `fixed` lies in `moving`.

    Args:
        moving: `(1, C, H, W)`, [0, 1].
        fixed: `(1, C, h, w)`; blurred or not.
        local: False gives a homography only.

    Returns:
        The registration of least difference found. Two pictures that do not show one scene have one too, of a low
        `agreement`.
    """
    moving, fixed = moving.float(), fixed.float()
    levels = [level for level in _LEVELS if level < 1.5 * max(fixed.shape[-2:])] or [_LEVELS[0]]
    pairs = [(Copy.of(moving, level), Copy.of(fixed, level)) for level in levels]
    coarse = pairs[0]
    refined = (_refined(start, *coarse, steps=10) for start in _starts(moving, fixed, *coarse))
    homography = max(refined, key=lambda one: _agreement(one, None, *coarse))
    for pair in pairs:
        homography = _refined(homography, *pair)
    homography, pairs = _with_equal_blur(homography, pairs)
    judged = pairs[min(1, len(pairs) - 1)]
    found = Registration(homography, None, _agreement(homography, None, *judged), _overlap(homography, *judged))
    return _locally_refined(found, pairs, judged) if local else found


def warped(moving: Tensor, registration: Registration, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The moving picture in the place of the fixed one, by interpolation with splines of order 5.

    They keep more detail than bicubic interpolation, and change noise less.

    Args:
        moving: `(1, C, H, W)`.
        registration: of this picture onto the fixed one.
        size: height and width of the fixed picture.

    Returns:
        The picture `(1, C, h, w)`, with repeated borders where the moving picture ends, and a mask `(1, 1, h, w)` of
        bool: True where it shows the scene.
    """
    scale = (
        unit_of(*moving.shape[-2:]) / unit_of(*size) * float(torch.linalg.det(registration.homography[:2, :2])) ** 0.5
    )
    if scale > 1.5:  # without this, interpolation would skip pixels
        smaller = tuple(max(1, round(side / scale)) for side in moving.shape[-2:])
        moving = F.interpolate(moving, smaller, mode="bilinear", antialias=True)
    places = normalised(registration.places(*size), *moving.shape[-2:])
    return interpolated(moving, places), (places.abs() <= 1).all(-1)[None, None]


def interpolated(picture: Tensor, places: Tensor) -> Tensor:
    """Interpolate a picture with splines of order 5.

    Args:
        picture: `(1, C, H, W)`; its borders are repeated outside.
        places: x and y from -1 to 1, as for `grid_sample` without aligned corners, `(h, w, 2)`.

    Returns:
        `(1, C, h, w)`.
    """
    ends = places.new_tensor([picture.shape[-1], picture.shape[-2]])
    x, y = ((((places + 1) * ends - 1) / 2).float().cpu().numpy()).transpose(2, 0, 1)
    planes = picture[0].detach().float().cpu().numpy()
    made = [ndimage.map_coordinates(plane, [y, x], order=_ORDER, mode="nearest") for plane in planes]
    return torch.from_numpy(np.stack(made))[None].to(picture)


# --- the homography ---------------------------------------------------------------------------------


def _starts(moving: Tensor, fixed: Tensor, small: Copy, small_fixed: Copy) -> list[Tensor]:
    """Homographies from which to start: rotated, with the best shift."""
    one_resolution = unit_of(*fixed.shape[-2:]) / unit_of(*moving.shape[-2:])
    starts = []
    for scale in (1.0,) if abs(one_resolution - 1) < 0.02 else (1.0, one_resolution):
        for degrees in _TURNS:
            cosine, sine = (scale * f(math.radians(degrees)) for f in (math.cos, math.sin))
            start = torch.tensor([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], dtype=torch.float64)
            start = start.to(fixed.device)
            features, counts = small.at(start, None, small_fixed.features)
            shift = start.new_tensor(_best_shift(features * counts, small_fixed.features * small_fixed.counts))
            move = torch.eye(3, dtype=torch.float64, device=fixed.device)
            move[:2, 2] = shift / unit_of(*features.shape[-2:])
            starts.append(start @ move)
    return starts


def _best_shift(moving: Tensor, fixed: Tensor) -> tuple[int, int]:
    """The (x, y) in whole pixels for which `moving` at `p + (x, y)` is most like `fixed` at `p`."""
    height, width = fixed.shape[-2:]
    size = (2 * height, 2 * width)
    spectrum = torch.fft.rfft2(moving, s=size) * torch.fft.rfft2(fixed, s=size).conj()
    table = torch.fft.irfft2(spectrum, s=size)[0, 0]
    # A shift by more than a third would leave little to compare.
    rows, columns = (torch.arange(side, device=table.device) for side in size)
    rows, columns = (
        torch.where(place >= side, place - 2 * side, place) for place, side in ((rows, height), (columns, width))
    )
    near = (rows.abs() <= height / 3)[:, None] & (columns.abs() <= width / 3)
    best = int(torch.where(near, table, -torch.inf).argmax())
    return int(columns[best % size[1]]), int(rows[best // size[1]])


def _refined(homography: Tensor, moving: Copy, fixed: Copy, steps: int = _STEPS) -> Tensor:
    """The homography after Gauss-Newton steps on copies of one level."""
    height, width = fixed.features.shape[-2:]
    x, y = pixel_grid(height, width, fixed.features.device).float().reshape(-1, 2).T
    slope_x, slope_y = _slopes(fixed.features)
    identity, eight = (torch.eye(count, dtype=torch.float64, device=homography.device) for count in (3, 8))
    for _ in range(steps):
        seen, inside = moving.at(homography, None, fixed.features)
        residual = fixed.features - seen
        weight = fixed.counts * inside
        weight = (weight * _robust(residual, weight)).flatten()
        dx, dy = ((0.5 * (a + b)).flatten() for a, b in zip(_slopes(seen), (slope_x, slope_y), strict=True))
        radial = dx * x + dy * y
        jacobian = torch.stack((dx * x, dx * y, dx, dy * x, dy * y, dy, -radial * x, -radial * y), 1)  # (N, 8)
        normal = ((jacobian * weight[:, None]).T @ jacobian).double()
        change = ((jacobian * weight[:, None]).T @ residual.flatten()).double()
        noise = _CORRELATED * float((weight * residual.flatten().square()).sum() / weight.sum().clamp_min(1))
        rows = _UNLIKE_SIMILARITY.to(normal)
        strength = noise / _PLANE**2
        change = change - strength * rows.T @ (rows @ (homography - identity).flatten()[:8])
        damping = (1e-6 * normal.diagonal().mean() + 1e-9) * eight  # flat pictures determine nothing
        step = torch.linalg.solve(normal + strength * rows.T @ rows + damping, change)
        move = identity + torch.cat((step, step.new_zeros(1))).reshape(3, 3)
        after = homography @ move
        homography = after / after[2, 2]
        if float(step.abs().max()) * unit_of(height, width) < 0.003:  # pixels of the copy
            break
    return homography


def _with_equal_blur(homography: Tensor, pairs: list[tuple[Copy, Copy]]) -> tuple[Tensor, list[tuple[Copy, Copy]]]:
    """The homography from copies that are equally blurred, and these copies; what came in if that agrees no better."""
    found = [(homography, pairs)]
    for linear in (True, False):
        better, alike = homography, pairs
        for _ in range(_BLURRED_ALIKE):
            alike = [(equally_blurred(moving, fixed, better, linear=linear), fixed) for moving, fixed in pairs]
            for pair in alike:
                better = _refined(better, *pair)
        found.append((better, alike))
    return max(found, key=lambda one: _agreement(one[0], None, *one[1][-1]))  # the finest copies show the blur best


# Difference of the scales along x and y, shear, and the perspective: 0 for a shift, rotation and scale.
_UNLIKE_SIMILARITY = torch.tensor(
    [[1.0, 0, 0, 0, -1, 0, 0, 0], [0, 1, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0, 1]]
)


def _slopes(features: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives along x and y, for a coordinate unit: `(1, 1, h, w)` each; 0 at the border."""
    unit = unit_of(*features.shape[-2:])
    along_x = F.pad(features[..., 2:] - features[..., :-2], (1, 1)) * (unit / 2)
    along_y = F.pad(features[..., 2:, :] - features[..., :-2, :], (0, 0, 1, 1)) * (unit / 2)
    return along_x, along_y


def _robust(residual: Tensor, weight: Tensor) -> Tensor:
    """Weights of Cauchy's distribution."""
    used = residual[weight > 0].abs()
    scale = _OUTLIER * used.median().clamp_min(1e-6) if used.numel() else residual.new_tensor(1.0)
    return 1 / (1 + (residual / scale).square())


def _agreement(homography: Tensor, field: Tensor | None, moving: Copy, fixed: Copy) -> float:
    """The correlation of the features where both count; -1 if they share less than a quarter, or for a fold."""
    corners = transformed(homography, pixel_grid(2, 2, homography.device).reshape(-1, 2) * 2)
    linear = homography[:2, :2]
    if not torch.isfinite(corners).all() or float(torch.linalg.det(linear)) < 0.05:
        return -1.0
    seen, inside = moving.at(homography, field, fixed.features)
    both = inside & (fixed.counts > 0)
    if both.float().mean() < 0.25 * fixed.counts.mean():
        return -1.0
    return float(torch.corrcoef(torch.stack((seen[both], fixed.features[both])))[0, 1].nan_to_num(-1.0))


def _overlap(homography: Tensor, moving: Copy, fixed: Copy) -> float:
    height, width = fixed.features.shape[-2:]
    places = transformed(homography, pixel_grid(height, width, homography.device))
    sides = moving.features.shape
    return float((normalised(places, sides[-2], sides[-1]).abs() <= 1).all(-1).double().mean())


# --- the displacement field -------------------------------------------------------------------------


def _locally_refined(found: Registration, pairs: list[tuple[Copy, Copy]], judged: tuple[Copy, Copy]) -> Registration:
    """The registration with a displacement field, if this improves the agreement."""
    field: Tensor | None = None
    for moving, fixed in pairs[1:3] or pairs:
        for _ in range(4):
            field = _with_step(found.homography, field, moving, fixed)
    assert field is not None
    agreement = _agreement(found.homography, field, *judged)
    useful = 1 - found.agreement > _WORTH * (1 - agreement) + _ROUNDING
    return replace(found, field=field, agreement=agreement) if useful else found


def _with_step(homography: Tensor, field: Tensor | None, moving: Copy, fixed: Copy) -> Tensor:
    """The displacement field after a step of Lucas and Kanade, in windows about every pixel of a copy."""
    height, width = fixed.features.shape[-2:]
    if field is None:
        field = fixed.features.new_zeros(1, 2, height, width)
    else:
        field = F.interpolate(field, (height, width), mode="bilinear", align_corners=True)
    seen, inside = moving.at(homography, field.double(), fixed.features)
    residual = fixed.features - seen
    weight = fixed.counts * inside
    weight = weight * _robust(residual, weight)
    dx, dy = (0.5 * (a + b) for a, b in zip(_slopes(seen), _slopes(fixed.features), strict=True))
    products = torch.cat((dx * dx, dx * dy, dy * dy, dx * residual, dy * residual), 1) * weight
    xx, xy, yy, x, y = smoothed(products, _WINDOW * max(height, width)).split(1, 1)
    stiff = _STIFFNESS * (xx + yy).mean() / 2 + 1e-9
    xx, yy = xx + stiff, yy + stiff
    determinant = xx * yy - xy * xy
    step = torch.cat((yy * x - xy * y, xx * y - xy * x), 1) / determinant
    field = smoothed(field + step, _WINDOW * max(height, width) / 2)
    return field.clamp(-_FARTHEST, _FARTHEST)
