"""NIDF: what the two networks are, what they are given, and what they learn."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from helpers import errors_while_learning, structured_picture
from unblur import methods
from unblur.methods.nidf.network import Nidf, NidfPlan, network_of
from unblur.methods.nidf.training import NidfTraining
from unblur.types import Observation

TINY = {"widths": [8, 8], "blocks": [1, 1]}
OBSERVATIONS = {"side": 32, "half": [1, 4]}


def sample(training, seed=0):
    sharp = structured_picture(training.area, training.area, 3)[0]
    return training.observe({"sharp": sharp}, torch.Generator().manual_seed(seed))


def batch_of(training):
    return {name: torch.stack((tensor, tensor)) for name, tensor in sample(training).items()}


def test_the_compact_networks_are_as_large_as_their_docstring_says():
    network = Nidf(NidfPlan())
    for part in (network.net1, network.net2):
        assert sum(weight.numel() for weight in part.parameters()) == 1_088_256
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 256, 256))
    assert counter.get_total_flops() / 2 < 3.9e9  # multiply-adds


def test_the_second_network_is_given_what_the_first_one_made():
    network = network_of(TINY)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.05)
    noisy = structured_picture(24, 40, 3)
    denoised, sharp = network(noisy)
    torch.testing.assert_close(denoised, network.net1(noisy))
    torch.testing.assert_close(sharp, network.net2(denoised))


def test_the_denoised_picture_is_a_stage_of_the_result():
    noisy = structured_picture(48, 56, 3) + 0.1 * torch.randn(1, 3, 48, 56, generator=torch.Generator().manual_seed(0))
    result = methods.get("nidf")(Observation(blurry=noisy))
    assert set(result.stages) == {"denoised"}
    assert result.stages["denoised"].shape == noisy.shape
    assert result.stages["denoised"].diff(dim=-1).abs().mean() < noisy.diff(dim=-1).abs().mean()


def test_a_sample_holds_the_noisy_the_noise_free_and_the_sharp_picture():
    training = NidfTraining(TINY, OBSERVATIONS)
    made = sample(training)
    assert {tensor.shape for tensor in made.values()} == {(3, 32, 32)}
    noise = (made["blurry"] - made["noise_free"]).std() * 255
    assert min(abs(noise - sigma) / sigma for sigma in (10, 20, 30, 40)) < 0.05
    assert made["noise_free"].diff(dim=-1).square().mean() < made["sharp"].diff(dim=-1).square().mean()


def test_the_stages_ask_for_equations_3_4_and_5():
    training = NidfTraining(TINY, OBSERVATIONS)
    batch = batch_of(training)  # the last layers begin at zero, so each network gives what it is given
    noise = (batch["blurry"] - batch["noise_free"]).square().mean()
    blur = (batch["noise_free"] - batch["sharp"]).square().mean()
    both = (batch["blurry"] - batch["sharp"]).square().mean()
    for stage, optimizer, expected in (
        ("denoise", "net1", {"denoised": noise}),
        ("deblur", "net2", {"sharp": blur}),
        ("joint", "both", {"denoised": noise, "sharp": 0.5 * both}),
    ):
        ((name, losses),) = training.losses(stage, batch)
        assert name == optimizer
        torch.testing.assert_close(dict(losses), expected)


def test_a_batch_can_be_learned_by_heart():
    torch.manual_seed(0)
    training = NidfTraining(TINY, OBSERVATIONS)
    batch = batch_of(training)
    errors = errors_while_learning(training, "joint", batch, rate=3e-3, steps=60)
    assert errors[-1] < 0.5 * errors[0]
