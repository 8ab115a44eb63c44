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

    Every system of the batch has its own step lengths. A system keeps its iterate for the remaining steps once its
    residual is at the level of rounding, or once rounding makes the curvature `<p, A p>` along its search direction
    `p` zero or negative. Differentiable.

    Args:
        operator: `A`, maps a tensor to one of the same shape.
        right: the right sides, real or complex.
        start: the first iterates, same shape.
        preconditioner: an approximate inverse of `A` that is diagonal; multiplies residuals.
        inner: the inner product of each system, real, in a shape that broadcasts against `right`.
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
        x = torch.addcmul(x, length, direction)  # x + length * direction in one pass over memory
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
    """`a / b`, 0 elsewhere; without a division by 0 there, which would make the gradient NaN."""
    return torch.where(where, a, 0.0) / torch.where(where, b, 1.0)
