"""The classical methods against implementations that are not ours, where they solve the same problem."""

import numpy as np
import pytest
import torch

from helpers import hook_psf, observe, structured_picture
from unblur import methods
from unblur.imaging.convolution import convolve
from unblur.types import Observation

restoration = pytest.importorskip("skimage.restoration")

SIZES = [(48, 60), (49, 60), (48, 61), (51, 57)]


def blurred(size: tuple[int, int], boundary: str, sigma: float = 0.005) -> torch.Tensor:
    picture = convolve(structured_picture(*size), hook_psf(), boundary)
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))
    return (picture + sigma * noise).clamp(0, 1)


def restored(name: str, blurry: torch.Tensor, *, sigma: float | None = None, **settings) -> np.ndarray:
    observation = Observation(blurry=blurry, psf=hook_psf()[None, None], sigma=sigma)
    image = methods.get(name)(observation, settings).image
    assert image is not None
    return image[0, 0].double().numpy()


def in_double(blurry: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The picture and the PSF as scikit-image takes them."""
    return blurry[0, 0].double().numpy(), hook_psf().double().numpy()


# --- wiener -----------------------------------------------------------------------------------------


def half_spectrum_of_the_gradient(height: int, width: int) -> np.ndarray:
    """An operator whose power is that of the two first differences: `|Dx|^2 + |Dy|^2 = 4 - 2 cos - 2 cos`.

    scikit-image's own default is the Laplacian, whose power is the square of that.
    """
    fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    power = 4 - 2 * np.cos(2 * np.pi * fy) - 2 * np.cos(2 * np.pi * fx)
    return np.sqrt(np.maximum(power, 0)).astype(complex)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("strength", [0.3, 1.0, 10.0])
def test_wiener_with_a_gradient_prior_is_scikit_images_with_the_gradient_as_regulariser(size, strength):
    blurry, sigma = blurred(size, "circular"), 0.01
    image, psf = in_double(blurry)
    balance = strength * (sigma / 0.08) ** 2  # noise to signal, a photo's differences being about 0.08
    expected = restoration.wiener(image, psf, balance, reg=half_spectrum_of_the_gradient(*size), clip=False)
    actual = restored("wiener", blurry, sigma=sigma, strength=strength, boundary="circular")
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("strength", [0.3, 10.0])
def test_wiener_with_a_laplacian_prior_is_scikit_images_default(size, strength):
    """Hunt 1973: the Laplacian is kept small, its power is `|Dx^2 + Dy^2|^2`."""
    blurry, sigma = blurred(size, "circular"), 0.01
    image, psf = in_double(blurry)
    balance = strength * (sigma / 0.11) ** 2  # noise to signal, a photo's Laplacian being about 0.11
    expected = restoration.wiener(image, psf, balance, reg=half_spectrum_of_the_gradient(*size) ** 2, clip=False)
    actual = restored("wiener", blurry, prior="laplacian", sigma=sigma, strength=strength, boundary="circular")
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("snr_db", [20.0, 30.0])
def test_wiener_with_a_flat_prior_is_scikit_images_with_a_constant_regulariser(size, snr_db):
    blurry = blurred(size, "circular")
    image, psf = in_double(blurry)
    flat = np.ones((size[0], size[1] // 2 + 1), dtype=complex)
    expected = restoration.wiener(image, psf, 10 ** (-snr_db / 10), reg=flat, clip=False)
    actual = restored("wiener", blurry, prior="flat", snr_db=snr_db, boundary="circular")
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_wiener_with_a_flat_prior_takes_its_ratio_from_the_noise():
    """A photo's pixels having a standard deviation of about 0.2."""
    blurry = blurred((48, 60), "circular")
    image, psf = in_double(blurry)
    flat = np.ones((48, 31), dtype=complex)
    expected = restoration.wiener(image, psf, 2 * (0.01 / 0.2) ** 2, reg=flat, clip=False)
    actual = restored("wiener", blurry, prior="flat", sigma=0.01, strength=2.0, boundary="circular")
    np.testing.assert_allclose(actual, expected, atol=1e-4)


# --- richardson_lucy ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("iterations", [1, 30])
def test_richardson_lucy_with_the_zero_boundary_is_scikit_images(size, iterations):
    blurry = blurred(size, "zero")
    image, psf = in_double(blurry)
    expected = restoration.richardson_lucy(image, psf, num_iter=iterations, clip=False)
    actual = restored("richardson_lucy", blurry, iterations=iterations, boundary="zero")
    assert np.abs(actual - expected).max() < 1e-3


def test_the_zero_boundary_agrees_on_a_photo_whose_scene_goes_on_beyond_its_borders_too():
    """The model is wrong along the rim, where light arrives that no pixel can have sent.

    Ratios grow without bound there, and must not drown the rest in the rounding of single precision.
    """
    blurry = observe(structured_picture(56, 70), hook_psf(), sigma=0.005).blurry
    image, psf = in_double(blurry)
    expected = restoration.richardson_lucy(image, psf, num_iter=30, clip=False)
    actual = restored("richardson_lucy", blurry, iterations=30, boundary="zero")
    assert np.abs(actual - expected).max() < 1e-3


@pytest.mark.parametrize("sigma", [0.0, 0.003], ids=["clean", "noisy"])
def test_the_zero_boundary_agrees_on_stars_in_a_black_sky(sigma):
    """Where almost every reblurred value is next to nothing."""
    sky = torch.zeros(1, 1, 90, 101)
    sky[..., 10:80:13, 10:90:17] = 1.0
    noise = torch.randn(sky.shape, generator=torch.Generator().manual_seed(0))
    blurry = (convolve(sky, hook_psf(), "zero") + sigma * noise).clamp(0, 1)
    image, psf = in_double(blurry)
    expected = restoration.richardson_lucy(image, psf, num_iter=30, clip=False)
    actual = restored("richardson_lucy", blurry, iterations=30, boundary="zero")
    assert np.abs(actual - expected).max() < 1e-3


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_richardson_lucy_with_the_circular_boundary_is_the_textbooks_on_a_torus(size):
    """`x <- x * (k~ correlated with (y / (k * x)))`, from the blurry picture."""
    blurry = blurred(size, "circular")
    y, psf = in_double(blurry)
    (h, w), kernel = psf.shape, np.zeros(size)
    kernel[:h, :w] = psf
    transfer = np.fft.fft2(np.roll(kernel, (-(h // 2), -(w // 2)), (0, 1)))
    x = np.maximum(y, 1e-3)
    for _ in range(30):
        reblurred = np.fft.ifft2(transfer * np.fft.fft2(x)).real
        x = x * np.fft.ifft2(transfer.conj() * np.fft.fft2(y / reblurred)).real
    actual = restored("richardson_lucy", blurry, iterations=30, boundary="circular")
    assert np.abs(actual - x).max() < 1e-3


@pytest.mark.parametrize("boundary", ["zero", "circular"])
def test_richardson_lucy_keeps_the_light_it_was_given(boundary):
    """On a torus every iteration explains exactly the light observed; black borders lose only what crosses them."""
    scene = torch.zeros(1, 1, 40, 44)
    scene[..., 12:28, 12:32] = structured_picture(16, 20)
    blurry = convolve(scene, hook_psf(), boundary)
    image = restored("richardson_lucy", blurry, iterations=20, boundary=boundary)
    assert image.sum() == pytest.approx(float(blurry.sum()), rel=1e-2)
    assert image.min() >= 0
