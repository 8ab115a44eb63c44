"""Blur is a convolution, by whichever algorithm, at whichever border; the adjoint is its adjoint."""

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from unblur.imaging.convolution import convolve, convolve_adjoint, edge_taper, otf_to_psf, psf_to_otf

BOUNDARIES = ["valid", "circular", "replicate", "zero"]


def picture(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def asymmetric_psf(h: int = 5, w: int = 7) -> torch.Tensor:
    psf = picture(h, w, seed=1) ** 3
    return psf / psf.sum()


def reference(image: np.ndarray, psf: np.ndarray, boundary: str) -> np.ndarray:
    """`out[p] = sum_q psf[q] image[p - q]`, by scipy on a picture padded by numpy."""
    h, w = psf.shape
    if boundary != "valid":
        mode = {"circular": "wrap", "replicate": "edge", "zero": "constant"}[boundary]
        image = np.pad(image, ((h // 2, h // 2), (w // 2, w // 2)), mode=mode)
    return convolve2d(image, psf, mode="valid")


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("algorithm", ["direct", "fft"])
def test_convolve_equals_the_textbook_sum(boundary, algorithm):
    image, psf = picture(2, 3, 21, 30), asymmetric_psf()
    blurred = convolve(image, psf, boundary, algorithm)
    for b in range(2):
        for c in range(3):
            expected = reference(image[b, c].numpy(), psf.numpy(), boundary)
            np.testing.assert_allclose(blurred[b, c].numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("algorithm", ["direct", "fft"])
def test_adjoint(boundary, algorithm):
    psf = asymmetric_psf()
    x = picture(1, 2, 19, 23)
    blurred = convolve(x, psf, boundary, algorithm)
    y = picture(*blurred.shape, seed=2)
    forward = (blurred * y).sum()
    backward = (x * convolve_adjoint(y, psf, boundary, algorithm)).sum()
    torch.testing.assert_close(forward, backward, rtol=1e-9, atol=0)


def test_a_dot_becomes_the_psf_unflipped():
    dot = torch.zeros(1, 1, 15, 15)
    dot[0, 0, 7, 7] = 1
    psf = asymmetric_psf(5, 5).float()
    torch.testing.assert_close(convolve(dot, psf)[0, 0, 5:10, 5:10], psf)


def test_each_picture_of_a_batch_has_its_own_psf():
    image = picture(2, 3, 16, 16)
    psfs = torch.stack([asymmetric_psf(), asymmetric_psf().flip(0)])[:, None]  # (2, 1, 5, 7)
    for algorithm in ("direct", "fft"):
        both = convolve(image, psfs, algorithm=algorithm)
        for b in range(2):
            torch.testing.assert_close(both[b : b + 1], convolve(image[b : b + 1], psfs[b, 0]))


@pytest.mark.parametrize("shape", [(20, 26), (21, 27)])
def test_otf_turns_circular_convolution_into_a_product(shape):
    image, psf = picture(1, 1, *shape), asymmetric_psf()
    product = torch.fft.irfft2(psf_to_otf(psf, shape) * torch.fft.rfft2(image), s=shape)
    torch.testing.assert_close(product, convolve(image, psf, "circular"))


def test_otf_round_trip():
    psf = asymmetric_psf()
    torch.testing.assert_close(otf_to_psf(psf_to_otf(psf, (20, 31)), (20, 31), (5, 7))[0, 0], psf)


def test_a_psf_may_reach_farther_than_the_picture():
    image, psf = picture(1, 1, 4, 5), asymmetric_psf(11, 13)
    for boundary in ("circular", "replicate", "zero"):
        expected = reference(image[0, 0].numpy(), psf.numpy(), boundary)
        np.testing.assert_allclose(convolve(image, psf, boundary)[0, 0].numpy(), expected, atol=1e-12)


def test_edge_taper_changes_only_the_border_and_makes_opposite_sides_meet():
    ramp = torch.linspace(0, 1, 64, dtype=torch.float64).expand(1, 1, 64, 64)
    psf = asymmetric_psf(9, 9)
    tapered = edge_taper(ramp, psf)
    torch.testing.assert_close(tapered[..., 9:-9, 9:-9], ramp[..., 9:-9, 9:-9])
    jump = (tapered[..., 0] - tapered[..., -1]).abs().max()
    assert jump < 0.6  # the ramp itself jumps by 1 from its right side to its left


def test_malformed_psfs_are_refused():
    image = picture(1, 1, 8, 8)
    with pytest.raises(ValueError, match="odd sides"):
        convolve(image, torch.ones(4, 4) / 16)
    with pytest.raises(ValueError, match=r"\(h, w\) or"):
        convolve(image, torch.ones(3, 3, 3))
    with pytest.raises(ValueError, match="valid convolution"):
        convolve(image, torch.ones(9, 9), "valid")
    with pytest.raises(ValueError, match="does not fit"):
        psf_to_otf(torch.ones(9, 9), (8, 8))
