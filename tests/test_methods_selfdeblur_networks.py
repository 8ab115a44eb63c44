"""SelfDeblur's networks against their recipe written out plainly."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import hook_psf
from unblur.imaging.psf import centre_psf, pad_psf
from unblur.methods.selfdeblur.networks import (
    Convolution,
    DensePsf,
    NonLocal,
    Normalised,
    SkipNetwork,
    SkipPsf,
    initialised,
)
from unblur.metrics import kernel_similarity

PSF = centre_psf(pad_psf(hook_psf(), 11))[0].float()


def dice(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def plain():
    """The recipe written down plainly."""
    path = Path(__file__).parent.parent / "benchmarks" / "plain_selfdeblur.py"
    spec = importlib.util.spec_from_file_location("plain_selfdeblur", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_image_network_has_the_published_number_of_weights():
    network = SkipNetwork(1, (128,) * 5)
    count = sum(weight.numel() for weight in network.parameters())
    without_effect = sum(
        layer.out_channels for layer in network.modules() if isinstance(layer, Convolution) and layer.bias is None
    )  # biases, which a normalisation takes away again
    assert count == 2_362_497
    assert count + without_effect == 2_365_521


def test_the_image_network_is_the_plain_recipe(plain):
    """Whatever its weights; the plain one's biases before a batch norm have no effect, so they need not be copied.

    At sides that can be halved five times: at others the plain one stretches a little to fit, where ours cuts off.
    """
    generator = dice()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = torch.nn.Sequential(plain.Scale(0), torch.nn.Conv2d(128, 1, 1), torch.nn.Sigmoid())
    ours = SkipNetwork(1, (128,) * 5)
    mine = [layer for layer in ours.modules() if isinstance(layer, Convolution | Normalised)]
    other = [layer for layer in theirs.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for a, b in zip(mine, other, strict=True):
            assert b.bias is not None
            b.bias.copy_(0.3 * torch.randn(b.bias.shape, generator=generator))
            if isinstance(a, Normalised):
                b.weight.copy_(0.5 + torch.rand(b.weight.shape, generator=generator))
                a.scale.copy_(b.weight)
                a.shift.copy_(b.bias)
            else:
                a.weight.copy_(b.weight)
                if a.bias is not None:
                    a.bias.copy_(b.bias)
        noise = 0.1 * torch.rand(1, 8, 64, 96, generator=generator)
        made, expected = ours(noise), theirs(noise)
    assert made.shape == (1, 1, 64, 96)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-4)
    assert float(expected.std()) > 0.02, "there is something to compare"


def test_the_dense_psf_network_is_the_plain_recipe(plain):
    with torch.random.fork_rng(devices=[]):
        theirs = plain.Recipe(torch.zeros(1, 1, 40, 40), 9).psf_network
    ours = DensePsf((9, 9))
    ours.hidden[0].load_state_dict(theirs[0].state_dict())
    ours.out.load_state_dict(theirs[2].state_dict())
    noise = torch.rand(200, generator=dice())
    torch.testing.assert_close(ours(noise).flatten(), theirs(noise))


def test_the_non_local_block_is_its_affinity_matrix_written_out():
    block: Any = NonLocal(6).double()
    x = torch.randn(1, 6, 5, 4, generator=dice(), dtype=torch.float64)
    assert torch.equal(block(x), x), "at first it changes nothing"
    with torch.no_grad():
        block.out[1].scale.copy_(torch.rand(6, generator=dice(1)))
        theta, phi, g = (layer(x)[0].flatten(1) for layer in (block.theta, block.phi, block.g))  # (3, 20)
        seen = torch.zeros(3, 20, dtype=torch.float64)
        for here in range(20):
            for there in range(20):
                seen[:, here] += (theta[:, here] * phi[:, there]).sum() / 20 * g[:, there]
        torch.testing.assert_close(block(x), x + block.out(seen.view(1, 3, 5, 4)))


@pytest.mark.parametrize("size", [(33, 34), (40, 64), (35, 57)], ids=str)
def test_a_picture_of_any_size_keeps_it_and_bfloat16_makes_nearly_the_same(size):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SkipNetwork(3, (8,) * 5)
    noise = 0.1 * torch.rand(1, 8, *size, generator=dice())
    exact, rough = network(noise), network(noise.to(torch.bfloat16, memory_format=torch.channels_last))
    assert exact.shape == rough.shape == (1, 3, *size)
    assert exact.dtype == rough.dtype == torch.float32
    assert (exact - rough).abs().mean() < 0.1 * exact.std()


def test_the_network_makes_what_it_always_made():
    """Frozen: another value here means that old seeds no longer give old results."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SkipNetwork(1, (4, 4, 4), skip=2)
    noise = 0.1 * torch.rand(1, 8, 12, 14, generator=dice())
    made = network(noise)
    corner = made[0, 0, :2, :3].flatten().tolist()
    assert corner == pytest.approx(FROZEN, abs=1e-4)


FROZEN = [0.61136, 0.63355, 0.57931, 0.62657, 0.59212, 0.63478]


@pytest.mark.parametrize("hidden", [0, 1, 2])
def test_a_psf_network_begins_with_the_psf_it_is_given(hidden):
    network, noise = DensePsf((11, 11), hidden), 0.1 * torch.rand(200, generator=dice())
    evenly = network(noise)
    assert evenly.max() < 3 / 121
    network.start_from(PSF)
    assert kernel_similarity(network(noise).detach(), PSF[None, None]) > 0.97


@pytest.mark.parametrize("side", [3, 5, 9, 11, 17, 33])
def test_the_encoder_decoder_makes_psfs_of_every_size(side):
    psf = SkipPsf((side, side), (4,) * 5)(0.1 * torch.rand(1, 8, side, side, generator=dice()))
    assert psf.shape == (1, 1, side, side)
    assert psf.min() >= 0 and float(psf.detach().sum()) == pytest.approx(1, abs=1e-5)


def test_initial_weights_are_those_of_torch_and_the_process_wide_generator_is_left_alone():
    builds = (lambda: SkipNetwork(1, (8, 8)), lambda: DensePsf((5, 5)))
    state = torch.get_rng_state()
    generator = torch.Generator().manual_seed(3)
    own = [initialised(build, generator) for build in builds]
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        usual = [build() for build in builds]
    for ours, theirs in zip(own, usual, strict=True):
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(one, other)
