"""Scores after a colour fit ignore colours, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import structured_picture
from unblur.metrics import psnr, with_colours_of

SHARP = structured_picture(40, 48, 3)
MATRIX = torch.tensor([[0.8, 0.1, 0.0], [0.05, 0.5, 0.1], [0.0, 0.2, 1.2]])


def recoloured(picture: torch.Tensor) -> torch.Tensor:
    return torch.einsum("dc,bchw->bdhw", MATRIX, picture) + 0.05


def test_other_colours_cost_nothing():
    assert psnr(with_colours_of(recoloured(SHARP), SHARP), SHARP.double()) > 80


def test_the_fit_is_that_of_least_squares():
    noisy = recoloured(SHARP) + 0.1 * torch.randn(SHARP.shape, generator=torch.Generator().manual_seed(0))
    values = np.concatenate((noisy[0].flatten(1).double().numpy().T, np.ones((40 * 48, 1))), 1)
    target = SHARP[0].flatten(1).double().numpy().T
    expected = values @ np.linalg.lstsq(values, target, rcond=None)[0]
    np.testing.assert_allclose(with_colours_of(noisy, SHARP)[0].flatten(1).numpy().T, expected, atol=1e-6)


def test_noise_and_shifts_cost_as_much_whatever_the_colours():
    noisy = (SHARP + 0.1 * torch.randn(SHARP.shape, generator=torch.Generator().manual_seed(0))).roll(1, -1)
    plain, other = (psnr(with_colours_of(picture, SHARP), SHARP.double()) for picture in (noisy, recoloured(noisy)))
    assert float(other) == pytest.approx(float(plain), abs=1e-3) and plain < 25


@pytest.mark.parametrize("channels", [1, 3])
def test_each_picture_of_a_batch_has_its_own_fit_and_flat_ones_get_the_mean(channels):
    sharp = structured_picture(20, 24, channels)
    flat = torch.full_like(sharp, 0.3)
    both = with_colours_of(torch.cat((0.5 * sharp, flat)), sharp.expand(2, -1, -1, -1))
    torch.testing.assert_close(both[:1], sharp.double(), atol=1e-4, rtol=0)
    expected = sharp.double().mean((-2, -1), keepdim=True).expand_as(sharp)
    torch.testing.assert_close(both[1:], expected, atol=1e-4, rtol=0)


def test_pictures_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="shapes must be equal"):
        with_colours_of(SHARP, SHARP[..., 1:])
