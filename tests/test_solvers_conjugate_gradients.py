"""Conjugate gradients stop where rounding takes over, and treat each system of a batch by itself."""

import pytest
import torch

from unblur.solvers.conjugate_gradients import conjugate_gradients


def inner(a, b):
    return (a * b).sum(-1, keepdim=True)  # (B, 1)


def solve(matrices, right, steps, start=None, preconditioner=1.0):
    """`matrices`, `(B, n, n)`; `right`, `(B, n)`."""

    def operator(x):
        return (matrices @ x[..., None])[..., 0]

    start = torch.zeros_like(right) if start is None else start
    return conjugate_gradients(operator, right, start, preconditioner=preconditioner, inner=inner, steps=steps)


def test_n_steps_solve_a_system_of_n_unknowns():
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(2, 6, 6, generator=generator, dtype=torch.float64)
    matrices = factor @ factor.mT + torch.eye(6, dtype=torch.float64)
    truth = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    solved = solve(matrices, (matrices @ truth[..., None])[..., 0], 6)
    torch.testing.assert_close(solved, truth, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("last", [0.0, -1.0, -1e-12])
def test_a_direction_without_positive_curvature_keeps_the_iterate(last):
    matrix = torch.diag(torch.tensor([1.0, 1.0, last]))[None]
    right = torch.tensor([[0.0, 0.0, 1.0]])
    start = torch.tensor([[0.3, 0.4, 0.5]])
    solved = solve(matrix, right + (matrix @ start[..., None])[..., 0], 10, start)
    assert torch.equal(solved, start)


def test_a_system_that_stops_does_not_stop_the_others_of_its_batch():
    matrices = torch.stack([torch.diag(torch.tensor([2.0, -1.0])), torch.diag(torch.tensor([2.0, 4.0]))])
    right = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    torch.testing.assert_close(solve(matrices, right, 10), torch.tensor([[0.0, 0.0], [0.5, 0.25]]))


def test_more_steps_than_a_system_needs_change_nothing():
    """Steps along the rounding errors of a residual would grow without bound."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.diag(torch.tensor([1.0, 1.0, 1.0, 1e-7, 1e-12]))[None]
    right = torch.cat((torch.rand(1, 3, generator=generator), torch.zeros(1, 2)), 1)
    solved = solve(matrix, right, 300)
    torch.testing.assert_close(solved, right, rtol=1e-6, atol=0)


def test_a_solved_system_has_a_finite_gradient():
    right = torch.zeros(1, 3, requires_grad=True)
    solve(torch.eye(3)[None], right, 5).sum().backward()
    assert right.grad is not None and right.grad.isfinite().all()
