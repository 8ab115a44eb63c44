"""SelfDeblur's optimisation: its schedule, what it shows meanwhile, and its loss."""

from dataclasses import replace

import pytest
import torch

from helpers import CountingProgress
from selfdeblur_scenes import PLAN, PSF, dice, run, scene_of
from unblur.imaging.convolution import convolve
from unblur.losses import ssim_loss
from unblur.methods.selfdeblur import fitting
from unblur.methods.selfdeblur.fitting import Plan
from unblur.methods.selfdeblur.networks import (
    Convolution,
    SkipNetwork,
)
from unblur.types import Progress


def test_fitting_makes_the_reblurred_picture_like_the_photo():
    blurry = scene_of()[0].blurry
    short, longer = (
        fitting.fit(blurry, (11, 11), replace(PLAN, width=8, iterations=count), seed=0, progress=Progress())
        for count in (1, 40)
    )
    assert float(longer.losses) < 0.3 * float(short.losses)
    reblurred = convolve(longer.canvas, longer.psf, "valid")
    torch.testing.assert_close((reblurred - blurry).square().mean((1, 2, 3)), longer.losses)


@pytest.mark.parametrize("alternating", [False, True])
def test_two_pictures_fitted_at_once_become_what_each_becomes_alone(alternating):
    blurry = torch.cat([scene_of(seed=seed)[0].blurry for seed in (1, 2)])
    start = torch.stack((PSF, PSF.flip(-1)))[:, None]
    plan = replace(PLAN, alternating=alternating, learning_rate=1e-3, psf_learning_rate=1e-3, ssim_from=2)
    plan = replace(plan, tv=torch.tensor([0.0, 0.01]))
    both = fitting.fit(blurry, (11, 11), plan, seed=3, progress=Progress(), start=start)
    assert both.canvas.shape == (2, 1, 58, 62) and both.psf.shape == (2, 1, 11, 11) and both.losses.shape == (2,)
    for n in range(2):
        one = replace(plan, tv=plan.tv[n : n + 1])
        alone = fitting.fit(blurry[n : n + 1], (11, 11), one, seed=3, progress=Progress(), start=start[n : n + 1])
        torch.testing.assert_close(both.canvas[n : n + 1], alone.canvas, rtol=0, atol=2e-3)
        torch.testing.assert_close(both.psf[n : n + 1], alone.psf, rtol=0, atol=2e-4)
        torch.testing.assert_close(both.losses[n : n + 1], alone.losses, rtol=0.02, atol=0)
    assert (both.canvas[0] - both.canvas[1]).abs().max() > 0.01, "they are not the same picture"
    assert (both.psf[0] - both.psf[1]).abs().max() > 0.01


@pytest.mark.parametrize("count", [1, 2])
def test_all_convolutions_compute_in_the_type_asked_for(count):
    """With several pictures too, whose normalisations would give float32."""
    with torch.random.fork_rng(devices=[]):
        network = SkipNetwork(1, (4,) * 5)
    types = []
    for layer in network.modules():
        if isinstance(layer, Convolution):
            layer.register_forward_pre_hook(lambda _, given: types.append(given[0].dtype))
    fitting.Copies([network] * count, torch.rand(1, 8, 40, 48, generator=dice()).to(torch.bfloat16))()
    assert len(types) == 38 and {*types} == {torch.bfloat16}


def watched_steps(monkeypatch, plan: Plan, **options) -> list[dict[str, tuple[float, bool]]]:
    """For each step of Adam: of each network its learning rate, where it was its turn, and whether it changed."""
    steps, networks = [], {}
    generators, learn = fitting._generators, fitting._learn

    def generated(*args):
        networks["image"], networks["psf"] = generators(*args)
        return networks["image"], networks["psf"]

    def learned(loss, optimizers):
        before = {name: [w.detach().clone() for w in network.parameters] for name, network in networks.items()}
        learn(loss, optimizers)
        rates = {id(o.param_groups[0]["params"][0]): o.param_groups[0]["lr"] for o in optimizers}
        steps.append(
            {
                name: (
                    rates.get(id(network.parameters[0]), 0.0),
                    any(not torch.equal(a, b) for a, b in zip(before[name], network.parameters, strict=True)),
                )
                for name, network in networks.items()
            }
        )

    monkeypatch.setattr(fitting, "_generators", generated)
    monkeypatch.setattr(fitting, "_learn", learned)
    fitting.fit(scene_of()[0].blurry, (11, 11), plan, seed=0, progress=Progress(), **options)
    return steps


