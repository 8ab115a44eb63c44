"""The stack, its networks, and their weights."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from helpers import CountingProgress, blurred_scene, hook_psf, observe, structured_picture
from unblur import methods
from unblur.imaging.psf import gaussian_psf, psf_centroid
from unblur.methods.wiener_stack import network as compact
from unblur.methods.wiener_stack.build import load_network, network_of
from unblur.methods.wiener_stack.network import (
    MEMBERS,
    CompactPlan,
    CompactStack,
    Deconvolution,
    Reconstructor,
    deconvolve,
    first_estimate,
    noise_levels,
    restore_canvas,
    spectrum_of,
    surroundings,
)
from unblur.methods.wiener_stack.published import SNRS, PublishedPlan, PublishedStack
from unblur.methods.wiener_stack.training import WienerStackTraining
from unblur.metrics import best_shift, psnr
from unblur.solvers.canvas import Canvas
from unblur.solvers.deconvolution import hyper_laplacian
from unblur.solvers.non_blind import hyper_laplacian_weight
from unblur.training.checkpoint import halved, save
from unblur.types import Observation, Progress, UnblurError

TINY = {"widths": [8, 8], "blocks": 1}
RAW = {"refinements": 0}  # the PSF is used as it is
SIGMA = torch.full((1, 1, 1, 1), 0.01)
EXACT = Deconvolution(SIGMA, torch.zeros_like(SIGMA))  # the PSF has no error


def tiny(seed: int = 0) -> CompactStack:
    torch.manual_seed(seed)
    network = CompactStack(CompactPlan(**TINY))
    for parameter in network.parameters():  # the last layers begin at zero, where nothing is to be seen
        torch.nn.init.normal_(parameter, std=0.05)
    return network


def leaves_alone() -> CompactStack:
    """A network that takes nothing off."""
    return CompactStack(CompactPlan(**TINY))


@pytest.fixture
def weights_file(tmp_path):
    network = tiny()
    path = tmp_path / "tiny.safetensors"
    save(
        path, halved(torch.nn.ModuleDict({"stack": network}).state_dict()), {"method": "wiener_stack", "network": TINY}
    )
    return path, network


# --- one reconstruction after the other -----------------------------------------------------------


def test_a_stack_holds_wiener_filters_around_an_estimate_and_the_estimate():
    """Against the normal equations in float64, with matrices for the blur and the prior."""
    sigma, level, error = (torch.full((1, 1, 1, 1), value, dtype=torch.float64) for value in (0.02, 0.04, 0.1))
    psf = gaussian_psf(0.8, 3).double()
    canvas = Canvas.circular(blurred_scene(8, 9, sigma=0.0, psf=psf).blurry.double(), psf)
    reconstructor = Reconstructor(canvas, Deconvolution(sigma, error))
    estimate = structured_picture(8, 9, 1).double()
    stack = reconstructor.stack(estimate, level)

    unit = torch.eye(72, dtype=torch.float64).reshape(-1, 1, 8, 9)
    blur = canvas.blur(unit).flatten(1).T  # K, a matrix
    misfit = sigma**2 + error**2 * spectrum_of(canvas, reconstructor.first)  # (1, 1, 8, 5)
    prior = canvas.inverse(0.2 * misfit / level**2 * canvas.forward(unit)).flatten(1).T  # the pass's 1 / SNR, a matrix
    unexplained = canvas.blurry.flatten() - blur @ estimate.flatten()
    for member, snr in zip(stack[0], (1, 0.1, 10), strict=False):
        change = torch.linalg.solve(blur.T @ blur + prior / snr, blur.T @ unexplained)
        torch.testing.assert_close(member, estimate[0, 0] + change.reshape(8, 9), atol=1e-9, rtol=0)
    assert torch.equal(stack[0, -1], estimate[0, 0])


def test_pixels_that_are_not_trusted_have_no_say():
    scene = blurred_scene(40, 52)
    trusted = torch.ones(1, 1, 40, 52)
    trusted[..., 10:20, 10:20] = 0
    blurry = torch.where(trusted == 1, scene.blurry, 1.0)
    stacks = []
    for picture in (scene.blurry, blurry):
        canvas = Canvas.around(picture, scene.psf, trusted)
        reconstructor = Reconstructor(canvas, EXACT)
        stacks.append(reconstructor.stack(torch.zeros_like(canvas.blurry), SIGMA))
    torch.testing.assert_close(*stacks)


def test_the_first_estimate_knows_what_lies_beyond_the_border():
    """It is more than half as good as many steps at full size, beyond what few are."""
    scene = blurred_scene(80, 96, sigma=0.003)
    canvas = Canvas.around(scene.blurry, scene.psf)
    sigma = torch.full((1, 1, 1, 1), 0.003)
    weight = hyper_laplacian_weight(sigma)
    few, many = (hyper_laplacian(canvas, weight, 0.8, steps=steps, progress=Progress()) for steps in (1, 20))
    scores = [float(psnr(canvas.crop(image), scene.sharp)) for image in (few, first_estimate(canvas, sigma), many)]
    assert scores[1] > (scores[0] + scores[2]) / 2


@pytest.mark.parametrize(("bright", "gain"), [(1.5, 6), (5, 1)])
def test_a_clipped_light_stands_without_rings(monkeypatch, bright, gain):
    """How bright it is has to be found out before the passes, which hardly do."""
    lamps = 0.3 * structured_picture(116, 124)
    for y, x in ((30, 40), (60, 75)):
        lamps[..., y : y + 6, x : x + 6] = bright
    scene = observe(lamps, hook_psf(), sigma=0.004)
    assert 0 < (scene.blurry == 1).float().mean() < 0.02
    scores = []
    for light in (compact._LIGHT, float("inf")):
        monkeypatch.setattr(compact, "_LIGHT", light)
        image = methods.get("wiener_stack")(Observation(blurry=scene.blurry, psf=scene.psf), RAW).image
        scores.append(psnr(image.clamp(0, 1), scene.sharp.clamp(0, 1)))
    assert scores[0] > scores[1] + gain


def test_a_photo_without_lights_is_estimated_as_if_no_other_of_the_batch_had_any():
    dark = 0.5 * structured_picture(68, 74).double()
    lit = dark.clone()
    lit[..., 30:36, 30:36] = 5
    psf = hook_psf().double().expand(2, 1, -1, -1)
    blurry = torch.cat([observe(sharp, hook_psf().double()).blurry for sharp in (dark, lit)])
    trusted, sigma = blurry < 1, SIGMA.double().expand(2, -1, -1, -1)
    both = first_estimate(Canvas.around(blurry, psf, trusted), sigma)
    assert both[0].max() < compact._LIGHT < both[1].max()
    for i in (0, 1):
        alone = first_estimate(Canvas.around(blurry[[i]], psf[[i]], trusted[[i]]), sigma[[i]])
        torch.testing.assert_close(both[[i]], alone, atol=1e-3, rtol=0)


def test_each_pass_is_told_of_less_noise_than_the_one_before_down_to_the_pictures_own():
    quiet, loud = torch.tensor([0.004, 0.05]).reshape(2, 1, 1, 1).split(1)
    for noise in (quiet, loud):
        levels = [float(level) for level in noise_levels(noise, 5)]
        assert levels == sorted(levels, reverse=True) and levels[0] > 1.5 * levels[-1]
        assert levels[-1] == pytest.approx(0.9 * float(noise), rel=1e-5)
        ratios = [a / b for a, b in pairwise(levels)]
        assert ratios == pytest.approx([ratios[0]] * 4)
    assert noise_levels(loud, 1) == [noise_levels(loud, 4)[-1]]
    assert float(noise_levels(torch.zeros(1, 1, 1, 1), 3)[-1]) > 0


def test_what_the_network_does_not_do_alike_in_all_directions_evens_out():
    """One that makes everything brighter from left to right does so towards all four sides in turn."""

    class Slanted(torch.nn.Module):
        def forward(self, stack: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
            return stack[:, -1:] + torch.linspace(-1, 1, stack.shape[-1])

    canvas = Canvas.circular(torch.full((1, 1, 40, 52), 0.5), gaussian_psf(1.0))
    estimate = restore_canvas(Slanted(), canvas, Deconvolution(SIGMA, SIGMA, passes=4))
    assert estimate.shape == (1, 1, 40, 52)
    torch.testing.assert_close(estimate, torch.full_like(estimate, 0.5), atol=1e-4, rtol=0)


def test_the_larger_the_error_of_a_psf_the_more_the_estimate_counts():
    scene = blurred_scene(64, 72, sigma=0.005)
    canvas = Canvas.around(scene.blurry, scene.psf)
    blank = torch.zeros_like(canvas.blurry)
    hows = [Deconvolution(SIGMA, error * torch.ones_like(SIGMA)) for error in (0, 0.1, 0.5)]
    contrasts = [float(Reconstructor(canvas, how).stack(blank, SIGMA)[:, 0].std()) for how in hows]
    assert contrasts[0] > contrasts[1] > contrasts[2]


def test_brighter_by_a_constant_comes_out_brighter_by_it():
    network, scene = tiny().double(), blurred_scene(40, 52)
    psf, how = scene.psf.double(), Deconvolution(SIGMA.double(), 3 * SIGMA.double())
    once, brighter = (deconvolve(network, scene.blurry.double() + more, psf, how) for more in (0, 0.2))
    inside = (..., slice(8, -8), slice(8, -8))  # the first estimate is not quite exact at the border
    torch.testing.assert_close(brighter[inside], once[inside] + 0.2, atol=1e-3, rtol=0)


# --- the compact network --------------------------------------------------------------------------


def test_an_untrained_network_gives_the_first_of_the_stack():
    stack = torch.rand(2, MEMBERS, 21, 30)
    assert torch.equal(leaves_alone()(stack, SIGMA, SIGMA), stack[:, :1])


def test_twice_the_contrast_and_the_noise_come_out_twice():
    stack = torch.rand(1, MEMBERS, 24, 32)
    torch.testing.assert_close(tiny()(2 * stack, 2 * SIGMA, 2 * SIGMA), 2 * tiny()(stack, SIGMA, SIGMA))


def test_brightness_changes_nothing():
    stack = torch.rand(1, MEMBERS, 24, 32)
    torch.testing.assert_close(tiny()(stack + 0.3, SIGMA, SIGMA), tiny()(stack, SIGMA, SIGMA) + 0.3, atol=1e-4, rtol=0)


def test_the_surroundings_of_a_pixel_are_the_mean_of_a_square():
    picture = torch.rand(1, 1, 20, 33)
    assert float(surroundings(picture)[0, 0, 10, 9]) == pytest.approx(float(picture[0, 0, 3:18, 2:17].mean()))
    assert float(surroundings(picture)[0, 0, 0, 0]) == pytest.approx(float(picture[0, 0, :8, :8].mean()))


@pytest.mark.parametrize("stage", ["denoise", "deblur"])
def test_it_learns_one_batch_by_heart(stage):
    torch.manual_seed(0)
    training = WienerStackTraining(TINY, {"side": 48, "psf_size": [3, 7], "sigma": 0.1})
    generator = torch.Generator().manual_seed(0)
    sharp = structured_picture(training.area, training.area, 3)[0]
    batch = torch.utils.data.default_collate([training.observe({"sharp": sharp}, generator) for _ in range(2)])
    optimizer = torch.optim.Adam(training.modules["stack"].parameters(), 1e-2)
    course = []
    for _ in range(60):
        ((name, losses),) = training.losses(stage, batch)
        (loss,) = losses.values()
        assert name == "stack" and set(losses) == {"psnr"}
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.append(float(loss.detach()))
    assert course[-1] < course[0] - 2, "decibels"


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


@pytest.mark.parametrize("channels", [1, 3])
def test_the_published_network_sees_the_psf_centred_and_its_picture_is_moved_back(tmp_path, monkeypatch, channels):
    plan = {"published": {"blocks": 1, "width": 4}}
    path = tmp_path / "published.safetensors"
    save(
        path, torch.nn.ModuleDict({"stack": network_of(plan)}).state_dict(), {"method": "wiener_stack", "network": plan}
    )
    seen = []
    monkeypatch.setattr(PublishedStack, "forward", lambda _, blurry, psf: seen.append(psf) or blurry)
    method, scene = methods.get("wiener_stack"), blurred_scene(40, 52, channels)
    psf = torch.nn.functional.pad(gaussian_psf(1.0, 5), (6, 0, 4, 0))[None, None]  # 2 px down, 3 px right of the middle
    observation = Observation(blurry=scene.blurry, psf=psf)
    image = method(observation, {"weights": path}).image
    middle = seen[0].shape[-1] // 2
    assert psf_centroid(seen[0][0, 0]) == pytest.approx((middle, middle), abs=1e-3)
    torch.testing.assert_close(image, scene.blurry.roll((-2, -3), (-2, -1)))
    with pytest.raises(UnblurError, match="the published network has no 'passes'"):
        method(observation, {"weights": path, "passes": 2})


def test_dropout_is_for_training_only():
    scene = blurred_scene(24, 28, 3)
    network = PublishedStack(PublishedPlan(blocks=1, width=16, keep=0.5))
    assert not torch.equal(network(scene.blurry, scene.psf), network(scene.blurry, scene.psf))
    network.eval()
    assert torch.equal(network(scene.blurry, scene.psf), network(scene.blurry, scene.psf))


@pytest.mark.parametrize(("loss", "least"), [("l1", 0), ("l2", 0), ("ssim", 0), ("psnr", -40)])
def test_every_loss_is_least_for_the_truth(loss, least):
    plan = {"published": {"blocks": 1, "width": 4}}
    training = WienerStackTraining(plan, {"side": 40, "psf_size": [3, 7], "loss": loss})
    sharp = torch.rand(1, 3, 40, 40)
    training.restore = lambda batch: batch["sharp"]
    ((_, losses),) = training.losses("restore", {"sharp": sharp})
    value = losses[loss]
    assert float(value) == pytest.approx(least, abs=1e-5)
    training.restore = lambda batch: batch["sharp"] + 0.01
    ((_, losses),) = training.losses("restore", {"sharp": sharp})
    assert losses[loss] > value


# --- weights --------------------------------------------------------------------------------------


def test_weights_come_back_as_they_were_written(weights_file):
    path, network = weights_file
    scene = blurred_scene(40, 52, psf=gaussian_psf(1.5))
    observation = Observation(blurry=scene.blurry, psf=scene.psf, sigma=0.01)
    image = methods.get("wiener_stack")(observation, {**RAW, "weights": str(path), "precision": "float32"}).image
    with torch.no_grad():
        expected = deconvolve(network.half().float(), scene.blurry, scene.psf, Deconvolution(SIGMA, 3 * SIGMA))
    torch.testing.assert_close(image, expected, atol=1e-5, rtol=0)
    again = load_network(path)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), network.parameters(), strict=True))


def test_an_estimated_psf_is_expected_to_have_a_larger_error_than_a_given_one(weights_file):
    scene = blurred_scene(40, 52)
    given = Observation(blurry=scene.blurry, psf=scene.psf)
    estimated = replace(given, psf_estimated=True)
    images = [
        methods.get("wiener_stack")(observation, {**RAW, "weights": weights_file[0], **settings}).image
        for observation, settings in ((given, {}), (estimated, {}), (estimated, {"psf_error": 0.03}))
    ]
    asked = methods.get("wiener_stack")(given, {**RAW, "weights": weights_file[0], "psf_is": "estimated"}).image
    assert torch.equal(asked, images[1])
    assert torch.equal(images[0], images[2]) and not torch.allclose(images[0], images[1], atol=1e-5)


@pytest.mark.parametrize(("channels", "chroma", "passes"), [(1, "half", 3), (3, "half", 3 + 2 * 2), (3, "full", 3 * 3)])
def test_every_pass_of_every_plane_is_reported(weights_file, channels, chroma, passes):
    scene, progress = blurred_scene(40, 52, channels), CountingProgress()
    settings = {"weights": weights_file[0], "chroma": chroma, "passes": 3, "refinements": 2}
    methods.get("wiener_stack")(Observation(blurry=scene.blurry, psf=scene.psf), settings, progress)
    assert progress.promised == progress.done == [2 * 3, passes]


def test_other_weights_give_another_picture(weights_file):
    path, _ = weights_file
    scene = blurred_scene(40, 52)
    observation = Observation(blurry=scene.blurry, psf=scene.psf)
    own, shipped = (methods.get("wiener_stack")(observation, given).image for given in ({"weights": path}, {}))
    assert not torch.allclose(own, shipped, atol=1e-3)


def test_a_file_that_is_not_of_this_method_is_refused(tmp_path):
    for content, said in (
        ({}, "not weights of 'wiener_stack'"),
        ({"method": "wiener_stack"}, "does not say what network"),
        ({"method": "wiener_stack", "network": {}}, "do not fit"),
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
        ({"widths": []}, {}, "'widths'.*at least 1"),
        ({"widths": [8, 0]}, {}, "'widths.1'.*greater than or equal to 1"),
        ({"published": {}, "widths": [8]}, {}, "no key 'widths'"),
        ({}, {"sgma": 0.1}, "no key 'sgma'.*'sigma'"),
        ({}, {"psf_size": [4, 8]}, "'psf_size'.*odd"),
        ({}, {"sigma": -1}, "'sigma'.*-1"),
        ({}, {"photons": [0, 100]}, "'photons'.*above 0"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(network, observations, said):
    with pytest.raises(UnblurError, match=f"wiener_stack, .*{said}"):
        WienerStackTraining(network, observations)
