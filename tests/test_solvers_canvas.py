"""Derivatives have the adjoints and symbols they claim; a photo's pixels never see the canvas wrap around."""

import numpy as np
import pytest
import torch

from helpers import hook_psf
from unblur.imaging.convolution import convolve
from unblur.solvers.canvas import (
    Canvas,
    curvature,
    curvature_adjoint,
    doubled,
    gradient,
    gradient_adjoint,
    gradient_power,
)

SHAPES = [(9, 14), (14, 9), (7, 11), (8, 12)]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def asymmetric_psf(h: int = 5, w: int = 7, batch: int | None = None) -> torch.Tensor:
    psf = noise(batch or 1, 1, h, w, seed=1).square()
    psf = psf / psf.sum((-2, -1), keepdim=True)
    return psf if batch else psf[0, 0]


# --- derivatives ----------------------------------------------------------------------------------


def test_the_gradient_is_the_difference_to_the_next_pixel_right_and_down_round_the_end():
    x = noise(1, 1, 5, 6)
    dx, dy = gradient(x)
    for i in range(5):
        for j in range(6):
            assert dx[0, 0, i, j] == x[0, 0, i, (j + 1) % 6] - x[0, 0, i, j]
            assert dy[0, 0, i, j] == x[0, 0, (i + 1) % 5, j] - x[0, 0, i, j]


def test_the_curvature_is_the_second_difference_along_x_along_y_and_across():
    x = noise(5, 6)
    xx, yy, xy = curvature(x[None, None])[:, 0, 0]
    for i in range(5):
        for j in range(6):
            below, right = (i + 1) % 5, (j + 1) % 6
            assert xx[i, j] == pytest.approx(2 * x[i, j] - x[i, j - 1] - x[i, right])
            assert yy[i, j] == pytest.approx(2 * x[i, j] - x[i - 1, j] - x[below, j])
            assert xy[i, j] == pytest.approx(x[below, right] - x[below, j] - x[i, right] + x[i, j])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    ("derivative", "adjoint"), [(gradient, gradient_adjoint), (curvature, curvature_adjoint)], ids=["first", "second"]
)
def test_a_derivatives_adjoint_is_its_adjoint(derivative, adjoint, shape):
    x = noise(2, 3, *shape)
    forward = derivative(x)
    y = noise(*forward.shape, seed=2)
    torch.testing.assert_close((forward * y).sum(), (x * adjoint(y)).sum(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_gradient_power_is_the_symbol_of_gradient_adjoint_of_gradient(shape):
    x = noise(1, 2, *shape)
    by_symbol = torch.fft.irfft2(gradient_power(shape, x) * torch.fft.rfft2(x), s=shape)
    torch.testing.assert_close(by_symbol, gradient_adjoint(gradient(x)), rtol=1e-9, atol=1e-12)


def test_the_square_of_gradient_power_is_the_symbol_of_the_curvature_with_the_mixed_part_twice():
    """`|Dxx|^2 + |Dyy|^2 + 2 |Dxy|^2 = (|Dx|^2 + |Dy|^2)^2`."""
    x = noise(1, 1, 9, 14)
    field = curvature(x)
    field[2] *= 2
    by_symbol = torch.fft.irfft2(gradient_power((9, 14), x).square() * torch.fft.rfft2(x), s=(9, 14))
    torch.testing.assert_close(by_symbol, curvature_adjoint(field), rtol=1e-9, atol=1e-12)


# --- the photo on its canvas ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [(16, 21), (17, 20), (23, 23), (30, 31)], ids=str)
@pytest.mark.parametrize("psf_size", [(1, 1), (5, 7), (9, 3)], ids=str)
def test_observed_pixels_see_a_larger_scene_and_never_its_wrap_around(size, psf_size):
    psf = asymmetric_psf(*psf_size)
    canvas = Canvas.around(noise(1, 2, *size), psf)
    scene = noise(1, 2, *canvas.shape, seed=3)
    seen = canvas.crop(canvas.blur(scene))
    for boundary in ("zero", "replicate"):  # whatever lies beyond the canvas
        torch.testing.assert_close(seen, canvas.crop(convolve(scene, psf, boundary)), rtol=0, atol=1e-12)
    top, left = ((canvas.mask[0, 0].sum(axis) > 0).nonzero()[0].item() for axis in (1, 0))
    reach_y, reach_x = psf_size[0] // 2, psf_size[1] // 2
    around = scene[..., top - reach_y : top + size[0] + reach_y, left - reach_x : left + size[1] + reach_x]
    torch.testing.assert_close(seen, convolve(around, psf, "valid"), rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(16, 21), (17, 20), (23, 23)], ids=str)
def test_crop_undoes_the_placement_and_only_the_photo_is_observed(size):
    photo = noise(2, 3, *size)
    canvas = Canvas.around(photo, asymmetric_psf())
    assert torch.equal(canvas.crop(canvas.blurry), photo)
    assert canvas.crop(canvas.mask).eq(1).all()
    assert canvas.mask.sum() == photo.numel()
    assert canvas.mask.shape == canvas.blurry.shape == (2, 3, *canvas.shape)


def test_beyond_its_borders_the_photo_goes_on_with_its_nearest_pixels():
    photo = noise(1, 1, 12, 13)
    canvas = Canvas.around(photo, asymmetric_psf())
    assert torch.equal(canvas.blurry[..., 0, 0], photo[..., 0, 0])
    assert torch.equal(canvas.blurry[..., -1, -1], photo[..., -1, -1])
    assert torch.equal(canvas.crop(canvas.blurry.roll(1, -2))[..., 0, :], photo[..., 0, :])


def test_pixels_not_to_be_trusted_are_not_observed():
    photo, trusted = noise(1, 3, 12, 13), noise(1, 3, 12, 13, seed=5) > 0
    canvas = Canvas.around(photo, asymmetric_psf(), trusted)
    assert torch.equal(canvas.crop(canvas.mask), trusted.double())
    assert canvas.mask.sum() == trusted.sum()


def test_every_picture_of_a_batch_may_have_its_own_psf():
    photos, psfs = noise(2, 3, 12, 13), asymmetric_psf(batch=2)
    canvas = Canvas.around(photos, psfs)
    scene = noise(2, 3, *canvas.shape, seed=3)
    for number in range(2):
        alone = convolve(scene[number : number + 1], psfs[number, 0], "circular")
        torch.testing.assert_close(canvas.blur(scene)[number : number + 1], alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(20, 24), (22, 28)], ids=str)
