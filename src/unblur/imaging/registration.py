"""Registration of two shots of one scene: where each pixel of one lies in the other.

The shots may differ in blur, noise, brightness, colour and size. So not their values are compared but their
`_features`: the luminance, minus its local mean and divided by its local standard deviation.

1. A shift, by cross-correlation of small copies, from several starts (rotations; one field of view or one pixel size).
2. A homography, by Gauss-Newton steps on the squared difference of the features, from coarse to fine (Baker and
   Matthews, "Lucas-Kanade 20 years on", IJCV 2004, in the compositional form; the gradient is the mean of those of both
   pictures as in Malis, "Improving vision-based control using efficient second-order minimization", ICRA 2004).
   Outliers get a low weight.
3. A smooth displacement field on top of it (Lucas and Kanade 1981), for what is not plane or moved a little.

Coordinates are (x, y) with the origin in the middle of a picture, and half of its longer side as unit. So they do not
depend on the resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.colour import luminance

# Chosen by hand; benchmarks/registration.py measures the errors and the agreement of right and wrong pairs.
_LEVELS = (128, 256, 512)  # pixels, longer side of the compared copies; finer ones follow the peaks of a PSF
_TURNS = (-4.0, 0.0, 4.0)  # degrees, rotations from which the search starts
_SMOOTHING = 1.5  # pixels of a copy, standard deviation of the Gaussian that removes noise
_NEIGHBOURHOOD = 1 / 16  # standard deviation of the Gaussian of the local mean, relative to the longer side
_FLATTEST = 0.15  # added to the local standard deviation, relative to that of the whole picture
_CLIPPED = 0.97  # value of a channel from which a pixel is not compared
_WIDE = 4.0  # pixels, standard deviation from which a Gaussian is computed on a smaller copy
_STEPS = 20  # most Gauss-Newton steps on a level
_OUTLIER = 2.0  # residual of half the weight, in median absolute residuals
_PLANE = 0.01  # standard deviation of the prior of what is no shift, rotation or scale
_CORRELATED = 30.0  # pixels of a copy that count as one, because features are smooth
_WINDOW = 1 / 24  # standard deviation of the window of the displacement field, relative to the longer side
_STIFFNESS = 0.3  # of the displacement field: added to the structure tensor, relative to its mean
_FARTHEST = 0.02  # largest displacement beyond the homography, in units
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
        places = _transformed(self.homography, _grid(height, width, self.homography.device))
        if self.field is not None:
            field = F.interpolate(self.field, (height, width), mode="bicubic", align_corners=True)
            places = places + field[0].movedim(0, -1)
        return places

    def farthest_shift(self, size: tuple[int, int]) -> float:
        """The largest distance that a point of a fixed picture of this size moves, in its pixels.

        A difference in resolution is no movement: with the same field of view, nothing moves.
        """
        height, width = (min(side, 129) for side in size)
        moved = self.places(height, width) - _grid(height, width, self.homography.device)
        return float(moved.norm(dim=-1).max()) * _unit(*size)


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
    pairs = [(_Copy.of(moving, level), _Copy.of(fixed, level)) for level in levels]
    coarse = pairs[0]
    refined = (_refined(start, *coarse, steps=10) for start in _starts(moving, fixed, *coarse))
    homography = max(refined, key=lambda one: _agreement(one, None, *coarse))
    for pair in pairs:
        homography = _refined(homography, *pair)
    judged = pairs[min(1, len(pairs) - 1)]
    found = Registration(homography, None, _agreement(homography, None, *judged), _overlap(homography, *judged))
    return _locally_refined(found, pairs, judged) if local else found


def warped(moving: Tensor, registration: Registration, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The moving picture in the place of the fixed one, by bicubic interpolation.

    Args:
        moving: `(1, C, H, W)`.
        registration: of this picture onto the fixed one.
        size: height and width of the fixed picture.

    Returns:
        The picture `(1, C, h, w)`, with repeated borders where the moving picture ends, and a mask `(1, 1, h, w)` of
        bool: True where it shows the scene.
    """
    scale = _unit(*moving.shape[-2:]) / _unit(*size) * float(torch.linalg.det(registration.homography[:2, :2])) ** 0.5
    if scale > 1.5:  # without this, interpolation would skip pixels
        smaller = tuple(max(1, round(side / scale)) for side in moving.shape[-2:])
        moving = F.interpolate(moving, smaller, mode="bilinear", antialias=True)
    places = _normalised(registration.places(*size), *moving.shape[-2:])
    picture = F.grid_sample(moving, places[None].to(moving), mode="bicubic", padding_mode="border", align_corners=False)
    return picture, (places.abs() <= 1).all(-1)[None, None]


