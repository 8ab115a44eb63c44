"""The shift search finds what trying every shift one by one finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from unblur.metrics import align, best_shift, psnr, psnr_aligned, ssd_aligned, ssim, ssim_aligned


def _smooth_random(*shape: int, seed: int = 0) -> Tensor:
    """A picture with structure at several scales, (B, C, H, W) float64 in about [0, 1]."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    picture = ndimage.gaussian_filter(noise, (0, 0, 1.2, 1.2)) + 2 * ndimage.gaussian_filter(noise, (0, 0, 5, 5))
    return torch.from_numpy(0.5 + picture)


def _moved(picture: Tensor, dy: float, dx: float) -> Tensor:
    """`picture` with its content moved down by dy and right by dx, bilinear, by scipy."""
    return torch.from_numpy(ndimage.shift(picture.numpy(), (0, 0, dy, dx), order=1, mode="nearest"))


def _all_ssds(restored: Tensor, sharp: Tensor, crop: int, search: int, step: float) -> dict[tuple, float]:
    """SSD at every shift of one picture, each computed by itself with scipy's bilinear interpolation."""
    inner = sharp[0, :, crop:-crop, crop:-crop].numpy()
    grid = np.meshgrid(*(np.arange(crop, side - crop) for side in sharp.shape[-2:]), indexing="ij")
    shifts = np.arange(-search, search + step / 2, step)
    ssds = {}
    for dy in shifts:
        for dx in shifts:
            window = np.stack(
                [ndimage.map_coordinates(c.numpy(), [grid[0] + dy, grid[1] + dx], order=1) for c in restored[0]]
            )
            ssds[float(dy), float(dx)] = float(((window - inner) ** 2).sum())
    return ssds


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("shape", "crop", "search", "step"),
    [
        ((1, 1, 31, 38), 4, 3, 0.25),
        ((1, 3, 26, 23), 5, 2, 0.5),
        ((1, 1, 20, 21), 3, 3, 1.0),
        ((1, 1, 24, 24), 6, 1, 0.2),
    ],
)
def test_the_search_agrees_with_trying_every_shift(shape, crop, search, step, seed):
    sharp = _smooth_random(*shape, seed=seed)
    true_shift = np.random.default_rng(seed).uniform(-search, search, 2)
    restored = _moved(sharp, *true_shift) + 0.05 * _smooth_random(*shape, seed=seed + 100)
    by_hand = _all_ssds(restored, sharp, crop, search, step)
    found = best_shift(restored, sharp, crop=crop, search=search, step=step)[0].tolist()
    assert found == pytest.approx(min(by_hand, key=by_hand.__getitem__))
    least = ssd_aligned(restored, sharp, crop=crop, search=search, step=step).item()
    assert least == pytest.approx(min(by_hand.values()), rel=1e-9)


def test_levins_protocol_agrees_with_trying_every_shift():
    """The published numbers, 41 x 41 shifts, on pictures that share nothing: no shift stands out."""
    restored, sharp = _smooth_random(1, 1, 60, 64, seed=1), _smooth_random(1, 1, 60, 64, seed=2)
    by_hand = _all_ssds(restored, sharp, crop=15, search=5, step=0.25)
    assert len(by_hand) == 41 * 41
    assert best_shift(restored, sharp)[0].tolist() == list(min(by_hand, key=by_hand.__getitem__))
    assert ssd_aligned(restored, sharp).item() == pytest.approx(min(by_hand.values()), rel=1e-9)


@pytest.mark.parametrize("shift", [(0, 0), (5, -5), (-5, -5), (5, 5), (2, -3), (-4, 1)])
def test_a_whole_pixel_shift_is_undone_exactly(shift):
    sharp = _smooth_random(1, 3, 48, 57)
    aligned = align(_moved(sharp, *shift), sharp)
    assert aligned.shift[0].tolist() == list(shift)
    torch.testing.assert_close(aligned.restored, sharp[..., 15:-15, 15:-15], rtol=0, atol=1e-12)


@pytest.mark.parametrize("shift", [(0.25, -0.5), (-4.75, 4.75), (3.5, 0.0), (-0.25, -1.75)])
def test_a_quarter_pixel_shift_is_found(shift):
    sharp = _smooth_random(1, 1, 64, 64)
    assert best_shift(_moved(sharp, *shift), sharp)[0].tolist() == list(shift)


