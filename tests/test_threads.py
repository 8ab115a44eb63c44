"""Results do not depend on the number of threads, but for rounding, and are the same every time."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor

from helpers import blurred_scene
from unblur import methods
from unblur.metrics import kernel_similarity
from unblur.types import Observation

CARDS = {name: methods.get(name).card for name in methods.names()}
DECONVOLVING = [name for name, card in CARDS.items() if card.needs == {"blurry", "psf"}]
ESTIMATING = [name for name, card in CARDS.items() if card.needs == {"blurry"} and "psf" in card.gives]


def restored(name: str) -> tuple[Tensor | None, Tensor | None]:
    scene = blurred_scene(48, 56, sigma=0.005)
    psf = scene.psf if "psf" in CARDS[name].needs else None
    method = methods.get(name)
    result = method(Observation(blurry=scene.blurry, psf=psf), method.quick)
    return result.image, result.psf


@cache
def restored_on_one_thread(name: str) -> tuple[Tensor | None, Tensor | None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return restored(name)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", DECONVOLVING)
def test_several_threads_restore_the_picture_of_one(name, several_threads):
    torch.testing.assert_close(restored(name)[0], restored_on_one_thread(name)[0], atol=5e-3, rtol=0)


@pytest.mark.parametrize("name", ESTIMATING)
def test_several_threads_find_the_psf_of_one_and_always_the_same(name, several_threads):
    (_, found), (_, again) = restored(name), restored(name)
    assert torch.equal(found, again)
    assert float(kernel_similarity(found, restored_on_one_thread(name)[1])) > 0.99


@pytest.mark.parametrize("name", DECONVOLVING)
def test_the_same_number_of_threads_gives_the_same_bits(name, several_threads):
    for once, again in zip(restored(name), restored(name), strict=True):
        assert (once is None and again is None) or torch.equal(once, again)