# --- the pictures that are compared ----------------------------------------------------------------


@dataclass(frozen=True)
class _Copy:
    """A small copy of a picture: its features `(1, 1, h, w)`, and which pixels count, `(1, 1, h, w)` of 0 or 1."""

    features: Tensor
    counts: Tensor

    @classmethod
    def of(cls, picture: Tensor, side: int) -> _Copy:
        height, width = picture.shape[-2:]
        factor = side / max(height, width)
        size = max(8, round(factor * height)), max(8, round(factor * width))
        clipped = (picture.amax(1, keepdim=True) >= _CLIPPED).float()
        small = F.interpolate(luminance(picture), size, mode="bilinear", antialias=factor < 1)
        clipped = F.interpolate(clipped, size, mode="bilinear", antialias=factor < 1)
        counts = (_smoothed(clipped, _SMOOTHING) < 0.1).float()
        return cls(_features(small), counts if counts.mean() > 0.05 else torch.ones_like(counts))

    def at(self, homography: Tensor, field: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """Features and counts at the places of a fixed copy of the size of `like`."""
        height, width = like.shape[-2:]
        places = Registration(homography, field, 0, 0).places(height, width)
        places = _normalised(places, *self.features.shape[-2:])
        both = torch.cat((self.features, self.counts), 1)
        seen = F.grid_sample(both, places[None].float(), mode="bilinear", align_corners=False)  # zeros outside
        inside = (places.abs() <= 1).all(-1)[None, None]
        return seen[:, :1], (seen[:, 1:] > 0.9) & inside


def _features(grey: Tensor) -> Tensor:
    """Deviation from the local mean in local standard deviations: another brightness or contrast changes it little."""
    grey = _smoothed(grey, _SMOOTHING)
    reach = _NEIGHBOURHOOD * max(grey.shape[-2:])
    deviation = grey - _smoothed(grey, reach)
    return deviation / (_smoothed(deviation.square(), reach).sqrt() + _FLATTEST * deviation.std() + 1e-6)


def _smoothed(picture: Tensor, sigma: float) -> Tensor:
    """A picture `(1, C, h, w)` blurred by a Gaussian, borders repeated; a wide one on a smaller copy."""
    height, width = picture.shape[-2:]
    factor = int(sigma / _WIDE)
    if factor > 1 and min(height, width) >= 8 * factor:
        small = F.interpolate(picture, (height // factor, width // factor), mode="area")
        return F.interpolate(_smoothed(small, sigma / factor), (height, width), mode="bilinear")
    reach = max(1, math.ceil(3 * sigma))
    x = torch.arange(-reach, reach + 1, dtype=torch.float32, device=picture.device)
    weights = torch.exp(-0.5 * (x / sigma) ** 2)
    weights = (weights / weights.sum()).expand(picture.shape[1], 1, 1, -1)
    channels = picture.shape[1]
    rows = F.conv2d(F.pad(picture, (reach, reach, 0, 0), "replicate"), weights, groups=channels)
    columns = F.pad(rows, (0, 0, reach, reach), "replicate")
    return F.conv2d(columns, weights.transpose(-2, -1), groups=channels)


# --- coordinates ------------------------------------------------------------------------------------


def _unit(height: int, width: int) -> float:
    """Half of the longer side in pixels."""
    return max(height, width) / 2


def _grid(height: int, width: int, device: torch.device) -> Tensor:
    """The coordinates of the pixels of a picture: `(height, width, 2)` float64."""
    y, x = (
        (torch.arange(side, dtype=torch.float64, device=device) + 0.5 - side / 2) / _unit(height, width)
        for side in (height, width)
    )
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def _normalised(places: Tensor, height: int, width: int) -> Tensor:
    """Coordinates as `F.grid_sample` wants them: from -1 to 1 along each side."""
    return places * (2 * _unit(height, width) / places.new_tensor([width, height]))


def _transformed(homography: Tensor, points: Tensor) -> Tensor:
    """Points `(..., 2)` under a homography."""
    mapped = points @ homography[:, :2].T + homography[:, 2]
    return mapped[..., :2] / mapped[..., 2:].clamp_min(1e-3)


# --- the homography ---------------------------------------------------------------------------------


def _starts(moving: Tensor, fixed: Tensor, small: _Copy, small_fixed: _Copy) -> list[Tensor]:
    """Homographies from which to start: rotated, with the best shift."""
    one_resolution = _unit(*fixed.shape[-2:]) / _unit(*moving.shape[-2:])
    starts = []
    for scale in (1.0,) if abs(one_resolution - 1) < 0.02 else (1.0, one_resolution):
        for degrees in _TURNS:
            cosine, sine = (scale * f(math.radians(degrees)) for f in (math.cos, math.sin))
            start = torch.tensor([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]], dtype=torch.float64)
            start = start.to(fixed.device)
            features, counts = small.at(start, None, small_fixed.features)
            shift = start.new_tensor(_best_shift(features * counts, small_fixed.features * small_fixed.counts))
            move = torch.eye(3, dtype=torch.float64, device=fixed.device)
            move[:2, 2] = shift / _unit(*features.shape[-2:])
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


def _refined(homography: Tensor, moving: _Copy, fixed: _Copy, steps: int = _STEPS) -> Tensor:
    """The homography after Gauss-Newton steps on copies of one level."""
    height, width = fixed.features.shape[-2:]
    grid = _grid(height, width, fixed.features.device)
    x, y = grid.float().reshape(-1, 2).T
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
        if float(step.abs().max()) * _unit(height, width) < 0.003:  # pixels of the copy
            break
    return homography


# Difference of the scales along x and y, shear, and the perspective: 0 for a shift, rotation and scale.
_UNLIKE_SIMILARITY = torch.tensor(
    [[1.0, 0, 0, 0, -1, 0, 0, 0], [0, 1, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0, 1]]
)


def _slopes(features: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives along x and y, for a coordinate unit: `(1, 1, h, w)` each; 0 at the border."""
    unit = _unit(*features.shape[-2:])
    along_x = F.pad(features[..., 2:] - features[..., :-2], (1, 1)) * (unit / 2)
    along_y = F.pad(features[..., 2:, :] - features[..., :-2, :], (0, 0, 1, 1)) * (unit / 2)
    return along_x, along_y


def _robust(residual: Tensor, weight: Tensor) -> Tensor:
    """Weights of Cauchy's distribution."""
    used = residual[weight > 0].abs()
    scale = _OUTLIER * used.median().clamp_min(1e-6) if used.numel() else residual.new_tensor(1.0)
    return 1 / (1 + (residual / scale).square())


def _agreement(homography: Tensor, field: Tensor | None, moving: _Copy, fixed: _Copy) -> float:
    """The correlation of the features where both count; -1 if they share less than a quarter, or for a fold."""
    corners = _transformed(homography, _grid(2, 2, homography.device).reshape(-1, 2) * 2)
    linear = homography[:2, :2]
    if not torch.isfinite(corners).all() or float(torch.linalg.det(linear)) < 0.05:
        return -1.0
    seen, inside = moving.at(homography, field, fixed.features)
    both = inside & (fixed.counts > 0)
    if both.float().mean() < 0.25 * fixed.counts.mean():
        return -1.0
    return float(torch.corrcoef(torch.stack((seen[both], fixed.features[both])))[0, 1].nan_to_num(-1.0))


def _overlap(homography: Tensor, moving: _Copy, fixed: _Copy) -> float:
    height, width = fixed.features.shape[-2:]
    places = _transformed(homography, _grid(height, width, homography.device))
    sides = moving.features.shape
    return float((_normalised(places, sides[-2], sides[-1]).abs() <= 1).all(-1).double().mean())


# --- the displacement field -------------------------------------------------------------------------


def _locally_refined(
    found: Registration, pairs: list[tuple[_Copy, _Copy]], judged: tuple[_Copy, _Copy]
) -> Registration:
    """The registration with a displacement field, if this improves the agreement."""
    field: Tensor | None = None
    for moving, fixed in pairs[1:3] or pairs:
        for _ in range(4):
            field = _with_step(found.homography, field, moving, fixed)
    assert field is not None
    agreement = _agreement(found.homography, field, *judged)
    useful = 1 - found.agreement > _WORTH * (1 - agreement)
    return replace(found, field=field, agreement=agreement) if useful else found


def _with_step(homography: Tensor, field: Tensor | None, moving: _Copy, fixed: _Copy) -> Tensor:
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
    xx, xy, yy, x, y = _smoothed(products, _WINDOW * max(height, width)).split(1, 1)
    stiff = _STIFFNESS * (xx + yy).mean() / 2 + 1e-9
    xx, yy = xx + stiff, yy + stiff
    determinant = xx * yy - xy * xy
    step = torch.cat((yy * x - xy * y, xx * y - xy * x), 1) / determinant
    field = _smoothed(field + step, _WINDOW * max(height, width) / 2)
    return field.clamp(-_FARTHEST, _FARTHEST)