def test_scores_are_those_of_the_aligned_crops():
    sharp = _smooth_random(2, 1, 50, 50).clamp(0, 1)
    restored = (_moved(sharp, 1.25, -2) + 0.02 * _smooth_random(2, 1, 50, 50, seed=5)).clamp(0, 1)
    crops = align(restored, sharp)
    assert torch.equal(psnr_aligned(restored, sharp), psnr(crops.restored, crops.sharp))
    assert torch.equal(ssim_aligned(restored, sharp), ssim(crops.restored, crops.sharp))
    assert (psnr_aligned(restored, sharp) > psnr(restored, sharp) + 3).all()


def test_data_range_reaches_the_scores():
    sharp, restored = _smooth_random(1, 1, 50, 50), _smooth_random(1, 1, 50, 50, seed=1)
    for metric in (psnr_aligned, ssim_aligned):
        in_bytes = metric(255 * restored, 255 * sharp, data_range=255.0)
        torch.testing.assert_close(in_bytes, metric(restored, sharp))


def test_every_picture_of_a_batch_gets_its_own_shift():
    sharp = _smooth_random(3, 3, 47, 52)
    shifts = [(1.0, -2.0), (-3.25, 4.5), (0.0, 0.0)]
    restored = torch.cat([_moved(sharp[i : i + 1], *shift) for i, shift in enumerate(shifts)])
    assert [tuple(s) for s in best_shift(restored, sharp).tolist()] == shifts
    one_by_one = torch.cat([ssd_aligned(restored[i : i + 1], sharp[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(ssd_aligned(restored, sharp), one_by_one)


FLAT = torch.full((1, 1, 50, 50), 0.3)
EDGE = (torch.arange(50) > 24).float().expand(1, 1, 50, 50)


@pytest.mark.parametrize(
    ("restored", "sharp", "shift"),
    [
        (FLAT, FLAT, [0, 0]),
        (FLAT + 0.1, FLAT, [0, 0]),
        (EDGE, EDGE, [0, 0]),
        (EDGE.roll(2, -1), EDGE, [0, 2]),
    ],
    ids=["flat", "flat but brighter", "edge", "edge moved across"],
)
def test_among_shifts_that_fit_alike_the_smallest_wins(restored, sharp, shift):
    assert best_shift(restored, sharp)[0].tolist() == shift


@pytest.mark.parametrize("seed", range(5))
def test_rounding_does_not_choose_among_shifts_along_stripes(seed):
    stripes = torch.rand(50, generator=torch.Generator().manual_seed(seed)).expand(1, 1, 50, 50)
    assert best_shift(stripes.roll(1, -1), stripes)[0].tolist() == [0, 1]


def test_a_bright_offset_does_not_blur_the_search():
    sharp = _smooth_random(1, 1, 48, 48)
    restored = _moved(sharp, -1.75, 3.5)
    assert best_shift(restored + 1e6, sharp + 1e6)[0].tolist() == [-1.75, 3.5]


def test_no_search_only_crops():
    sharp, restored = _smooth_random(1, 1, 30, 30), _smooth_random(1, 1, 30, 30, seed=1)
    aligned = align(restored, sharp, crop=0, search=0)
    assert aligned.shift.tolist() == [[0, 0]]
    assert torch.equal(aligned.restored, restored)
    assert torch.equal(align(restored, sharp, crop=7, search=0).restored, restored[..., 7:-7, 7:-7])


def test_inputs_are_left_alone():
    sharp, restored = _smooth_random(1, 1, 40, 40), _smooth_random(1, 1, 40, 40, seed=1)
    before = sharp.clone(), restored.clone()
    align(restored, sharp)
    assert torch.equal(sharp, before[0])
    assert torch.equal(restored, before[1])


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ({"crop": 4, "search": 5}, "crop 4 must be at least search 5"),
        ({"crop": 5, "search": -1}, "search at least 0"),
        ({"crop": 20}, "leaves nothing of a 40x60 picture"),
        ({"step": 0.3}, "one pixel divided by a whole number"),
        ({"step": 0.0}, "one pixel divided by a whole number"),
        ({"step": 2.0}, "one pixel divided by a whole number"),
    ],
)
def test_a_protocol_that_cannot_be_followed_is_refused(protocol, message):
    with pytest.raises(ValueError, match=message):
        align(torch.zeros(1, 1, 40, 60), torch.zeros(1, 1, 40, 60), **protocol)


def test_pictures_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="shapes must be equal"):
        align(torch.zeros(1, 1, 40, 60), torch.zeros(1, 1, 40, 61))
