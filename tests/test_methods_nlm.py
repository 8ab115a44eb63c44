"""The method `nlm` denoises with the noise level that was given or measured, times its strength."""

from __future__ import annotations

import torch

from helpers import structured_picture
from unblur import methods
from unblur.solvers.data_term import noise_sigma
from unblur.solvers.non_local_means import non_local_means
from unblur.types import Observation, Progress

NLM = methods.get("nlm")
NOISY = structured_picture(40, 46, 3) + 0.05 * torch.randn(1, 3, 40, 46, generator=torch.Generator().manual_seed(1))


def test_strength_multiplies_the_noise_level():
    expected = non_local_means(NOISY, torch.tensor([0.06]), Progress())
    image = NLM(Observation(blurry=NOISY, sigma=0.04), {"strength": 1.5}).image
    torch.testing.assert_close(image, expected)


def test_an_unknown_noise_level_is_measured():
    measured = noise_sigma(Observation(blurry=NOISY), blurred=False)
    expected = non_local_means(NOISY, measured, Progress(), patch=5, search=7)
    torch.testing.assert_close(NLM(Observation(blurry=NOISY), {"patch": 5, "search": 7}).image, expected)
