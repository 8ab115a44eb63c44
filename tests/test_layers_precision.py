"""Networks compute in bfloat16 only where the processor does, and is faster with it."""

import platform

import pytest
import torch

from helpers import blurred_scene
from unblur import methods
from unblur.layers import precision
from unblur.layers.precision import agree_on, autocast, computes_bfloat16, dtype_for, restores_in_bfloat16
from unblur.metrics import psnr
from unblur.types import Observation

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _as_measured():
    """No test of another file has left an agreement, and none is left."""
    agree_on(None)
    yield
    agree_on(None)


@pytest.fixture
def cpu(monkeypatch):
    """A CPU with some of the instructions, and a speed in bfloat16: set(machine, avx512_bf16=True, ...)."""

    def set_to(machine: str, time_in_bfloat16: float = 1.0, **supported: bool) -> None:
        monkeypatch.setattr(platform, "machine", lambda: machine)
        monkeypatch.setattr(precision, "_time_in_bfloat16", lambda: time_in_bfloat16)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: supported.get("avx512_bf16", False), False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: supported.get("amx", False), False)
        monkeypatch.setattr(
            torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: supported.get("mkldnn", False), False
        )

    return set_to


@pytest.mark.parametrize(
    ("machine", "supported", "has_it", "is_faster"),
    [
        ("x86_64", {"avx512_bf16": True, "time_in_bfloat16": 1.5}, True, False),
        ("x86_64", {"avx512_bf16": True, "time_in_bfloat16": 0.95}, True, False),  # not clearly
        ("x86_64", {"avx512_bf16": True, "time_in_bfloat16": 0.5}, True, True),
        ("AMD64", {"amx": True, "time_in_bfloat16": 1.5}, True, True),
        ("x86_64", {"mkldnn": True, "time_in_bfloat16": 0.5}, False, False),  # oneDNN emulates it
        ("x86_64", {}, False, False),
        ("aarch64", {"mkldnn": True}, True, True),
        ("arm64", {}, False, False),
    ],
)
def test_auto_is_bfloat16_where_the_cpu_is_faster_with_it(cpu, machine, supported, has_it, is_faster):
    cpu(machine, **supported)
    assert computes_bfloat16(CPU) is has_it
    assert dtype_for("auto", CPU, gradients=True) == (torch.bfloat16 if has_it else torch.float32)
    assert dtype_for("auto", CPU) == (torch.bfloat16 if is_faster else torch.float32)


def test_the_speed_is_measured_once():
    first = precision._time_in_bfloat16()
    assert 0.01 < first < 100
    assert precision._time_in_bfloat16() == first


@pytest.mark.parametrize("time_in_bfloat16", [0.5, 1.5])
@pytest.mark.parametrize("agreed", [True, False])
def test_processes_that_agree_need_no_measurement(cpu, agreed, time_in_bfloat16):
    cpu("x86_64", avx512_bf16=True, time_in_bfloat16=time_in_bfloat16)
    agree_on(agreed)
    assert restores_in_bfloat16() is agreed
    assert dtype_for("auto", CPU) == (torch.bfloat16 if agreed else torch.float32)
    assert dtype_for("auto", CPU, gradients=True) == torch.bfloat16
    agree_on(None)
    assert restores_in_bfloat16() is (time_in_bfloat16 < 1)


def test_a_cpu_that_would_emulate_bfloat16_does_not_even_if_others_agree(cpu):
    cpu("x86_64")
    agree_on(True)
    assert dtype_for("auto", CPU) == torch.float32


def test_a_version_of_torch_that_cannot_tell_counts_as_no(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch, "cpu", object())
    assert not computes_bfloat16(CPU)


def test_an_accelerator_is_asked_itself(monkeypatch):
    for answer in (True, False):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, answer=answer: answer)
        assert computes_bfloat16(torch.device("cuda")) is answer
    assert not computes_bfloat16(torch.device("mps"))


def test_what_a_person_asks_for_is_done_on_any_processor(cpu):
    cpu("x86_64")
    assert dtype_for("bfloat16", CPU) == torch.bfloat16
    cpu("x86_64", amx=True)
    assert dtype_for("float32", CPU) == torch.float32


def test_float32_is_not_cast():
    layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    for dtype in (torch.float32, torch.bfloat16):
        with autocast(CPU, dtype):
            assert layer(x).dtype == dtype


@pytest.mark.parametrize("bfloat16", [True, False])
def test_networks_compute_as_the_processor_does(monkeypatch, bfloat16):
    monkeypatch.setattr(precision, "computes_bfloat16", lambda _device: bfloat16)
    monkeypatch.setattr(precision, "_time_in_bfloat16", lambda: 0.5)
    scene = blurred_scene(48, 52, sigma=0.01)
    observation = Observation(blurry=scene.blurry, psf=scene.psf)
    named = {"precision": "bfloat16" if bfloat16 else "float32"}
    auto, asked = (methods.get("wiener_stack")(observation, settings).image for settings in ({}, named))
    assert torch.equal(auto, asked)


def test_bfloat16_gives_the_picture_of_float32_to_40_db():
    scene = blurred_scene(96, 104, sigma=0.01)
    observation = Observation(blurry=scene.blurry, psf=scene.psf)
    exact, quick = (
        methods.get("wiener_stack")(observation, {"precision": name}).image for name in ("float32", "bfloat16")
    )
    assert psnr(quick, exact) > 40
