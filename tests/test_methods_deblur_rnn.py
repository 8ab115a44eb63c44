"""The two networks with a memory: what flows from the first to the second, the switches, and what they learn."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from helpers import errors_while_learning, structured_picture
from unblur import methods
from unblur.layers.u_shape import surroundings
from unblur.methods.deblur_rnn.network import network_of
from unblur.methods.deblur_rnn.published import deblur, denoise
from unblur.methods.deblur_rnn.training import RnnTraining
from unblur.training.checkpoint import save
from unblur.types import Observation

TINY = {"widths": [8, 8], "blocks": [1, 1]}
PUBLISHED = {"widths": [4, 6]}
OBSERVATIONS = {"side": 64, "instants": 8, "shake": 8, "speed": 8}
PAPER = {**OBSERVATIONS, "discriminator": [4, 6], "losses": {}}
BOTH = pytest.mark.parametrize("table", [TINY, {"published": PUBLISHED}], ids=["compact", "paper"])


def random_network(table):
    """A network in which nothing is zero. The published one is initialised so, with norms that fit its weights."""
    torch.manual_seed(0)
    network = network_of(table).eval()
    if "published" not in table:
        for weight in network.parameters():
            torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(weight.numel()))
    return network


def shots(height=37, width=53):
    return structured_picture(height, width, 3, 1), structured_picture(height, width, 3, 2)


def batch_of(training, seed=1):
    area = structured_picture(training.area, training.area, 3)[0]
    made = training.observe({"sharp": area}, torch.Generator().manual_seed(seed))
    return {name: tensor[None] for name, tensor in made.items()}


@pytest.mark.parametrize(
    ("table", "parameters", "multiply_adds"),
    [
        ({}, 3_525_504, 4.23e9),
        ({"recurrent": False}, 2_179_968, 3.88e9),
        ({"published": {}}, 57_045_830, 23.64e9),
        ({"published": {"recurrent": False}}, 19_292_998, 13.97e9),
    ],
)
def test_the_networks_are_as_large_as_their_docstrings_say(table, parameters, multiply_adds):
    network = network_of(table).eval()
    assert sum(weight.numel() for weight in network.parameters()) == parameters
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
    assert counter.get_total_flops() / 2 * 16 == pytest.approx(multiply_adds, rel=0.005)  # at 256 x 256 pixels


def test_the_first_compact_network_is_that_of_nidf_until_the_memory_has_learned():
    _, I_N = shots()
    network = network_of(TINY)
    torch.nn.init.normal_(network.net1.network.tail[0].weight, std=0.05)
    I_C, state = network.net1(I_N, None, network.lstm1, None)
    torch.testing.assert_close(I_C, I_N + network.net1.network(I_N - surroundings(I_N)))
    assert [tuple(part.shape) for part in state] == [(1, 8, 10, 14)] * 2


@BOTH
def test_the_second_network_sees_the_denoised_and_the_blurry_picture_and_the_state_of_the_first(table):
    I_B, I_N = shots()
    network = random_network(table)
    modules = dict(network.named_children())
    I_C, state = denoise(modules, I_N)
    made = deblur(modules, I_C, I_B, state)
    denoised, sharp = network(I_B, I_N)
    torch.testing.assert_close(denoised, I_C)
    torch.testing.assert_close(sharp, made)
    hidden, cell = state
    for changed in (
        (I_N, I_B, state),
        (I_C, I_N, state),
        (I_C, I_B, (hidden + 1, cell)),
        (I_C, I_B, (hidden, cell + 1)),
    ):
        assert not torch.allclose(made, deblur(modules, *changed), atol=1e-6)


@BOTH
def test_without_the_memory_nothing_but_pictures_flows(table):
    I_B, I_N = shots()
    off = {"recurrent": False}
    switched = {"published": {**PUBLISHED, **off}} if "published" in table else {**TINY, **off}
    network = random_network(switched)
    modules = dict(network.named_children())
    assert set(modules) == {"net1", "net2"}
    I_C, state = denoise(modules, I_N)
    assert state is None
    torch.testing.assert_close(network(I_B, I_N)[1], deblur(modules, I_C, I_B, None))


@BOTH
def test_the_method_restores_and_the_denoised_shot_is_a_stage(tmp_path, table):
    network, path = random_network(table), tmp_path / "w.safetensors"
    save(path, network.state_dict(), {"method": "deblur_rnn", "network": table})
    I_B, _ = shots(48, 64)
    settings = {"weights": path, "orientations": 1, "precision": "float32"}
    result = methods.get("deblur_rnn")(Observation(blurry=I_B, noisy=I_B, exposure_ratio=1.0), settings)
    with torch.no_grad():
        denoised, sharp = network(I_B, I_B)
    torch.testing.assert_close(result.image, sharp, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(result.stages["denoised"], denoised, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("recurrent", [True, False])
def test_a_compact_batch_can_be_learned_by_heart(recurrent):
    torch.manual_seed(0)
    training = RnnTraining({**TINY, "recurrent": recurrent}, OBSERVATIONS)
    assert training.stages == {"restore": {"both"}}
    errors = errors_while_learning(training, "restore", batch_of(training), rate=5e-3, steps=60)
    assert errors[-1] < errors[0] - 1.5 * 0.7  # 3 dB of both pictures: it is a logarithm


@pytest.mark.parametrize("stage", ["content", "adversarial"])
def test_a_published_step_is_the_denoiser_then_the_discriminator_then_the_generator(stage):
    torch.manual_seed(0)
    training = RnnTraining({"published": PUBLISHED}, PAPER)
    trains = {"denoiser": ("net1", "lstm1"), "discriminator": ("discriminator",), "generator": ("net2", "lstm2")}
    optimizers = {
        name: torch.optim.Adam([weight for part in parts for weight in training.modules[part].parameters()], 5e-3)
        for name, parts in trains.items()
    }
    batch, errors = batch_of(training), []
    for _ in range(40):
        order, contents = [], []
        for name, losses in training.losses(stage, batch):
            order.append(name)
            optimizers[name].zero_grad()
            sum(losses.values()).backward()
            optimizers[name].step()
            contents += [float(losses["content"].detach())] if "content" in losses else []
        errors.append(contents)
        assert ("adversarial" in losses) == (stage == "adversarial")
    expected = ["denoiser", "discriminator", "generator"]
    assert order == (expected if stage == "adversarial" else ["denoiser", "generator"])
    assert set(order) == training.stages[stage]
    assert all(last < 0.6 * first for first, last in zip(errors[0], errors[-1], strict=True))


def test_the_loss_of_the_generator_does_not_reach_the_denoiser():
    training = RnnTraining({"published": PUBLISHED}, PAPER)
    for name, losses in training.losses("content", batch_of(training)):
        training.modules["net1"].zero_grad()
        sum(losses.values()).backward()
        reached = any(weight.grad is not None for weight in training.modules["net1"].parameters())
        assert reached == (name == "denoiser")
