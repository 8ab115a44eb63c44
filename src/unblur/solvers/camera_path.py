"""Estimate how a camera moved during the exposure, from a photo whose blur differs from place to place.

The camera shifts and turns. The time that it spent in each pose is unknown; the PSF of every place follows from these
times (Whyte, Sivic, Zisserman & Ponce 2012, Eq. 4). As in `solvers.l0`, the sharp picture and the motion are estimated
in turns from coarse to fine scales, but the sharp picture in several areas, each with the PSF of its place (Hirsch,
Schuler, Harmeling & Schoelkopf 2011), and one motion is fitted to the edges of all areas.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.camera_rotation import displacements
from unblur.solvers.areas import informative_place, is_flat
from unblur.solvers.filter_flow import centres
from unblur.solvers.l0 import LEAST_WEIGHT, WEIGHT_DECAY, L0Search, Level, odd_side, reduced
from unblur.solvers.psf_fit import PsfEquations, projected_gradient, prune, salient
from unblur.solvers.workers import side_by_side
from unblur.types import Progress

Place = tuple[float, float]
"""A place in a picture: x and y in pixels from the middle, to the right and downwards."""

# Chosen by hand.
_MARGIN = 2  # pixels around the light of the PSF so far, in which the next scale looks for the path
_THIN = 1.0  # pixels at the end of the picture by which the roll may differ from that of neighbouring shifts, ...
_STEEP = 2.0  # ... or more if the roll changes by more than half a pixel there per pixel of the shift
_NEIGHBOURS = 1.5  # pixels: standard deviation of the distance of these shifts
_FROM_PSF = 0.5  # scale at which the search begins with a PSF
_OVERLAP = 1.5  # side of the parts of a picture relative to their distance
_SIDE, _MOST, _LEAST = 384, 4, 96  # pixels, the largest side of an area; areas along a side, at most; pixels for one


@dataclass(frozen=True)
class CameraPath:
    """The poses of a camera during the exposure.

    Attributes:
        poses: `(P, 3)` float64 on the CPU: shift x, y in pixels in the middle of the picture, and roll in radians.
        times: `(P,)`: the share of the exposure that the camera spent in each pose; they sum to 1.
        focal_length: in pixels.
    """

    poses: Tensor
    times: Tensor
    focal_length: float

    def psf_at(self, place: Place, size: int) -> Tensor:
        """The PSF at a place of the picture: `(size, size)`; what does not fit in is left out."""
        return PoseGrid.of(self.poses, [place], size, self.focal_length).to(self.times).psfs(self.times)[0]


@dataclass(frozen=True)
class PoseGrid:
    """The linear operator from the times of poses to the PSFs of several places.

    Attributes:
        index: `(R, P, 4)`: the four pixels over which the light of a pose is distributed at each place.
        share: `(R, P, 4)`: the share of each, 0 for a pixel outside of the PSF.
        size: side of the PSFs in pixels, odd.
    """

    index: Tensor
    share: Tensor
    size: int

    @classmethod
    def of(cls, poses: Tensor, places: Sequence[Place], size: int, focal_length: float) -> PoseGrid:
        """Compute the operator for poses `(P, 3)`, see `CameraPath`."""
        moved = torch.stack([displacements(poses, place, focal_length) for place in places])  # (R, P, 2)
        corner = moved.floor().long()
        beyond = moved - corner  # (R, P, 2)
        index, share = [], []
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            x, y = corner[..., 0] + dx + size // 2, corner[..., 1] + dy + size // 2
            part_x, part_y = (beyond[..., k] if d else 1 - beyond[..., k] for k, d in enumerate((dx, dy)))
            inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
            index.append(torch.where(inside, y * size + x, 0))
            share.append(torch.where(inside, part_x * part_y, 0))
        return cls(torch.stack(index, -1), torch.stack(share, -1).float(), size)

    def to(self, like: Tensor) -> PoseGrid:
        """The operator on the device of a tensor."""
        return PoseGrid(self.index.to(like.device), self.share.to(like.device), self.size)

    def psfs(self, times: Tensor) -> Tensor:
        """The PSFs of all places: `(P,)` -> `(R, size, size)`."""
        flat = times.new_zeros(len(self.index), self.size**2)
        flat.scatter_add_(1, self.index.flatten(1), (self.share.to(times) * times[:, None]).flatten(1))
        return flat.unflatten(1, (self.size, self.size))

    def adjoint(self, psfs: Tensor) -> Tensor:
        """The adjoint of `psfs`: `(R, size, size)` -> `(P,)`."""
        values = psfs.flatten(1).gather(1, self.index.flatten(1)).unflatten(1, self.index.shape[1:])
        return (values * self.share.to(psfs)).sum((0, 2))


@dataclass(frozen=True)
class Area:
    """An area of a picture from which the path is estimated.

    Attributes:
        picture: `(1, 1, h, w)`, [0, 1].
        place: its middle.
    """

    picture: Tensor
    place: Place


def areas_of(grey: Tensor, *, side: int = _SIDE, most: int = _MOST) -> list[Area]:
    """Choose overlapping areas that cover a small picture, or the most informative area of each part of a large one.

    Args:
        grey: `(1, 1, H, W)`, [0, 1].
        side: largest side of an area in pixels.
        most: largest number of areas along the longer side.
    """
    height, width = grey.shape[-2:]
    parts = most / max(height, width)  # of each side, per pixel
    rows, columns = (_spans(length, max(min(round(length * parts), length // _LEAST), 1)) for length in (height, width))
    areas = []
    for top, bottom in rows:
        for left, right in columns:
            part = grey[..., top:bottom, left:right]
            inside = informative_place(part, side)
            y, x = ((start + (span.start + span.stop - 1) / 2) for start, span in zip((top, left), inside, strict=True))
            areas.append(Area(part[..., inside[0], inside[1]], (x - (width - 1) / 2, y - (height - 1) / 2)))
    return [area for area in areas if not is_flat(area.picture)] or areas[:1]


def search_path(
    areas: Sequence[Area],
    longest: int,
    search: L0Search,
    progress: Progress,
    *,
    roll: float,
    focal_length: float,
    start: Tensor | None = None,
) -> CameraPath:
    """Estimate the path of the camera from areas of a grey picture.

    Args:
        areas: the areas.
        longest: longer side in pixels of the picture.
        search: parameters of the estimation, as for `search_psf`.
        progress: advanced once per pyramid level.
        roll: largest roll to either side, in radians; higher is slower.
        focal_length: in units of the picture's longer side.
        start: a PSF of the whole picture, `(h, w)`, odd sides, with which the search begins at half the size. The roll
            of similar shifts is then kept alike, which gives better paths if the PSF is nearly right. None: the search
            begins with no motion at the coarsest scale.

    Returns:
        The path, with poses in pixels of the picture.
    """
    like = areas[0].picture
    path, threshold, scales = None, None, search.scales()
    if start is not None:
        path, scales = _without_roll(start, focal_length * longest), scales_from_psf(search)
    left_out = search.iterations * (len(search.scales()) - len(scales))
    weight = max(search.weight / WEIGHT_DECAY**left_out, LEAST_WEIGHT)
    for scale in scales:
        size, far, focal = max(odd_side(search.size * scale), 3), longest * scale / 2, focal_length * longest * scale
        poses, times = (
            _first_poses(size, like) if path is None else _next_poses(path, scale, roll, far, alike=start is not None)
        )
        places = [(area.place[0] * scale, area.place[1] * scale) for area in areas]
        operator = PoseGrid.of(poses, places, size, focal).to(like)
        levels = [Level.of(reduced(area.picture, scale), size) for area in areas]
        for _ in range(search.iterations):
            psfs = operator.psfs(times)
            known = [(level, psf / psf.sum().clamp_min(1e-6)) for level, psf in zip(levels, psfs, strict=True)]
            sharp = side_by_side(functools.partial(_sharpened, weight=weight), known, like.device)
            least = [salient(one, 4 * size) for one in sharp]
            threshold = max(least) / WEIGHT_DECAY**left_out if threshold is None else threshold / WEIGHT_DECAY
            equations = [
                PsfEquations.of(
                    _edges(one, min(threshold, own)), level.blurry_gradient, (size, size), search.smoothness
                )
                for one, own, level in zip(sharp, least, levels, strict=True)
            ]
            times = _fit(operator, equations, times)
            weight = max(weight / WEIGHT_DECAY, LEAST_WEIGHT)
        used = (times > 0).cpu()
        path = CameraPath(
            poses[used] * poses.new_tensor((1 / scale, 1 / scale, 1)), times[used.to(times.device)], focal / scale
        )
        progress.advance()
    assert path is not None
    return _upright(path)


def scales_from_psf(search: L0Search) -> list[float]:
    """The scales of a search that begins with a PSF: from half the size on."""
    return [scale for scale in search.scales() if scale > 0.9 * _FROM_PSF]


def _sharpened(known: tuple[Level, Tensor], weight: float) -> Tensor:
    level, psf = known
    return level.sharpen(psf, weight)


def _edges(gradients: Tensor, threshold: float) -> Tensor:
    """Gradients `(2, H, W)`, 0 where their magnitude is below a threshold."""
    return gradients * (gradients.square().sum(0) >= threshold**2)


def _spans(length: int, count: int) -> list[tuple[int, int]]:
    """`count` overlapping spans of a side: the first pixel of each, and the first one behind it."""
    side = min(math.ceil(_OVERLAP * length / count), length)
    starts = [min(max(round(middle - (side - 1) / 2), 0), length - side) for middle in centres(length, count)]
    return [(start, start + side) for start in starts]


def _fit(operator: PoseGrid, equations: Sequence[PsfEquations], start: Tensor) -> Tensor:
    """Fit the times of all poses to the areas' equations: non-negative, of sum 1, without isolated light."""

    def slope(times: Tensor) -> Tensor:
        psfs = operator.psfs(times)
        return operator.adjoint(
            torch.stack([one.normal(psf) - one.right for one, psf in zip(equations, psfs, strict=True)])
        )

    def normal(times: Tensor) -> Tensor:
        psfs = operator.psfs(times)
        return operator.adjoint(torch.stack([one.normal(psf) for one, psf in zip(equations, psfs, strict=True)]))

    direction = torch.ones_like(start)
    norm = direction.norm()
    for _ in range(12):  # power iterations for the norm of the operator
        direction = normal(direction / norm)
        norm = direction.norm().clamp_min(1e-30)
    times = projected_gradient(slope, start, 0.9 / norm)
    if not times.sum() > 0:
        return start
    times = times / times.sum()
    psfs = operator.psfs(times)
    kept = torch.stack([(prune(psf) > 0).to(psf) if psf.sum() > 0 else torch.zeros_like(psf) for psf in psfs])
    seen = operator.adjoint(kept) / operator.adjoint(torch.ones_like(kept)).clamp_min(1e-6)  # (P,)
    pruned = torch.where(seen >= 0.5, times, 0)
    return pruned / pruned.sum() if pruned.sum() > 0 else times


