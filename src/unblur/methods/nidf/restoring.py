"""Apply the networks of `nidf` to pictures."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from unblur.imaging.colour import luminance
from unblur.layers.precision import Precision, autocast, dtype_for
from unblur.methods.nidf.network import Nidf, network_of
from unblur.solvers.blind import informative_place
from unblur.trained import Trained
from unblur.types import Progress

TRAINED = Trained("nidf", Path(__file__).parent, network_of)

_ORDER = (0, 6, 3, 5, 2, 4, 1, 7)  # orientations, see `_turned`; the first few already differ much
_PART = 1024  # pixels: side of the part of a photo from which its PSF is estimated; chosen by hand


@torch.no_grad()
def denoise_and_deblur(
    noisy: Tensor,
    weights: Path | None,
    *,
    precision: Precision,
    orientations: int,
    progress: Progress,
    deblur: bool = True,
) -> tuple[Tensor, Tensor]:
    """Compute `B1, I1 = NIDF(N)` (Eq. 2), as the mean over rotated and mirrored copies of the picture.

    Args:
        noisy: `(B, 3, H, W)`; both sides are multiples of 16.
        weights: a file of weights; None: those in the package.
        precision: number format of the networks.
        orientations: number of copies, 1 to 8.
        progress: advanced once per copy.
        deblur: False: only `B1` is computed, and returned twice.

    Returns:
        `B1` and `I1`, `(B, 3, H, W)` each.
    """
    network = TRAINED.load(weights, noisy.device)
    assert isinstance(network, Nidf)
    progress.stage("denoising and deblurring" if deblur else "denoising", orientations)
    sums = [torch.zeros_like(noisy), torch.zeros_like(noisy)]
    for orientation in _ORDER[:orientations]:
        with autocast(noisy.device, dtype_for(precision, noisy.device)):
            denoised = network.net1(_turned(noisy, orientation))
            sharp = network.net2(denoised) if deblur else denoised
        for total, picture in zip(sums, (denoised, sharp), strict=True):
            total += _turned_back(picture.float(), orientation)
        progress.advance()
    B1, I1 = (total / orientations for total in sums)
    return B1, I1


def informative_part(photo: Tensor) -> Tensor:
    """The part of a photo `(1, 3, H, W)` from which its PSF is estimated: at most 1024 x 1024 pixels."""
    rows, columns = informative_place(luminance(photo), _PART)
    part = photo[..., rows, columns]
    height, width = part.shape[-2:]
    return part[..., : max(height // 16, 1) * 16, : max(width // 16, 1) * 16]


def _turned(picture: Tensor, orientation: int) -> Tensor:
    """A picture rotated by `orientation % 4` right angles, and mirrored if `orientation` is 4 or more."""
    turned = picture.rot90(orientation % 4, (-2, -1))
    return turned.flip(-1) if orientation >= 4 else turned


def _turned_back(picture: Tensor, orientation: int) -> Tensor:
    """Undo `_turned`."""
    turned = picture.flip(-1) if orientation >= 4 else picture
    return turned.rot90(-(orientation % 4), (-2, -1))
