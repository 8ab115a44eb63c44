"""Each proximal map against a search for the minimum of what it says it minimises."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from unblur.solvers.shrinkage import isotropic_soft_threshold, power_shrink


def searched(v: float, penalty) -> float:
    """`argmin_w penalty(|w|) + (w - v)^2 / 2` by a fine grid, then a line search in the best cell."""

    def cost(w):
        return penalty(np.abs(w)) + (w - v) ** 2 / 2

    grid = np.linspace(0, v, 2001) if v else np.zeros(1)
    best = int(np.argmin(cost(grid)))
    if best == 0:
        return 0.0
    low, high = sorted((grid[best - 1], grid[min(best + 1, len(grid) - 1)]))
    found = minimize_scalar(cost, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return float(min((found, grid[best], 0.0), key=cost))


def values(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


VALUES = [-3.0, -1.01, -0.6, -0.31, -0.05, 0.0, 0.02, 0.29, 0.5, 0.9, 1.5, 4.0]


@pytest.mark.parametrize("threshold", [0.1, 0.4])
def test_isotropic_soft_threshold_minimises_the_length(threshold):
    """A length does not care for direction: the best vector lies along the given one."""
    field = torch.randn(2, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.5
    field[:, 0] = 0
    shrunk = isotropic_soft_threshold(field, threshold)
    for v, w in zip(field.T, shrunk.T, strict=True):
        length = float(v.norm())
        expected = v / max(length, 1e-12) * searched(length, lambda r: threshold * r)
        torch.testing.assert_close(w, expected, rtol=0, atol=1e-6)

    def cost(w):
        return threshold * w.square().sum(0).sqrt() + (w - field).square().sum(0) / 2

    for angle in np.linspace(0, 2 * np.pi, 16):  # and no step in any direction is better
        step = 0.01 * values(np.cos(angle), np.sin(angle))[:, None]
        assert (cost(shrunk) <= cost(shrunk + step) + 1e-12).all()


@pytest.mark.parametrize("exponent", [0.3, 0.5, 2 / 3, 0.8, 0.95])
@pytest.mark.parametrize("weight", [1 / 256, 0.05, 0.4, 1.0])
def test_power_shrink_minimises_the_power(weight, exponent):
    expected = [searched(v, lambda w: weight * w**exponent) for v in VALUES]
    actual = power_shrink(values(*VALUES), weight, exponent)
    torch.testing.assert_close(actual, values(*expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("exponent", [0.5, 2 / 3, 0.8])
@pytest.mark.parametrize("weight", [1 / 256, 0.3])
def test_power_shrink_jumps_where_zero_stops_being_the_best(weight, exponent):
    """Around the jump two minima compete: neither side may be chosen a step too early or too late."""

    def is_zero(v):
        return searched(v, lambda w: weight * w**exponent) == 0

    low, high = 0.0, 4.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if is_zero(middle) else (low, middle)
    around = values(low * 0.999, low * 1.001, -low * 0.999, -low * 1.001)
    actual = power_shrink(around, weight, exponent)
    expected = values(*(searched(float(v), lambda w: weight * w**exponent) for v in around))
    assert expected.tolist()[0] == 0 and expected[1] > 0.2 * low, "the reference itself jumps here"
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)


def test_power_shrink_of_half_is_the_root_of_its_cubic():
    """Krishnan & Fergus 2009, Section 3.2: for 1/2, `sqrt(w)` solves a cubic; here by its trigonometric formula."""
    weight, v = 0.2, torch.linspace(0.6, 3, 50, dtype=torch.float64)
    # With s = sqrt(w): s^3 - v s + weight / 2 = 0, largest root.
    s = 2 * (v / 3).sqrt() * torch.cos(torch.acos(-weight / 4 * (3 / v) ** 1.5) / 3)
    torch.testing.assert_close(power_shrink(v, weight, 0.5), s.square(), rtol=1e-9, atol=0)


def test_power_shrink_in_single_precision_is_finite_and_as_good():
    v = torch.linspace(-2, 2, 4001)
    for exponent in (0.3, 0.5, 0.8, 0.99):
        for weight in (1e-6, 1 / 256, 1.0):
            single, double = power_shrink(v, weight, exponent), power_shrink(v.double(), weight, exponent)
            assert torch.isfinite(single).all()
            off = (single - double).abs() > 1e-4
            assert off.sum() <= 2, "at the jump itself rounding may decide"


@pytest.mark.parametrize("exponent", [0.5, 0.8])
@pytest.mark.parametrize("weight", [1 / 256, 0.3])
def test_the_gradient_of_power_shrink_is_that_of_finite_differences(weight, exponent):
    v = values(*VALUES).requires_grad_()
    shrunk = power_shrink(v, weight, exponent, newton_steps=20)
    shrunk.backward(torch.ones_like(shrunk))
    step = 1e-6
    with torch.no_grad():
        above, below = (power_shrink(v + sign * step, weight, exponent, newton_steps=20) for sign in (1, -1))
        torch.testing.assert_close(v.grad, (above - below) / (2 * step), rtol=1e-6, atol=1e-8)
        assert torch.equal(shrunk, power_shrink(v.detach(), weight, exponent, newton_steps=20)), "the value is the same"
    assert v.grad is not None and (v.grad == 0).any() and (v.grad > 1).any(), "zeros stay zero, the rest moves faster"


def test_the_gradient_of_power_shrink_in_single_precision_is_finite():
    v = torch.linspace(-2, 2, 4001).requires_grad_()
    for exponent in (0.3, 0.8, 0.99):
        for weight in (1e-6, 1 / 256, 1.0):
            (gradient,) = torch.autograd.grad(power_shrink(v, weight, exponent).sum(), v)
            assert torch.isfinite(gradient).all() and (gradient >= 0).all()
