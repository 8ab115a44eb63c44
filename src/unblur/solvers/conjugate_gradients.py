"""Preconditioned conjugate gradients (Hestenes & Stiefel 1952) for a batch of linear systems."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from unblur.types import Progress


def conjugate_gradients(
    operator: Callable[[Tensor], Tensor],
    right: Tensor,
    start: Tensor,
    *,
    preconditioner: Tensor | float,
    inner: Callable[[Tensor, Tensor], Tensor],
    steps: int,
    progress: Progress | None = None,
) -> Tensor:
    """Solve `operator(x) = right` approximately for a symmetric positive definite operator.

    Each system of the batch has its own step lengths. A system stops changing when its residual is as small as the
    rounding error, or when rounding makes the curvature `<p, A p>` along the search direction `p` zero or negative.
    The result is differentiable.

    Args:
        operator: `A`; maps a tensor to one of the same shape.
        right: the right sides, real or complex.
        start: the first iterates, same shape.
        preconditioner: diagonal approximation of the inverse of `A`; multiplies the residuals.
        inner: computes the real inner product of each system, in a shape that broadcasts against `right`.
        steps: number of iterations.
        progress: advanced once per iteration.

    Returns:
        The last iterates, same shape.
    """
    x = start
    residual = right - operator(x)
    direction = z = residual * preconditioner
    energy = inner(residual, z)  # squared norm of the residual
    rounding = torch.finfo(energy.dtype).eps ** 2 * inner(right, right * preconditioner)
    active = energy > rounding
    for step in range(steps):
        image = operator(direction)
        curvature = inner(direction, image)
        active = active & (energy > rounding) & (curvature > 0)
        length = _quotient(energy, curvature, active)
        x = torch.addcmul(x, length, direction)  # x + length * direction, without a temporary array
        if progress is not None:
            progress.advance()
        if step == steps - 1:
            break
        residual = torch.addcmul(residual, -length, image)
        z = residual * preconditioner
        energy, previous = inner(residual, z), energy
        direction = torch.addcmul(z, _quotient(energy, previous, active), direction)
    return x


def _quotient(a: Tensor, b: Tensor, where: Tensor) -> Tensor:
    """Compute `a / b` where `where` is True, and 0 elsewhere."""
    # b may be 0 elsewhere; a division by it would make the gradient NaN.
    return torch.where(where, a, 0.0) / torch.where(where, b, 1.0)
