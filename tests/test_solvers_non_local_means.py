"""Non-local means: the formula itself, computed fast, for any size and in little memory."""

from __future__ import annotations

import pytest
import torch

from helpers import structured_picture
from unblur.solvers import non_local_means as nlm
from unblur.types import Progress

SIGMA = 0.08


def noisy_picture(height: int, width: int, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    picture = structured_picture(height, width, channels)
    return (picture + SIGMA * torch.randn(picture.shape, generator=generator)).clamp(0, 1)


def by_the_formula(picture: torch.Tensor, sigma: float, patch: int, search: int) -> torch.Tensor:
    """One pixel after the other, in double precision, as Buades et al. write it; `(C, H, W)`."""
    height, width = picture.shape[-2:]
    reach, half = search // 2, patch // 2
    margin = reach + half
    wide = torch.nn.functional.pad(picture[None], (margin,) * 4, mode="reflect")[0].double()

    def patch_at(y: int, x: int) -> torch.Tensor:
        return wide[:, y - half : y + half + 1, x - half : x + half + 1]

    restored = torch.empty_like(picture)
    for y in range(height):
        for x in range(width):
            row, column = y + margin, x + margin
            total, weights = torch.zeros(len(picture), dtype=torch.float64), 0.0
            for dy in range(-reach, reach + 1):
                for dx in range(-reach, reach + 1):
                    distance = (patch_at(row, column) - patch_at(row + dy, column + dx)).square().mean()
                    excess = max(float(distance) - 2 * sigma**2, 0) if (dy, dx) != (0, 0) else 0.0
                    weight = torch.tensor(-excess / (nlm.K * sigma) ** 2).exp()
                    total += weight * wide[:, row + dy, column + dx]
                    weights += float(weight)
            restored[:, y, x] = total / weights
    return restored


def denoise(picture: torch.Tensor, sigma: float = SIGMA, **sides: int) -> torch.Tensor:
    return nlm.non_local_means(picture, torch.full((len(picture),), sigma), Progress(), **sides)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("patch", "search"), [(1, 3), (3, 7), (5, 5)])
def test_it_is_the_average_that_the_paper_describes(channels, patch, search):
    picture = noisy_picture(9, 11, channels)
    expected = by_the_formula(picture[0], SIGMA, patch, search)
    torch.testing.assert_close(denoise(picture, patch=patch, search=search)[0], expected, atol=2e-6, rtol=0)


def test_every_picture_of_a_batch_has_its_own_noise_level():
    picture = noisy_picture(20, 23)
    both = nlm.non_local_means(picture.expand(2, -1, -1, -1), torch.tensor([SIGMA, 2 * SIGMA]), Progress())
    torch.testing.assert_close(both, torch.cat([denoise(picture), denoise(picture, 2 * SIGMA)]))


def test_most_of_the_noise_goes_and_edges_stay():
    sharp, noisy = structured_picture(64, 80, 3), noisy_picture(64, 80)
    before, after = ((picture - sharp).square().mean() for picture in (noisy, denoise(noisy)))
    assert after < 0.25 * before


def test_a_picture_without_noise_comes_back():
    picture = structured_picture(20, 23, 3)
    torch.testing.assert_close(denoise(picture, 0.0), picture)


@pytest.mark.parametrize("size", [(1, 1), (1, 30), (5, 4)])
def test_pictures_smaller_than_the_search_window_are_denoised(size):
    picture = torch.full((1, 3, *size), 0.4)
    torch.testing.assert_close(denoise(picture), picture)


def test_bands_join_without_a_seam_and_keep_the_working_memory_small(monkeypatch):
    picture = noisy_picture(150, 21)
    whole = denoise(picture, search=5)
    heights = []
    monkeypatch.setattr(nlm, "BAND", 21 * 40)
    plain = nlm._inside_denoised

    def watched(band, *arguments):
        heights.append(band.shape[-2])
        return plain(band, *arguments)

    monkeypatch.setattr(nlm, "_inside_denoised", watched)
    torch.testing.assert_close(denoise(picture, search=5), whole, atol=1e-6, rtol=0)
    assert heights == [40 + 6, 40 + 6, 40 + 6, 30 + 6]


def test_progress_is_told_of_each_band_and_may_cancel(monkeypatch):
    monkeypatch.setattr(nlm, "BAND", 21 * 40)
    told = []

    class Told(Progress):
        def on_stage(self, name, total):
            told.append(total)

        def on_advance(self, steps, figures):
            told.append(steps)

    nlm.non_local_means(noisy_picture(150, 21), torch.tensor([SIGMA]), Told(), search=5)
    assert told == [4, 1, 1, 1, 1]
