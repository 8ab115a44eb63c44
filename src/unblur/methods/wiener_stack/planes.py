"""A photo through a network that sees one plane at a time.

Colour goes through it as luma and chroma. Chroma has less detail and, next to it, more noise than red, green and blue;
apart from luma it loses more of that.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.colour import rgb_to_ycbcr, ycbcr_to_rgb
from unblur.imaging.psf import centre_psf, pad_psf, resize_psf
from unblur.methods.wiener_stack.network import CompactStack, deconvolve
from unblur.solvers.canvas import doubled
from unblur.solvers.observed import SIGMA_FLOOR, noise_sigma
from unblur.types import Observation, Progress


def restore_planes(
    network: CompactStack,
    blurry: Tensor,
    psf: Tensor,
    *,
    sigma: float | None,
    doubt: float,
    trusted: Tensor | None,
    passes: int,
    half: bool = False,
    quick: bool = False,
    progress: Progress,
) -> Tensor:
    """`(B, C, H, W)` -> the same, sharp.

    Args:
        network: restores a plane.
        blurry: photos, C = 1 or 3.
        psf: their PSFs, `(B, 1, h, w)`.
        sigma: noise level of each channel; None: measured.
        doubt: how wrong the PSFs may be, from 0 to 1.
        trusted: False where a pixel is clipped, `(B, C, H, W)`; None: none is.
        passes: times that grey or luma is shown to the network.
        half: whether chroma is restored at half the size, and in half the passes.
        quick: whether the network calculates in bfloat16.
        progress: hears of each pass of each plane.
    """
    fewer = (passes + 1) // 2 if half else passes  # of chroma
    progress.stage("reconstructing", passes + (2 * fewer if blurry.shape[1] == 3 else 0))
    share = share_of_measured(blurry, sigma)
    if blurry.shape[1] == 1:
        return _restore(network, blurry, psf, share, doubt, trusted, passes, quick, progress)
    planes = rgb_to_ycbcr(blurry)
    trusted = None if trusted is None else trusted.amin(1, keepdim=True)  # (B, 1, H, W)
    luma = _restore(network, planes[:, :1], psf, share, doubt, trusted, passes, quick, progress)
    if not half:
        trusted = None if trusted is None else trusted.expand(-1, 2, -1, -1)
        chroma = _restore(network, planes[:, 1:], psf, share, doubt, trusted, passes, quick, progress)
        return ycbcr_to_rgb(torch.cat((luma, chroma), 1))
    trusted = None if trusted is None else halved(trusted.to(blurry)).expand(-1, 2, -1, -1) == 1
    half_psf = torch.stack([resize_psf(one[0], 0.5)[None] for one in psf])
    chroma = _restore(network, halved(planes[:, 1:]), half_psf, share, doubt, trusted, fewer, quick, progress)
    return ycbcr_to_rgb(torch.cat((luma, doubled(chroma)[..., : luma.shape[-2], : luma.shape[-1]]), 1))


def _restore(
    network: CompactStack,
    planes: Tensor,
    psf: Tensor,
    share: Tensor,
    doubt: float,
    trusted: Tensor | None,
    passes: int,
    quick: bool,
    progress: Progress,
) -> Tensor:
    """Planes `(B, P, h, w)` one by one, each with the PSF of its photo; `share` times the noise that is measured."""
    level = noise_level(planes, share)
    moved, shifts = centred(psf)
    sharp = [
        deconvolve(
            network,
            planes[:, [p]],
            moved,
            level,
            torch.full_like(level, doubt),
            trusted=None if trusted is None else trusted[:, [p]],
            passes=passes,
            quick=quick,
            shifts=shifts,
            progress=progress,
        )
        for p in range(planes.shape[1])
    ]
    return torch.cat(sharp, 1)


def share_of_measured(blurry: Tensor, sigma: float | None) -> Tensor:
    """How much more noise photos have than would be measured, if someone knows it: `(B, 1, 1, 1)`, or 1 for all."""
    return blurry.new_ones(()) if sigma is None else sigma / noise_sigma(Observation(blurry=blurry))


def noise_level(planes: Tensor, share: Tensor) -> Tensor:
    """Noise in planes `(B, P, H, W)` of photos: what is measured, times the photos' `share`; `(B, 1, 1, 1)`."""
    return (share.to(planes) * noise_sigma(Observation(blurry=planes))).clamp_min(SIGMA_FLOOR)


def centred(psf: Tensor) -> tuple[Tensor, list[tuple[int, int]]]:
    """PSFs `(B, 1, h, w)` with their centres of mass at their middle pixels, and how far the results must be moved."""
    moved = [centre_psf(one[0]) for one in psf]
    side = max(max(one.shape) for one, _ in moved)
    return torch.stack([pad_psf(one, side) for one, _ in moved])[:, None], [(round(y), round(x)) for _, (y, x) in moved]


def halved(planes: Tensor) -> Tensor:
    """Means of 2 x 2 pixels: `(B, P, H, W)` -> `(B, P, ceil(H / 2), ceil(W / 2))`."""
    height, width = planes.shape[-2:]
    return F.avg_pool2d(F.pad(planes, (0, width % 2, 0, height % 2), "replicate"), 2)
