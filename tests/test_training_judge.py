"""Samples of the learned judge, and that it learns from them."""

from __future__ import annotations

import pytest
import torch

from helpers import structured_picture
from unblur.imaging.colour import luminance
from unblur.imaging.synthesis.shaken import KINDS, ShakenRecipe, shaken_picture
from unblur.training.judge import JudgeTraining
from unblur.training.judge_candidates import gain_of, local_errors
from unblur.training.subjects import subject
from unblur.types import UnblurError


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_every_kind_are_made(kind):
    recipe = ShakenRecipe(side=112, shares=tuple(float(one == kind) for one in KINDS), half=(3, 8))
    photo = structured_picture(recipe.area, recipe.area, channels=3)
    sharp, seen, made = shaken_picture(photo, recipe, torch.Generator().manual_seed(1))
    assert made == kind and sharp.shape == seen.shape == (1, 3, 112, 112)
    assert seen.min() >= 0 and seen.max() <= 1
    again = shaken_picture(photo, recipe, torch.Generator().manual_seed(1))[1]
    assert torch.equal(seen, again)


def test_faint_pictures_have_less_contrast():
    shares = tuple(float(one == "sharp") for one in KINDS)
    plain, faint = (ShakenRecipe(side=112, shares=shares, dark=0.0, sharpened=0.0, faint=share) for share in (0.0, 1.0))
    photo = structured_picture(plain.area, plain.area, channels=3)
    seen, pale = (shaken_picture(photo, one, torch.Generator().manual_seed(1))[0] for one in (plain, faint))
    assert pale.std() < 0.85 * seen.std()


def test_the_gain_is_the_difference_of_the_psnr():
    sharp = luminance(structured_picture(80, 80, channels=3)).clamp(0.1, 0.9)
    noise = torch.randn(sharp.shape, generator=torch.Generator().manual_seed(0))
    half = gain_of(sharp + 0.01 * noise, sharp + 0.02 * noise, sharp, 20)
    assert half == pytest.approx(20 * torch.log10(torch.tensor(2.0)).item(), abs=0.3)
    errors = local_errors(sharp + 0.01 * noise, sharp + 0.02 * noise, sharp, 16, 24)
    assert errors.shape == (2, 2, 2) and (errors[0] > 2 * errors[1]).all()


def test_it_learns_which_candidates_gain():
    torch.manual_seed(0)
    training = JudgeTraining({"widths": (4, 6, 8, 8, 8), "hidden": 16}, {"side": 112})
    clear, soft = torch.rand(2, 1, 64, 64), 0.5 * torch.ones(2, 1, 64, 64)
    views = torch.stack([torch.cat((one, soft, soft, 0 * soft), 1) for one in (clear, soft)], 1)  # (2, 2, 4, 64, 64)
    batch = {
        "blurry": soft + 0.1 * clear,
        "views": views,
        "facts": torch.zeros(2, 2, 6),
        "gain": torch.tensor([[3.0, -2.0]] * 2),
        "errors": torch.full((2, 2, 2, 2, 2), 0.01),
    }
    step = torch.optim.Adam(training.modules["gain"].parameters(), 0.01)
    history = []
    for _ in range(60):
        ((_, parts),) = training.losses("gain", batch)
        loss = sum(parts.values())
        step.zero_grad()
        loss.backward()
        step.step()
        history.append(float(loss))
    assert history[-1] < history[0] - 0.5
    assert torch.equal(training.restore(batch), clear)


def test_the_judge_and_methods_with_networks_can_be_trained():
    assert subject("judge").name == "judge" and subject("two_way").name == "two_way"
    with pytest.raises(UnblurError, match="has no network to train"):
        subject("wiener")
