"""Blur as a linear operator: `blurry = convolve(sharp, psf)`, its adjoint, and its Fourier transform.

A blur is a *convolution* (not a correlation): a bright dot at the centre of the sharp picture
becomes the PSF itself, unflipped. Images are `(B, C, H, W)`; a PSF is `(h, w)` or `(B, 1, h, w)`
with odd sides, and every channel of a picture is blurred by the same PSF.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from scipy.fft import next_fast_len
from torch import Tensor

Boundary = Literal["valid", "circular", "replicate", "zero"]
Algorithm = Literal["auto", "direct", "fft"]

# Number of PSF pixels up to which a direct convolution is faster than three FFTs (benchmarks/convolution.py).
_DIRECT_MAX_AREA = 25


def as_psf_batch(psf: Tensor) -> Tensor:
    """Convert a PSF `(h, w)` or `(B, 1, h, w)` to `(B, 1, h, w)`.

    Raises:
        ValueError: another shape, or an even side.
    """
    if psf.ndim == 2:
        psf = psf[None, None]  # (1, 1, h, w)
    if psf.ndim != 4 or psf.shape[1] != 1:
        raise ValueError(f"a PSF is (h, w) or (B, 1, h, w), not {tuple(psf.shape)}.")
    if psf.shape[-2] % 2 == 0 or psf.shape[-1] % 2 == 0:
        raise ValueError(f"a PSF must have odd sides; this one is {tuple(psf.shape[-2:])}.")
    return psf


def convolve(image: Tensor, psf: Tensor, boundary: Boundary = "replicate", algorithm: Algorithm = "auto") -> Tensor:
    """Blur `image` with `psf`: `out[p] = sum_q psf[q] image[p - q]`, where q is the offset from the PSF's middle pixel.

    Args:
        image: `(B, C, H, W)`, any float type, any range.
        psf: `(h, w)` or `(B, 1, h, w)`, odd sides.
        boundary: values outside the picture. "replicate": those of the nearest pixel; "circular": those of the
            opposite side; "zero": 0. "valid" returns only the `(H - h + 1, W - w + 1)` pixels that do not depend
            on values outside.
        algorithm: "direct" needs h*w operations per pixel, "fft" about log(HW); "auto" chooses by the size of the
            PSF. The results are equal up to rounding.

    Returns:
        `(B, C, H, W)`, or smaller for "valid".

    Raises:
        ValueError: a PSF of a wrong shape, or, with "valid", one larger than the picture.
    """
    psf = as_psf_batch(psf).to(image)  # (B, 1, h, w)
    h, w = psf.shape[-2:]
    if boundary == "valid":
        if h > image.shape[-2] or w > image.shape[-1]:
            raise ValueError(f"a {h}x{w} PSF has no valid convolution with a {tuple(image.shape[-2:])} picture.")
        padded = image
    else:
        padded = pad(image, h // 2, w // 2, boundary)  # (B, C, H + h - 1, W + w - 1)
    return _convolve_valid(padded, psf, algorithm)


def convolve_adjoint(
    image: Tensor, psf: Tensor, boundary: Boundary = "replicate", algorithm: Algorithm = "auto"
) -> Tensor:
    """Apply the adjoint of `convolve`: `<convolve(x), y> = <x, convolve_adjoint(y)>` for all x, y.

    For "circular" and "zero" boundaries this is correlation with the PSF.

    Args:
        image: `(B, C, H', W')`, of the size `convolve` returned.
        psf: `(h, w)` or `(B, 1, h, w)`.
        boundary: as given to `convolve`.
        algorithm: see `convolve`.

    Returns:
        `(B, C, H, W)`, of the size that `convolve` was given.
    """
    psf = as_psf_batch(psf).to(image)
    h, w = psf.shape[-2:]
    full = F.pad(image, (w - 1, w - 1, h - 1, h - 1))
    spread = _convolve_valid(full, psf.flip(-2, -1), algorithm)  # adjoint of the valid convolution
    if boundary == "valid":
        return spread
    return _pad_adjoint(spread, h // 2, w // 2, boundary)


def pad(image: Tensor, rows: int, columns: int, boundary: Boundary) -> Tensor:
    """Extend `image` by `rows` pixels above and below, and by `columns` pixels left and right."""
    if boundary == "zero":
        return F.pad(image, (columns, columns, rows, rows))
    if boundary == "replicate":
        return F.pad(image, (columns, columns, rows, rows), mode="replicate")
    for dim, margin in ((-2, rows), (-1, columns)):
        image = image.index_select(dim, _source_index(image.shape[dim], margin, boundary).to(image.device))
    return image


def _pad_adjoint(padded: Tensor, rows: int, columns: int, boundary: Boundary) -> Tensor:
    """Apply the adjoint of `pad`: add the value of each padded pixel to the pixel that it was copied from."""
    for dim, margin in ((-2, rows), (-1, columns)):
        size = padded.shape[dim] - 2 * margin
        if boundary == "zero":
            padded = padded.narrow(dim, margin, size)
            continue
        shape = list(padded.shape)
        shape[dim] = size
        source = _source_index(size, margin, boundary).to(padded.device)
        padded = padded.new_zeros(shape).index_add_(dim, source, padded)
    return padded


def _source_index(size: int, margin: int, boundary: Boundary) -> Tensor:
    """For each pixel of a padded line, the index of the pixel that it is a copy of: `(size + 2 margin,)`."""
    position = torch.arange(-margin, size + margin)
    return position % size if boundary == "circular" else position.clamp(0, size - 1)


def _convolve_valid(image: Tensor, psf: Tensor, algorithm: Algorithm) -> Tensor:
    h, w = psf.shape[-2:]
    if algorithm == "auto":
        algorithm = "direct" if h * w <= _DIRECT_MAX_AREA else "fft"
    batch, channels, height, width = image.shape
    if algorithm == "direct":
        weight = psf.flip(-2, -1).expand(batch, 1, h, w).repeat_interleave(channels, 0)  # (B*C, 1, h, w)
        blurred = F.conv2d(image.reshape(1, batch * channels, height, width), weight, groups=batch * channels)
        return blurred.reshape(batch, channels, height - h + 1, width - w + 1)
    shape = fast_shape(height, width)
    spectrum = torch.fft.rfft2(image, s=shape) * torch.fft.rfft2(psf, s=shape)
    return torch.fft.irfft2(spectrum, s=shape)[..., h - 1 : height, w - 1 : width]


def psf_to_otf(psf: Tensor, shape: tuple[int, int]) -> Tensor:
    """Compute the optical transfer function (OTF): the PSF's Fourier transform on the grid of a picture.

    Circular convolution becomes a product: `rfft2(convolve(x, psf, "circular")) = otf * rfft2(x)`.

    Args:
        psf: `(h, w)` or `(B, 1, h, w)`, odd sides no larger than `shape`.
        shape: `(H, W)` of the picture.

    Returns:
        `(B, 1, H, W // 2 + 1)` complex, the half spectrum of `torch.fft.rfft2`.

    Raises:
        ValueError: a PSF larger than the picture.
    """
    psf = as_psf_batch(psf)
    h, w = psf.shape[-2:]
    if h > shape[0] or w > shape[1]:
        raise ValueError(f"a {h}x{w} PSF does not fit in a {shape[0]}x{shape[1]} picture.")
    canvas = F.pad(psf, (0, shape[1] - w, 0, shape[0] - h))  # (B, 1, H, W)
    canvas = canvas.roll((-(h // 2), -(w // 2)), dims=(-2, -1))  # its centre at pixel (0, 0)
    return torch.fft.rfft2(canvas)


def otf_to_psf(otf: Tensor, shape: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Compute the inverse of `psf_to_otf`, cropped to `size` (h, w) around the middle pixel: `(B, 1, h, w)`."""
    canvas = torch.fft.irfft2(otf, s=shape)  # (B, 1, H, W)
    h, w = size
    return canvas.roll((h // 2, w // 2), dims=(-2, -1))[..., :h, :w]


def fast_shape(height: int, width: int) -> tuple[int, int]:
    """Find the smallest sizes >= (height, width) whose FFT is fast: multiples of 4 without a prime factor above 5.

    An FFT of an odd size takes twice the time, and one of a size with a prime factor of 19 or more five times.
    """
    return _fast_length(height), _fast_length(width)


def _fast_length(length: int) -> int:
    quarter = next_fast_len(-(-length // 4), real=True)
    assert quarter is not None
    return 4 * quarter


def edge_taper(image: Tensor, psf: Tensor) -> Tensor:
    """Blend the borders of `image` with a circularly blurred copy, so that opposite sides agree.

    The weight of `image` is that of MATLAB's `edgetaper`: one minus the PSF's normalised autocorrelation along each
    axis. It is 0 on the border, and 1 farther from it than the size of the PSF.

    Args:
        image: `(B, C, H, W)`.
        psf: `(h, w)` or `(B, 1, h, w)`, no larger than the picture.

    Returns:
        `(B, C, H, W)`, equal to `image` where the distance from all borders exceeds the size of the PSF.
    """
    psf = as_psf_batch(psf).to(image)
    blurred = convolve(image, psf, "circular")
    rows = _taper(psf.sum(-1), image.shape[-2])[..., :, None]  # (B, 1, H, 1)
    columns = _taper(psf.sum(-2), image.shape[-1])[..., None, :]  # (B, 1, 1, W)
    weight = rows * columns
    return weight * image + (1 - weight) * blurred


def _taper(profile: Tensor, size: int) -> Tensor:
    """Compute `1 - autocorrelation(profile) / its maximum` at the distance to the nearer end: `(B, 1, size)`."""
    spectrum = torch.fft.rfft(profile, n=max(2 * profile.shape[-1], size))
    correlation = torch.fft.irfft(spectrum.abs() ** 2, n=max(2 * profile.shape[-1], size))
    lag = torch.arange(size, device=profile.device)
    distance = torch.minimum(lag, size - 1 - lag)  # to the nearer end
    return 1 - correlation[..., distance] / correlation[..., :1]
