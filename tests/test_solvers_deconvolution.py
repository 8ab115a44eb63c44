"""The fast solvers against slow ones: dense matrices, the papers' algorithms word by word, another optimiser."""

import math

import numpy as np
import pytest
import torch

from helpers import blurred_scene, hook_psf, observe, structured_picture
from unblur.imaging.convolution import convolve
from unblur.metrics import psnr
from unblur.solvers import deconvolution
from unblur.solvers.canvas import Canvas
from unblur.solvers.conjugate_gradients import conjugate_gradients
from unblur.solvers.deconvolution import (
    BETAS,
    hyper_laplacian,
    solve_masked,
    sparse,
    total_variation,
    wiener,
)
from unblur.types import Progress

WEIGHT = 2e-3


def as_weight(value: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.full((1, 1, 1, 1), value, dtype=dtype)


def small_psf() -> torch.Tensor:
    psf = torch.tensor([[0.0, 1, 4, 2, 0], [1, 3, 0, 0, 2], [0, 0, 5, 0, 0]], dtype=torch.float64)
    return psf / psf.sum()


# --- a tiny photo, and all of its operators as matrices ---------------------------------------------


class Dense:
    """The canvas of a tiny photo as `(n, n)` matrices on its flattened pixels, written from their definitions."""

    def __init__(self, canvas: Canvas, psf: torch.Tensor) -> None:
        self.shape = canvas.shape
        pixels = np.eye(math.prod(self.shape)).reshape(-1, *self.shape)  # every unit picture

        def matrix(operator):
            return operator(pixels).reshape(len(pixels), -1).T

        def moved(pictures, dy, dx):
            return np.roll(pictures, (dy, dx), (1, 2))

        (h, w), taps = psf.shape, psf.numpy()
        self.blur = matrix(
            lambda p: sum(taps[i, j] * moved(p, i - h // 2, j - w // 2) for i in range(h) for j in range(w))
        )
        self.dx = matrix(lambda p: moved(p, 0, -1) - p)
        self.dy = matrix(lambda p: moved(p, -1, 0) - p)
        self.dxx = matrix(lambda p: 2 * p - moved(p, 0, 1) - moved(p, 0, -1))
        self.dyy = matrix(lambda p: 2 * p - moved(p, 1, 0) - moved(p, -1, 0))
        self.dxy = self.dy @ self.dx
        self.mask = np.diag(canvas.mask.numpy().ravel())
        self.data = canvas.blurry.numpy().ravel()

    def solve(self, prior: np.ndarray) -> np.ndarray:
        """`argmin |mask (K x - y)|^2 + x' prior x`."""
        left = self.blur.T @ self.mask @ self.blur + prior
        return np.linalg.solve(left, self.blur.T @ self.mask @ self.data).reshape(self.shape)


@pytest.fixture(scope="module")
def tiny() -> tuple[Canvas, Dense]:
    """9 x 10 pixels of which a few are clipped, on a canvas of an even and an odd side."""
    psf = small_psf()
    scene = observe(structured_picture(11, 14).double(), psf, sigma=0.01)
    trusted = torch.ones(1, 1, 9, 10, dtype=torch.bool)
    trusted[..., 3:5, 6:8] = False
    canvas = Canvas.around(scene.blurry, psf, trusted)
    return canvas, Dense(canvas, psf)


def test_solve_masked_solves_the_dense_system(tiny):
    canvas, dense = tiny
    start = torch.fft.rfft2(canvas.blurry)
    solved = solve_masked(canvas, start, canvas.adjoint_of_data(), 0.01 * canvas.gradient_power, 300)
    expected = dense.solve(0.01 * (dense.dx.T @ dense.dx + dense.dy.T @ dense.dy))
    np.testing.assert_allclose(canvas.inverse(solved)[0, 0].numpy(), expected, atol=1e-8)


def test_a_few_steps_of_solve_masked_are_close_and_more_are_closer(tiny):
    canvas, dense = tiny
    expected = torch.from_numpy(dense.solve(0.01 * (dense.dx.T @ dense.dx + dense.dy.T @ dense.dy)))
    start = torch.fft.rfft2(canvas.blurry)
    errors = []
    for steps in (0, 2, 10, 40):
        solved = solve_masked(canvas, start, canvas.adjoint_of_data(), 0.01 * canvas.gradient_power, steps)
        errors.append(float((canvas.inverse(solved)[0, 0] - expected).norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[2] < 0.3 * errors[0] and errors[3] < 0.03 * errors[0]


def test_conjugate_gradients_solve_a_weighted_least_squares_problem(tiny):
    """An operator that is not diagonal in the Fourier domain even without a mask."""
    canvas, dense = tiny
    here = torch.rand(canvas.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1

    def operator(spectrum):
        return canvas.masked_normal(spectrum) + canvas.forward(here * canvas.inverse(spectrum))

    start, diagonal = torch.fft.rfft2(canvas.blurry), canvas.otf.abs().square() + here.mean()
    solved = conjugate_gradients(
        operator, canvas.adjoint_of_data(), start, preconditioner=1 / diagonal, inner=canvas.inner, steps=200
    )
    expected = dense.solve(np.diag(here.numpy().ravel()))
    np.testing.assert_allclose(canvas.inverse(solved)[0, 0].numpy(), expected, atol=1e-8)


def test_without_a_mask_one_step_is_exact():
    photo = structured_picture(20, 25).double()
    canvas = Canvas.circular(photo, small_psf())
    right, prior = canvas.adjoint_of_data(), 0.01 * canvas.gradient_power
    start = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    solved = solve_masked(canvas, torch.fft.rfft2(start), right, prior, 1)
    torch.testing.assert_close(solved, right / (canvas.otf.abs().square() + prior), rtol=1e-9, atol=1e-9)


def test_pictures_and_channels_are_solved_each_by_itself():
    """With step lengths of their own: one easy and one hard picture disturb each other otherwise."""
    photos = torch.cat([structured_picture(16, 18, 3, seed=1), 100 * structured_picture(16, 18, 3, seed=2)]).double()
    together = Canvas.around(photos, small_psf())
    prior = 0.01 * together.gradient_power
    solved = together.inverse(
        solve_masked(together, together.forward(together.blurry), together.adjoint_of_data(), prior, 5)
    )
    for b in range(2):
        for c in range(3):
            alone = Canvas.around(photos[b : b + 1, c : c + 1], small_psf())
            one = alone.inverse(solve_masked(alone, alone.forward(alone.blurry), alone.adjoint_of_data(), prior, 5))
            torch.testing.assert_close(solved[b : b + 1, c : c + 1], one, rtol=1e-9, atol=1e-9)


def test_a_solved_problem_stays_solved():
    """Where nothing is left to do, a step length is zero by zero."""
    canvas = Canvas.circular(torch.zeros(1, 1, 12, 14), small_psf().float())
    zero = canvas.forward(canvas.blurry)
    assert solve_masked(canvas, zero, zero, 0.01 * canvas.gradient_power, 10).eq(0).all()


# --- wiener -----------------------------------------------------------------------------------------


def test_wiener_is_the_dense_regularised_least_squares_solution(tiny):
    canvas, dense = tiny
    image = wiener(canvas, 0.01 * canvas.gradient_power, steps=300)
    expected = dense.solve(0.01 * (dense.dx.T @ dense.dx + dense.dy.T @ dense.dy))
    np.testing.assert_allclose(image[0, 0].numpy(), expected, atol=1e-8)
    flat = wiener(canvas, 0.05 * torch.ones_like(canvas.gradient_power), steps=300)
    np.testing.assert_allclose(flat[0, 0].numpy(), dense.solve(0.05 * np.eye(len(dense.data))), atol=1e-8)


# --- hyper_laplacian ----------------------------------------------------------------------------------


def test_beta_grows_from_1_towards_256_by_twice_the_root_of_2():
    """Krishnan & Fergus 2009, Section 4: six values, 1 to 181."""
    np.testing.assert_allclose(BETAS, [1, 2.828427, 8, 22.627417, 64, 181.019336], rtol=1e-6)


def least_power(v: np.ndarray, beta: float, exponent: float) -> np.ndarray:
    """`argmin_w |w|^exponent + beta / 2 (w - v)^2` (their Eq. 5) by bisection for the larger root, then zero or it."""
    size = np.abs(v)
    # f' falls up to the point where f'' = 0 and rises after; the local minimum lies right of it.
    turn = (exponent * (1 - exponent) / beta) ** (1 / (2 - exponent))
    low, high = np.full_like(size, turn), np.maximum(size, turn)
    for _ in range(80):
        middle = (low + high) / 2
        rising = exponent * middle ** (exponent - 1) + beta * (middle - size) > 0
        low, high = np.where(rising, low, middle), np.where(rising, middle, high)
    better = high**exponent + beta / 2 * (high - size) ** 2 < beta / 2 * size**2
    return np.where(better, high * np.sign(v), 0.0)


def krishnan_fergus(blurry: np.ndarray, psf: np.ndarray, lam: float, exponent: float, start: np.ndarray) -> np.ndarray:
    """Their Algorithm 1 for `lam / 2 |x * k - y|^2 + |Dx x|^a + |Dy x|^a`, one inner iteration, on a torus."""
    height, width = blurry.shape
    kernel = np.zeros_like(blurry)
    for i in range(psf.shape[0]):
        for j in range(psf.shape[1]):
            kernel[(i - psf.shape[0] // 2) % height, (j - psf.shape[1] // 2) % width] = psf[i, j]
    filter_x, filter_y = np.zeros_like(blurry), np.zeros_like(blurry)
    filter_x[0, 0], filter_x[0, -1] = -1, 1
    filter_y[0, 0], filter_y[-1, 0] = -1, 1
    k, fx, fy, y = (np.fft.fft2(array) for array in (kernel, filter_x, filter_y, blurry))
    beta, x = 1.0, start
    while beta < 256:
        wx = least_power(np.fft.ifft2(fx * np.fft.fft2(x)).real, beta, exponent)
        wy = least_power(np.fft.ifft2(fy * np.fft.fft2(x)).real, beta, exponent)
        top = fx.conj() * np.fft.fft2(wx) + fy.conj() * np.fft.fft2(wy) + lam / beta * k.conj() * y
        bottom = np.abs(fx) ** 2 + np.abs(fy) ** 2 + lam / beta * np.abs(k) ** 2
        x = np.fft.ifft2(top / bottom).real
        beta *= 2 * np.sqrt(2)
    return x


@pytest.mark.parametrize("exponent", [0.5, 2 / 3, 0.8])
@pytest.mark.parametrize("size", [(32, 40), (33, 39)], ids=str)
def test_hyper_laplacian_is_the_papers_algorithm_1_when_everything_is_observed(size, exponent):
    """Begun from the least-squares picture instead of the blurry one, which is what it has before the first beta."""
    psf = hook_psf().double()
    blurry = convolve(structured_picture(*size).double(), psf, "circular")
    blurry = blurry + 0.01 * torch.randn(blurry.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    canvas = Canvas.circular(blurry, psf)
    image = hyper_laplacian(canvas, as_weight(WEIGHT), exponent, steps=1, progress=Progress())
    start = wiener(canvas, WEIGHT * canvas.gradient_power)[0, 0].numpy()
    expected = krishnan_fergus(blurry[0, 0].numpy(), psf.numpy(), 1 / WEIGHT, exponent, start)
    difference = np.abs(image[0, 0].numpy() - expected)
    assert np.quantile(difference, 0.99) < 1e-5  # a gradient at the jump may fall to the other side
    assert difference.max() < 1e-3


def test_hyper_laplacian_with_a_mask_follows_the_dense_solution_at_every_beta(tiny):
    canvas, dense = tiny
    quadratic = dense.dx.T @ dense.dx + dense.dy.T @ dense.dy
    right = dense.blur.T @ dense.mask @ dense.data
    left = dense.blur.T @ dense.mask @ dense.blur
    x = np.linalg.solve(left + 0.01 * quadratic, right)
    for beta in BETAS:
        wx, wy = least_power(dense.dx @ x, beta, 0.8), least_power(dense.dy @ x, beta, 0.8)
        pull = 0.01 * beta * (dense.dx.T @ wx + dense.dy.T @ wy)
        x = np.linalg.solve(left + 0.01 * beta * quadratic, right + pull)
    image = hyper_laplacian(canvas, as_weight(0.01), 0.8, steps=200, progress=Progress())
    np.testing.assert_allclose(canvas.crop(image)[0, 0].numpy(), _inside(canvas, x), atol=2e-3)


def _inside(canvas: Canvas, flat: np.ndarray) -> np.ndarray:
    return canvas.crop(torch.from_numpy(flat.reshape(1, 1, *canvas.shape)))[0, 0].numpy()


# --- sparse -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("curvature", [0.0, 0.25])
def test_sparse_is_dense_iteratively_reweighted_least_squares(tiny, curvature):
    canvas, dense = tiny
    exponent, weight = 0.8, 0.01
    first, second = (dense.dx, dense.dy), (dense.dxx, dense.dyy, dense.dxy)
    typical, flat = deconvolution._TYPICAL_GRADIENT, deconvolution._FLAT

    def touching(derivative):  # twice the parabola's factor: phi'(d) / d
        return exponent * np.maximum(np.abs(derivative), flat) ** (exponent - 2)

    x = None
    for _ in range(3):
        prior = np.zeros_like(dense.blur)
        for relative, family in ((1.0, first), (curvature, second)):
            for d in family:
                here = touching(np.full(len(d), typical) if x is None else d @ x)
                prior += weight * relative * d.T @ np.diag(here) @ d
        x = dense.solve(prior).ravel()
    image = sparse(canvas, as_weight(weight), exponent, curvature, reweightings=2, steps=600, progress=Progress())
    np.testing.assert_allclose(image[0, 0].numpy().ravel(), x, atol=1e-6)


def test_every_reweighting_lowers_what_sparse_minimises():
    """The parabola lies above the penalty and touches it, so its minimum cannot be worse."""
    scene = blurred_scene(40, 44, sigma=0.01)
    canvas = Canvas.around(scene.blurry.double(), scene.psf.double())

    def objective(image):
        field = deconvolution.gradient(image).abs()
        flat = deconvolution._FLAT  # below it the penalty is a parabola
        slope = 0.8 * flat**-1.2 / 2
        penalty = torch.where(field > flat, field.pow(0.8) - flat**0.8 + slope * flat**2, slope * field**2)
        misfit = canvas.mask * (canvas.blur(image) - canvas.blurry)
        return float(misfit.square().sum() / 2 + WEIGHT * penalty.sum())

    costs = [
        objective(sparse(canvas, as_weight(WEIGHT), 0.8, 0.0, reweightings=n, steps=150, progress=Progress()))
        for n in range(4)
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[2] < 0.98 * costs[0]


# --- total variation ------------------------------------------------------------------------------------


class TvProblem:
    """`1/2 |mask (k * x - y)|^2 + weight sum |grad x|` in numpy, and a primal-dual solver of it."""

    def __init__(self, canvas: Canvas, psf: torch.Tensor, weight: float) -> None:
        self.mask, self.data = canvas.mask[0, 0].numpy(), canvas.blurry[0, 0].numpy()
        self.weight, self.shape = weight, canvas.shape
        (h, w), kernel = psf.shape, np.zeros(canvas.shape)
        kernel[:h, :w] = psf.numpy()
        self.transfer = np.fft.rfft2(np.roll(kernel, (-(h // 2), -(w // 2)), (0, 1)))

    def blur(self, x, conjugate=False):
        transfer = self.transfer.conj() if conjugate else self.transfer
        return np.fft.irfft2(transfer * np.fft.rfft2(x), s=self.shape)

    def gradient(self, x):
        return np.stack((np.roll(x, -1, 1) - x, np.roll(x, -1, 0) - x))

    def objective(self, x):
        length = np.sqrt((self.gradient(x) ** 2).sum(0)).sum()
        return ((self.mask * (self.blur(x) - self.data)) ** 2).sum() / 2 + self.weight * length

    def chambolle_pock(self, iterations: int) -> np.ndarray:
        """Chambolle & Pock 2011, Algorithm 1, with both terms dualised."""
        norm = 3.0  # of (mask K, gradient): at most sqrt(1 + 8)
        tau, sigma = 100 / norm, 1 / (100 * norm)
        x = ahead = self.data.copy()
        p, q = np.zeros(self.shape), np.zeros((2, *self.shape))
        for _ in range(iterations):
            p = self.mask * (p + sigma * (self.blur(ahead) - self.data)) / (1 + sigma)
            q = q + sigma * self.gradient(ahead)
            q = q / np.maximum(1, np.sqrt((q**2).sum(0)) / self.weight)
            pull = (np.roll(q[0], 1, 1) - q[0]) + (np.roll(q[1], 1, 0) - q[1])
            following = x - tau * (self.blur(p, conjugate=True) + pull)
            x, ahead = following, 2 * following - x
        return x


@pytest.mark.parametrize("clipped", [False, True], ids=["all observed", "partly observed"])
def test_total_variation_finds_what_an_independent_solver_finds(clipped):
    """The minimiser is unique enough that two algorithms must agree: to 0.05 dB, and in the objective."""
    scene = blurred_scene(48, 56, sigma=0.01)
    trusted = scene.blurry < 0.8 if clipped else None
    weight = 7e-4
    canvas = Canvas.around(scene.blurry, scene.psf, trusted)
    image = total_variation(canvas, as_weight(weight, torch.float32), iterations=1000, progress=Progress())
    exact = Canvas.around(scene.blurry.double(), scene.psf.double(), trusted)
    problem = TvProblem(exact, scene.psf[0, 0].double(), weight)
    expected = problem.chambolle_pock(1500)
    ours, best = problem.objective(image[0, 0].double().numpy()), problem.objective(expected)
    assert ours == pytest.approx(best, rel=2e-3)
    reference = exact.crop(torch.from_numpy(expected)[None, None])
    figures = [float(psnr(picture.double(), scene.sharp.double())) for picture in (canvas.crop(image), reference)]
    assert figures[0] == pytest.approx(figures[1], abs=0.05)
    assert float(psnr(canvas.crop(image).double(), reference)) > 50


def test_more_iterations_of_total_variation_come_closer_to_the_minimum():
    scene = blurred_scene(48, 56, sigma=0.01)
    canvas = Canvas.around(scene.blurry.double(), scene.psf.double())
    problem = TvProblem(canvas, scene.psf[0, 0].double(), 7e-4)
    costs = [
        problem.objective(total_variation(canvas, as_weight(7e-4), iterations=n, progress=Progress())[0, 0].numpy())
        for n in (5, 20, 60, 200, 1000)
    ]
    assert costs == sorted(costs, reverse=True)
    assert costs[2] < 1.03 * costs[-1], "60 iterations, half the default of tv_admm, are near"


def test_total_variation_of_a_large_weight_is_the_flat_picture():
    scene = blurred_scene(24, 28)
    canvas = Canvas.circular(scene.blurry.double(), scene.psf.double())
    image = total_variation(canvas, as_weight(10.0), iterations=300, progress=Progress())
    torch.testing.assert_close(image, scene.blurry.double().mean().expand_as(image), rtol=0, atol=1e-3)