def test_at_half_the_size_low_frequencies_are_blurred_alike(size):
    photo, psf = noise(1, 1, *size), asymmetric_psf()
    canvas = Canvas.circular(photo, psf)
    half = canvas.halved()
    assert half.shape == (size[0] // 2, size[1] // 2)
    rows, columns = (torch.arange(side).double() / side for side in size)
    wave = torch.cos(2 * torch.pi * (3 * rows[:, None] + 2 * columns))[None, None]
    expected = torch.nn.functional.avg_pool2d(canvas.blur(wave), 2)
    torch.testing.assert_close(half.blur(torch.nn.functional.avg_pool2d(wave, 2)), expected, rtol=0, atol=1e-12)


def test_at_half_the_size_a_pixel_is_observed_where_all_four_were():
    photo, trusted = noise(1, 1, 14, 18), torch.ones(1, 1, 14, 18, dtype=torch.bool)
    trusted[..., 5, 7] = False
    canvas = Canvas.around(photo, asymmetric_psf(), trusted)
    half = canvas.halved()
    observed = canvas.mask[0, 0].unfold(0, 2, 2).unfold(1, 2, 2).amin((-2, -1))  # (H'/2, W'/2)
    assert torch.equal(half.mask[0, 0], observed)
    assert torch.equal(half.crop(half.blurry), half.blurry)


def test_half_the_size_and_back_is_the_same_place():
    ramp = torch.linspace(0, 1, 24)[:, None] * torch.linspace(1, 2, 28)
    again = doubled(Canvas.circular(ramp[None, None], torch.ones(1, 1)).halved().blurry)
    torch.testing.assert_close(again[0, 0, 4:-4, 4:-4], ramp[4:-4, 4:-4], atol=1e-3, rtol=0)


def test_a_circular_canvas_is_the_photo_itself_and_wraps_around():
    photo, psf = noise(1, 2, 15, 18), asymmetric_psf()
    canvas = Canvas.circular(photo, psf)
    assert canvas.shape == (15, 18)
    assert torch.equal(canvas.crop(canvas.blurry), photo)
    assert canvas.mask.eq(1).all()
    torch.testing.assert_close(canvas.blur(photo), convolve(photo, psf, "circular"), rtol=0, atol=1e-12)


# --- its operators --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(16, 21), (17, 20), (23, 24)], ids=str)
def test_correlate_is_the_adjoint_of_blur(size):
    canvas = Canvas.circular(noise(2, 3, *size), asymmetric_psf())
    x, y = noise(2, 3, *size, seed=2), noise(2, 3, *size, seed=3)
    torch.testing.assert_close((canvas.blur(x) * y).sum(), (x * canvas.correlate(y)).sum(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("size", [(16, 21), (17, 20), (23, 24)], ids=str)
def test_the_normal_equations_are_those_of_the_masked_blur(size):
    photo = noise(1, 2, *size)
    canvas = Canvas.around(photo, asymmetric_psf(), noise(*photo.shape, seed=4) > -1)
    x = noise(1, 2, *canvas.shape, seed=2)
    normal = canvas.inverse(canvas.masked_normal(canvas.forward(x)))
    torch.testing.assert_close(normal, canvas.correlate(canvas.mask * canvas.blur(x)), rtol=0, atol=1e-12)
    right = canvas.inverse(canvas.adjoint_of_data())
    torch.testing.assert_close(right, canvas.correlate(canvas.mask * canvas.blurry), rtol=0, atol=1e-12)
    misfit = (canvas.mask * canvas.blur(x)).square().sum()
    torch.testing.assert_close((x * normal).sum(), misfit, rtol=1e-9, atol=0)


@pytest.mark.parametrize("size", SHAPES, ids=str)
def test_inner_is_the_inner_product_of_pictures_for_even_and_odd_widths(size):
    """Up to the constant of the Fourier transform, the number of pixels."""
    canvas = Canvas.circular(noise(2, 3, *size), asymmetric_psf())
    x, y = noise(2, 3, *size, seed=2), noise(2, 3, *size, seed=3)
    inner = canvas.inner(canvas.forward(x), canvas.forward(y))
    assert inner.shape == (2, 3, 1, 1)
    expected = (x * y).sum((-2, -1), keepdim=True) * np.prod(size)
    torch.testing.assert_close(inner, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_batch_is_transformed_to_the_bits_of_its_pictures(channels):
    photos = torch.rand(2, channels, 64, 56, generator=torch.Generator().manual_seed(0))
    together = Canvas.around(photos, hook_psf()).blur(Canvas.around(photos, hook_psf()).blurry)
    for number, photo in enumerate(photos.split(1)):
        alone = Canvas.around(photo, hook_psf())
        assert torch.equal(together[number : number + 1], alone.blur(alone.blurry))
