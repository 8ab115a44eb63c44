"""The PSF between a sharp and a blurry picture: dense least squares in double precision, places, noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from helpers import hook_psf, observe, structured_picture
from unblur.imaging.psf import crop_psf, pad_psf
from unblur.metrics import kernel_similarity
from unblur.solvers import psf_between as solver
from unblur.solvers.psf_between import psf_between


def dense_fit(sharp: torch.Tensor, blurry: torch.Tensor, size: int, smoothness: float) -> np.ndarray:
    """Yuan et al., Eq. 4, from the gradients inside the picture: a column for each pixel of the PSF."""
    sharp, blurry = (picture[0, 0].double().numpy() for picture in (sharp, blurry))
    columns, data, energy = [], [], 0.0
    reach = size // 2
    inside = (slice(1, -1), slice(1, -1))
    slopes = {}
    for axis in (0, 1):
        for name, picture in (("sharp", sharp), ("blurry", blurry)):
            slope = np.zeros(picture.shape)
            slope[inside] = (np.roll(picture, -1, axis) - picture)[inside]
            slopes[name, axis] = np.pad(slope, reach + 1)
        data.append(slopes["blurry", axis].ravel())
        energy += (slopes["sharp", axis] ** 2).sum()
    for y in range(-reach, reach + 1):
        for x in range(-reach, reach + 1):
            columns.append(np.concatenate([np.roll(slopes["sharp", axis], (y, x), (0, 1)).ravel() for axis in (0, 1)]))
    left = np.vstack((np.stack(columns, 1), np.sqrt(smoothness * energy) * np.eye(size**2)))
    k = nnls(left, np.concatenate((*data, np.zeros(size**2))))[0].reshape(size, size)
    k[k < 0.05 * k.max()] = 0
    return k / k.sum()


def test_it_is_the_regularised_least_squares_solution():
    """A PSF that fills its square, so that the second fit has the pixels of the first."""
    psf = torch.tensor([[3.0, 1, 1], [0, 2, 0], [1, 0, 2]]) / 10
    scene = observe(structured_picture(42, 47), psf, sigma=0.005)
    expected = dense_fit(scene.sharp, scene.blurry, 3, 0.1)
    found = psf_between(scene.sharp, scene.blurry, 3, 0.1)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("sigma", [0.0, 0.02])
def test_the_true_psf_is_found_and_not_its_flip(sigma):
    scene = observe(structured_picture(130, 143), hook_psf(), sigma=sigma)
    found = psf_between(scene.sharp, scene.blurry, 33, 0.05)[None, None]
    likeness = kernel_similarity(found, scene.psf)
    assert likeness > 0.95
    assert likeness > kernel_similarity(found, scene.psf.flip(-2, -1)) + 0.1


def test_a_shift_between_the_pictures_is_in_the_psf():
    scene = observe(structured_picture(130, 143), hook_psf())
    blurry = scene.blurry.roll((6, -4), (-2, -1))
    inside = (..., slice(8, -8), slice(8, -8))
    found = psf_between(scene.sharp[inside], blurry[inside], 33, 0.01)
    moved = pad_psf(hook_psf(), 33).roll((6, -4), (0, 1))
    difference = pad_psf(found, 33) - moved
    assert float(difference.abs().sum()) < 0.2
    assert max(found.shape) < 33 and torch.equal(crop_psf(found, mass=1.0), found)


def test_without_blur_it_is_nearly_a_point():
    picture = structured_picture(60, 71)
    found = psf_between(picture, picture, 15, 0.001)
    assert float(found.max()) > 0.9 and found.shape[0] % 2 == found.shape[1] % 2 == 1


@pytest.mark.parametrize("which", [0, 1])
def test_a_flat_picture_gives_no_blur(which):
    pictures = [structured_picture(60, 71), structured_picture(60, 71)]
    pictures[which] = torch.full((1, 1, 60, 71), 0.4)
    assert torch.equal(psf_between(*pictures, 15, 0.1), torch.ones(1, 1))


def test_of_a_large_picture_the_most_detailed_area_is_used(monkeypatch):
    """Beside it there are stripes with another blur, which show a PSF in one direction only."""
    scene = observe(structured_picture(108, 110), hook_psf())
    stripes = (torch.arange(110) // 7 % 2).float().expand(1, 1, 108, 110)
    other = observe(stripes, hook_psf().flip(1))
    sharp, blurry = (torch.cat(both, -1) for both in ((other.sharp, scene.sharp), (other.blurry, scene.blurry)))

    def likeness() -> float:
        return float(kernel_similarity(psf_between(sharp, blurry, 21, 0.05)[None, None], scene.psf))

    assert likeness() < 0.9
    monkeypatch.setattr(solver, "_AREA", 100)
    assert likeness() > 0.93
