"""Kernel similarity and the two error ratios: what they ignore, what they notice, known values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage, signal
from torch import Tensor

from unblur.metrics import align, error_ratio_norm2, error_ratio_ssd, kernel_similarity


def _hook() -> Tensor:
    """An asymmetric PSF, (9, 9)."""
    psf = torch.zeros(9, 9)
    psf[2:7, 3] = torch.tensor([0.1, 0.15, 0.2, 0.2, 0.1])
    psf[6, 4:7] = torch.tensor([0.15, 0.07, 0.03])
    return psf / psf.sum()


def test_a_psf_is_like_itself():
    assert kernel_similarity(_hook(), _hook()).item() == pytest.approx(1.0, abs=1e-12)


def test_a_shift_and_a_scale_change_nothing():
    moved = 3 * torch.roll(_hook(), (2, -3), (0, 1))
    assert kernel_similarity(moved, _hook()).item() == pytest.approx(1.0, abs=1e-6)


def test_a_larger_frame_changes_nothing():
    framed = torch.nn.functional.pad(_hook(), (7, 1, 0, 6))
    assert kernel_similarity(framed, _hook()).item() == pytest.approx(1.0, abs=1e-6)
    assert kernel_similarity(_hook(), framed).item() == pytest.approx(1.0, abs=1e-6)


def test_content_that_leaves_one_side_does_not_come_in_at_the_other():
    left, right = torch.zeros(3, 9), torch.zeros(3, 9)
    left[1, [0, 1]] = 1.0
    right[1, [0, 8]] = 1.0  # neighbours only on a ring
    assert kernel_similarity(left, right).item() == pytest.approx(0.5, abs=1e-12)


def test_a_flip_is_noticed():
    assert kernel_similarity(_hook().flip(0, 1), _hook()).item() < 0.95


def test_a_point_against_a_line_of_n_is_one_over_root_n():
    point, line = torch.ones(1, 1), torch.ones(1, 9)
    assert kernel_similarity(point, line).item() == pytest.approx(1 / 3, abs=1e-12)


@pytest.mark.parametrize("sizes", [((5, 7), (9, 4)), ((8, 8), (8, 8)), ((1, 6), (7, 1))])
def test_agrees_with_scipys_direct_correlation(sizes):
    first, second = (np.random.default_rng(i).random(size) for i, size in enumerate(sizes))
    expected = signal.correlate2d(first, second, mode="full").max()
    expected /= np.linalg.norm(first) * np.linalg.norm(second)
    ours = kernel_similarity(torch.from_numpy(first), torch.from_numpy(second)).item()
    assert ours == pytest.approx(expected, abs=1e-12)


def test_a_batch_of_psfs_scores_as_each_does():
    estimated, true = torch.rand(2, 3, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    together = kernel_similarity(estimated, true)
    apart = torch.cat([kernel_similarity(estimated[i, 0], true[i, 0]) for i in range(3)])
    assert together.shape == (3,)
    torch.testing.assert_close(together, apart)


@pytest.mark.parametrize(
    ("estimated", "message"),
    [
        (torch.zeros(5, 5), "estimated PSF is all zero"),
        (torch.full((5, 5), torch.nan), "holds NaN"),
        (-torch.ones(5, 5), "negative values"),
        (torch.ones(1, 3, 5, 5), r"must be \(h, w\) or \(B, 1, h, w\)"),
        (torch.ones(2, 1, 5, 5), "2 estimated PSFs and 1 true"),
    ],
)
def test_what_is_no_psf_is_refused(estimated, message):
    with pytest.raises(ValueError, match=message):
        kernel_similarity(estimated, _hook())


def _pictures() -> tuple[Tensor, Tensor, Tensor]:
    """(blind result, result with the true PSF, sharp), each (2, 1, 50, 44) float64."""
    rng = np.random.default_rng(0)
    sharp = torch.from_numpy(0.5 + ndimage.gaussian_filter(rng.standard_normal((2, 1, 50, 44)), (0, 0, 2, 2)))
    blind = sharp + 0.05 * torch.from_numpy(rng.standard_normal(sharp.shape))
    known = sharp + 0.02 * torch.from_numpy(rng.standard_normal(sharp.shape))
    return blind, known, sharp


def test_twice_the_error_is_four_in_squares_and_two_in_norm():
    _, known, sharp = _pictures()
    twice_as_far = sharp + 2 * (known - sharp)
    whole = {"crop": 0, "search": 0}
    assert error_ratio_ssd(twice_as_far, known, sharp, **whole).tolist() == pytest.approx([4, 4])
    assert error_ratio_norm2(twice_as_far, known, sharp, **whole).tolist() == pytest.approx([2, 2])


@pytest.mark.parametrize("channels", [1, 3])
def test_norm2_is_numpys_matrix_norm_of_the_aligned_difference(channels):
    blind, known, sharp = (picture.repeat(1, channels, 1, 1) for picture in _pictures())
    blind[:, 0] += 0.1  # so that the channels of a colour picture differ
    expected = []
    for i in range(2):
        crops = [align(picture[i : i + 1], sharp[i : i + 1]) for picture in (blind, known)]
        differences = [np.hstack(list((crop.restored - crop.sharp)[0].numpy())) for crop in crops]
        expected.append(np.linalg.norm(differences[0], 2) / np.linalg.norm(differences[1], 2))
    assert error_ratio_norm2(blind, known, sharp).tolist() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("ratio", [error_ratio_ssd, error_ratio_norm2])
def test_each_picture_is_taken_at_its_own_best_shift(ratio):
    blind, known, sharp = _pictures()
    still = ratio(blind, known, sharp, crop=10, search=5)
    moved = ratio(torch.roll(blind, (3, -2), (2, 3)), torch.roll(known, (-4, 1), (2, 3)), sharp, crop=10, search=5)
    torch.testing.assert_close(moved, still)


@pytest.mark.parametrize("ratio", [error_ratio_ssd, error_ratio_norm2])
def test_perfect_references(ratio):
    blind, _, sharp = _pictures()
    assert ratio(blind, sharp, sharp).tolist() == [math.inf, math.inf]
    assert ratio(sharp, sharp, sharp).tolist() == [1, 1]
    assert ratio(sharp, blind, sharp).tolist() == [0, 0]
