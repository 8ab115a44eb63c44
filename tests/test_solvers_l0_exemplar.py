"""The PSF search with an exemplar: its step for the sharp picture against dense matrices, and what the weight does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from helpers import blurred_scene, hook_psf, structured_picture
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import delta_psf, gaussian_psf
from unblur.metrics import kernel_similarity
from unblur.solvers.blind import estimate_psf
from unblur.solvers.canvas import gradient
from unblur.solvers.l0 import L0Search, Level, periodic_extension, search_psf
from unblur.types import Progress

PSF = torch.tensor([[0.0, 0.1, 0.3], [0.0, 0.4, 0.0], [0.2, 0.0, 0.0]], dtype=torch.float64)
Matrix = NDArray[np.float64]


@pytest.fixture(scope="module")
def scene():
    return blurred_scene(96, 120, sigma=0.005)


def circulant(taps: dict[tuple[int, int], float], shape: tuple[int, int]) -> Matrix:
    """The matrix of `out[p] = sum of taps[q] * x[p - q]` on a periodic picture of this shape."""
    height, width = shape
    matrix = np.zeros((height * width, height * width))
    for y in range(height):
        for x in range(width):
            for (dy, dx), value in taps.items():
                matrix[y * width + x, (y - dy) % height * width + (x - dx) % width] += value
    return matrix


def sharpened(blurry: Matrix, exemplar: Matrix, psf: Matrix, weight: float, guide_weight: float) -> Matrix:
    """Half-quadratic splitting of `|k x - y|^2 + weight |D x|_0 + guide_weight |D x - D e|^2` with dense matrices.

    Returns the gradients `(2, H, W)` of its last estimate `x`, which starts as `e`.
    """
    shape = blurry.shape
    half_y, half_x = psf.shape[0] // 2, psf.shape[1] // 2
    k = circulant(
        {(i - half_y, j - half_x): psf[i, j] for i in range(psf.shape[0]) for j in range(psf.shape[1])}, shape
    )
    dx = circulant({(0, -1): 1.0, (0, 0): -1.0}, shape)
    dy = circulant({(-1, 0): 1.0, (0, 0): -1.0}, shape)
    slopes, x, beta = np.concatenate((dx, dy)), exemplar.ravel(), 2 * weight
    while beta < 1e3:
        edges = (slopes @ x).reshape(2, -1)
        edges = np.where((edges**2).sum(0) >= weight / beta, edges, 0.0).ravel()
        left = k.T @ k + (beta + guide_weight) * slopes.T @ slopes
        right = k.T @ blurry.ravel() + slopes.T @ (beta * edges + guide_weight * slopes @ exemplar.ravel())
        x, beta = np.linalg.solve(left, right), 2 * beta
    return (slopes @ x).reshape(2, *shape)


@pytest.mark.parametrize("guide_weight", [1e-3, 0.3])
def test_the_sharp_picture_is_that_of_dense_matrices(guide_weight):
    exemplar = structured_picture(9, 11, seed=1).double()
    blurry = convolve(exemplar, PSF) + 0.02 * structured_picture(9, 11, seed=2).double()
    level = Level.of(blurry, 3, exemplar, guide_weight)
    extended = [periodic_extension(picture, 2)[0, 0].numpy() for picture in (blurry, exemplar)]
    expected = sharpened(*extended, PSF.numpy(), 2e-3, guide_weight) * level.inside.numpy()
    found = level.sharpen(PSF, 2e-3).numpy()
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert np.abs(found).max() > 0.1


def test_with_a_very_large_weight_the_gradients_are_those_of_the_exemplar(scene):
    found = Level.of(scene.blurry, 11, scene.sharp, 1e6).sharpen(hook_psf(), 2e-3)[:, 1:95, 1:119]
    torch.testing.assert_close(found, gradient(scene.sharp)[:, 0, 0, 1:95, 1:119], atol=1e-4, rtol=0)


def test_with_a_higher_weight_the_gradients_are_closer_to_those_of_the_exemplar(scene):
    exemplar = convolve(scene.sharp, gaussian_psf(1.0))
    true = gradient(exemplar)[:, 0, 0, 1:95, 1:119]
    errors = [
        float(
            (Level.of(scene.blurry, 11, exemplar, w).sharpen(hook_psf(), 2e-3)[:, 1:95, 1:119] - true).square().mean()
        )
        for w in (1e-3, 0.1, 10.0, 1000.0)
    ]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.01 * errors[0]


def test_the_exemplar_lowers_the_misfit_of_both_terms(scene):
    """Eq. 8 at its solution is lower than at the exemplar, and than at the solution without exemplar."""
    guide_weight, weight = 0.1, 2e-4
    inside = (..., slice(12, 84), slice(12, 108))

    def objective(slopes: torch.Tensor) -> float:
        """Of the gradients: `|k * D x - D y|^2`, which for edges stands for the data term, and both other terms."""
        misfit = convolve(slopes[:, None], hook_psf())[:, 0] - gradient(scene.blurry)[:, 0, 0]
        guide = slopes - gradient(exemplar)[:, 0, 0]
        edges = (slopes.square().sum(0) > 1e-6).float()
        terms = (misfit.square().sum(0), weight * edges, guide_weight * guide.square().sum(0))
        return float(sum(term[inside].sum() for term in terms))

    exemplar = convolve(scene.sharp, gaussian_psf(1.0))
    solved = Level.of(scene.blurry, 11, exemplar, guide_weight).sharpen(hook_psf(), weight)[:, :96, :120]
    alone = Level.of(scene.blurry, 11).sharpen(hook_psf(), weight)[:, :96, :120]
    assert objective(solved) < objective(gradient(exemplar)[:, 0, 0])
    assert objective(solved) < objective(alone)


def test_with_the_weight_0_the_search_is_that_without_exemplar(scene):
    search = L0Search(15, 4e-3, 0.3, 2, exemplar_weight=0.0)
    alone = search_psf(scene.blurry, search, Progress())
    assert torch.equal(search_psf(scene.blurry, search, Progress(), scene.sharp), alone)
    guided = search_psf(scene.blurry, L0Search(15, 4e-3, 0.3, 2, exemplar_weight=1e-3), Progress(), scene.sharp)
    assert not torch.equal(guided, alone)


@pytest.mark.parametrize("sigma", [0.0, 1.0], ids=["sharp", "slightly blurred"])
def test_a_good_exemplar_improves_the_psf(scene, sigma):
    exemplar = convolve(scene.sharp, gaussian_psf(sigma)) if sigma else scene.sharp
    search = L0Search(15, 4e-3, 0.3, 3, exemplar_weight=1.0)
    alone, guided = (search_psf(scene.blurry, search, Progress(), guide) for guide in (None, exemplar))
    similarity = float(kernel_similarity(guided, scene.psf))
    assert similarity > float(kernel_similarity(alone, scene.psf)) + 0.03
    assert similarity > float(kernel_similarity(guided, scene.psf.flip(-2, -1))) + 0.05


def test_the_exemplar_is_cropped_like_the_photo(monkeypatch):
    """The part of a large photo that is used has no other place in the exemplar."""
    monkeypatch.setattr("unblur.solvers.blind.LARGEST", 96)
    scene = blurred_scene(96, 120, sigma=0.005)
    wide = [torch.nn.functional.pad(picture, (56, 0), value=0.5) for picture in (scene.blurry, scene.sharp)]
    found = estimate_psf(wide[0], size=15, iterations=3, exemplar=wide[1], exemplar_weight=1.0)
    assert kernel_similarity(found, scene.psf) > 0.9


def test_the_exemplar_of_each_quarter_of_a_large_photo_is_its_own(monkeypatch):
    monkeypatch.setattr("unblur.solvers.blind.LARGEST", 64)
    monkeypatch.setattr("unblur.solvers.blind._REGION", 64)
    seen = []

    def noted(blurry, search, progress, exemplar=None):
        seen.append((blurry, exemplar))
        return delta_psf(3)

    monkeypatch.setattr("unblur.solvers.blind.search_psf", noted)
    monkeypatch.setattr("unblur.solvers.blind.psfs_by_level", lambda *given: [noted(*given)])
    blurry = structured_picture(150, 160)
    estimate_psf(blurry, size=9, exemplar=blurry + 1)
    assert len(seen) == 2 + 4, "two L0 weights on the most detailed area, and one search in each quarter"
    assert all(torch.equal(area + 1, exemplar) for area, exemplar in seen)
