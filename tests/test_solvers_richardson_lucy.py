"""The update of Richardson and Lucy, against the matrix form in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import hook_psf, structured_picture
from unblur.imaging.convolution import convolve
from unblur.solvers.canvas import Canvas
from unblur.solvers.richardson_lucy import RichardsonLucy

BLURRY = convolve(structured_picture(12, 14), hook_psf())


def matrix(canvas: Canvas) -> np.ndarray:
    """The circular blur of the canvas, one column for each pixel."""
    height, width = canvas.shape
    points = torch.eye(height * width, dtype=torch.float64).view(-1, 1, height, width)
    otf = torch.fft.rfft2(canvas.blur(points[:1].float())).to(torch.complex128) / torch.fft.rfft2(points[:1])
    columns = torch.fft.irfft2(torch.fft.rfft2(points) * otf, s=(height, width))
    return columns.flatten(1).T.numpy()


@pytest.mark.parametrize("dark_outside", [False, True])
def test_an_update_is_the_one_of_the_papers_where_pixels_were_observed(dark_outside):
    trusted = torch.ones_like(BLURRY, dtype=torch.bool)
    trusted[..., 3:5, 6:9] = False
    canvas = Canvas.around(BLURRY, hook_psf(), trusted)
    image = canvas.blurry + 0.1
    K, mask, data, x = matrix(canvas), *(p.double().numpy().ravel() for p in (canvas.mask, canvas.blurry, image))
    correction = K.T @ (mask * data / (K @ x))
    expected = x * correction * mask if dark_outside else x * correction / (K.T @ mask)
    seen = mask > 0 if dark_outside else K.T @ mask > 0.01
    actual = RichardsonLucy.of(canvas, canvas.blurry, dark_outside=dark_outside)(image).double().numpy().ravel()
    np.testing.assert_allclose(actual[seen], expected[seen], rtol=1e-4, atol=1e-6)


def test_what_explains_the_observation_is_not_changed():
    canvas = Canvas.circular(BLURRY, hook_psf())
    image = structured_picture(12, 14)
    update = RichardsonLucy.of(canvas, canvas.blur(image))
    torch.testing.assert_close(update(image), image, rtol=1e-4, atol=0)


def test_a_pixel_of_which_no_light_was_observed_keeps_its_value():
    canvas = Canvas.around(BLURRY, hook_psf(), torch.zeros_like(BLURRY, dtype=torch.bool))
    image = canvas.blurry + 0.1
    assert torch.equal(RichardsonLucy.of(canvas, canvas.blurry)(image), image)
