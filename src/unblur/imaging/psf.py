"""Point spread functions (PSFs): create standard shapes; move, crop, resize and describe a PSF.

A PSF is a float32 tensor `(h, w)` with odd sides. Its values are non-negative and sum to 1, and its origin is the
middle pixel. The y axis points down. The model is `blurry = convolve(sharp, psf)`. Angles are in degrees,
counter-clockwise from +x **as seen in the picture**: 0 points right, 90 points up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# The standard deviation of a uniform line of length L is L / sqrt(12).
_LINE_LENGTH_PER_STD = math.sqrt(12.0)


def gaussian_psf(sigma: float, size: int | None = None, *, sigma_y: float | None = None, angle: float = 0.0) -> Tensor:
    """Create a Gaussian PSF, sampled at pixel centres.

    Args:
        sigma: standard deviation in pixels along the direction `angle`; higher is blurrier.
        size: odd side in pixels; None: four standard deviations to each side.
        sigma_y: standard deviation in pixels across `angle`; None: `sigma`.
        angle: degrees counter-clockwise from +x.

    Returns:
        `(size, size)` float32.

    Raises:
        ValueError: a sigma of 0 or less, or a size that is even or below 1.
    """
    across = sigma if sigma_y is None else sigma_y
    _require(sigma > 0 and across > 0, f"sigma must be above 0 px, got sigma={sigma}, sigma_y={sigma_y}")
    side = 2 * math.ceil(4 * max(sigma, across)) + 1 if size is None else size
    y, x = _offsets(side)  # (size, 1), (1, size)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along_px = x * cos - y * sin  # (size, size); minus because y points down
    across_px = x * sin + y * cos  # (size, size)
    return normalize_psf(torch.exp(-0.5 * ((along_px / sigma) ** 2 + (across_px / across) ** 2)))


def disk_psf(radius: float, size: int | None = None) -> Tensor:
    """Create the PSF of defocus: a uniform disk. The value of a pixel is the area of it that the disk covers.

    Args:
        radius: radius of the disk (circle of confusion) in pixels; higher is blurrier, 0 is no blur.
        size: odd side in pixels; None: the smallest that contains the disk.

    Returns:
        `(size, size)` float32.

    Raises:
        ValueError: a negative radius, or a size that is even or too small for the disk.
    """
    _require(radius >= 0, f"a disk's radius cannot be negative, got {radius}")
    smallest = 2 * math.ceil(max(radius - 0.5, 0.0)) + 1
    side = smallest if size is None else size
    _require(side >= smallest, f"a disk of radius {radius} px needs size >= {smallest}, got {side}")
    if radius == 0:
        return delta_psf(side)
    # The covered area is exact along x, from the ends of each chord, and a midpoint sum along y.
    rows_per_pixel = 64
    _, x = _offsets(side)  # (1, size)
    y = (torch.arange(side * rows_per_pixel, dtype=torch.float64) + 0.5) / rows_per_pixel - side / 2
    half_chord = (radius**2 - y**2).clamp(min=0).sqrt()[:, None]  # (size * rows, 1)
    covered = torch.minimum(x + 0.5, half_chord) - torch.maximum(x - 0.5, -half_chord)
    area = covered.clamp(min=0).view(side, rows_per_pixel, side).mean(1)  # (size, size)
    return normalize_psf(area + area.T)  # so that the numerical error is the same along both axes


def linear_motion_psf(length: float, angle: float, size: int | None = None) -> Tensor:
    """Create the PSF of a camera that moves at constant speed along a straight line.

    Args:
        length: length in pixels of the motion during the exposure; higher is blurrier, 0 is no blur.
        angle: degrees counter-clockwise from +x; `angle` and `angle + 180` give the same PSF.
        size: odd side in pixels; None: the smallest that contains the line at any angle.

    Returns:
        `(size, size)` float32, with bilinear interpolation (so a horizontal line is 1 px thick).

    Raises:
        ValueError: a negative length, or a size that is even or too small for the line.
    """
    _require(length >= 0, f"a motion's length cannot be negative, got {length}")
    smallest = 2 * math.ceil(length / 2) + 1
    side = smallest if size is None else size
    _require(side >= smallest, f"a motion of {length} px needs size >= {smallest}, got {side}")
    samples = 64 * math.ceil(length) + 1
    along = ((torch.arange(samples, dtype=torch.float64) + 0.5) / samples - 0.5) * length  # (n,)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return splat_points(along * cos, -along * sin, torch.ones_like(along), side)


def delta_psf(size: int = 1) -> Tensor:
    """Create the PSF of no blur: `(size, size)` float32 with a 1 at the middle pixel. `size` must be odd."""
    y, x = _offsets(size)
    return ((y == 0) & (x == 0)).float()


def splat_points(x: Tensor, y: Tensor, weights: Tensor, size: int) -> Tensor:
    """Rasterise points of light: distribute each over the four nearest pixels with bilinear weights.

    The centre of mass of the result is exactly that of the points.

    Args:
        x: `(n,)` offsets in pixels from the middle pixel, to the right.
        y: `(n,)` offsets in pixels from the middle pixel, downwards.
        weights: `(n,)` non-negative amounts of light.
        size: odd side of the PSF in pixels.

    Returns:
        `(size, size)` float32 PSF.

    Raises:
        ValueError: points outside `size`, weights that sum to 0, or an even size.
    """
    half = _offsets(size)[0].max()
    reach = torch.maximum(x.abs().max(), y.abs().max())
    _require(bool(reach <= half + 1e-6), f"the path reaches {reach:.1f} px, too far for size={size}")
    # A point on the last row or column has no lower or right neighbour; it is given the previous pixel, with weight 0.
    column = (x + half).floor().clamp(0, max(size - 2, 0))  # (n,)
    row = (y + half).floor().clamp(0, max(size - 2, 0))  # (n,)
    right, down = (x + half - column).clamp(0, 1), (y + half - row).clamp(0, 1)  # (n,)
    psf = torch.zeros((size + 1) ** 2, dtype=torch.float64)
    for dy, share_y in ((0, 1 - down), (1, down)):
        for dx, share_x in ((0, 1 - right), (1, right)):
            place = ((row + dy) * (size + 1) + column + dx).long()  # (n,)
            psf.index_add_(0, place, (weights * share_y * share_x).double())
    return normalize_psf(psf.view(size + 1, size + 1)[:size, :size])


def normalize_psf(psf: Tensor) -> Tensor:
    """Set the negative values of `psf` `(h, w)` to 0 and divide by the sum: float32, same shape.

    Raises:
        ValueError: not two dimensions, values that are not finite, or no value above 0.
    """
    _require_2d(psf)
    _require(bool(torch.isfinite(psf).all()), "the PSF has values that are not finite")
    positive = _double(psf).clamp(min=0)
    total = positive.sum()
    _require(bool(total > 0), "the PSF has no value above 0, so it cannot be normalised to sum to 1")
    return (positive / total).float().to(psf.device)


def psf_centroid(psf: Tensor) -> tuple[float, float]:
    """Centre of mass `(y, x)` of a PSF `(h, w)` in pixel indices; `(h // 2, w // 2)` if it is centred."""
    _require_2d(psf)
    mass = _double(psf) / _double(psf).sum()
    y = torch.arange(psf.shape[0], dtype=torch.float64)
    x = torch.arange(psf.shape[1], dtype=torch.float64)
    return float(mass.sum(1) @ y), float(mass.sum(0) @ x)


def centre_psf(psf: Tensor, *, subpixel: bool = False) -> tuple[Tensor, tuple[float, float]]:
    """Move a PSF so that its centre of mass is at the middle pixel.

    A picture restored with the centred PSF is displaced by `-shift` relative to one restored with the given PSF; move
    it by `+shift` to correct this. No light is lost: the array grows where necessary.

    Args:
        psf: `(h, w)`. The middle of an even side is `h // 2`; the result has odd sides.
        subpixel: False: move by whole pixels, so that the centre of mass is within half a pixel of the middle. True:
            move by fractions of a pixel with bilinear interpolation, which blurs the PSF by up to half a pixel.

    Returns:
        The centred PSF, and the shift `(dy, dx)` in pixels.

    Raises:
        ValueError: not a PSF (see `normalize_psf`).
    """
    mass = _double(normalize_psf(psf))
    shifts, spread = [], []
    for centroid, side in zip(psf_centroid(mass), mass.shape, strict=True):
        exact = side // 2 - centroid
        shift = exact if subpixel else float(round(exact))
        filled = mass.sum(1 if not shifts else 0).nonzero().squeeze(1)  # rows or columns that are not empty
        reach = max(abs(float(filled[0]) - side // 2 + shift), abs(float(filled[-1]) - side // 2 + shift))
        half = max(side // 2, math.ceil(reach - 1e-9))
        shifts.append(shift)
        spread.append(_splat_matrix(side, side // 2 - shift, 2 * half + 1, mass))
    return normalize_psf(spread[0] @ mass @ spread[1].T).to(psf.device), (shifts[0], shifts[1])


def resize_psf(psf: Tensor, scale: float) -> Tensor:
    """Resize a PSF for a picture that is resized by `scale`.

    The offset of each pixel from the middle, and of the centre of mass, is multiplied by `scale`. If `scale > 1`, each
    pixel is spread over a box of side `scale`; otherwise it is distributed with bilinear weights.

    Args:
        psf: `(h, w)`, odd sides.
        scale: above 0; 2 for a picture twice as wide, 0.5 for one half as wide.

    Returns:
        The resized PSF, with the smallest odd sides that contain it.

    Raises:
        ValueError: a scale of 0 or less, an even side, or not a PSF.
    """
    _require(scale > 0, f"scale must be above 0, got {scale}")
    mass = _double(normalize_psf(psf))
    _require(all(side % 2 for side in mass.shape), f"PSF sides must be odd, got {tuple(mass.shape)}")
    spread = []
    for side in mass.shape:
        half = math.ceil(side // 2 * scale + (scale / 2 if scale > 1 else 0.0) - 1e-9)
        spread.append(_splat_matrix(side, side // 2, 2 * half + 1, mass, scale))
    return normalize_psf(spread[0] @ mass @ spread[1].T).to(psf.device)


def crop_psf(psf: Tensor, *, mass: float = 0.999) -> Tensor:
    """Crop the empty margins of a PSF; the middle pixel stays in the middle.

    Args:
        psf: `(h, w)`, odd sides.
        mass: least share of the light to keep, in (0, 1]; lower gives a smaller PSF.

    Returns:
        The cropped PSF, with odd sides; sums to 1.

    Raises:
        ValueError: mass outside (0, 1], an even side, or not a PSF.
    """
    _require(0 < mass <= 1, f"mass is the share of light to keep, in (0, 1], got {mass}")
    psf = normalize_psf(psf)
    _require(all(side % 2 for side in psf.shape), f"PSF sides must be odd, got {tuple(psf.shape)}")
    cuts = []
    for marginal in (_double(psf).sum(1), _double(psf).sum(0)):
        mirrored = (marginal + marginal.flip(0)) / 2  # the light lost when both ends are cropped alike
        lost = 2 * mirrored.cumsum(0)[: len(marginal) // 2]
        # Each axis may lose half of 1 - mass. 1e-7 allows for float32 rounding.
        cuts.append(int((lost <= (1 - mass) / 2 + 1e-7).sum()))
    height, width = psf.shape
    return normalize_psf(psf[cuts[0] : height - cuts[0], cuts[1] : width - cuts[1]])


def pad_psf(psf: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Pad a PSF `(h, w)` with zeros on all sides to an odd `size` (a side, or `(height, width)`).

    Raises:
        ValueError: a size that is even or smaller than the PSF, or a PSF with an even side.
    """
    _require_2d(psf)
    height, width = (size, size) if isinstance(size, int) else size
    grow_y, grow_x = height - psf.shape[0], width - psf.shape[1]
    fits = grow_y >= 0 and grow_x >= 0 and height % 2 and width % 2 and not (grow_y % 2 or grow_x % 2)
    _require(bool(fits), f"cannot pad a PSF of {tuple(psf.shape)} to {(height, width)}: need odd sides, not smaller")
    return torch.nn.functional.pad(psf, (grow_x // 2, grow_x // 2, grow_y // 2, grow_y // 2))


@dataclass(frozen=True, slots=True)
class PsfDescription:
    """Size, direction and shape of a PSF, from its second moments.

    Attributes:
        size: `(height, width)` in pixels of the part that contains 99.9 % of the light.
        length: extent in pixels along the longest direction: the length of a uniform straight line with the same
            standard deviation (`sqrt(12)` times the standard deviation).
        width: extent in pixels across that direction, defined in the same way.
        angle: angle of the longest direction, degrees in [0, 180) counter-clockwise from +x.
        anisotropy: `1 - width / length`; 0 for a round PSF, 1 for a thin line.
        words: a description in one line.
    """

    size: tuple[int, int]
    length: float
    width: float
    angle: float
    anisotropy: float
    words: str


def describe_psf(psf: Tensor) -> PsfDescription:
    """Measure the size, direction and shape of a PSF `(h, w)`.

    Raises:
        ValueError: not a PSF (see `normalize_psf`).
    """
    mass = _double(normalize_psf(psf))
    centre_y, centre_x = psf_centroid(mass)
    y = torch.arange(mass.shape[0], dtype=torch.float64)[:, None] - centre_y  # (h, 1)
    x = torch.arange(mass.shape[1], dtype=torch.float64)[None, :] - centre_x  # (1, w)
    var_x, var_y = float((mass * x**2).sum()), float((mass * y**2).sum())
    cov_up = -float((mass * x * y).sum())  # y points up here, as in the definition of angles
    middle, swing = (var_x + var_y) / 2, math.hypot((var_x - var_y) / 2, cov_up)
    length = _LINE_LENGTH_PER_STD * math.sqrt(middle + swing)
    width = _LINE_LENGTH_PER_STD * math.sqrt(max(middle - swing, 0.0))
    angle = math.degrees(0.5 * math.atan2(2 * cov_up, var_x - var_y)) % 180.0
    anisotropy = 1 - width / length if length > 0 else 0.0
    height_px, width_px = crop_psf(centre_psf(mass)[0], mass=0.999).shape
    if length < 0.5:
        words = "no blur"
    elif anisotropy < 0.3:
        words = f"{width_px} x {height_px} px, spread {length:.1f} px (about the same in every direction)"
    else:
        manner = "mostly one direction" if anisotropy > 0.6 else "longer one way than the other"
        words = f"{width_px} x {height_px} px, spread {length:.1f} px at {angle:.0f} degrees ({manner})"
    return PsfDescription((height_px, width_px), length, width, angle, anisotropy, words)


def _splat_matrix(n: int, middle: float, size: int, like: Tensor, scale: float = 1.0) -> Tensor:
    """The `(size, n)` matrix that moves the mass at index i to the offset `(i - middle) * scale` from the middle.

    The weights are bilinear, so mass and centre of mass are exact. With scale > 1 each pixel first becomes a box of
    width `scale`, so that a uniform area stays uniform.
    """
    target = torch.arange(size, dtype=like.dtype, device=like.device)[:, None] - size // 2  # (size, 1)
    source = (torch.arange(n, dtype=like.dtype, device=like.device)[None, :] - middle) * scale  # (1, n)
    if scale <= 1:
        return (1 - (target - source).abs()).clamp(min=0)
    # The mean of the bilinear weight 1 - |t| over the box, from its integral t - t|t|/2 on [-1, 1].
    upper, lower = ((target - source + side * scale / 2).clamp(-1, 1) for side in (1, -1))
    return ((upper - upper * upper.abs() / 2) - (lower - lower * lower.abs() / 2)) / scale


def _offsets(size: int) -> tuple[Tensor, Tensor]:
    """Float64 offsets from the middle pixel: y `(size, 1)` downwards and x `(1, size)`."""
    _require(size >= 1 and size % 2 == 1, f"a PSF's side must be odd and at least 1, got {size}")
    offsets = torch.arange(size, dtype=torch.float64) - size // 2  # (size,)
    return offsets[:, None], offsets[None, :]


def _double(psf: Tensor) -> Tensor:
    """A PSF in float64 on the CPU, since some devices have no float64."""
    return psf.cpu().double()


def _require_2d(psf: Tensor) -> None:
    _require(psf.ndim == 2, f"a PSF is (h, w), got {tuple(psf.shape)}; pass psf[0, 0] of a (B, 1, h, w)")


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)
