"""The stack, its networks, and their weights."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from helpers import blurred_scene
from unblur import methods
from unblur.imaging.psf import gaussian_psf
from unblur.methods.wiener_stack.build import load_network, network_of
from unblur.methods.wiener_stack.network import (
    CompactPlan,
    CompactStack,
    first_estimate,
    prepare,
    wiener_corrections,
    without_rim,
)
from unblur.methods.wiener_stack.published import SNRS, PublishedPlan, PublishedStack
from unblur.methods.wiener_stack.training import WienerStackTraining
from unblur.metrics import best_shift, psnr
from unblur.solvers.canvas import Canvas
from unblur.solvers.non_blind import hyper_laplacian_weight
from unblur.training.checkpoint import halved, save, state_of
from unblur.types import Observation, UnblurError

TINY = {"snrs": [25, 37], "widths": [8, 8], "blocks": 1}
SIGMA, DOUBT = torch.full((2, 1, 1, 1, 1), 0.01)


def tiny(seed: int = 0) -> CompactStack:
    torch.manual_seed(seed)
    network = CompactStack(CompactPlan(**TINY))
    for parameter in network.parameters():  # the last layers begin at zero, where nothing is to be seen
        torch.nn.init.normal_(parameter, std=0.05)
    return network


@pytest.fixture
def weights_file(tmp_path):
    network = tiny()
    path = tmp_path / "tiny.safetensors"
    save(path, halved(state_of({"stack": network})), {"method": "wiener_stack", "network": json.dumps(TINY)})
    return path, network


# --- the stack ------------------------------------------------------------------------------------


def test_each_correction_is_the_wiener_filter_of_what_the_mean_misses():
    """Against the normal equations in float64: `(K^T K + N G) c = K^T (y - K mean)`."""
    scene = blurred_scene(24, 28, sigma=0.0)
    canvas = Canvas.circular(scene.blurry.double(), scene.psf.double())
    mean = 0.8 * scene.sharp.double()
    stack = wiener_corrections(canvas, canvas.blurry, mean, (15.0, 35.0))  # (1, 2, H, W)
    for number, snr in enumerate((15.0, 35.0)):
        c = canvas.forward(stack[:, number : number + 1])
        noise = 10 ** (-snr / 10) * (0.2 / 0.08) ** 2
        left = canvas.inverse(canvas.otf_conj * canvas.otf * c + noise * canvas.gradient_power * c)
        right = canvas.correlate(canvas.blurry - canvas.blur(mean))
        torch.testing.assert_close(left, right, atol=1e-9, rtol=1e-6)


def test_a_mean_that_is_right_needs_no_correction():
    scene = blurred_scene(24, 28, sigma=0.0)
    canvas = Canvas.circular(scene.sharp.double(), scene.psf.double())
    sharp = scene.sharp.double()
    assert wiener_corrections(canvas, canvas.blur(sharp), sharp, (20.0, 40.0)).abs().max() < 1e-9


# --- the compact network --------------------------------------------------------------------------


def test_brighter_by_a_constant_comes_out_brighter_by_it():
    network, scene = tiny().double(), blurred_scene(40, 52)
    once, brighter = (network.restore(scene.blurry.double() + more, scene.psf, SIGMA, DOUBT) for more in (0, 0.2))
    inside = (..., slice(8, -8), slice(8, -8))  # the first estimate is not quite exact at the border
    torch.testing.assert_close(brighter[inside], once[inside] + 0.2, atol=1e-3, rtol=0)


def test_an_untrained_network_gives_the_first_estimate():
    torch.manual_seed(0)
    scene = blurred_scene(40, 52, psf=gaussian_psf(1.5))
    image = CompactStack(CompactPlan(**TINY)).restore(scene.blurry, scene.psf, SIGMA, DOUBT)
    canvas = Canvas.around(scene.blurry, scene.psf)
    assert torch.equal(image, canvas.crop(first_estimate(canvas, hyper_laplacian_weight(SIGMA))))


def test_the_first_estimate_is_nearly_the_sparse_deconvolution():
    scene = blurred_scene(64, 72, sigma=0.01)
    observation = Observation(blurry=scene.blurry, psf=scene.psf, sigma=0.01)
    canvas = Canvas.around(scene.blurry, scene.psf)
    estimate = canvas.crop(first_estimate(canvas, hyper_laplacian_weight(SIGMA)))
    sparse = methods.get("sparse")(observation).image
    assert psnr(estimate, scene.sharp) > psnr(sparse, scene.sharp) - 0.3
    assert psnr(estimate, sparse) > 35


@pytest.mark.parametrize("size", [(40, 52), (41, 33)])
@pytest.mark.parametrize("side", [1, 3, 9, 31])
def test_the_network_sees_a_rim_around_the_photo_and_gives_the_photo(size, side):
    blurry, psf = torch.rand(1, 1, *size), gaussian_psf(0.5, side)[None, None]
    seen, mean = prepare(blurry, psf, SIGMA, DOUBT, (20.0,))
    assert seen.shape[-2:] == mean.shape[-2:] and seen.shape[1] == 5
    canvas = Canvas.around(blurry, psf)
    assert torch.equal(without_rim(mean, blurry), canvas.crop(first_estimate(canvas, hyper_laplacian_weight(SIGMA))))


def test_the_shipped_network_leaves_a_flat_picture_flat():
    scene = blurred_scene(40, 52)
    flat = torch.full((1, 3, 40, 52), 0.3)
    image = methods.get("wiener_stack")(Observation(blurry=flat, psf=scene.psf)).image
    torch.testing.assert_close(image, flat, atol=1 / 255, rtol=0)


def test_it_learns_one_batch_by_heart():
    training = WienerStackTraining(TINY, {"side": 32, "psf_size": [3, 7], "sigma": 0.02})
    generator = torch.Generator().manual_seed(0)
    sharp = torch.rand(3, training.area, training.area, generator=generator)
    batch = torch.utils.data.default_collate([training.observe(sharp, generator) for _ in range(2)])
    optimizer = torch.optim.Adam(training.modules["stack"].parameters(), 3e-3)
    losses = []
    for _ in range(60):
        ((name, loss),) = training.losses("restore", batch)
        assert name == "stack"
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 2, "decibels"


def test_the_shipped_network_has_the_size_the_documentation_says():
    count = sum(parameter.numel() for parameter in CompactStack(CompactPlan()).parameters())
    assert count == pytest.approx(0.82e6, rel=0.01)


# --- the published network ------------------------------------------------------------------------


def test_the_published_network_is_that_of_the_paper():
    assert SNRS == (9, 13, 17, 21, 25, 29, 33, 37, 41, 45, 49, 53, 57, 61, 65)
    network = PublishedStack(PublishedPlan())
    assert network.head.weight.shape == (64, 48, 5, 5)
    assert len(network.blocks) == 12 and network.tail.weight.shape == (3, 64, 5, 5)
    scene = blurred_scene(24, 28, 3)
    assert network(scene.blurry, scene.psf).shape == (1, 3, 24, 28)


@pytest.mark.parametrize("change", [{"with_blurry": False}, {"bilateral": True}])
def test_its_ablations_are_switches_that_do_something(change):
    scene = blurred_scene(24, 28, 3)
    results = []
    for plan in ({}, change):
        torch.manual_seed(0)
        network = PublishedStack(PublishedPlan(blocks=1, width=4, **plan)).eval()
        results.append(network(scene.blurry, scene.psf))
    assert not torch.allclose(*results)


def test_dropout_is_for_training_only():
    scene = blurred_scene(24, 28, 3)
    network = PublishedStack(PublishedPlan(blocks=1, width=16, keep=0.5))
    assert not torch.equal(network(scene.blurry, scene.psf), network(scene.blurry, scene.psf))
    network.eval()
    assert torch.equal(network(scene.blurry, scene.psf), network(scene.blurry, scene.psf))


@pytest.mark.parametrize(("loss", "least"), [("l1", 0), ("l2", 0), ("ssim", 0), ("psnr", -60)])
def test_every_loss_is_least_for_the_truth(loss, least):
    training = WienerStackTraining(TINY, {"side": 32, "psf_size": [3, 7], "loss": loss})
    sharp = torch.rand(1, 1, 32, 32)
    training.restore = lambda batch: batch["sharp"]
    ((_, value),) = training.losses("restore", {"sharp": sharp})
    assert float(value) == pytest.approx(least, abs=1e-5)


# --- weights --------------------------------------------------------------------------------------


def test_weights_come_back_as_they_were_written(weights_file):
    path, network = weights_file
    scene = blurred_scene(40, 52, psf=gaussian_psf(1.5))
    observation = Observation(blurry=scene.blurry, psf=scene.psf, sigma=0.01)
    image = methods.get("wiener_stack")(observation, {"weights": str(path)}).image
    with torch.no_grad():
        expected = network.half().float().restore(scene.blurry, scene.psf, SIGMA, 10 * DOUBT, ways=8)
    torch.testing.assert_close(image, expected, atol=1e-5, rtol=0)
    again = load_network(path)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))


def test_an_estimated_psf_is_doubted_more_than_a_given_one(weights_file):
    scene = blurred_scene(40, 52)
    given = Observation(blurry=scene.blurry, psf=scene.psf)
    estimated = replace(given, psf_estimated=True)
    images = [
        methods.get("wiener_stack")(observation, {"weights": weights_file[0], **settings}).image
        for observation, settings in ((given, {}), (estimated, {}), (estimated, {"doubt": 0.1}))
    ]
    assert torch.equal(images[0], images[2]) and not torch.allclose(images[0], images[1], atol=1e-5)


def test_other_weights_give_another_picture(weights_file):
    path, _ = weights_file
    scene = blurred_scene(40, 52)
    observation = Observation(blurry=scene.blurry, psf=scene.psf)
    own, shipped = (methods.get("wiener_stack")(observation, given).image for given in ({"weights": path}, {}))
    assert not torch.allclose(own, shipped, atol=1e-3)


def test_a_file_that_is_not_of_this_method_is_refused(tmp_path):
    for content, said in (
        ({}, "not weights of wiener_stack"),
        ({"method": "wiener_stack", "network": "{}"}, "do not fit"),
    ):
        path = tmp_path / f"{len(content)}.safetensors"
        save(path, {"stack.x": torch.zeros(1)}, content)
        with pytest.raises(UnblurError, match=f"{path.name}.*{said}"):
            load_network(path)
    with pytest.raises(UnblurError, match="no such file"):
        load_network(tmp_path / "none.safetensors")
    with pytest.raises(UnblurError, match="'widths'"):
        network_of({"widths": "wide"})


# --- restoring ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("down", "right"), [(3, -4), (-5, 2)])
def test_a_picture_blurred_off_centre_comes_back_in_its_place(down, right):
    """The PSF is centred before the network sees it; what it restores is moved by as much."""
    psf = torch.zeros(21, 21)
    psf[5 + down : 16 + down, 5 + right : 16 + right] = gaussian_psf(1.2, 11)
    scene = blurred_scene(72, 80, sigma=0.002, psf=psf)
    image = methods.get("wiener_stack")(Observation(blurry=scene.blurry, psf=scene.psf)).image
    assert best_shift(image, scene.sharp, step=0.25).abs().max() <= 0.25
    assert psnr(image, scene.sharp) > psnr(scene.blurry, scene.sharp) + 6


@pytest.mark.parametrize(
    ("network", "observations", "said"),
    [
        ({"widhts": [8, 8]}, {}, "no key 'widhts'.*'widths'"),
        ({"published": {"block": 3}}, {}, "no key 'published.block'.*'blocks'"),
        ({"published": {}, "widths": [8]}, {}, "no key 'widths'"),
        ({}, {"sgma": 0.1}, "no key 'sgma'.*'sigma'"),
        ({}, {"psf_size": [4, 8]}, "'psf_size'.*odd"),
        ({}, {"sigma": -1}, "'sigma'.*-1"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(network, observations, said):
    with pytest.raises(UnblurError, match=f"wiener_stack, .*{said}"):
        WienerStackTraining(network, observations)
