"""Proximal maps, `argmin_w  penalty(w) + beta / 2 (w - v)^2` for each element."""

from __future__ import annotations

import torch
from torch import Tensor


def isotropic_soft_threshold(field: Tensor, threshold: float) -> Tensor:
    """Apply the proximal map of `threshold |(dx, dy)|_2` (isotropic total variation) to a field `(2, ...)`."""
    norm = field.square().sum(0, keepdim=True).sqrt()
    return field * (1 - threshold / norm.clamp_min(threshold))


def power_shrink(v: Tensor, weight: float, exponent: float, newton_steps: int = 4) -> Tensor:
    """Apply the proximal map of `weight |w|^exponent` with beta = 1 and 0 < exponent < 1, to each element.

    It is the minimiser of Krishnan & Fergus 2009, Eq. 5, who compute it for the exponents 1/2 and 2/3 only.

    Args:
        v: any shape.
        weight: weight of the penalty.
        exponent: exponent of the penalty.
        newton_steps: steps of Newton's method.

    Returns:
        Same shape; differentiable in `v`.
    """
    # For w > 0 the derivative `w - |v| + weight * exponent * w^(exponent - 1)` is convex, so Newton's method from `|v|`
    # decreases to its larger root.
    a = exponent
    # For smaller |v| the minimiser is 0; the limit follows from f(w) = f(0) and f'(w) = 0.
    w_jump = (2 * weight * (1 - a)) ** (1 / (2 - a))
    v_jump = w_jump + weight * a * w_jump ** (a - 1)
    with torch.no_grad():
        magnitude = v.abs().clamp_min(v_jump)
        w = magnitude.clone()
        for _ in range(newton_steps):
            power = w.pow(a - 2)
            # w - (w - |v| + weight a power w) / (1 + weight a (a - 1) power), in few passes over memory
            above = torch.addcmul(magnitude, power, w, value=weight * a * (a - 2))
            w = above.div_(power.mul_(weight * a * (a - 1)).add_(1))
        w = torch.where(v.abs() > v_jump, w * v.sign(), 0.0)
    if not v.requires_grad:
        return w
    with torch.no_grad():  # dw/dv, from the derivative of the stationarity condition; 0 where w = 0
        slope = torch.where(w == 0, 0.0, 1 / (1 + (a - 1) * weight * a * w.abs().pow(a - 2)))
    return w + slope * (v - v.detach())
