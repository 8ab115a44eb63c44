"""Apply the networks of `nidf` to pictures."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from unblur.imaging.colour import luminance
from unblur.layers.orientations import mean_over_orientations
from unblur.layers.precision import Precision, autocast, dtype_for
from unblur.methods.nidf.network import Nidf, network_of
from unblur.solvers.areas import informative_place
from unblur.trained import Trained
from unblur.types import Progress

TRAINED = Trained("nidf", Path(__file__).parent, network_of, picture=lambda network, noisy: network(noisy)[1])
MULTIPLE = 16  # pixels: the compact networks reduce a picture by this factor

PART = 1024  # pixels: largest side of the part of a photo from which its PSF is estimated; chosen by hand


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
        noisy: `(B, 3, H, W)`, any H and W. For the networks, the last row and column are repeated.
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
    height, width = noisy.shape[-2:]
    padded = F.pad(noisy, (0, -width % MULTIPLE, 0, -height % MULTIPLE), "replicate")  # (B, 3, H', W')

    def apply(N: Tensor) -> tuple[Tensor, ...]:
        with autocast(N.device, dtype_for(precision, N.device)):
            made = network(N) if deblur else (network.net1(N),)
        progress.advance()
        return made

    pictures = [one[..., :height, :width] for one in mean_over_orientations(apply, [padded], orientations)]
    B1, I1 = pictures[0], pictures[-1]
    return B1, I1


def informative_part(photo: Tensor, side: int | None = None) -> Tensor:
    """The part of a photo from which a PSF is best estimated.

    Args:
        photo: `(1, C, H, W)`, C = 1 or 3.
        side: largest side of the part in pixels; None: 1024.

    Returns:
        `(1, 3, h, w)`. The channels of a grey photo are equal.
    """
    rows, columns = informative_place(luminance(photo), side or PART)
    return photo[..., rows, columns].expand(-1, 3, -1, -1)
