"""Scores after the best sub-pixel shift, for blind deconvolution.

A blind method may return the picture shifted by `d` together with a PSF shifted by `-d`: both pairs give
the same blurry photo. Levin, Weiss, Durand, Freeman 2009, "Understanding and evaluating blind deconvolution
algorithms", sec. 5, therefore compare the pictures after the best shift: crop 15 px off every side of the
sharp picture, shift the restored one by -5 ... 5 px in steps of 1/4 px with bilinear interpolation, and
take the shift with the least sum of squared differences (SSD). The defaults here are that protocol.

All shifts are tried, at the cost of one cross-correlation. With S the shifted window of the restored
picture and T the cropped sharp one,

    SSD = |S|^2 - 2 <S, T> + |T|^2 .

Bilinear interpolation is linear, so <S, T> at a fractional shift is the same interpolation of the table
of <S, T> at whole-pixel shifts; |S|^2 at all whole-pixel shifts of one fraction is a table of box sums.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from unblur.metrics.checks import picture_pair
from unblur.metrics.fidelity import psnr, ssd, ssim


class Aligned(NamedTuple):
    """A restored and a sharp picture, cropped, after the best shift.

    Attributes:
        restored: the restored picture at its best shift, cropped, `(B, C, H - 2 crop, W - 2 crop)` float64.
        sharp: the sharp picture, cropped to the same size.
        shift: `(B, 2)` float64, (dy, dx) in pixels: `restored` here is the input at `(y + dy, x + dx)`.
    """

    restored: Tensor
    sharp: Tensor
    shift: Tensor


def align(restored: Tensor, sharp: Tensor, *, crop: int = 15, search: int = 5, step: float = 0.25) -> Aligned:
    """Shift the restored picture to the least SSD, and crop both pictures.

    Every picture of the batch has its own shift, which is the same for all its channels. Among shifts of
    equal SSD (a constant picture, a straight edge) the smallest is taken.

    Args:
        restored: `(B, C, H, W)`, floating point.
        sharp: the sharp picture, same shape and range.
        crop: pixels cut off every side of the sharp picture; at least `search`, so that the shifted
            window stays inside the restored picture.
        search: largest shift tried, in whole pixels, in both directions of both axes. Raising it finds
            larger shifts; 0 only crops.
        step: distance between the shifts tried, one pixel divided by a whole number. Lowering it finds
            the shift more precisely; the time grows as `1 / step^2`.

    Returns:
        The two crops and the shifts.

    Raises:
        ValueError: when shapes differ, a value is not finite, the crop is smaller than the search or
            removes the whole picture, or one pixel is not a whole number of steps.
    """
    restored, sharp = picture_pair(restored, sharp)
    _check_protocol(restored.shape, crop, search, step)
    template = _trim(sharp, crop)  # (B, C, h, w)
    area = _trim(restored, crop - search)  # (B, C, h + 2 search, w + 2 search)
    shifts = torch.stack([_least_ssd_shift(a, t, search, step) for a, t in zip(area, template, strict=True)])
    windows = [_window_at(a, shift, search) for a, shift in zip(area, shifts.tolist(), strict=True)]
    return Aligned(torch.stack(windows), template, shifts)


def best_shift(restored: Tensor, sharp: Tensor, *, crop: int = 15, search: int = 5, step: float = 0.25) -> Tensor:
    """The best shift of each picture, `(B, 2)` as (dy, dx) in pixels. Arguments and errors as `align`.

    dy is positive where the content of `restored` lies lower than that of `sharp`.
    """
    return align(restored, sharp, crop=crop, search=search, step=step).shift


def ssd_aligned(restored: Tensor, sharp: Tensor, *, crop: int = 15, search: int = 5, step: float = 0.25) -> Tensor:
    """Sum of squared differences after the best shift, `(B,)`. Arguments and errors as `align`."""
    aligned = align(restored, sharp, crop=crop, search=search, step=step)
    return ssd(aligned.restored, aligned.sharp)


def psnr_aligned(
    restored: Tensor,
    sharp: Tensor,
    *,
    crop: int = 15,
    search: int = 5,
    step: float = 0.25,
    data_range: float = 1.0,
) -> Tensor:
    """PSNR in decibels after the best shift, `(B,)`. Arguments and errors as `align` and `psnr`."""
    aligned = align(restored, sharp, crop=crop, search=search, step=step)
    return psnr(aligned.restored, aligned.sharp, data_range=data_range)


def ssim_aligned(
    restored: Tensor,
    sharp: Tensor,
    *,
    crop: int = 15,
    search: int = 5,
    step: float = 0.25,
    data_range: float = 1.0,
) -> Tensor:
    """SSIM after the best shift, `(B,)`. Arguments and errors as `align` and `ssim`."""
    aligned = align(restored, sharp, crop=crop, search=search, step=step)
    return ssim(aligned.restored, aligned.sharp, data_range=data_range)


def _check_protocol(shape: torch.Size, crop: int, search: int, step: float) -> None:
    if search < 0 or crop < search:
        raise ValueError(
            f"crop {crop} must be at least search {search}, and search at least 0: "
            "otherwise the shifted window leaves the picture."
        )
    if min(shape[-2:]) <= 2 * crop:
        raise ValueError(f"a crop of {crop} px a side leaves nothing of a {shape[-2]}x{shape[-1]} picture.")
    if not 0 < step <= 1 or abs(1 / step - round(1 / step)) > 1e-9:
        raise ValueError(f"step must be one pixel divided by a whole number (1, 0.5, 0.25, ...), got {step}.")


def _trim(picture: Tensor, border: int) -> Tensor:
    height, width = picture.shape[-2:]
    return picture[..., border : height - border, border : width - border]


def _least_ssd_shift(area: Tensor, template: Tensor, search: int, step: float) -> Tensor:
    """The (dy, dx) of the window of `area` with the least SSD to `template`.

    `area` is (C, h + 2 search, w + 2 search), `template` (C, h, w).
    """
    # Subtracting the same offset from both does not change the SSD, and small numbers lose fewer digits in
    # |S|^2 - 2 <S, T> + |T|^2.
    offset = template.mean(dim=(-2, -1), keepdim=True)
    area, template = area - offset, template - offset
    products = _correlation_table(area, template)  # (2 search + 1, 2 search + 1)
    whole = torch.arange(-search, search + 1, dtype=torch.float64, device=area.device)
    steps = round(1 / step) if search else 1
    ssds, shifts = [], []
    for fy in range(steps):
        for fx in range(steps):
            energy = _box_sums(_shift_fraction(area, fy / steps, fx / steps).square(), template.shape[-2:])
            ssds.append((energy - 2 * _shift_fraction(products, fy / steps, fx / steps)).flatten())
            # Interpolation needs the next pixel too, so the last whole shift has no fraction.
            dy, dx = whole[: len(whole) - (fy > 0)] + fy / steps, whole[: len(whole) - (fx > 0)] + fx / steps
            shifts.append(torch.cartesian_prod(dy, dx))
    ssd_of = torch.cat(ssds) + template.square().sum()  # (N,)
    shift_of = torch.cat(shifts)  # (N, 2)
    rounding = 1e-12 * (template.square().sum() + area.square().sum())
    distance = shift_of.square().sum(dim=1)  # (N,)
    tied = ssd_of <= ssd_of.min() + rounding
    return shift_of[torch.where(tied, distance, torch.inf).argmin()]  # (2,)


def _shift_fraction(picture: Tensor, fy: float, fx: float) -> Tensor:
    """`picture` at (y + fy, x + fx), bilinear, 0 <= f < 1; an axis with f > 0 becomes one sample shorter."""
    if fy:
        picture = (1 - fy) * picture[..., :-1, :] + fy * picture[..., 1:, :]
    if fx:
        picture = (1 - fx) * picture[..., :-1] + fx * picture[..., 1:]
    return picture


def _correlation_table(area: Tensor, template: Tensor) -> Tensor:
    """<window of `area`, `template`> at every whole-pixel position of the window, summed over channels."""
    size = (area.shape[-2], area.shape[-1])
    spectrum = torch.fft.rfft2(area) * torch.fft.rfft2(template, s=size).conj()
    # The FFT wraps around only at positions that are cut off here: the window would leave the area there.
    table = torch.fft.irfft2(spectrum.sum(dim=0), s=size)
    return table[: size[0] - template.shape[-2] + 1, : size[1] - template.shape[-1] + 1]


def _box_sums(values: Tensor, size: torch.Size) -> Tensor:
    """Sum of `values` (C, H, W) over every window of `size` (h, w), all channels: (H - h + 1, W - w + 1)."""
    summed = pad(values.sum(dim=0).cumsum(dim=0), (0, 0, 1, 0))  # (H + 1, W)
    bands = summed[size[0] :] - summed[: -size[0]]  # (H - h + 1, W)
    summed = pad(bands.cumsum(dim=1), (1, 0))  # (H - h + 1, W + 1)
    return summed[:, size[1] :] - summed[:, : -size[1]]


def _window_at(area: Tensor, shift: list[float], search: int) -> Tensor:
    """The window of `area` (C, h + 2 search, w + 2 search) at `shift` from the centre: (C, h, w)."""
    dy, dx = (math.floor(s) for s in shift)
    moved = _shift_fraction(area, shift[0] - dy, shift[1] - dx)
    height, width = (side - 2 * search for side in area.shape[-2:])
    top, left = search + dy, search + dx
    return moved[:, top : top + height, left : left + width]
