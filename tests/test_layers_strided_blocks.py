"""The blocks of Zhang et al.: their sizes and norms, the discriminator, and the memory between two networks."""

from __future__ import annotations

import torch
from torch import nn

from helpers import structured_picture
from unblur.layers.conv_lstm import ConvLstm
from unblur.layers.strided_blocks import Discriminator, StridedDecoder, StridedEncoder
from unblur.losses import discriminator_loss


def test_a_block_halves_the_size_with_a_kernel_of_5_and_only_the_first_has_no_batch_norm():
    encoder = StridedEncoder(3, (4, 6, 8), spectral=True)
    kept = encoder(torch.zeros(2, 3, 32, 48))
    assert [tuple(features.shape) for features in kept] == [(2, 4, 16, 24), (2, 6, 8, 12), (2, 8, 4, 6)]
    for level, block in enumerate(encoder.blocks):
        assert [type(layer).__name__.removeprefix("Parametrized") for layer in block] == [
            "Conv2d", *(["BatchNorm2d"] if level else []), "LeakyReLU",
        ]  # fmt: skip
        assert block[0].kernel_size == (5, 5) and block[0].stride == (2, 2)


def test_a_decoder_doubles_the_size_and_every_skip_connection_reaches_the_picture():
    decoder = StridedDecoder(8, (4, 6), (3, 4, 6), spectral=False, dropout=0.0)
    generator = torch.Generator().manual_seed(0)
    bottom, *kept = (
        torch.randn(1, width, side, side, generator=generator, requires_grad=True)
        for width, side in ((8, 4), (4, 16), (6, 8))
    )
    picture = decoder(bottom, kept)
    assert picture.shape == (1, 3, 32, 32)
    picture.square().sum().backward()
    assert all(features.grad is not None and features.grad.abs().sum() > 0 for features in (bottom, *kept))


def test_spectral_norm_makes_the_largest_singular_value_one():
    torch.manual_seed(0)
    encoder = StridedEncoder(3, (4,), spectral=True)
    for _ in range(30):  # each call improves the estimate
        encoder(torch.zeros(1, 3, 8, 8))
    weight = encoder.eval().blocks[0][0].weight.flatten(1)
    torch.testing.assert_close(torch.linalg.matrix_norm(weight, 2), torch.tensor(1.0), atol=1e-3, rtol=0)


def test_initial_weights_have_a_standard_deviation_of_a_fiftieth():
    torch.manual_seed(0)
    encoder = StridedEncoder(16, (32, 32), spectral=False)
    for block in encoder.blocks:
        assert abs(float(block[0].weight.detach().std()) - 0.02) < 0.001 and not block[0].bias.any()


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    decoder = StridedDecoder(8, (4,), (3, 4), spectral=False, dropout=0.5)
    inputs = torch.ones(1, 8, 4, 4), [torch.zeros(1, 4, 8, 8)]
    assert not torch.equal(decoder(*inputs), decoder(*inputs))
    decoder.eval()
    assert torch.equal(decoder(*inputs), decoder(*inputs))


def test_the_discriminator_gives_a_scalar_for_pictures_of_any_size_that_depends_on_both():
    torch.manual_seed(0)
    judge = Discriminator((4, 6)).eval()
    one, other = structured_picture(37, 53, 3, 1), structured_picture(37, 53, 3, 2)
    first, second = judge(one, other, blurry=other)
    assert first.shape == second.shape == (1,) and not torch.equal(first, second)
    assert not torch.equal(first, judge(one, other, blurry=one)[0])


def test_the_discriminator_learns_which_of_two_pictures_is_sharp():
    torch.manual_seed(0)
    judge = Discriminator((8, 8))
    sharp = torch.cat([structured_picture(32, 32, 3, seed) for seed in range(4)])
    blurry = nn.functional.avg_pool2d(sharp, 5, 1, 2)
    optimizer = torch.optim.Adam(judge.parameters(), 1e-2)
    for _ in range(40):
        loss = discriminator_loss(*judge(sharp, blurry, blurry))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    real, made = judge(sharp, blurry, blurry)
    assert real.min() > 0.2 and made.max() < -0.2


def test_the_memory_is_that_of_shi_et_al_written_out():
    torch.manual_seed(0)
    cell = ConvLstm(2)
    x, hidden, memory = (torch.randn(1, 2, 3, 4) for _ in range(3))
    gates = nn.functional.conv2d(torch.cat((x, hidden), 1), cell.gates.weight, cell.gates.bias, padding=1)
    i, f, o, g = gates[:, :2], gates[:, 2:4], gates[:, 4:6], gates[:, 6:]
    expected = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
    out, (new_hidden, new_memory) = cell(x, (hidden, memory))
    torch.testing.assert_close(new_memory, expected)
    torch.testing.assert_close(out, torch.sigmoid(o) * torch.tanh(expected))
    assert torch.equal(out, new_hidden)
    zero = torch.zeros_like(x)
    assert torch.equal(cell(x, None)[0], cell(x, (zero, zero))[0])
    assert not ConvLstm(2, bias=False)(zero, None)[0].any()
