"""Which devices there are, and that work done on another one than the CPU stays there until it is done."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import unblur
from elsewhere import NAME
from fakes import PSF, estimating, fake_method
from helpers import blurred_scene, hook_psf, ready, structured_picture
from unblur import methods
from unblur.pipeline import device as devices
from unblur.pipeline import steps as pipeline
from unblur.pipeline.device import device_names, find_device, moved
from unblur.pipeline.judge import judge
from unblur.pipeline.options import Options
from unblur.pipeline.picture import estimate_psf_of, restore_picture
from unblur.types import Observation, Progress, Restoration, UnblurError

PICTURE = structured_picture(60, 80, channels=3)
# After two iterations its PSF search has another result on the stand-in than on the CPU; we do not know why.
SEARCH_ENDS_ELSEWHERE = {"selfdeblur"}


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
    gone = observation.to(there)
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


@pytest.mark.parametrize("name", sorted({*ready()} - SEARCH_ENDS_ELSEWHERE))
def test_every_method_makes_its_tensors_where_its_input_is(stand_in, name):
    method = methods.get(name)
    scene = blurred_scene(48, 56, max(method.card.channels))
    given = {"blurry": scene.blurry, "psf": scene.psf, "noisy": scene.sharp, "frames": scene.frames}
    observation = Observation(**{name: given[name] for name in method.card.needs})
    settings = dict(method.quick)
    if "precision" in method.settings.model_fields:
        settings["precision"] = "float32"  # autocast knows no stand-in
    here = method(observation, settings)
    there = method(observation.to(stand_in), settings)
    for output in method.card.gives:
        given = getattr(there, output)
        assert given.device.type == NAME
        assert torch.equal(given.cpu(), getattr(here, output))


# --- photos ---------------------------------------------------------------------------------------


def telling(tmp_path, what: str = "image=observation.blurry + 0.1", **options) -> str:
    """A method that says where it was given what."""
    body = (
        "where = [t.device.type for t in (observation.blurry, observation.psf) if t is not None]; "
        f"return Restoration({what}, notes=where)"
    )
    return fake_method(tmp_path, "telling", body, **options)


def test_a_photo_is_restored_there_and_comes_back(stand_in, tmp_path):
    method = telling(tmp_path, needs=("blurry", "psf"))
    observation = Observation(blurry=PICTURE, psf=PSF[None, None])
    result = restore_picture(observation, Options(method=method, force=True, device=stand_in), Progress())
    assert result.notes == [NAME, NAME]
    assert result.psf is not None
    assert (result.image.device, result.psf.device) == (devices.CPU, devices.CPU)
    torch.testing.assert_close(result.image, PICTURE + 0.1)
    torch.testing.assert_close(result.psf, PSF)


def test_a_blind_restoration_and_its_judgement_happen_there(stand_in, monkeypatch):
    photo = Observation(blurry=blurred_scene(160, 176, channels=3, sigma=0.005).blurry)
    places: list[set[str]] = []

    def watched(observation, result, *more, **further):
        tensors = [observation.blurry, observation.psf, result.image, result.psf]
        places.append({tensor.device.type for tensor in tensors if tensor is not None})
        judge(observation, result, *more, **further)  # whatever it says: what comes next is to be seen too

    monkeypatch.setattr(pipeline, "judge", watched)
    options = Options(method="l0_psf+hyper_laplacian", settings={"l0_psf.size": 15, "iterations": 2})
    here = restore_picture(photo, options, Progress())
    there = restore_picture(photo, replace(options, device=stand_in), Progress())
    assert places == [{"cpu"}] * 4 + [{NAME}] * 4, "before and after each of the two steps"
    assert torch.equal(here.image, there.image)
    assert here.psf is not None and there.psf is not None
    assert torch.equal(here.psf, there.psf)


def test_tiles_are_restored_there(stand_in, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "WHOLE_UP_TO", 1000)
    method = telling(tmp_path, card="tiling=True", undoes=("noise",))
    result = restore_picture(
        Observation(blurry=PICTURE), Options(method=method, force=True, device=stand_in), Progress()
    )
    assert result.notes == [NAME]
    torch.testing.assert_close(result.image, PICTURE + 0.1)


FOUND = "psf=torch.full((1, 1, 5, 5), 1 / 25, device=observation.blurry.device)"


def test_a_photo_left_alone_is_the_very_one_that_came(stand_in, tmp_path):
    method = telling(tmp_path, FOUND, gives=("psf",))
    result = restore_picture(Observation(blurry=PICTURE), Options(method=method, device=stand_in), Progress())
    assert result.image is PICTURE
    assert not result.changed
    assert "does not look blurred" in result.notes[0]


def test_a_psf_is_estimated_there_and_comes_back(stand_in, tmp_path):
    options = Options(telling(tmp_path, FOUND, gives=("psf",)), device=stand_in)
    found = estimate_psf_of(Observation(blurry=PICTURE), options, Progress())
    assert found.notes[-1] == NAME
    assert found.psf is not None
    assert torch.equal(found.psf, torch.full((5, 5), 1 / 25))


def test_arrays_and_tensors_come_back_where_they_were(stand_in):
    scene = blurred_scene(40, 50, channels=3)
    expected = unblur.deconvolve(scene.blurry, scene.psf, "hyper_laplacian")
    as_numpy = unblur.deconvolve(
        scene.blurry[0].permute(1, 2, 0).numpy(), scene.psf, "hyper_laplacian", device=stand_in
    )
    np.testing.assert_array_equal(as_numpy, expected[0].permute(1, 2, 0).numpy())
    from_there = unblur.deconvolve(
        scene.blurry.to(stand_in), scene.psf, "hyper_laplacian"
    )  # where the picture is, unless told
    assert from_there.device.type == NAME
    assert torch.equal(from_there.cpu(), expected)
    worked_here = unblur.deconvolve(scene.blurry.to(stand_in), scene.psf, "hyper_laplacian", device="cpu")
    assert worked_here.device.type == NAME
    assert torch.equal(worked_here.cpu(), expected)


class NoFloat64(TorchDispatchMode):
    """The stand-in as Apple's accelerator is: nothing in float64 is made there or moved there."""

    def __torch_dispatch__(self, operation, types, arguments=(), named=None):
        result = operation(*arguments, **(named or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float64 and tensor.device.type == NAME:
                raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support it.")
        return result


@pytest.mark.parametrize("dtype", [torch.float64, torch.uint16])
def test_nothing_is_made_in_float64_on_a_device_that_has_none(stand_in, tmp_path, dtype):
    body = "return Restoration(image=observation.blurry / 2, psf=observation.psf)"
    method = fake_method(tmp_path, "halving", body, needs=("blurry", "psf"))
    picture = PICTURE.double() if dtype == torch.float64 else (PICTURE * 65535).to(dtype)
    with NoFloat64():
        with pytest.raises(TypeError, match="float64"):
            picture.double().to(stand_in)  # else this test could not fail
        for psf in (PSF.double(), PSF.double().numpy(), PSF.to(stand_in)):
            result = unblur.restore(picture, psf=psf, method=method, force=True, device=stand_in)
            assert (result.dtype, result.device) == (dtype, devices.CPU)
            torch.testing.assert_close(result.double(), picture.double() / 2, atol=0.51, rtol=0)


def test_an_estimated_psf_is_where_the_picture_is(stand_in, tmp_path):
    grey = PICTURE[0, 0]
    assert unblur.estimate_psf(grey.to(stand_in), estimating(tmp_path)).device.type == NAME
    assert isinstance(unblur.estimate_psf(grey.numpy(), estimating(tmp_path), device=stand_in), np.ndarray)
