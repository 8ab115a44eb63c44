"""From a blurry picture of any size to its PSF, without being told anything about either."""

from dataclasses import replace

import pytest
import torch

from helpers import Scene, blurred_scene, hook_psf, observe, structured_picture
from unblur.imaging.psf import delta_psf, gaussian_psf, psf_centroid, splat_points
from unblur.metrics import kernel_similarity
from unblur.solvers import blind
from unblur.solvers.areas import informative_area
from unblur.solvers.blind import SMALLEST_PICTURE, estimate_psf, implausibility
from unblur.solvers.l0 import L0Search, psfs_by_level
from unblur.solvers.psf_fit import tidy
from unblur.types import Progress


def arc_psf(radius: float) -> torch.Tensor:
    """A shake along an arc of 140 degrees whose light fades: about `2.5 * radius` wide."""
    t = torch.linspace(0, 1, 2000, dtype=torch.float64)
    x, y = radius * torch.cos(2.4 * t), -radius * torch.sin(2.4 * t)
    return tidy(splat_points(x - x.mean(), y - y.mean(), 1.4 - t, 2 * int(2 * radius) + 1))


def large_shapes(height: int, width: int, seed: int, zoom: int = 4) -> torch.Tensor:
    """A structured picture seen from near, so that its shapes outgrow a large blur."""
    small = structured_picture(-(-height // zoom), -(-width // zoom), seed=seed)
    return small.repeat_interleave(zoom, -1).repeat_interleave(zoom, -2)[..., :height, :width]


def assert_found(psf: torch.Tensor, scene: Scene, likeness: float) -> None:
    assert psf.ndim == 2 and all(side % 2 for side in psf.shape)
    assert psf.min() >= 0 and float(psf.sum()) == pytest.approx(1, abs=1e-5)
    found, flipped = (float(kernel_similarity(psf, true)) for true in (scene.psf, scene.psf.flip(-2, -1)))
    assert found > likeness and found > flipped + 0.05


# --- the estimate -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(160, 176), (201, 222)], ids=str)
def test_an_asymmetric_psf_is_found_without_being_told_its_size(size):
    scene = blurred_scene(*size, sigma=0.003)
    psf = estimate_psf(scene.blurry)
    assert_found(psf, scene, 0.8)
    assert max(psf.shape) <= 21, "a PSF of 11 px is not taken for one of 27"
    assert all(abs(c - side // 2) <= 0.5 + 1e-6 for c, side in zip(psf_centroid(psf), psf.shape, strict=True))


def test_every_way_round_is_found():
    """An error in one direction hides in the others."""
    scene = blurred_scene(160, 176, sigma=0.003)
    for turns in (1, 2, 3):
        turned = Scene(*(part.rot90(turns, (-2, -1)) for part in (scene.sharp, scene.psf, scene.blurry)))
        assert_found(estimate_psf(turned.blurry), turned, 0.8)


def test_an_arc_is_found_too():
    scene = blurred_scene(300, 320, sigma=0.003, psf=arc_psf(11))
    assert_found(estimate_psf(scene.blurry), scene, 0.8)


def test_a_psf_larger_than_any_size_tried_at_first_is_found_by_trying_larger_ones():
    psf = arc_psf(26)
    assert max(psf.shape) > 60
    scene = observe(large_shapes(474, 504, seed=1), psf, sigma=0.003)
    found = estimate_psf(scene.blurry)
    assert_found(found, scene, 0.7)
    assert max(found.shape) > 55


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_large_psf_is_found_in_a_larger_picture(seed):
    scene = observe(large_shapes(546, 576, seed=seed), arc_psf(26), sigma=0.003)
    assert_found(estimate_psf(scene.blurry), scene, 0.7)


def test_only_the_best_two_sizes_are_estimated_at_full_size(monkeypatch):
    scene = observe(large_shapes(320, 330, seed=1), hook_psf().float(), sigma=0.005)
    levels, stages = [], []

    class Noted(Progress):
        def stage(self, name, total=None):
            stages.append([name, total, 0])

        def advance(self, steps=1, **figures):
            stages[-1][2] += steps

    def counted(area, search, progress, exemplar):
        levels.append([search.size, 0])
        own = levels[-1]
        for psf in psfs_by_level(area, search, progress, exemplar):
            own[1] += 1
            yield psf

    monkeypatch.setattr(blind, "psfs_by_level", counted)
    found = estimate_psf(scene.blurry, progress=Noted())
    whole = [blind.L0Search(size, 0.004, 0.3, 5) for size, _ in levels]
    left_out = [len(search.scales()) - done for search, (_, done) in zip(whole, levels, strict=True)]
    assert sorted(left_out) == [0, 0, 2, 2], "four sizes and weights; a search has two levels above half the size"
    assert all(done == total for _, total, done in stages), "the progress counts what is left out"
    assert kernel_similarity(found, scene.psf) > 0.7


@pytest.mark.parametrize("size", [9, 13, 25])
def test_a_size_that_is_given_is_kept_to(size):
    scene = blurred_scene(128, 136, sigma=0.003)
    psf = estimate_psf(scene.blurry, size=size, iterations=2)
    assert max(psf.shape) <= 2 * size - 1, "centring may move a PSF out of its middle, not beyond its size"
    lit = (psf > 0).nonzero()
    assert ((lit.amax(0) - lit.amin(0)) < size).all()


def test_the_same_picture_gives_the_same_psf_and_is_left_alone():
    blurry = blurred_scene(96, 100).blurry
    before = blurry.clone()
    first, second = estimate_psf(blurry, size=15, iterations=2), estimate_psf(blurry, size=15, iterations=2)
    assert torch.equal(first, second) and torch.equal(blurry, before)


@pytest.mark.parametrize("side", [1, 5, SMALLEST_PICTURE - 1])
def test_a_tiny_picture_gives_a_delta(side):
    blurry = structured_picture(64, 64)[..., :side, :]
    for picture in (blurry, blurry.transpose(-2, -1)):
        assert estimate_psf(picture).tolist() == [[1.0]]


def test_a_flat_picture_gives_a_delta():
    assert estimate_psf(torch.full((1, 1, 64, 80), 0.4)).tolist() == [[1.0]]


def test_a_flat_picture_that_was_rounded_is_flat_still():
    """A photo file's smallest step is 1/65535; below it there is nothing to read."""
    rounding = 1e-6 * torch.randn(1, 1, 64, 80, generator=torch.Generator().manual_seed(0))
    assert estimate_psf(0.4 + rounding).tolist() == [[1.0]]


@pytest.mark.parametrize(("side", "size"), [(64, 61), (64, 101), (40, 301)])
def test_a_size_beyond_the_picture_gives_a_psf_that_fits_in_it(side, size):
    psf = estimate_psf(blurred_scene(side, side + 5).blurry, size=size, iterations=1)
    assert max(psf.shape) <= side and torch.isfinite(psf).all()


def test_a_small_picture_gives_a_psf_that_fits_in_it():
    psf = estimate_psf(blurred_scene(SMALLEST_PICTURE, SMALLEST_PICTURE + 3).blurry)
    assert max(psf.shape) <= SMALLEST_PICTURE and torch.isfinite(psf).all()


def test_a_single_edge_still_gives_a_psf():
    """Little to go by: whatever is found must be a PSF all the same."""
    picture = torch.full((1, 1, 64, 72), 0.2)
    picture[..., 40:] = 0.7
    psf = estimate_psf(picture)
    assert torch.isfinite(psf).all() and psf.min() >= 0 and float(psf.sum()) == pytest.approx(1, abs=1e-5)


# --- where to look ----------------------------------------------------------------------------------


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)], ids=str)
def test_the_textured_quarter_of_a_flat_picture_is_where_to_look(corner):
    picture = torch.full((1, 1, 400, 480), 0.5)
    top, left = 200 * corner[0], 240 * corner[1]
    picture[..., top : top + 200, left : left + 240] = structured_picture(200, 240)
    area = informative_area(picture, 160)
    assert area.shape == (1, 1, 160, 160)
    row, column = place_of(area, picture)
    assert top - 32 <= row <= top + 40 + 32 and left - 32 <= column <= left + 80 + 32


def place_of(area: torch.Tensor, picture: torch.Tensor) -> tuple[int, int]:
    """Where an area was cut from, by comparing some of its pixels with those of every place."""
    height, width = area.shape[-2:]
    places = picture[0, 0].unfold(0, height, 1).unfold(1, width, 1)[..., ::20, ::20]
    errors = (places - area[0, 0, ::20, ::20]).abs().amax((-2, -1))
    row, column = divmod(int(errors.argmin()), errors.shape[1])
    assert errors[row, column] == 0
    return row, column


def test_edges_in_every_direction_are_worth_more_than_many_in_one():
    """A fence of strong upright bars tells nothing about the blur along them."""
    picture = torch.full((1, 1, 200, 420), 0.5)
    picture[..., 10:190, :200] = (torch.arange(200) // 4 % 2).float()
    picture[..., 220:420] = structured_picture(200, 200)
    assert place_of(informative_area(picture, 160), picture)[1] >= 160


def test_a_small_picture_is_looked_at_as_a_whole():
    picture = structured_picture(100, 120)
    assert torch.equal(informative_area(picture, 120), picture)
    assert informative_area(picture, 110).shape == (1, 1, 100, 110)


def test_the_psf_of_a_large_picture_is_read_where_the_detail_is():
    """The rest is flat, so looking at the middle would find nothing."""
    scene = blurred_scene(200, 210, sigma=0.0)
    blurry = torch.full((1, 1, 200, 1000), 0.5)
    blurry[..., 790:] = scene.blurry
    assert_found(estimate_psf(blurry), scene, 0.8)


# --- which answer to believe --------------------------------------------------------------------------


def test_the_true_psf_is_more_plausible_than_wrong_ones():
    scene = blurred_scene(160, 176, sigma=0.003)
    true = implausibility(scene.blurry, hook_psf())
    wrong = [delta_psf(3), hook_psf().flip(0, 1), hook_psf().flip(1), gaussian_psf(2.5), arc_psf(8)]
    assert all(true < implausibility(scene.blurry, psf) for psf in wrong)


def test_the_psfs_of_the_same_areas_are_searched_for_once(monkeypatch):
    searched = []

    def search(area: torch.Tensor, search: L0Search, progress: Progress) -> torch.Tensor:
        searched.append(search.size)
        return torch.full((3, 3), 1 / 9)

    monkeypatch.setattr(blind, "_REMEMBERED", blind._Remembered(16))
    monkeypatch.setattr(blind, "search_psf", search)
    picture = structured_picture(960, 960, 1, seed=1)
    first = blind.regional_psfs(picture, replace(blind.DEFAULT_SEARCH, size=9), Progress())
    again = blind.regional_psfs(picture.clone(), replace(blind.DEFAULT_SEARCH, size=9), Progress())
    assert searched == [9] * 4
    for (area, psf), (other_area, other_psf) in zip(first, again, strict=True):
        assert torch.equal(area, other_area) and torch.equal(psf, other_psf)
    blind.regional_psfs(picture, replace(blind.DEFAULT_SEARCH, size=11), Progress())
    blind.regional_psfs(picture.flip(-1), replace(blind.DEFAULT_SEARCH, size=9), Progress())
    assert searched == [9] * 4 + [11] * 4 + [9] * 4, "neither other sizes nor other pictures are known"


def test_only_the_last_psfs_are_remembered(monkeypatch):
    searched = []
    monkeypatch.setattr(blind, "search_psf", lambda area, *_: searched.append(float(area.mean())) or area[0, 0, :3, :3])
    remembered = blind._Remembered(2)
    for value in (0.1, 0.2, 0.1, 0.3, 0.1, 0.2):
        remembered.psf_of(torch.full((1, 1, 9, 9), value), blind.DEFAULT_SEARCH, Progress())
    assert [round(value, 1) for value in searched] == [0.1, 0.2, 0.3, 0.2]
