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
    """The PSFs of photos, restored and corrected in turn, from the most informative area of their luminance.

    Args:
        network: restores a plane.
        blurry: photos, `(B, C, H, W)`, C = 1 or 3.
        psf: their PSFs as they were given, `(B, 1, h, w)`.
        sigma: noise level of each channel; None: measured.
        doubt: how wrong the PSFs may be, from 0 to 1.
        finest: the size in pixels of the finest error.
        rounds: times that they are corrected.
        mask_clipped: whether clipped pixels tell nothing.
        passes: times that the picture is shown to the network in each round.
        quick: whether the network calculates in bfloat16.
        progress: hears of each pass.

    Returns:
        `(B, 1, h', w')`, two pixels larger on each side, with the middle where it was.
    """
    progress.stage("refining the PSF", passes * rounds)
    grey = luminance(blurry)  # (B, 1, H, W)
    places = [informative_place(one[None], _AREA) for one in grey]
    level = noise_level(grey, share_of_measured(blurry, sigma))  # (B, 1, 1, 1)
    trusted = unclipped(_cut(blurry, places), mask_clipped)  # (B, C, h, w)
    trusted = None if trusted is None else trusted.amin(1, keepdim=True)
    believed = torch.full_like(level, doubt)
    moved, shifts = centred(psf)
    moved = F.pad(moved.to(grey), [_ROOM] * 4)
    for _ in range(rounds):
        canvas = Canvas.around(_cut(grey, places), moved, trusted)
        drawn = draw(network, canvas, level, believed, passes=passes, quick=quick, progress=progress)
        moved = correct_psf(canvas, drawn, moved, noise=_UNEXPLAINED * level, doubt=believed, finest=finest)
    return _moved_back(moved, shifts, (psf.shape[-2], psf.shape[-1]))


def _moved_back(psf: Tensor, shifts: list[tuple[int, int]], size: tuple[int, int]) -> Tensor:
    """PSFs with their middle where it was before `centred`, as large as they were, and room."""
    reach = [max(abs(shift[axis]) for shift in shifts) for axis in (0, 1)]
    wide = F.pad(psf, [reach[1], reach[1], reach[0], reach[0]])
    back = torch.stack([one.roll((-y, -x), (-2, -1)) for one, (y, x) in zip(wide, shifts, strict=True)])
    over = [(now - (before | 1)) // 2 - _ROOM for now, before in zip(back.shape[-2:], size, strict=True)]
    back = F.pad(back, [-over[1], -over[1], -over[0], -over[0]])
    return back / back.sum((-2, -1), keepdim=True)


def _cut(pictures: Tensor, places: list[tuple[slice, slice]]) -> Tensor:
    """The part of each picture that lies at its place."""
    return torch.stack([one[..., rows, columns] for one, (rows, columns) in zip(pictures, places, strict=True)])
