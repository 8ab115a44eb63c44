"""The two-way network: its scales and ways, the switches of the paper, and what it learns."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from helpers import errors_while_learning, structured_picture
from unblur import methods
from unblur.imaging.convolution import convolve
from unblur.imaging.psf import linear_motion_psf
from unblur.methods.two_way.network import TwoWay, TwoWayPlan, at_scale, network_of
from unblur.methods.two_way.training import TwoWayTraining
from unblur.metrics import psnr
from unblur.training.checkpoint import save
from unblur.types import Observation, Progress, UnblurError

TINY_PUBLISHED = {"widths": [4, 6, 8], "blocks": 1}
TINY = {"widths": [8, 8], "blocks": [1, 1]}
OBSERVATIONS = {"side": 64, "instants": 4, "shake": 8, "speed": 8, "uniform": 0, "half": [1, 4], "loss": "l2"}


def with_random_weights(network):
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(weight.numel()))
    return network


def test_the_compact_network_is_as_large_as_its_docstring_says():
    network = TwoWay(TwoWayPlan())
    assert sum(weight.numel() for weight in network.parameters()) == 1_387_008
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 256, 256))
    assert counter.get_total_flops() / 2 < 4e9  # multiply-adds


def test_each_scale_is_the_blurry_picture_plus_both_ways():
    blurry = structured_picture(37, 53, 3)
    made = with_random_weights(network_of(TINY))(blurry)
    assert [scale.I.shape[-2:] for scale in made] == [(10, 14), (19, 27), (37, 53)]
    for number, scale in enumerate(made):
        torch.testing.assert_close(scale.I, at_scale(blurry, 2 - number) + scale.up + scale.down)


def test_the_lower_way_sees_the_coarsest_features_only():
    network = with_random_weights(network_of(TINY))
    bottom, kept = network.network.encode(torch.cat((structured_picture(32, 32, 3),) * 2, 1))
    other = [features + 1 for features in kept]
    one, two = (network.second(bottom, None), network.second(bottom + 1, None))
    assert not torch.equal(one, two)
    assert not torch.equal(network.second(bottom), network.second(bottom, kept))
    assert not torch.equal(network.network.decode(bottom, kept), network.network.decode(bottom, other))


def test_without_the_second_way_there_is_the_upper_one_alone():
    blurry = structured_picture(32, 40, 3)
    made = with_random_weights(network_of({**TINY, "second_way": False}))(blurry)
    assert all(scale.down is None for scale in made)
    torch.testing.assert_close(made[-1].I, blurry + made[-1].up)


def test_the_coarser_result_reaches_the_finer_scale():
    blurry = structured_picture(64, 64, 3)
    network = with_random_weights(network_of(TINY))
    alone = network.one_scale(blurry, blurry).I
    assert not torch.allclose(network(blurry)[-1].I, alone)


def test_a_network_of_one_scale_can_be_built_and_a_misspelt_key_is_named():
    assert len(network_of({**TINY, "scales": 1})(structured_picture(32, 32, 3))) == 1
    with pytest.raises(UnblurError, match=r"no key 'scale'.*'scales'"):
        network_of({"scale": 1})


def test_both_ways_are_stages_of_the_result():
    blurry = structured_picture(48, 56, 3)
    result = methods.get("two_way")(Observation(blurry=blurry), {"precision": "float32"})
    torch.testing.assert_close(result.image, blurry + result.stages["up"] + result.stages["down"])


def test_two_orientations_are_averaged_and_one_in_tiles():
    observation = Observation(blurry=structured_picture(32, 40, 3))
    method = methods.get("two_way")
    made = {count: method(observation, {"precision": "float32", "orientations": count}).image for count in (None, 1, 2)}
    assert torch.equal(made[None], made[2]) and not torch.equal(made[1], made[2])
    for given, used in ((None, 1), (4, 4)):
        _, of_tiles = method.prepare(observation, method.settings(orientations=given), Progress())
        assert of_tiles.orientations == used


def test_samples_of_photos_are_moving_scenes_and_samples_of_pairs_are_cut():
    training = TwoWayTraining(TINY, OBSERVATIONS | {"still": 0})
    area = structured_picture(training.area, training.area, 3)[0]
    made = training.observe({"sharp": area}, torch.Generator().manual_seed(3))
    assert {tensor.shape for tensor in made.values()} == {(3, 64, 64)}
    assert made["blurry"].diff(dim=-1).square().mean() < made["sharp"].diff(dim=-1).square().mean()
    pair = training.observe({"sharp": area, "blurry": 1 - area}, torch.Generator().manual_seed(3))
    torch.testing.assert_close(pair["blurry"], 1 - pair["sharp"])


def test_of_frames_their_mean_is_blurry_and_the_middle_one_sharp():
    training = TwoWayTraining(TINY, {**OBSERVATIONS, "frames": 3, "sigma": 0, "jpeg": 0})
    frames = torch.full((3, 3, training.area, training.area), 0.5)
    frames[1] = structured_picture(training.area, training.area, 3)[0]
    made = training.observe({"frames": frames}, torch.Generator().manual_seed(0))
    edge = (training.area - 64) // 2
    assert torch.equal(made["sharp"], frames[1, :, edge : edge + 64, edge : edge + 64])
    assert 0 < (made["blurry"] - 0.5).std() < 0.7 * (made["sharp"] - 0.5).std()


def test_the_finest_scale_weighs_five_times_as_much():
    training = TwoWayTraining(TINY, OBSERVATIONS)
    sharp = structured_picture(64, 64, 3)
    batch = {"blurry": sharp + 0.1, "sharp": sharp}  # a network that begins at zero is off by .1 at each scale
    ((name, losses),) = training.losses("restore", batch)
    assert name == "network"
    expected = {f"scale_{number}": torch.tensor(alpha / 7 * 0.01) for number, alpha in ((1, 1), (2, 1), (3, 5))}
    torch.testing.assert_close(dict(losses), expected)


def test_a_batch_can_be_learned_by_heart():
    torch.manual_seed(0)
    training = TwoWayTraining(TINY, OBSERVATIONS)
    area = structured_picture(training.area, training.area, 3)[0]
    made = training.observe({"sharp": area}, torch.Generator().manual_seed(1))
    batch = {key: tensor[None] for key, tensor in made.items()}
    errors = errors_while_learning(training, "restore", batch, rate=5e-3, steps=120)
    assert errors[-1] < 0.5 * errors[0]


# --- the network as published ---------------------------------------------------------------------


def published(**changed):
    return network_of({"published": {**TINY_PUBLISHED, **changed}})


@pytest.mark.parametrize(
    ("switches", "parameters", "multiply_adds"),
    [
        ({}, 1_997_030, 36.0e9),
        ({"second_way": False}, 1_626_851, 25.6e9),
        ({"shared": False}, 3 * 1_997_030, 36.0e9),
        ({"recurrent": True}, 3_177_190, 42.3e9),
    ],
)
def test_the_published_network_and_those_it_is_compared_with_have_these_sizes(switches, parameters, multiply_adds):
    network = network_of({"published": switches})
    assert sum(weight.numel() for weight in network.parameters()) == parameters
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, 64, 64))
    assert counter.get_total_flops() / 2 * 16 == pytest.approx(multiply_adds, rel=0.005)  # at 256 x 256 pixels


def test_an_encoder_is_a_convolution_and_three_residual_blocks_a_level_and_a_decoder_a_deconvolution_and_three():
    (net,) = network_of({"published": {}}).nets
    for levels, kind, count in (
        (net.encoder, torch.nn.Conv2d, 3),
        (net.upper.levels, torch.nn.ConvTranspose2d, 2),
        (net.lower.levels, torch.nn.ConvTranspose2d, 2),
    ):
        assert len(levels) == count
        for first, *blocks in levels:
            assert isinstance(first[0], kind) and len(blocks) == 3
    kernels = {layer.kernel_size for layer in net.modules() if isinstance(layer, torch.nn.Conv2d)}
    assert kernels == {(3, 3)}


@pytest.mark.parametrize("switches", [{}, {"second_way": False}, {"shared": False}, {"recurrent": True}])
def test_the_published_network_gives_the_sum_of_its_ways_at_each_scale(switches):
    made = published(**switches)(structured_picture(37, 53, 3))
    assert [scale.I.shape[-2:] for scale in made] == [(10, 14), (19, 27), (37, 53)]
    for scale in made:
        assert (scale.down is None) == (switches == {"second_way": False})
        torch.testing.assert_close(scale.I, scale.up if scale.down is None else scale.up + scale.down)  # Eq. 1


@pytest.mark.parametrize("switch", [{"second_way": False}, {"shared": False}, {"recurrent": True}, {"scales": 2}])
def test_each_switch_changes_what_the_published_network_computes(switch):
    blurry = structured_picture(32, 40, 3)
    one, other = published(), published(**switch)
    mine, weights = other.state_dict(), one.state_dict()
    for name in mine:  # the same weights wherever both have them, at all scales
        same = f"nets.0.{name.split('.', 2)[2]}"
        mine[name] = weights.get(same, mine[name]) + 0.01 * ("nets.1" in name)
    other.load_state_dict(mine)
    assert not torch.allclose(one(blurry)[-1].I, other(blurry)[-1].I, atol=1e-5)


def test_only_the_upper_decoder_of_the_published_network_sees_the_skip_connections():
    (net,) = published().nets
    bottom = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    kept = [torch.zeros(1, width, 16 // 2**level, 16 // 2**level) for level, width in enumerate((4, 6, 8))]
    other = [features + 1 for features in kept]
    assert not torch.allclose(net.upper(bottom, kept), net.upper(bottom, other))
    picture = structured_picture(16, 16, 3)
    scale, _ = net(picture, picture, None)
    x = torch.cat((picture, picture), 1)
    for level in net.encoder:
        x = level(x)
    torch.testing.assert_close(scale.down, net.lower(x, None))


def test_the_state_of_the_coarser_scale_reaches_the_finer_one():
    (net,) = published(recurrent=True).nets
    picture = structured_picture(16, 16, 3)
    alone, (hidden, cell) = net(picture, picture, None)
    after, _ = net(picture, picture, (hidden[..., ::2, ::2] + 1, cell[..., ::2, ::2]))
    assert hidden.shape == cell.shape == (1, 8, 4, 4)
    assert not torch.allclose(alone.I, after.I)


def test_the_published_network_restores_through_the_method_with_both_ways_among_the_stages(tmp_path):
    network, path = published(), tmp_path / "paper.safetensors"
    state = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    save(path, state, {"method": "two_way", "network": {"published": TINY_PUBLISHED}})
    blurry = structured_picture(33, 41, 3)
    result = methods.get("two_way")(
        Observation(blurry=blurry), {"orientations": 1, "precision": "float32", "weights": path}
    )
    assert set(result.stages) == {"up", "down"}
    torch.testing.assert_close(result.image, network(blurry)[-1].I)
    torch.testing.assert_close(result.image, result.stages["up"] + result.stages["down"])


@pytest.mark.parametrize("switches", [{}, {"second_way": False}, {"recurrent": True, "shared": False}])
def test_the_published_network_and_its_ablations_learn(switches):
    torch.manual_seed(0)
    training = TwoWayTraining({"published": {**TINY_PUBLISHED, **switches}}, OBSERVATIONS)
    sharp = structured_picture(64, 64, 3)
    batch = {"blurry": torch.nn.functional.avg_pool2d(sharp, 5, 1, 2), "sharp": sharp}
    errors = errors_while_learning(training, "restore", batch, rate=3e-3, steps=40)
    assert errors[-1] < 0.5 * errors[0]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_of_a_photo_with_one_blurred_part_the_sharp_part_stays_sharp(seed):
    sharp = structured_picture(160, 240, 3, seed=seed)
    rows, columns = slice(40, 120), slice(130, 220)  # the part in which something moved
    photo = sharp.clone()
    photo[..., rows, columns] = convolve(sharp, linear_motion_psf(9, 20.0), "replicate")[..., rows, columns]
    restored = methods.get("two_way")(Observation(blurry=photo), {"precision": "float32"}).image
    assert psnr(restored[..., :115], sharp[..., :115]) > 45
    before, after = (psnr(picture[..., rows, columns], sharp[..., rows, columns]) for picture in (photo, restored))
    assert after > before + 0.8
