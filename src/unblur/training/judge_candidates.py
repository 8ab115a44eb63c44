"""Candidates of all kinds that the judge meets: restored with right and wrong PSFs, by several methods."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur import methods
from unblur.imaging.colour import luminance
from unblur.imaging.psf import resize_psf
from unblur.imaging.trajectory import shake_psf
from unblur.metrics import align, psnr_aligned
from unblur.solvers.l0 import L0Search, search_psf
from unblur.solvers.psf_between import psf_between
from unblur.solvers.psf_fit import tidy
from unblur.types import Observation, Progress

RUNGS = ((15, 4e-3), (27, 2e-3), (27, 4e-3), (35, 4e-3), (51, 4e-3), (71, 4e-3), (91, 4e-3))
"""PSF sizes in pixels and L0 weights of the searches, as in `solvers.blind` and beyond."""

_SEARCHES = 4  # searches for each photo
CANDIDATES = _SEARCHES + 2
"""Candidates of each photo."""

_QUICK, _THOROUGH = "hyper_laplacian", "wiener_stack"
_TRUE_SIZE, _SMOOTHNESS = 93, 1e-2  # of the PSF between the sharp picture and the photo


@dataclass(frozen=True)
class Candidate:
    """A restored picture.

    Attributes:
        restored: its luminance, `(1, 1, H, W)`.
        psf: the PSF that it was restored with, `(h, w)`; None: none.
    """

    restored: Tensor
    psf: Tensor | None


def make_candidates(photo: Tensor, sharp: Tensor, generator: torch.Generator) -> list[Candidate]:
    """Restore a photo in `CANDIDATES` ways.

    The first four have PSFs that `search_psf` finds at four sizes. The fifth has the PSF between the sharp picture and
    the photo, or a wrong copy of another PSF. The last one is restored by another method, with one of these PSFs or
    without.

    Args:
        photo: `(1, 3, H, W)`, [0, 1].
        sharp: the sharp picture, same shape.
        generator: random generator.
    """
    grey = luminance(photo)
    rungs = torch.randperm(len(RUNGS), generator=generator)[:_SEARCHES].tolist()
    psfs = [_searched(grey, *RUNGS[rung]) for rung in sorted(rungs)]
    psfs.append(_other_psf(grey, luminance(sharp), psfs, generator))
    made = [Candidate(_restored(_QUICK, grey, psf), psf) for psf in psfs]
    kind = _rand(generator)
    if kind < 0.5:
        psf = psfs[int(torch.randint(len(psfs), (), generator=generator))]
        return [*made, Candidate(_restored(_THOROUGH, grey, psf), psf)]
    name = "two_way" if kind < 0.8 else "nidf"
    return [*made, Candidate(_restored(name, photo, None), None)]


def _searched(grey: Tensor, size: int, weight: float) -> Tensor:
    return tidy(search_psf(grey, L0Search(size, weight, 0.3, 5), Progress()))


def _other_psf(grey: Tensor, sharp: Tensor, psfs: list[Tensor], generator: torch.Generator) -> Tensor:
    """The right PSF, a smaller, larger or turned copy of another one, or one that has nothing to do with the photo."""
    kind = _rand(generator)
    if kind < 0.55:
        return tidy(psf_between(sharp, grey, _TRUE_SIZE, _SMOOTHNESS))
    if kind > 0.9:
        return shake_psf(generator, 9 + 2 * int(20 * _rand(generator)))
    psf = psfs[int(torch.randint(len(psfs), (), generator=generator))]
    if kind < 0.65:
        return psf.flip(0, 1)
    scale = (0.5 + 0.35 * _rand(generator)) if kind < 0.8 else (1.15 + 0.35 * _rand(generator))
    return tidy(resize_psf(psf, scale))


def _restored(name: str, picture: Tensor, psf: Tensor | None) -> Tensor:
    """The luminance of what a method makes of a picture: `(1, 1, H, W)`."""
    planes = None if psf is None else psf[None, None]
    image = methods.get(name)(Observation(blurry=picture, psf=planes, psf_estimated=psf is not None)).image
    assert image is not None, "these methods restore pictures"
    return luminance(image)


def gain_of(restored: Tensor, grey: Tensor, sharp: Tensor, border: int) -> float:
    """By how many dB a restored picture is nearer to the sharp one than the photo, each at its best shift.

    Args:
        restored: luminance of the restored picture, `(1, 1, H, W)`.
        grey: luminance of the photo, same shape.
        sharp: luminance of the sharp picture, same shape.
        border: pixels that are not compared on each side, at least 16.
    """
    before, after = (
        float(psnr_aligned(one.clamp(0, 1), sharp, crop=border, search=16, step=0.5)) for one in (grey, restored)
    )
    return after - before


def local_errors(restored: Tensor, grey: Tensor, sharp: Tensor, border: int, cell: int) -> Tensor:
    """The squared errors of photo and restored picture in cells of `cell` px, each at its best shift: `(2, n, m)`.

    Arguments as `gain_of`.
    """
    errors = []
    for one in (grey, restored):
        aligned = align(one.clamp(0, 1), sharp, crop=border, search=16, step=0.5)
        squares = (aligned.restored - aligned.sharp).square().float()
        errors.append(F.avg_pool2d(squares, cell)[0])
    return torch.cat(errors)


def _rand(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))
