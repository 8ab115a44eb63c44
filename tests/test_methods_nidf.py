"""NIDF: what the two networks are, what they are given, and what they learn."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from helpers import errors_while_learning, structured_picture
from unblur import methods
from unblur.methods.nidf.network import Nidf, NidfPlan, network_of
from unblur.methods.nidf.training import NidfTraining
from unblur.training.checkpoint import save
from unblur.types import Observation, UnblurError

TINY = {"widths": [8, 8], "blocks": [1, 1]}
TINY_PUBLISHED = {"published": {"widths": [4, 8]}}
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


def test_the_published_networks_are_as_large_as_their_docstring_says():
    network = network_of({"published": {}})
    for part in (network.net1, network.net2):
        assert sum(weight.numel() for weight in part.parameters()) == 4_330_803
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.net1(torch.zeros(1, 3, 64, 64))
    assert counter.get_total_flops() / 2 == pytest.approx(
        20.7e9 / 16, rel=0.005
    )  # multiply-adds, of 1/16 of the pixels


def test_the_published_network_adds_to_the_picture_and_its_widths_are_those_of_the_recipe():
    part = network_of(TINY_PUBLISHED).net1
    assert [level[0].out_channels for level in part.down] == [4, 8]
    picture = structured_picture(25, 39, 3)
    torch.nn.init.zeros_(part.last.weight), torch.nn.init.zeros_(part.last.bias)
    torch.testing.assert_close(part(picture), picture)


def test_the_published_network_has_skip_connections():
    torch.manual_seed(0)  # with some other weights, all units of the fine scale are 0
    part = network_of(TINY_PUBLISHED).net1
    picture = structured_picture(16, 16, 3)
    torch.nn.init.zeros_(part.grow[0].weight)  # nothing comes from the coarse scale
    torch.nn.init.zeros_(part.grow[0].bias)
    assert not torch.allclose(part(picture) - picture, part(0 * picture))


def test_both_architectures_can_be_stored_and_loaded_by_what_their_recipes_say(tmp_path):
    noisy = structured_picture(40, 44, 3)
    for measures in (TINY, TINY_PUBLISHED):
        path = tmp_path / f"{len(measures)}.safetensors"
        network = network_of(measures)
        save(path, network.state_dict(), {"method": "nidf", "network": measures})
        loaded = methods.get("nidf").trained.load(path)
        torch.testing.assert_close(loaded(noisy), network(noisy))


def test_a_misspelt_key_of_the_published_network_is_named():
    with pytest.raises(UnblurError, match=r"nidf, network.*'published.width'.*'widths'"):
        network_of({"published": {"width": [4]}})
    with pytest.raises(UnblurError, match="'blocks'"):
        network_of({"published": {}, "blocks": [1]})


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


def test_of_a_pair_the_blurry_picture_is_the_noise_free_one():
    training = NidfTraining(TINY, OBSERVATIONS)
    sharp = structured_picture(training.area, training.area, 3)[0]
    made = training.observe({"sharp": sharp, "blurry": 1 - sharp}, torch.Generator().manual_seed(0))
    torch.testing.assert_close(made["noise_free"], 1 - made["sharp"])
    torch.testing.assert_close(made["sharp"], sharp[:, 4:-4, 4:-4])
    assert not torch.equal(made["blurry"], made["noise_free"])


def test_of_frames_their_mean_is_the_noise_free_picture_and_the_middle_one_the_sharp_one():
    training = NidfTraining(TINY, {**OBSERVATIONS, "frames": 3})
    assert training.frames == 3
    frames = torch.cat([structured_picture(training.area, training.area, 3, seed) for seed in range(3)])
    made = training.observe({"frames": frames}, torch.Generator().manual_seed(0))
    torch.testing.assert_close(made["noise_free"], frames.mean(0)[:, 4:-4, 4:-4])
    assert torch.equal(made["sharp"], frames[1, :, 4:-4, 4:-4])


@pytest.mark.parametrize(
    "changed",
    [
        {"sharp": 1.0},
        {"moving": 1.0},
        {"half": [2, 4]},
        {"linear": 1.0},
        {"lights": 1.0},
        {"white": 1.0},
        {"sigma": 80.0},
        {"photons": 1.0},
        {"demosaicked": 1.0},
        {"jpeg": 1.0},
        {"clipped": 1.0},
    ],
)
def test_each_key_of_the_observations_changes_the_samples(changed):
    plain = {"white": 0.0, "photons": 0.0, "demosaicked": 0.0, "jpeg": 0.0, "lights": 0.0}
    one, other = (NidfTraining(TINY, {**OBSERVATIONS, **plain, **values}) for values in ({}, changed))
    photo = structured_picture(max(one.area, other.area), max(one.area, other.area), 3)
    made = []
    for training in (one, other):
        edge = (photo.shape[-1] - training.area) // 2
        area = photo[0, :, edge : edge + training.area, edge : edge + training.area]
        made.append(training.observe({"sharp": area}, torch.Generator().manual_seed(2)))
    assert not torch.equal(made[0]["blurry"], made[1]["blurry"])


def test_shares_that_exceed_all_pictures_are_refused():
    with pytest.raises(UnblurError, match=r"sharp and moving are shares of all pictures, and sum to 1\.1"):
        NidfTraining(TINY, {"sharp": 0.5, "moving": 0.6})


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


@pytest.mark.parametrize("network", [TINY, TINY_PUBLISHED], ids=["compact", "published"])
def test_a_batch_can_be_learned_by_heart(network):
    torch.manual_seed(0)
    training = NidfTraining(network, OBSERVATIONS)
    batch = batch_of(training)
    errors = errors_while_learning(training, "joint", batch, rate=3e-3, steps=60)
    assert errors[-1] < 0.5 * errors[0]
