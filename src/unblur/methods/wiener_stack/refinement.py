"""A better PSF than the one that was given.

With a PSF that is a little wrong the network still draws edges that are nearly right, because it has seen how edges
look. What those edges do not explain of the blurry picture tells how the PSF is wrong.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.colour import luminance
from unblur.methods.wiener_stack.network import CompactStack, draw
from unblur.methods.wiener_stack.planes import centred, noise_level, share_of_measured
from unblur.solvers.blind import informative_place
from unblur.solvers.canvas import Canvas
from unblur.solvers.observed import unclipped
from unblur.solvers.psf_fit import correct_psf
from unblur.types import Progress

_AREA = 512  # pixels to a side that are looked at
_ROOM = 2  # pixels that a PSF may grow to each side
_UNEXPLAINED = 6.7  # noise levels: what a derivative of the blurry picture may differ by from that of the drawn one


def refined_psf(
    network: CompactStack,
    blurry: Tensor,
    psf: Tensor,
    *,
    sigma: float | None,
    doubt: float,
    finest: float,
    rounds: int,
    mask_clipped: bool,
    passes: int,
    quick: bool,
    progress: Progress,
) -> Tensor:
    """The PSF of a photo, restored and corrected in turn, from the most informative area of its luminance.

    Args:
        network: restores a plane.
        blurry: the photo, `(1, C, H, W)`, C = 1 or 3.
        psf: its PSF as it was given, `(1, 1, h, w)`.
        sigma: noise level of each channel; None: measured.
        doubt: how wrong the PSF may be, from 0 to 1.
        finest: the size in pixels of the finest error.
        rounds: times that it is corrected.
        mask_clipped: whether clipped pixels tell nothing.
        passes: times that the picture is shown to the network in each round.
        quick: whether the network calculates in bfloat16.
        progress: hears of each pass.

    Returns:
        `(1, 1, h', w')`, two pixels larger on each side, with the middle where it was.
    """
    progress.stage("refining the PSF", passes * rounds)
    grey = luminance(blurry)  # (1, 1, H, W)
    level = noise_level(grey, share_of_measured(blurry, sigma))  # (1, 1, 1, 1)
    rows, columns = informative_place(grey, _AREA)
    area = grey[..., rows, columns]
    trusted = unclipped(blurry[..., rows, columns], mask_clipped)
    trusted = None if trusted is None else trusted.amin(1, keepdim=True)  # (1, 1, h, w)
    believed = torch.full_like(level, doubt)
    moved, (shift,) = centred(psf)
    moved = F.pad(moved.to(grey), [_ROOM] * 4)
    for _ in range(rounds):
        canvas = Canvas.around(area, moved, trusted)
        drawn = draw(network, canvas, level, believed, passes=passes, quick=quick, progress=progress)
        moved = correct_psf(canvas, drawn, moved, noise=_UNEXPLAINED * level, doubt=believed, finest=finest)
    return _moved_back(moved, shift, (psf.shape[-2], psf.shape[-1]))


def _moved_back(psf: Tensor, shift: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """A PSF with its middle where it was before `centred`, as large as it was, and room."""
    y, x = shift
    back = F.pad(psf, [abs(x), abs(x), abs(y), abs(y)]).roll((-y, -x), (-2, -1))
    over = [(now - (before | 1)) // 2 - _ROOM for now, before in zip(back.shape[-2:], size, strict=True)]
    back = F.pad(back, [-over[1], -over[1], -over[0], -over[0]])
    return back / back.sum((-2, -1), keepdim=True)
