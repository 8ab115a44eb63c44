"""Hasinoff et al., "Burst photography for high dynamic range and low-light imaging on mobile cameras" (HDR+, SIGGRAPH
Asia 2016): a burst of short, noisy frames is aligned and averaged.

The first frame is the reference. Each other one is aligned to it tile by tile (section 4). For each tile and each
spatial frequency `w`, the frames are averaged, and the more a frame differs from the reference, compared with the
noise, the more it is replaced by the reference (section 5, Eq. 7 and 8):

    T~0(w) = 1/N sum_z [ T_z(w) + A_z(w) (T_0(w) - T_z(w)) ],    A_z = |D_z|^2 / (|D_z|^2 + c sigma^2),  D_z = T_0 - T_z

so that what moves and could not be aligned is as noisy as before instead of doubled. Tiles overlap by half, with
raised-cosine windows.

Differences from the paper: frames are RGB or grey pictures instead of raw mosaics, so `sigma` is one number for all
tones; the reference is always the first frame; the merged picture is not denoised any further. `c` is in units of the
expected noise of `|D_z|^2`, which contains the factors that the paper lists for it; its default was chosen on 8
validation scenes with moving objects, rendered by `imaging.synthesis.moving`, and noise of .05 and .1.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from unblur.contract import Card, Method, Settings, setting
from unblur.imaging.colour import luminance
from unblur.imaging.tile_alignment import TileGrid, align_tiles
from unblur.solvers.data_term import noise_sigma
from unblur.types import Observation, Progress, Restoration


class BurstMergeSettings(Settings):
    """Settings of `burst_merge`."""

    strength: float = setting(
        32.0,
        "c: how much frames may differ; higher removes more noise, and shows more of what moved twice",
        probe=(0.5, 50.0),
        ge=0,
        le=1e6,
    )
    tile: Literal[8, 16, 32] = setting(16, "side of the tiles in pixels; 32 for strong noise", probe=(8, 32))
    align: bool = setting(True, "align the frames; False: they lie on each other already", probe=None)


def restore(observation: Observation, settings: BurstMergeSettings, progress: Progress) -> Restoration:
    """Average the frames in the place of the first one; see `BurstMergeSettings`."""
    frames = observation.frames
    assert frames is not None
    sigmas = noise_sigma(Observation(blurry=frames[:, 0], sigma=observation.sigma), blurred=False)
    progress.stage("merging the frames", frames.shape[0] * (frames.shape[1] - 1) or 1)
    if frames.shape[1] == 1:
        progress.advance()
    bursts = zip(frames, map(float, sigmas.flatten()), strict=True)
    return Restoration(image=torch.stack([merged(burst, sigma, settings, progress) for burst, sigma in bursts]))


def merged(frames: Tensor, sigma: float, settings: BurstMergeSettings, progress: Progress) -> Tensor:
    """Merge the frames of one scene.

    Args:
        frames: `(T, C, H, W)`.
        sigma: standard deviation of the noise of each frame, on the [0, 1] scale.
        settings: tiles and strength.
        progress: advanced once per frame after the first.

    Returns:
        `(C, H, W)`, the first frame with less noise.
    """
    grid = TileGrid(settings.tile, (frames.shape[-2], frames.shape[-1]))
    still = torch.zeros_like(grid.corners(frames.device))
    grey = luminance(frames)  # (T, 1, H, W)
    T_0 = torch.fft.rfft2(grid.cut(frames[0], still))  # (C, rows, columns, side, side//2 + 1)
    noise = settings.strength * 2 * (settings.tile * sigma) ** 2  # c times the expected |D_z|^2 of two equal tiles
    total = T_0.clone()
    for frame, its_grey in zip(frames[1:], grey[1:], strict=True):
        moved = align_tiles(its_grey, grey[0], grid) if settings.align else still
        T_z = torch.fft.rfft2(grid.cut(frame, moved))
        D_z = T_0 - T_z
        power = D_z.abs().square()
        A_z = power / (power + noise).clamp_min(1e-20)
        total += T_z + A_z * D_z
        progress.advance()
    tiles = torch.fft.irfft2(total / len(frames), s=(settings.tile, settings.tile))
    return grid.joined(tiles)


METHOD = Method(
    Card(
        name="burst_merge",
        title="Burst of noisy frames: aligned and averaged tile by tile",
        paper="Hasinoff et al. 2016",
        needs=frozenset({"frames"}),
        gives=frozenset({"image"}),
        undoes=frozenset({"noise"}),
        grid=32,  # pixels: of the coarsest level of the alignment
        tiling=True,
        reach=128,  # pixels: the largest displacement, about
    ),
    BurstMergeSettings,
    restore,
)