def _first_poses(size: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """All shifts of a coarsest PSF `(size, size)` without roll; the first path is two neighbouring ones."""
    offsets = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    poses = torch.stack((x, y, torch.zeros_like(x)), -1).flatten(0, 1)
    times = like.new_zeros(size**2)
    times[size**2 // 2 - 1 : size**2 // 2 + 1] = 0.5
    return poses, times


def _without_roll(psf: Tensor, focal_length: float) -> CameraPath:
    """The path of a camera that only shifts, from the PSF of the whole picture, `(h, w)`."""
    rows, columns = (psf > 0).nonzero().T
    poses = torch.stack((columns - psf.shape[1] // 2, rows - psf.shape[0] // 2, torch.zeros_like(rows)), 1)
    times = psf[rows, columns]
    return CameraPath(poses.cpu().double(), times / times.sum(), focal_length)


def _upright(path: CameraPath) -> CameraPath:
    """The path with a mean roll of 0, so that the restored picture is not turned."""
    mean = path.times.cpu().double() @ path.poses[:, 2]
    return replace(path, poses=path.poses - path.poses.new_tensor((0, 0, 1)) * mean)


def _next_poses(path: CameraPath, scale: float, roll: float, far: float, *, alike: bool) -> tuple[Tensor, Tensor]:
    """The poses of the next scale, in its pixels, near those of the path so far, and their times.

    Args:
        path: the path so far, in pixels of the whole picture.
        scale: size of the picture at this scale, relative to the whole.
        roll: largest roll to either side in radians.
        far: distance in pixels at which a step of the roll is one pixel.
        alike: whether the roll of similar shifts is kept alike.
    """
    before = path.poses * path.poses.new_tensor((scale, scale, far))  # (P, 3) in steps of the new poses: x, y, roll
    shares = path.times.cpu().double()
    before = before - (shares @ before).round()
    reach = [int(side) + _MARGIN + 1 for side in before.abs().amax(0)]
    volume = before.new_zeros([2 * side + 1 for side in reach])  # x, y, roll
    corner = before.floor()
    for step in itertools.product((0, 1), repeat=3):
        at = corner + corner.new_tensor(step)
        share = (1 - (before - at).abs()).clamp_min(0).prod(-1) * shares
        volume.index_put_((at.long() + torch.tensor(reach)).unbind(-1), share, accumulate=True)
    near = F.max_pool3d(volume[None, None], 2 * _MARGIN + 1, 1, _MARGIN)[0, 0] > 0
    steps = near.nonzero() - torch.tensor(reach)  # (P, 3)
    allowed = steps[:, 2].abs() <= roll * far
    if alike and before[:, 2].any():
        spread = (shares @ before.square()).sqrt()  # x, y, roll
        thin = _THIN * max(1.0, float(_STEEP * spread[2] / spread[:2].norm().clamp_min(1e-6)))
        thinned = allowed & ((steps[:, 2] - _mean_roll(steps[:, :2], before, shares)).abs() <= thin)
        if volume[near][thinned].sum() > 0:  # not where the camera came by twice with two rolls
            allowed = thinned
    times = volume[near][allowed]
    poses = steps[allowed].to(before) / before.new_tensor((1, 1, far))
    return poses, (times / times.sum()).to(path.times)


def _mean_roll(shifts: Tensor, poses: Tensor, times: Tensor) -> Tensor:
    """The mean roll of the poses whose shifts are near to given ones.

    A camera takes one roll for each shift, unless it comes by twice. With more, the equations have too many solutions.

    Args:
        shifts: `(N, 2)`.
        poses: `(P, 3)`.
        times: `(P,)`.

    Returns:
        `(N,)`
    """
    distance = torch.cdist(shifts.to(poses), poses[:, :2])
    weight = torch.exp(-(distance / _NEIGHBOURS).square() / 2) * times  # (N, P)
    return weight @ poses[:, 2] / weight.sum(1).clamp_min(1e-30)
