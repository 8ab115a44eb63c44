"""Tiles agree with the whole picture, show no seam, and stop when told to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from helpers import blurred_scene, structured_picture
from unblur import methods
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import gaussian_psf
from unblur.solvers.tiles import BLEND, halo_for, tiled
from unblur.types import Cancelled, Observation, Progress

REACH_3 = gaussian_psf(1.0, 7)


def blur(tile, _progress):
    return convolve(tile.blurry, REACH_3)


def seen(picture) -> Observation:
    return Observation(blurry=picture)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 200), (64, 64), (97, 131)])
@pytest.mark.parametrize("tile", [2 * BLEND, 40, 64])
def test_tiles_of_a_local_operation_equal_the_whole(height, width, tile):
    picture = structured_picture(height, width, channels=3)
    joined = tiled(blur, seen(picture), halo=3, tile=tile)
    torch.testing.assert_close(joined, blur(seen(picture), None), atol=1e-6, rtol=0)


def test_a_halo_that_is_too_small_is_what_the_halo_is_for():
    picture = structured_picture(97, 131)
    joined = tiled(blur, seen(picture), halo=0, tile=40)
    assert (joined - blur(seen(picture), None)).abs().max() > 1e-3


def test_tiles_that_disagree_are_faded_into_each_other():
    picture = (torch.arange(80) >= 40).float().expand(1, 1, 30, 80)
    joined = tiled(lambda tile, _: tile.blurry.mean().round().expand(tile.blurry.shape), seen(picture), halo=0, tile=40)
    line = joined[0, 0, 0]
    assert (line[0], line[-1]) == (0, 1)
    assert line.diff().max() <= 1 / BLEND + 1e-6


def test_deconvolution_in_tiles_is_deconvolution():
    scene = blurred_scene(200, 220, sigma=0.01)
    method = methods.get("hyper_laplacian")

    def restore(tile, progress):
        image = method(tile, {}, progress).image
        assert image is not None
        return image

    observation = Observation(blurry=scene.blurry, psf=scene.psf, sigma=0.01)
    whole = restore(observation, Progress())
    joined = tiled(restore, observation, halo=halo_for(scene.psf), tile=80)
    assert (joined - whole).square().mean().sqrt() < 0.5 / 255
    assert (whole - scene.blurry).square().mean().sqrt() > 3 / 255


def test_the_halo_grows_with_the_psf():
    assert halo_for(None) == halo_for(torch.ones(3, 3)) == 32
    assert halo_for(torch.ones(1, 1, 31, 51)) == 77
    assert (halo_for(torch.ones(3, 3), 100), halo_for(None, 5)) == (100, 32)


def test_every_tile_is_reported():
    class Counting(Progress):
        total, done = None, 0

        def on_stage(self, name, total):
            self.total = total

        def on_advance(self, steps, figures):
            self.done += steps

    progress = Counting()
    tiled(blur, seen(torch.zeros(1, 1, 100, 100)), halo=3, tile=50, progress=progress)
    assert (progress.total, progress.done) == (4, 4)


def test_the_threads_borrowed_are_given_back():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        tiled(blur, seen(torch.zeros(1, 1, 100, 100)), halo=3, tile=50)
        with ThreadPoolExecutor(1) as later:
            assert (torch.get_num_threads(), later.submit(torch.get_num_threads).result()) == (3, 3)
    finally:
        torch.set_num_threads(before)


def test_a_cancellation_reaches_into_a_tile_and_spares_the_others():
    started = []
    progress = Progress()

    def endless(tile, within):
        started.append(tile)
        progress.cancel()
        while True:
            within.advance()

    with pytest.raises(Cancelled):
        tiled(endless, seen(torch.zeros(1, 1, 400, 400)), halo=0, tile=40, progress=progress)
    assert len(started) < 100


def test_what_goes_wrong_in_a_tile_goes_wrong_for_all():
    def fail(_tile, _progress):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        tiled(fail, seen(torch.zeros(1, 1, 100, 100)), halo=0, tile=50)
