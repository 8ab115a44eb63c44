"""Restore whole photos with the compact network, which restores one plane (one channel) at a time.

Colour photos are restored as luma and chroma. Chroma has less detail than red, green and blue, and more noise relative
to it. More of this noise is removed if chroma is restored separately.

`Parameters` are computed once for a whole photo, before it is divided into tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.colour import rgb_to_ycbcr, ycbcr_to_rgb
from unblur.imaging.psf import centre_psf, pad_psf, resize_psf
from unblur.methods.wiener_stack.network import CompactStack, Deconvolution, deconvolve
from unblur.solvers.canvas import doubled
from unblur.solvers.data_term import SIGMA_FLOOR, noise_sigma, unclipped
from unblur.types import Observation, Progress

LARGE_FROM = 4_000_000
"""Number of pixels above which a photo is restored in fewer passes, and its chroma at half size, if nothing else is
said. Chosen by hand."""

_COMPRESSED = 0.2 / 255  # on the [0, 1] scale: finest detail of chroma; rounding of RGB to 8 bits makes it 0.25 / 255


@dataclass(frozen=True)
class Parameters:
    """Parameters of the restoration of photos. All tiles of a photo have the same.

    Attributes:
        network: the compact network.
        luma: parameters for the luma plane, or the only plane of a grey photo.
        chroma: parameters for both chroma planes; None: the photos are grey (they may have three equal channels).
        half_chroma: whether chroma is restored at half size.
        mask_clipped: whether saturated pixels are not fitted.
    """

    network: CompactStack
    luma: Deconvolution
    chroma: Deconvolution | None
    half_chroma: bool
    mask_clipped: bool


def parameters_for(
    network: CompactStack,
    blurry: Tensor,
    sigma: float | None,
    *,
    psf_error: float,
    passes: int,
    chroma_passes: int,
    half_chroma: bool,
    mask_clipped: bool,
    dtype: torch.dtype,
) -> Parameters:
    """Compute the parameters for whole photos.

    Args:
        network: the compact network.
        blurry: photos, `(B, C, H, W)`, C = 1 or 3.
        sigma: noise level of each channel, on the [0, 1] scale; None: estimated.
        psf_error: see `Deconvolution`.
        passes: number of passes for luma.
        chroma_passes: number of passes for chroma.
        half_chroma: whether chroma is restored at half size.
        mask_clipped: whether saturated pixels are not fitted.
        dtype: number format of the network.
    """
    ratio = noise_ratio(blurry, sigma)

    def how(planes: Tensor, passes: int) -> Deconvolution:
        level = noise_level(planes, ratio)
        return Deconvolution(level, torch.full_like(level, psf_error), passes, dtype=dtype)

    if is_grey(blurry):
        return Parameters(network, how(blurry[:, :1], passes), None, False, mask_clipped)
    luma, chroma = rgb_to_ycbcr(blurry).split((1, 2), 1)
    chroma = halved(chroma) if half_chroma else chroma
    return Parameters(network, how(luma, passes), how(chroma, chroma_passes), half_chroma, mask_clipped)


def restore_photo(parameters: Parameters, blurry: Tensor, psf: Tensor, progress: Progress) -> Tensor:
    """Restore photos or tiles of them.

    Args:
        parameters: those of the whole photos.
        blurry: photos or tiles, `(B, C, H, W)`, C = 1 or 3.
        psf: their PSFs, `(B, 1, h, w)`.
        progress: advanced once per pass of each plane.

    Returns:
        `(B, C, H, W)`.
    """
    luma, chroma = parameters.luma, parameters.chroma
    progress.stage("reconstructing", luma.passes + (0 if chroma is None else 2 * chroma.passes))
    trusted = unclipped(blurry, parameters.mask_clipped)
    trusted = None if trusted is None else trusted.amin(1, keepdim=True)  # (B, 1, H, W)
    if chroma is None:
        restored = _restore(parameters.network, blurry[:, :1], psf, luma, trusted, progress)
        return restored.expand_as(blurry)
    planes = rgb_to_ycbcr(blurry)
    sharp_luma = _restore(parameters.network, planes[:, :1], psf, luma, trusted, progress)
    if not parameters.half_chroma:
        sharp_chroma = _restore(parameters.network, planes[:, 1:], psf, chroma, trusted, progress)
        return ycbcr_to_rgb(torch.cat((sharp_luma, sharp_chroma), 1))
    trusted = None if trusted is None else halved(trusted.to(blurry)) == 1
    half_psf = torch.stack([resize_psf(one[0], 0.5)[None] for one in psf])
    sharp_chroma = _restore(parameters.network, halved(planes[:, 1:]), half_psf, chroma, trusted, progress)
    sharp_chroma = doubled(sharp_chroma)[..., : blurry.shape[-2], : blurry.shape[-1]]
    return ycbcr_to_rgb(torch.cat((sharp_luma, sharp_chroma), 1))


def _restore(
    network: CompactStack,
    planes: Tensor,
    psf: Tensor,
    how: Deconvolution,
    trusted: Tensor | None,
    progress: Progress,
) -> Tensor:
    """Restore planes `(B, P, h, w)` one after the other, with the PSF of their photo; `trusted` is `(B, 1, h, w)`."""
    moved, shifts = centred(psf)
    sharp = [
        deconvolve(network, plane, moved, how, trusted=trusted, shifts=shifts, progress=progress)
        for plane in planes.split(1, 1)
    ]
    return torch.cat(sharp, 1)


def is_grey(blurry: Tensor) -> bool:
    """Whether all channels of all photos are equal."""
    return bool((blurry == blurry[:, :1]).all())


def has_coarse_chroma(blurry: Tensor) -> bool:
    """Whether chroma of photos `(B, C, H, W)` is better restored at half size: of large photos and JPEG files."""
    return blurry.shape[-2] * blurry.shape[-1] > LARGE_FROM or (blurry.shape[1] == 3 and chroma_was_compressed(blurry))


def chroma_was_compressed(blurry: Tensor) -> bool:
    """Whether photos of 8 bits were decoded from chroma without detail down to single pixels, as from most JPEG files.

    Rounding red, green and blue to 8 bits adds noise to chroma where these vary. If there is less, chroma was smoother
    before. Photos of a batch are decided together.

    Args:
        blurry: `(B, 3, H, W)`, [0, 1].
    """
    if min(blurry.shape[-2:]) < 2 or float((255 * blurry - (255 * blurry).round()).abs().max()) > 1e-3:
        return False
    across, down = (blurry.diff(dim=axis).abs().amax(1) for axis in (-1, -2))  # (B, H, W - 1), (B, H - 1, W)
    varies = across[:, 1:] + across[:, :-1] + down[..., 1:] + down[..., :-1] > 0  # (B, H - 1, W - 1)
    chroma = rgb_to_ycbcr(blurry)[:, 1:]
    finest = chroma.diff(dim=-1).diff(dim=-2).abs() / 2  # (B, 2, H - 1, W - 1)
    return bool(varies.any()) and all(float(plane[varies].median()) < _COMPRESSED for plane in finest.unbind(1))


def noise_ratio(blurry: Tensor, sigma: float | None) -> Tensor:
    """Compute the ratio of the given to the estimated noise level of photos: `(B, 1, 1, 1)`; 1 if none is given."""
    return blurry.new_ones(()) if sigma is None else sigma / noise_sigma(Observation(blurry=blurry))


def noise_level(planes: Tensor, ratio: Tensor) -> Tensor:
    """Compute the noise level of planes `(B, P, H, W)`: the estimate times the `noise_ratio`; `(B, 1, 1, 1)`."""
    return (ratio.to(planes) * noise_sigma(Observation(blurry=planes))).clamp_min(SIGMA_FLOOR)


def centred(psf: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
    """Centre PSFs `(B, 1, h, w)` by whole pixels.

    Returns:
        PSFs `(B, 1, s, s)`, and the shift `(down, right)` in pixels for each picture restored with them.
    """
    moved = [centre_psf(one[0]) for one in psf]
    side = max(max(one.shape) for one, _ in moved)
    return torch.stack([pad_psf(one, side) for one, _ in moved])[:, None], [(round(y), round(x)) for _, (y, x) in moved]


def halved(planes: Tensor) -> Tensor:
    """Compute the means of 2 x 2 pixels: `(B, P, H, W)` -> `(B, P, ceil(H / 2), ceil(W / 2))`."""
    height, width = planes.shape[-2:]
    return F.avg_pool2d(F.pad(planes, (0, width % 2, 0, height % 2), "replicate"), 2)
