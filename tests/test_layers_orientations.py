"""The mean over rotated and mirrored copies of pictures."""

from __future__ import annotations

import pytest
import torch

from helpers import structured_picture
from unblur.layers.orientations import mean_over_orientations, turned, turned_back

PICTURE = structured_picture(6, 8, 3)


def test_the_eight_orientations_differ_and_are_undone():
    copies = [turned(PICTURE, orientation) for orientation in range(8)]
    assert len({copy.contiguous().numpy().tobytes() for copy in copies}) == 8
    assert all(torch.equal(turned_back(copy, number), PICTURE) for number, copy in enumerate(copies))


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_a_network_that_prefers_no_direction_gives_the_same_with_any_number(count):
    doubled, half = mean_over_orientations(lambda x: [2 * x, x / 2], [PICTURE], count)
    torch.testing.assert_close(doubled, 2 * PICTURE)
    torch.testing.assert_close(half, PICTURE / 2)


def test_one_that_does_is_averaged_over_its_directions():
    def to_the_right(x):
        return [x.roll(1, -1)]

    (made,) = mean_over_orientations(to_the_right, [PICTURE], 8)
    everywhere = sum(PICTURE.roll(step, side) for step in (1, -1) for side in (-1, -2)) / 4
    torch.testing.assert_close(made, everywhere)
    (as_it_is,) = mean_over_orientations(to_the_right, [PICTURE], 1)
    assert torch.equal(as_it_is, PICTURE.roll(1, -1))


def test_all_pictures_are_turned_alike():
    (difference,) = mean_over_orientations(lambda x, y: [x - y], [PICTURE, PICTURE.flip(0)], 8)
    torch.testing.assert_close(difference, PICTURE - PICTURE.flip(0))
    (apart,) = mean_over_orientations(lambda x, y: [(x - y).abs()], [PICTURE, PICTURE.flip(-1)], 8)
    torch.testing.assert_close(apart, (PICTURE - PICTURE.flip(-1)).abs())


def test_the_mean_is_computed_in_float32():
    (made,) = mean_over_orientations(lambda x: [x.bfloat16()], [PICTURE], 4)
    assert made.dtype == torch.float32
