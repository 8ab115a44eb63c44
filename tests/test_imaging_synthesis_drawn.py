"""Drawn pictures: of the size that is asked for, of 8 bits, full of edges, and each one different."""

import pytest
import torch

from unblur.imaging.synthesis.drawn import KINDS, draw


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_has_the_size_that_is_asked_for_and_edges(kind):
    picture = draw(kind, 96, generator())
    assert picture.shape == (3, 96, 96) and picture.min() >= 0 and picture.max() <= 1
    torch.testing.assert_close(picture * 255, (picture * 255).round(), atol=1e-4, rtol=0)
    steps = picture.diff(dim=-1).abs()
    assert steps.max() > 0.2 and steps.mean() > 0.005


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_draws_the_same_picture(kind):
    first, same, other = (draw(kind, 64, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, same) and not torch.equal(first, other)


def test_leaves_and_text_are_not_the_same():
    """Text has far more plain ground: its colour fills much of the picture."""
    grounds = {kind: [] for kind in KINDS}
    for kind in KINDS:
        for seed in range(6):
            levels = (draw(kind, 96, generator(seed)) * 255).round().long()
            _, counts = (levels[0] * 65536 + levels[1] * 256 + levels[2]).flatten().unique(return_counts=True)
            grounds[kind].append(float(counts.max()) / 96**2)
    assert sum(grounds["text"]) > sum(grounds["leaves"])
