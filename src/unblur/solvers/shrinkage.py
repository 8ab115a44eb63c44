"""Proximal maps: `argmin_w  penalty(w) + beta / 2 (w - v)^2`, elementwise."""

from __future__ import annotations

import torch
from torch import Tensor


def isotropic_soft_threshold(field: Tensor, threshold: float) -> Tensor:
    """The proximal map of `threshold |(dx, dy)|_2` for a gradient field `(2, ...)` (isotropic TV)."""
    norm = field.square().sum(0, keepdim=True).sqrt()
    return field * (1 - threshold / norm.clamp_min(threshold))


def hard_threshold(field: Tensor, threshold: float) -> Tensor:
    """The proximal map of the L0 norm of a gradient field `(2, ...)`: keep where `|g|^2 >= threshold`.

    Xu, Lu, Xu, Jia 2011, "Image smoothing via L0 gradient minimization", Eq. 12.
    """
    return field * (field.square().sum(0, keepdim=True) >= threshold)


def power_shrink(v: Tensor, weight: float, exponent: float, newton_steps: int = 4) -> Tensor:
    """The proximal map of `weight |w|^exponent` (beta = 1), 0 < exponent < 1.

    Krishnan & Fergus 2009 (Eq. 5) find the roots of a polynomial for the exponents 1/2 and 2/3; here
    the same minimiser is found for any exponent. On w > 0 the derivative
    `w - |v| + weight * exponent * w^(exponent - 1)` is convex and Newton's method from `|v|` decreases
    to the larger root; 0 is the better minimiser below a threshold known in closed form. Differentiable in `v`.
    """
    a = exponent
    # Below this |v| the minimiser is 0 (from f(w) = f(0) and f'(w) = 0 together).
    w_jump = (2 * weight * (1 - a)) ** (1 / (2 - a))
    v_jump = w_jump + weight * a * w_jump ** (a - 1)
    with torch.no_grad():
        magnitude = v.abs().clamp_min(v_jump)
        w = magnitude.clone()
        for _ in range(newton_steps):
            power = weight * a * w.pow(a - 2)
            w -= (w - magnitude + power * w) / (1 + (a - 1) * power)
        w = torch.where(v.abs() > v_jump, w * v.sign(), 0.0)
    if not v.requires_grad:
        return w
    with torch.no_grad():  # dw/dv from differentiating the stationarity condition, 0 where w is
        slope = torch.where(w == 0, 0.0, 1 / (1 + (a - 1) * weight * a * w.abs().pow(a - 2)))
    return w + slope * (v - v.detach())
