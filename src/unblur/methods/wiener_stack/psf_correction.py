"""Correct a PSF with the picture that was restored with it.

The network has learned the shape of edges, so even with a slightly wrong PSF it restores edges that are nearly right.
The restored picture is blurred again; the difference from the blurry picture shows the error of the PSF.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.colour import luminance
from unblur.methods.wiener_stack.network import CompactStack, Deconvolution, restore_canvas
from unblur.methods.wiener_stack.photo import centred, noise_level, noise_ratio
from unblur.solvers.areas import informative_place
from unblur.solvers.canvas import Canvas
from unblur.solvers.data_term import unclipped
from unblur.solvers.psf_fit import correct_psf
from unblur.types import Progress

_AREA = 512  # pixels: side of the area of the photo that is used; chosen by hand
_ROOM = 2  # pixels by which a PSF may grow on each side; chosen by hand
# In noise levels: standard deviation of the difference between a derivative of the blurry picture and that of the
# restored and blurred one (benchmarks/tune_wiener_stack.py).
_UNEXPLAINED = 6.7


def corrected_psf(
    network: CompactStack,
    blurry: Tensor,
    psf: Tensor,
    *,
    sigma: float | None,
    psf_error: float,
    finest: float,
    rounds: int,
    mask_clipped: bool,
    passes: int,
    dtype: torch.dtype,
    progress: Progress,
) -> Tensor:
    """Correct the PSF of a photo, using the most informative area of its luminance.

    Args:
        network: the compact network.
        blurry: the photo, `(1, C, H, W)`, C = 1 or 3.
        psf: its PSF, `(1, 1, h, w)`.
        sigma: noise level of each channel, on the [0, 1] scale; None: estimated.
        psf_error: expected error of the PSF, see `Deconvolution`.
        finest: smoothness of the error in pixels, see `correct_psf`.
        rounds: number of restorations, each followed by a correction.
        mask_clipped: whether saturated pixels are not fitted.
        passes: number of passes of each restoration.
        dtype: number format of the network.
        progress: advanced once per pass.

    Returns:
        `(1, 1, h', w')`, two pixels larger on each side, with the same origin.
    """
    progress.stage("correcting the PSF", passes * rounds)
    grey = luminance(blurry)  # (1, 1, H, W)
    level = noise_level(grey, noise_ratio(blurry, sigma))  # (1, 1, 1, 1)
    rows, columns = informative_place(grey, _AREA)
    area = grey[..., rows, columns]
    trusted = unclipped(blurry[..., rows, columns], mask_clipped)
    trusted = None if trusted is None else trusted.amin(1, keepdim=True)  # (1, 1, h, w)
    how = Deconvolution(level, torch.full_like(level, psf_error), passes, dtype=dtype)
    moved, (shift,) = centred(psf)
    moved = F.pad(moved.to(grey), [_ROOM] * 4)
    for _ in range(rounds):
        canvas = Canvas.around(area, moved, trusted)
        restored = restore_canvas(network, canvas, how, progress)
        moved = correct_psf(canvas, restored, moved, noise=_UNEXPLAINED * level, psf_error=how.psf_error, finest=finest)
    return _moved_back(moved, shift, (psf.shape[-2], psf.shape[-1]))


def _moved_back(psf: Tensor, shift: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Undo `centred`: move the PSF back, and crop it to `_ROOM` pixels more than its first `size` on each side."""
    y, x = shift
    back = F.pad(psf, [abs(x), abs(x), abs(y), abs(y)]).roll((-y, -x), (-2, -1))
    over = [(now - (before | 1)) // 2 - _ROOM for now, before in zip(back.shape[-2:], size, strict=True)]
    back = F.pad(back, [-over[1], -over[1], -over[0], -over[0]])
    return back / back.sum((-2, -1), keepdim=True)