def test_learning_rates_are_halved_where_planned(monkeypatch):
    plan = replace(PLAN, iterations=10, halve_at=(0.4, 0.6, 0.8), learning_rate=0.016, psf_learning_rate=8e-4)
    steps = watched_steps(monkeypatch, plan)
    halvings = [1, 1, 1, 1, 2, 2, 4, 4, 8, 8]
    assert [step["image"][0] for step in steps] == pytest.approx([0.016 / h for h in halvings])
    assert [step["psf"][0] for step in steps] == pytest.approx([8e-4 / h for h in halvings])


def test_jointly_both_networks_learn_at_once(monkeypatch):
    steps = watched_steps(monkeypatch, PLAN)
    assert [(step["image"][1], step["psf"][1]) for step in steps] == [(True, True)] * 4


def test_alternating_leaves_the_other_network_untouched_in_its_turn(monkeypatch):
    steps = watched_steps(monkeypatch, replace(PLAN, alternating=True))
    assert [(step["image"][1], step["psf"][1]) for step in steps] == [(True, False), (False, True)] * 4


def test_with_a_known_psf_only_the_picture_is_fitted(monkeypatch):
    steps = watched_steps(monkeypatch, PLAN, known_psf=PSF[None, None])
    assert [(step["image"][1], step["psf"][1]) for step in steps] == [(True, False)] * 4


@pytest.mark.parametrize(("ssim_from", "calls"), [(None, 0), (0, 4), (3, 1), (9, 0)])
def test_the_loss_becomes_ssim_when_it_is_time(monkeypatch, ssim_from, calls):
    seen = []
    monkeypatch.setattr(fitting, "ssim_loss", lambda a, b: seen.append(1) or ssim_loss(a, b))
    fitting.fit(scene_of()[0].blurry, (11, 11), replace(PLAN, ssim_from=ssim_from), seed=0, progress=Progress())
    assert len(seen) == calls


def test_total_variation_smooths_the_picture():
    blurry = scene_of()[0].blurry
    plans = [replace(PLAN, iterations=15, tv=torch.tensor([weight])) for weight in (0.0, 1.0)]
    rough, smooth = (fitting.fit(blurry, (11, 11), plan, seed=0, progress=Progress()).canvas for plan in plans)
    assert smooth.diff(dim=-1).abs().mean() < 0.7 * rough.diff(dim=-1).abs().mean()


class Showing(CountingProgress):
    """Keeps what it is shown, and the losses it is told."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.shown: list[dict[str, torch.Size]] = []
        self.losses: list[float] = []

    def on_preview(self, pictures):
        assert not any(picture.requires_grad for picture in pictures.values())
        self.shown.append({name: picture.shape for name, picture in pictures.items()})

    def on_advance(self, steps, figures):
        super().on_advance(steps, figures)
        self.losses += [figures["loss"]] if "loss" in figures else []


def test_previews_are_shown_now_and_then_and_the_loss_every_time(monkeypatch):
    monkeypatch.setattr(fitting, "PREVIEW_EVERY", 2)
    progress = Showing()
    run(scene_of()[0].blurry, progress, iterations=5)
    assert progress.shown == [{"image": (1, 1, 58, 62), "psf": (1, 1, 11, 11)}] * 3
    assert len(progress.losses) == 5 and min(progress.losses) > 0


def test_without_time_one_iteration_is_all_and_the_rest_is_said_to_be_done():
    progress = Showing()
    result = run(scene_of()[0].blurry, progress, iterations=100_000, seconds=0.0, restarts=50)
    assert len(progress.losses) == 1
    assert progress.promised == progress.done or None in progress.promised
    assert 100_000 in progress.done
    assert result.image is not None and torch.isfinite(result.image).all()
