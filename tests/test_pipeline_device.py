"""Which devices there are, and that work done on another one than the CPU stays there until it is done."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import unblur
from elsewhere import NAME
from fakes import PSF, believe, estimating, fake_method, judge_by
from helpers import blurred_scene, hook_psf, structured_picture
from unblur import methods
from unblur.pipeline import device as devices
from unblur.pipeline import judge as the_judge
from unblur.pipeline import picture as pipeline
from unblur.pipeline.device import device_names, find_device, moved
from unblur.pipeline.picture import Options, estimate_psf_of, restore_picture
from unblur.types import Observation, Progress, Restoration, UnblurError

PICTURE = structured_picture(60, 80, channels=3)
# Their modules and optimisers know the devices that torch knows, and the stand-in is none of them.
NOT_ON_THE_STAND_IN = {"selfdeblur", "wiener_stack"}


@pytest.fixture
def two_cards(monkeypatch):
    """A machine with two accelerators."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


# --- which there are ------------------------------------------------------------------------------


def test_there_is_always_the_cpu_and_otherwise_what_torch_finds(monkeypatch, two_cards):
    assert device_names() == ["cpu", "cuda:0", "cuda:1"]
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert device_names() == ["cpu"]


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:1", torch.device("cuda", 1)])
def test_a_device_that_is_there_is_found(two_cards, name):
    assert find_device(name) == torch.device(name)


@pytest.mark.parametrize("name", ["cuda:2", "mps", "xpu", "meta", "tpu", "cuda:one", "", "the big one"])
def test_a_device_that_is_not_there_is_named_with_those_that_are(two_cards, name):
    with pytest.raises(UnblurError) as caught:
        find_device(name)
    line = f"torch {torch.__version__} finds no device '{name}'. There is: cpu, cuda:0, cuda:1."
    assert str(caught.value) == line


def test_a_device_is_refused_before_any_work(monkeypatch):
    monkeypatch.setattr(devices, "device_names", lambda: ["cpu"])
    with pytest.raises(UnblurError, match=r"no device 'cuda'\. There is: cpu\."):
        Options(device="cuda")
    for call in (unblur.restore, unblur.estimate_psf):
        with pytest.raises(UnblurError, match="no device 'cuda:3'"):
            call(np.zeros((40, 40)), device="cuda:3")
    with pytest.raises(UnblurError, match="no device 'cuda:3'"):
        unblur.deconvolve(np.zeros((40, 40)), PSF, device="cuda:3")


# --- going there and coming back ------------------------------------------------------------------


def test_all_tensors_are_moved_and_nothing_else_is_touched(stand_in):
    there = torch.device(stand_in)
    observation = Observation(blurry=PICTURE, psf=hook_psf()[None, None], exposure_ratio=4.0, sigma=0.02)
    gone = moved(observation, there)
    assert gone.blurry is not None and gone.psf is not None
    assert (gone.blurry.device, gone.psf.device) == (there, there)
    assert (gone.noisy, gone.frames, gone.exposure_ratio, gone.sigma) == (None, None, 4.0, 0.02)
    result = Restoration(image=gone.blurry, psf=gone.psf, stages={"coarse": gone.blurry}, changed=False, notes=["so"])
    back = moved(result, devices.CPU)
    assert back.image is not None and back.psf is not None
    assert torch.equal(back.image, PICTURE)
    assert torch.equal(back.psf[0, 0], hook_psf())
    assert (back.stages["coarse"].device, back.changed, back.notes) == (devices.CPU, False, ["so"])
    assert moved(back, devices.CPU).image is back.image, "what is there already is not copied"


def test_tensors_of_two_devices_do_not_mix(stand_in):
    """Else the tests below could not fail."""
    there = PICTURE.to(stand_in)
    for mix in (lambda: there + PICTURE, lambda: torch.cat([there, PICTURE]), lambda: PICTURE[there > 0.5]):
        with pytest.raises(RuntimeError, match="same device"):
            mix()
    with pytest.raises((RuntimeError, TypeError)):
        there.numpy()
    torch.testing.assert_close((2 * there).cpu(), 2 * PICTURE, rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted({*methods.names()} - NOT_ON_THE_STAND_IN))
def test_every_method_makes_its_tensors_where_its_input_is(stand_in, name):
    method = methods.get(name)
    scene = blurred_scene(48, 56, max(method.card.channels))
    observation = Observation(blurry=scene.blurry, psf=scene.psf if "psf" in method.card.needs else None)
    here = method(observation, method.quick)
    there = method(moved(observation, torch.device(stand_in)), method.quick)
    for gift in method.card.gives:
        given = getattr(there, gift)
        assert given.device.type == NAME
        assert torch.equal(given.cpu(), getattr(here, gift))


# --- photos ---------------------------------------------------------------------------------------


