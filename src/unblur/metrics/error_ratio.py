"""Error ratios: the error with the estimated PSF divided by the error with the true PSF.

Two definitions have been published; values of one cannot be compared with values of the other. In both, every
picture is first shifted to its own best shift (see `alignment`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from unblur.metrics.alignment import Aligned, align
from unblur.metrics.fidelity import ssd


def error_ratio_ssd(
    restored: Tensor,
    restored_with_true_psf: Tensor,
    sharp: Tensor,
    *,
    crop: int = 15,
    search: int = 5,
    step: float = 0.25,
) -> Tensor:
    """Ratio of sums of squared differences (Levin et al. 2009, sec. 5).

    Levin et al. count a ratio above 2 as a visible failure.

    Args:
        restored: the result of a blind method, `(B, C, H, W)`, floating point.
        restored_with_true_psf: the result of a non-blind method for the same photo and the true PSF. The ratio
            depends on that method: name it beside the ratio.
        sharp: the sharp picture, same shape and range.
        crop: pixels cut off every side before comparing.
        search: largest shift tried, in pixels.
        step: distance between the shifts tried, in pixels.

    Returns:
        `(B,)` float64, lower is better; 1 where both errors are equal, `inf` where only the non-blind
        result equals the sharp picture.

    Raises:
        ValueError: as `align`.
    """
    blind = align(restored, sharp, crop=crop, search=search, step=step)
    known = align(restored_with_true_psf, sharp, crop=crop, search=search, step=step)
    return _ratio(ssd(blind.restored, blind.sharp), ssd(known.restored, known.sharp))


def error_ratio_norm2(
    restored: Tensor,
    restored_with_true_psf: Tensor,
    sharp: Tensor,
    *,
    crop: int = 15,
    search: int = 5,
    step: float = 0.25,
) -> Tensor:
    """Ratio of matrix 2-norms, the largest singular values of the two difference pictures.

    The evaluation script published with Ren et al. 2020 (SelfDeblur) computes it as
    `norm(a - x) / norm(b - x)`, for grey pictures only. Here the channels of a colour picture are put side
    by side in one matrix `(H, C W)`.

    Args:
        restored: the result of a blind method, `(B, C, H, W)`, floating point.
        restored_with_true_psf: the result of a non-blind method for the same photo and the true PSF.
        sharp: the sharp picture, same shape and range.
        crop: pixels cut off every side before comparing.
        search: largest shift tried, in pixels.
        step: distance between the shifts tried, in pixels.

    Returns:
        `(B,)` float64, lower is better; 1 where both errors are equal, `inf` where only the non-blind
        result equals the sharp picture.

    Raises:
        ValueError: as `align`.
    """
    blind = align(restored, sharp, crop=crop, search=search, step=step)
    known = align(restored_with_true_psf, sharp, crop=crop, search=search, step=step)
    return _ratio(_largest_singular_value(blind), _largest_singular_value(known))


def _largest_singular_value(aligned: Aligned) -> Tensor:
    difference = aligned.restored - aligned.sharp  # (B, C, H, W)
    side_by_side = difference.transpose(1, 2).flatten(start_dim=2)  # (B, H, C W)
    # The root of the largest eigenvalue of D D^T; a full singular value decomposition takes 20 times as long.
    gram = side_by_side @ side_by_side.mT  # (B, H, H)
    return torch.linalg.eigvalsh(gram)[:, -1].clamp(min=0).sqrt()  # (B,)


def _ratio(error: Tensor, reference_error: Tensor) -> Tensor:
    """`error / reference_error`, and 1 where both are zero."""
    return torch.where(error == reference_error, 1.0, error / reference_error)  # (B,)
