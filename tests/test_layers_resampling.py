"""Reflected borders and doubled sizes: what torch's own functions give, to the rounding, in value and gradient."""

import pytest
import torch
import torch.nn.functional as F

from unblur.layers.resampling import double_size, reflect_pad

SIZES = [(5, 7), (2, 2), (8, 3), (1, 4), (6, 1), (1, 1)]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def padded_by_torch(x):
    """A side of 1 has nothing to mirror, and torch refuses; it is repeated."""
    rows, columns = (1 if side > 1 else 0 for side in x.shape[-2:])
    x = F.pad(x, (columns, columns, rows, rows), mode="reflect")
    return F.pad(x, (1 - columns, 1 - columns, 1 - rows, 1 - rows), mode="replicate")


def doubled_by_torch(x):
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


PAIRS = [(reflect_pad, padded_by_torch), (double_size, doubled_by_torch)]
BOTH = pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=["pad", "double"])


def gradient_of(function, x):
    """Of a sum in which every pixel of the output counts differently."""
    x = x.detach().clone().requires_grad_()
    y = function(x)
    (y * noise(*y.shape, seed=1).to(y)).sum().backward()
    assert x.grad is not None
    return x.grad


@BOTH
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_value_and_gradient_are_those_of_torch(ours, theirs, size):
    x = noise(2, 3, *size)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient_of(ours, x), gradient_of(theirs, x), rtol=1e-12, atol=1e-12)


@BOTH
@pytest.mark.parametrize("size", [(3, 5), (1, 4), (2, 1)], ids=str)
def test_the_gradient_is_that_of_finite_differences(ours, theirs, size):
    assert torch.autograd.gradcheck(ours, (noise(1, 2, *size).requires_grad_(),))


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_memory_format_and_type_do_not_matter_and_are_kept(ours, theirs, dtype):
    x = noise(1, 16, 9, 6).to(dtype)
    last = x.contiguous(memory_format=torch.channels_last)
    for function in (ours, lambda x: gradient_of(ours, x)):
        torch.testing.assert_close(function(last), function(x), rtol=0, atol=0.02 if dtype == torch.bfloat16 else 1e-6)
        assert function(last).is_contiguous(memory_format=torch.channels_last)
        assert function(last).dtype == dtype


@BOTH
@pytest.mark.parametrize("size", [(5, 6), (1, 3)], ids=str)
def test_under_vmap_every_slice_has_the_value_and_gradient_it_has_alone(ours, theirs, size):
    x = noise(3, 2, 4, *size)
    torch.testing.assert_close(torch.func.vmap(ours)(x), torch.stack([theirs(own) for own in x]))
    grown = (torch.func.vmap(ours)(x)).shape
    weights = noise(*grown, seed=1)
    leaf = x.clone().requires_grad_()
    (torch.func.vmap(ours)(leaf) * weights).sum().backward()
    for number, own in enumerate(x):
        alone = own.clone().requires_grad_()
        (theirs(alone) * weights[number]).sum().backward()
        assert leaf.grad is not None and alone.grad is not None
        torch.testing.assert_close(leaf.grad[number], alone.grad)
