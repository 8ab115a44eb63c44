"""Tiles agree with the whole picture, show no seam, and stop when told to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from helpers import blurred_scene, structured_picture
from unblur import methods
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import gaussian_psf
from unblur.solvers import tiles
from unblur.solvers.tiles import BLEND, halo_for, tiled
from unblur.types import Cancelled, Observation, Progress

REACH_3 = gaussian_psf(1.0, 7)


def blur(tile, _progress):
    return convolve(tile.blurry, REACH_3)


def tiled_picture(restore, picture, **options):
    """`tiled` of an observation that is one picture."""
    return tiled(restore, Observation(blurry=picture), **options)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 200), (64, 64), (97, 131)])
@pytest.mark.parametrize("tile", [2 * BLEND, 40, 64])
def test_tiles_of_a_local_operation_equal_the_whole(height, width, tile):
    picture = structured_picture(height, width, channels=3)
    joined = tiled_picture(blur, picture, halo=3, tile=tile)
    torch.testing.assert_close(joined, blur(Observation(blurry=picture), None), atol=1e-6, rtol=0)


def test_a_halo_that_is_too_small_is_what_the_halo_is_for():
    picture = structured_picture(97, 131)
    joined = tiled_picture(blur, picture, halo=0, tile=40)
    assert (joined - blur(Observation(blurry=picture), None)).abs().max() > 1e-3


def test_tiles_that_disagree_are_faded_into_each_other():
    picture = (torch.arange(80) >= 40).float().expand(1, 1, 30, 80)
    joined = tiled_picture(
        lambda tile, _: tile.blurry.mean().round().expand(tile.blurry.shape), picture, halo=0, tile=40
    )
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


def test_the_halo_is_at_least_as_wide_as_the_method_looks():
    assert halo_for(None, 100) == halo_for(torch.ones(31, 31), 100) == 100
    assert halo_for(torch.ones(101, 101), 100) == 152


def test_all_pictures_of_an_observation_are_cut_alike():
    noisy = structured_picture(70, 90, channels=3)
    frames = torch.stack((noisy, 2 * noisy), 1)  # (1, 2, 3, 70, 90)
    psf = REACH_3[None, None]
    observation = Observation(noisy=noisy, frames=frames, psf=psf, sigma=0.5)
    shapes = set()

    def restore(tile, _progress):
        assert tile.blurry is None and tile.psf is psf and tile.sigma == 0.5
        shapes.add(tile.frames.shape[-2:] == tile.noisy.shape[-2:])
        return tile.frames[:, 1] - tile.noisy

    torch.testing.assert_close(tiled(restore, observation, halo=3, tile=40), noisy)
    assert shapes == {True}


def test_tiles_begin_at_multiples_of_what_a_network_reduces_the_picture_by():
    picture = structured_picture(150, 170)

    def in_squares(tile, _progress):
        """The mean of each square of 8 x 8 pixels, which depends on where the squares begin."""
        padded = torch.nn.functional.pad(tile.blurry, (0, -tile.blurry.shape[-1] % 8, 0, -tile.blurry.shape[-2] % 8))
        means = torch.nn.functional.avg_pool2d(padded, 8).repeat_interleave(8, -1).repeat_interleave(8, -2)
        return means[..., : tile.blurry.shape[-2], : tile.blurry.shape[-1]]

    whole = in_squares(Observation(blurry=picture), None)
    torch.testing.assert_close(tiled_picture(in_squares, picture, halo=9, tile=50, multiple_of=8), whole)
    assert (tiled_picture(in_squares, picture, halo=9, tile=50) - whole).abs().max() > 1e-2


def test_a_tile_may_have_other_channels_than_the_picture():
    picture = structured_picture(70, 90, channels=3)
    joined = tiled_picture(lambda tile, _: tile.blurry[:, :1], picture, halo=3, tile=40)
    torch.testing.assert_close(joined, picture[:, :1])


def test_no_more_tiles_are_begun_than_there_are_workers(monkeypatch):
    """So that the results of finished tiles do not wait in memory."""
    monkeypatch.setattr(tiles, "worker_count", lambda _device: 2)
    begun, done = [], []

    class Counting(Progress):
        def on_advance(self, steps, figures):
            done.extend([1] * steps)

    def restore(tile, _progress):
        begun.append(len(done))
        return tile.blurry

    tiled_picture(restore, torch.zeros(1, 1, 40, 400), halo=0, tile=40, progress=Counting())
    assert len(begun) == len(done) == 10
    assert all(number - joined <= 2 for number, joined in enumerate(begun))


def test_every_tile_is_reported():
    class Counting(Progress):
        total, done = None, 0

        def on_stage(self, name, total):
            self.total = total

        def on_advance(self, steps, figures):
            self.done += steps

    progress = Counting()
    tiled_picture(blur, torch.zeros(1, 1, 100, 100), halo=3, tile=50, progress=progress)
    assert (progress.total, progress.done) == (4, 4)


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def threads_of_a_new_thread():
    with ThreadPoolExecutor(1) as later:
        return later.submit(torch.get_num_threads).result()


def test_other_threads_keep_their_share_of_the_cores_while_tiles_are_restored(three_threads):
    seen = []

    def restore(tile, _progress):
        seen.append((torch.get_num_threads(), threads_of_a_new_thread()))
        return tile.blurry

    tiled_picture(restore, torch.zeros(1, 1, 100, 100), halo=3, tile=50)
    assert seen == [(1, 3)] * 4
    assert (torch.get_num_threads(), threads_of_a_new_thread()) == (3, 3)


def test_two_restorations_at_once_give_what_they_give_alone(three_threads):
    method = methods.get("hyper_laplacian")

    def restore(tile, progress):
        image = method(tile, {}, progress).image
        assert image is not None
        return image

    def whole(seed):
        scene = blurred_scene(150, 130, sigma=0.01, seed=seed)
        observation = Observation(blurry=scene.blurry, psf=scene.psf, sigma=0.01)
        return tiled(restore, observation, halo=32, tile=60)

    alone = [whole(seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(whole, (1, 2)))
    assert all(torch.equal(*pair) for pair in zip(alone, together, strict=True))


def test_a_cancellation_reaches_into_a_tile_and_spares_the_others():
    started = []
    progress = Progress()

    def endless(tile, within):
        started.append(tile)
        progress.cancel()
        while True:
            within.advance()

    with pytest.raises(Cancelled):
        tiled_picture(endless, torch.zeros(1, 1, 400, 400), halo=0, tile=40, progress=progress)
    assert len(started) < 100


def test_what_goes_wrong_in_a_tile_goes_wrong_for_all():
    def fail(_tile, _progress):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        tiled_picture(fail, torch.zeros(1, 1, 100, 100), halo=0, tile=50)