def telling(tmp_path, gift: str = "image=observation.blurry + 0.1", **options) -> str:
    """A method that says where it was given what."""
    body = (
        "where = [t.device.type for t in (observation.blurry, observation.psf) if t is not None]; "
        f"return Restoration({gift}, notes=where)"
    )
    return fake_method(tmp_path, "telling", body, **options)


def test_a_photo_is_restored_there_and_comes_back(stand_in, tmp_path):
    method = telling(tmp_path, needs=("blurry", "psf"))
    outcome = restore_picture(PICTURE, Options(method=method, psf=PSF, device=stand_in), Progress())
    assert outcome.notes == [NAME, NAME]
    assert outcome.psf is not None
    assert (outcome.image.device, outcome.psf.device) == (devices.CPU, devices.CPU)
    torch.testing.assert_close(outcome.image, PICTURE + 0.1)
    torch.testing.assert_close(outcome.psf, PSF)


def test_a_blind_restoration_and_its_judgement_happen_there(stand_in, monkeypatch):
    photo = blurred_scene(112, 128, channels=3, sigma=0.005).blurry
    places: list[list[str]] = []

    def judge(observation, result, *others):
        tensors = (observation.blurry, result.image, result.psf)
        places.append([tensor.device.type for tensor in tensors if tensor is not None])
        the_judge.judge(observation, result, *others)  # whatever it says: what comes next is to be seen too

    monkeypatch.setattr(pipeline, "judge", judge)
    settings = {"l0_psf.size": 15, "iterations": 2}
    options = Options(method="l0_psf+hyper_laplacian", settings=settings)
    here = restore_picture(photo, options, Progress())
    there = restore_picture(photo, replace(options, device=stand_in), Progress())
    assert [set(place) for place in places] == [{"cpu"}] * 3 + [{NAME}] * 3
    assert torch.equal(here.image, there.image)
    assert here.psf is not None and there.psf is not None
    assert torch.equal(here.psf, there.psf)


def test_tiles_are_restored_there(stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "WHOLE_UP_TO", 1000)
    method = telling(tmp_path, card="tiling=True")
    outcome = restore_picture(PICTURE, Options(method=method, device=stand_in), Progress())
    assert outcome.notes == [NAME]
    torch.testing.assert_close(outcome.image, PICTURE + 0.1)


def test_a_photo_left_alone_is_the_very_one_that_came(stand_in, tmp_path, monkeypatch):
    judge_by(monkeypatch, lambda *_: (False, "It is not blurred."))
    gift = "psf=torch.full((1, 1, 5, 5), 1 / 25, device=observation.blurry.device)"
    method = telling(tmp_path, gift, gives=("psf",))
    outcome = restore_picture(PICTURE, Options(method=method, device=stand_in), Progress())
    assert outcome.image is PICTURE
    assert (outcome.changed, outcome.notes) == (False, ["It is not blurred."])
    assert outcome.psf is not None and outcome.psf.device == devices.CPU


def test_a_psf_is_estimated_there_and_comes_back(stand_in, tmp_path, monkeypatch):
    calls = judge_by(monkeypatch, believe)
    gift = "psf=torch.full((1, 1, 5, 5), 1 / 25, device=observation.blurry.device)"
    found = estimate_psf_of(PICTURE, Options(telling(tmp_path, gift, gives=("psf",)), device=stand_in), Progress())
    assert found.notes == [NAME]
    assert [call[0].device.type for call in calls] == [NAME]
    assert found.psf is not None
    assert torch.equal(found.psf, torch.full((5, 5), 1 / 25))


def test_arrays_and_tensors_come_back_where_they_were(stand_in):
    scene = blurred_scene(40, 50, channels=3)
    expected = unblur.deconvolve(scene.blurry, scene.psf)
    as_numpy = unblur.deconvolve(scene.blurry[0].permute(1, 2, 0).numpy(), scene.psf, device=stand_in)
    np.testing.assert_array_equal(as_numpy, expected[0].permute(1, 2, 0).numpy())
    from_there = unblur.deconvolve(scene.blurry.to(stand_in), scene.psf)  # where the picture is, unless told
    assert from_there.device.type == NAME
    assert torch.equal(from_there.cpu(), expected)
    worked_here = unblur.deconvolve(scene.blurry.to(stand_in), scene.psf, device="cpu")
    assert worked_here.device.type == NAME
    assert torch.equal(worked_here.cpu(), expected)


def test_an_estimated_psf_is_where_the_picture_is(stand_in, tmp_path, monkeypatch):
    judge_by(monkeypatch, believe)
    grey = PICTURE[0, 0]
    assert unblur.estimate_psf(grey.to(stand_in), estimating(tmp_path)).device.type == NAME
    assert isinstance(unblur.estimate_psf(grey.numpy(), estimating(tmp_path), device=stand_in), np.ndarray)
