"""Tiles that overlap by half cover a picture, and are found again in a moved one."""

from __future__ import annotations

import pytest
import torch

from helpers import structured_picture
from unblur.imaging.tile_alignment import TileGrid, align_tiles

CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [(37, 53), (16, 16), (5, 9), (64, 48)], ids=str)
@pytest.mark.parametrize("side", [8, 16])
def test_tiles_that_are_cut_and_joined_give_the_picture(size, side):
    picture = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    grid = TileGrid(side, size)
    still = torch.zeros_like(grid.corners(CPU))
    torch.testing.assert_close(grid.joined(grid.cut(picture, still)), picture)


def test_a_cut_tile_holds_the_pixels_at_its_displacement_and_the_nearest_ones_outside():
    picture = torch.rand(1, 20, 30, generator=torch.Generator().manual_seed(0))
    grid = TileGrid(8, (20, 30))
    assert grid.counts == (6, 9)
    shift = torch.tensor([2, -3]).expand(6, 9, 2)
    tiles = grid.cut(picture, shift, margin=1)
    assert tiles.shape == (1, 6, 9, 10, 10)
    for row, column in ((0, 0), (3, 4), (5, 8)):
        y, x = 4 * row - 4 + 2 - 1, 4 * column - 4 - 3 - 1
        expected = picture[0, torch.arange(y, y + 10).clamp(0, 19)][:, torch.arange(x, x + 10).clamp(0, 29)]
        assert torch.equal(tiles[0, row, column], expected)


@pytest.mark.parametrize("shift", [(0, 0), (3, -2), (-11, 17), (24, 9)], ids=str)
def test_a_moved_frame_is_found_again(shift):
    wide = structured_picture(190, 200)[0]
    reference, frame = wide[:, 30:160, 30:170], wide[:, 30 - shift[0] : 160 - shift[0], 30 - shift[1] : 170 - shift[1]]
    grid = TileGrid(16, (130, 140))
    found = align_tiles(frame, reference, grid)
    inside = found[4:-4, 4:-4].reshape(-1, 2)
    there = (inside == torch.tensor(shift)).all(-1).float().mean()
    assert there > 0.8  # a tile without detail fits elsewhere too
    error = grid.cut(frame, found) - grid.cut(reference, torch.zeros_like(found))
    assert error[:, 4:-4, 4:-4].square().mean().sqrt() < 0.02


def test_each_object_has_its_own_displacement():
    ground, thing = structured_picture(128, 160)[0], structured_picture(40, 40, seed=5)[0]
    reference, frame = ground.roll((2, 2), (1, 2)), ground.clone()
    reference[:, 40:80, 60:100] = frame[:, 46:86, 52:92] = thing
    found = align_tiles(frame, reference, TileGrid(16, (128, 160)))
    assert found[7, 10].tolist() == [6, -8]  # about the pixel (56, 80)
    assert found[13, 3].tolist() == [-2, -2]


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (20, 15)], ids=str)
def test_small_and_flat_frames_do_not_move(size):
    flat = torch.full((1, *size), 0.5)
    assert not align_tiles(flat, flat, TileGrid(16, size)).any()
