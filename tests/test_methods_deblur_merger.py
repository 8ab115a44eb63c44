"""The merging network: both encoders, what it starts from, the network as published, and what it learns."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from helpers import errors_while_learning, structured_picture
from unblur import methods
from unblur.imaging.exposure import brightened
from unblur.layers.u_shape import surroundings
from unblur.methods.deblur_merger.network import network_of
from unblur.methods.deblur_merger.training import MergerTraining
from unblur.metrics import psnr
from unblur.training.checkpoint import save
from unblur.types import Observation, UnblurError

TINY = {"widths": [8, 8], "blocks": [1, 1]}
PUBLISHED = {"published": {"widths": [4, 6]}}
OBSERVATIONS = {"side": 64, "instants": 8, "shake": 8, "speed": 8}
PAPER = {**OBSERVATIONS, "discriminator": [4, 6], "losses": {}}


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
    [({}, 1_914_496, 3.00e9), ({"published": {}}, 18_258_051, 12.14e9)],
)
def test_the_networks_are_as_large_as_their_docstrings_say(table, parameters, multiply_adds):
    network = network_of(table)
    assert sum(weight.numel() for weight in network.parameters()) == parameters
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(2, 3, 64, 64), torch.zeros(2, 3, 64, 64))
    assert counter.get_total_flops() / 2 * 8 == pytest.approx(multiply_adds, rel=0.005)  # at 256 x 256 pixels


def test_at_first_it_is_the_network_of_the_noisy_shot_alone():
    I_B, I_N = shots()
    network = network_of(TINY)
    torch.nn.init.normal_(network.net1.network.tail[0].weight, std=0.05)
    alone = I_N + network.net1.network(I_N - surroundings(I_N))
    torch.testing.assert_close(network(I_B, I_N), alone)
    torch.nn.init.normal_(network.merger.bottleneck.weight, std=0.05)
    assert not torch.allclose(network(I_B, I_N), alone, atol=1e-3)


@pytest.mark.parametrize("merge", ["bottleneck", "skips"])
def test_the_blurry_shot_reaches_the_picture_through_the_bottleneck_and_the_skip_connections(merge):
    I_B, I_N = shots()
    network = random_network(TINY)
    for weight in getattr(network.merger, merge).parameters():
        torch.nn.init.dirac_(weight)  # the noisy shot alone
    assert not torch.equal(network(I_B, I_N), network(I_N, I_N))


def test_each_shot_has_an_encoder_of_its_own_in_the_published_network():
    I_B, I_N = shots()
    generator = network_of(PUBLISHED).eval().generator
    (one, _), (other, _) = (list(part.parameters())[:2] for part in (generator.noisy, generator.blurry))
    assert one is not other
    made = generator(I_B, I_N)
    assert made.shape == I_N.shape
    assert not torch.equal(made, generator(I_N, I_N)) and not torch.equal(made, generator(I_B, I_B))


def test_spectral_norm_is_a_switch_of_the_published_network():
    names = [name for name, _ in network_of({"published": {"widths": [4, 6], "spectral": False}}).named_parameters()]
    assert not [name for name in names if "parametrizations" in name]
    with_norm = [name for name, _ in network_of(PUBLISHED).named_parameters() if name.endswith("weight.original")]
    assert len(with_norm) == 2 * 2 + 2  # every convolution of two encoders and of the decoder


def test_a_misspelt_key_is_named():
    with pytest.raises(UnblurError, match=r"no key 'width'.*'widths'"):
        network_of({"width": [8]})
    with pytest.raises(UnblurError, match=r"no key 'published.spectrum'.*'spectral'"):
        network_of({"published": {"spectrum": True}})
    with pytest.raises(UnblurError, match=r"no key 'losses.gradients'.*'gradient'"):
        MergerTraining(TINY, {"losses": {"gradients": 1}})


def weights_file(path, table):
    network = random_network(table)
    save(path, network.state_dict(), {"method": "deblur_merger", "network": table})
    return network


@pytest.mark.parametrize("table", [TINY, PUBLISHED], ids=["compact", "paper"])
def test_the_method_brightens_the_short_shot_by_the_ratio_that_is_given(tmp_path, table):
    network, path = weights_file(tmp_path / "w.safetensors", table), tmp_path / "w.safetensors"
    I_B, I_N = shots(48, 64)
    settings = {"weights": path, "orientations": 1, "precision": "float32"}
    given = methods.get("deblur_merger")(Observation(blurry=I_B, noisy=I_N, exposure_ratio=2.0), settings)
    with torch.no_grad():
        torch.testing.assert_close(given.image, network(I_B, brightened(I_N, 2.0)), atol=1e-5, rtol=1e-4)
    plain = methods.get("deblur_merger")(Observation(blurry=I_B, noisy=I_N), settings)
    with torch.no_grad():
        torch.testing.assert_close(plain.image, network(I_B, I_N), atol=1e-5, rtol=1e-4)


def test_a_compact_batch_can_be_learned_by_heart():
    torch.manual_seed(0)
    training = MergerTraining(TINY, OBSERVATIONS)
    assert training.stages == {"restore": {"generator"}} and set(training.modules) == {"net1", "merger"}
    errors = errors_while_learning(training, "restore", batch_of(training), rate=5e-3, steps=60)
    assert errors[-1] < errors[0] - 0.7  # 3 dB: it is a logarithm


def test_the_blurry_shot_is_of_use():
    """Where the noisy shot contains noise only, the picture comes from the blurry one."""
    torch.manual_seed(0)
    training = MergerTraining(TINY, OBSERVATIONS)
    sharp = torch.cat([structured_picture(32, 32, 3, seed) for seed in range(6)])
    noise = torch.rand(sharp.shape, generator=torch.Generator().manual_seed(0))
    batch = {"sharp": sharp, "blurry": sharp, "noisy": noise, "ratio": torch.ones(6, 3, 1, 1)}
    errors_while_learning(training, "restore", batch, rate=1e-2, steps=60)
    other = training.restore({**batch, "blurry": sharp.flip(-1)})
    assert psnr(other, sharp.flip(-1)).mean() > psnr(other, sharp).mean() + 2


@pytest.mark.parametrize("stage", ["content", "adversarial"])
def test_a_published_step_is_the_discriminator_then_the_generator(stage):
    torch.manual_seed(0)
    training = MergerTraining(PUBLISHED, PAPER)
    assert set(training.modules) == {"generator", "discriminator"}
    optimizers = {name: torch.optim.Adam(module.parameters(), 5e-3) for name, module in training.modules.items()}
    batch, content = batch_of(training), []
    for _ in range(40):
        order = []
        for name, losses in training.losses(stage, batch):
            order.append(name)
            optimizers[name].zero_grad()
            sum(losses.values()).backward()
            optimizers[name].step()
        content.append(float(losses["content"].detach()))
        assert ("adversarial" in losses) == (stage == "adversarial")
    assert order == (["generator"] if stage == "content" else ["discriminator", "generator"])
    assert set(order) == training.stages[stage]
    assert content[-1] < 0.6 * content[0]
