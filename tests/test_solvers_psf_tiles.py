"""A photo tells its PSF from the same PSF turned round; what that is worth when one of several is chosen."""

import pytest
import torch

from helpers import hook_psf, observe, structured_picture
from unblur.imaging.psf import gaussian_psf
from unblur.imaging.synthesis.jpeg import jpeg
from unblur.solvers.psf_tiles import (
    SOME_NOISE,
    TILE,
    TOLD_APART,
    edge_strength,
    holds_tiles,
    log_implausibility,
    margin_of,
    most_plausible,
    turned_margin,
)


@pytest.fixture(scope="module")
def scene():
    return observe(structured_picture(170, 200), hook_psf(), sigma=0.004)


def test_the_right_psf_is_told_from_its_turned_copy_and_the_turned_copy_is_the_opposite(scene):
    psf = hook_psf()
    margin = turned_margin(scene.blurry, psf)
    assert margin > TOLD_APART
    assert turned_margin(scene.blurry, psf.flip(0, 1)) == pytest.approx(-margin, rel=1e-4)


def test_it_is_still_told_apart_with_grain_and_jpeg_blocks(scene):
    noise = 0.015 * torch.randn(scene.blurry.shape, generator=torch.Generator().manual_seed(1))
    grainy = jpeg((scene.blurry + noise).clamp(0, 1).expand(1, 3, -1, -1), torch.tensor([70.0]))[:, :1]
    assert turned_margin(grainy, hook_psf()) > TOLD_APART


def test_a_symmetric_psf_is_its_own_copy(scene):
    assert turned_margin(scene.blurry, gaussian_psf(2.0)) == pytest.approx(0, abs=1e-3)


def test_a_sharp_photo_tells_no_psf_from_its_copy():
    assert turned_margin(structured_picture(170, 200), hook_psf()) < TOLD_APART


def test_every_tile_has_a_figure_and_needs_room(scene):
    psf = hook_psf()
    margin = margin_of(psf)
    figures = log_implausibility(scene.blurry, psf, margin, SOME_NOISE)
    assert figures.shape == edge_strength(scene.blurry, margin).shape and figures.isfinite().all()
    least = TILE + 2 * margin
    assert holds_tiles(scene.blurry[..., :least, :], psf) and not holds_tiles(scene.blurry[..., : least - 1, :], psf)


@pytest.mark.parametrize(
    ("implausibilities", "margins", "chosen"),
    [
        ([1.0, 2.0, 3.0], [0.0, 0.02, 0.01], 0),  # no photo tells these apart: the most plausible one
        ([1.0, 2.0, 3.0], [0.0, 0.3, 0.1], 1),  # the first is plausible because it hardly deblurs
        ([1.0, 3.0, 2.0], [0.0, 0.3, 0.28], 2),  # two with nearly equal margins: the more plausible one
        ([1.0], [-0.2], 0),
    ],
)
def test_the_most_plausible_of_those_that_are_told_apart_is_chosen(implausibilities, margins, chosen):
    assert most_plausible(implausibilities, margins) == chosen
