"""The ratio of two spectra (Miao & Zhu, Eq. 7) against numpy in float64, and the PSF that it finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from helpers import blurred_scene, hook_psf, structured_picture
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import delta_psf, gaussian_psf
from unblur.metrics import kernel_similarity
from unblur.solvers.l0 import periodic_extension
from unblur.solvers.psf_fit import prune
from unblur.solvers.spectral_ratio import spectral_ratio


@pytest.mark.parametrize("regularisation", [1e-3, 0.1, 10.0])
def test_it_is_the_regularised_ratio_that_numpy_computes(regularisation):
    scene = blurred_scene(37, 44, sigma=0.01)
    found = spectral_ratio(scene.blurry.double(), scene.sharp.double(), 13, regularisation)
    B1, I1 = (
        np.fft.fft2(periodic_extension(picture - picture.mean(), 7)[0, 0].numpy())
        for picture in (scene.blurry.double(), scene.sharp.double())
    )
    power = np.abs(I1) ** 2
    lags = np.fft.ifft2(I1.conj() * B1 / (power + regularisation * power.mean())).real
    positive = np.fft.fftshift(lags)
    middle_y, middle_x = positive.shape[0] // 2, positive.shape[1] // 2
    positive = positive[middle_y - 6 : middle_y + 7, middle_x - 6 : middle_x + 7].clip(0)
    torch.testing.assert_close(found, prune(torch.from_numpy(positive)), atol=1e-9, rtol=0)


@pytest.mark.parametrize("size", [15, 25])
def test_without_noise_it_is_the_true_psf_and_not_its_flip(size):
    scene = blurred_scene(96, 121, sigma=0.0)
    psf = spectral_ratio(scene.blurry, scene.sharp, size, 1e-3)
    assert psf.shape == (size, size) and psf.min() >= 0 and float(psf.sum()) == pytest.approx(1, abs=1e-5)
    assert kernel_similarity(psf, scene.psf) > 0.98
    assert kernel_similarity(psf, scene.psf.flip(-2, -1)) < 0.9
    inside = psf[size // 2 - 4 : size // 2 + 5, size // 2 - 5 : size // 2 + 6]
    torch.testing.assert_close(inside, hook_psf(), atol=0.02, rtol=0)  # it is in its place too


def test_a_higher_regularisation_is_smoother():
    scene = blurred_scene(96, 120, sigma=0.0)
    largest = [float(spectral_ratio(scene.blurry, scene.sharp, 15, value).max()) for value in (1e-4, 1e-2, 1.0)]
    assert largest == sorted(largest, reverse=True) and largest[0] > 1.5 * largest[-1]


def test_an_exemplar_that_is_blurred_itself_gives_a_psf_without_that_blur():
    """What the ratio is between two pictures with one blur in common: it needs a sharp picture."""
    sharp = structured_picture(96, 120)
    both = convolve(sharp, gaussian_psf(1.0))
    psf = spectral_ratio(convolve(both, gaussian_psf(1.5)), both, 15, 1e-3)
    assert kernel_similarity(psf, gaussian_psf(1.5)) > 0.97


def test_equal_pictures_and_flat_pictures_have_no_blur_between_them():
    picture = structured_picture(40, 48)
    assert float(spectral_ratio(picture, picture, 9, 1e-4)[4, 4]) > 0.9
    flat = torch.full((1, 1, 40, 48), 0.4)
    assert torch.equal(spectral_ratio(flat, flat, 9, 0.1), delta_psf(9))
